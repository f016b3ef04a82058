//! The rows that explain a violation. They are asked for only after one, and a query without an answer hides nothing: it is
//! said beside the violation.

use sdk::{Error, Request, Row, Rows, evidence, evidence_total, join_all};

use crate::times::Times;

/// Rows of a query for the keys that break a rule.
pub(crate) const ASKED: u32 = 20;
/// Queries at once, within the budget of concurrent calls.
const AT_ONCE: usize = 4;

/// Rows that break a rule.
pub(crate) struct Wrong {
    /// The metric that they explain.
    pub(crate) metric: String,
    /// The query for them.
    pub(crate) sql: String,
    /// How many rows there are.
    pub(crate) total: Total,
}

/// How many rows break a rule.
pub(crate) enum Total {
    /// As many as were counted.
    Counted(u64),
    /// As many as the query gives.
    Given,
    /// As many as the query gives, or more if they reach [`ASKED`].
    AtMostAsked,
}

/// Shows the first rows of each query. Returns what could not be shown, a line each.
pub(crate) async fn show(wrong: &[Wrong], most: u32, request: &Request) -> Vec<String> {
    let mut notes = Vec::new();
    if most == 0 {
        return notes;
    }
    for some in wrong.chunks(AT_ONCE) {
        let answers = join_all(some.iter().map(|one| one.ask(request))).await;
        // In this order, whichever is answered first: the same answers make the same report.
        for (one, answer) in some.iter().zip(answers) {
            if let Err(error) = answer.and_then(|rows| one.show(&rows, most as usize)) {
                notes.push(format!("{}: the rows cannot be shown: {}", one.metric, error.reason()));
            }
        }
    }
    notes
}

impl Wrong {
    async fn ask(&self, request: &Request) -> Result<Rows, Error> {
        Times::of(request).query(&self.sql).rows().await
    }

    fn show(&self, rows: &[Row], most: usize) -> Result<(), Error> {
        let given = rows.len() as u64;
        let (metric, total) = match self.total {
            Total::Counted(counted) => (self.metric.clone(), counted.max(given)),
            Total::AtMostAsked if given >= ASKED.into() => (format!("{} (the first {ASKED} keys)", self.metric), given),
            Total::AtMostAsked | Total::Given => (self.metric.clone(), given),
        };
        let shown = rows.get(..most).unwrap_or(rows);
        evidence(&metric, shown)?;
        match total > shown.len() as u64 {
            true => evidence_total(&metric, total),
            false => Ok(()),
        }
    }
}
