//! Skips decided by data: asks `skip_when` before the plugin runs. Unknown is not a skip: whatever is not TRUE or FALSE is an
//! error of the run.

use std::sync::Arc;

use jiff::civil::Date;

use super::Moment;
use crate::{
    capability::{Argument, Backends, Calls},
    config::{Skip, SkipAtMost, SkipQuery},
    contract::{
        Error, Value,
        warehouse::{Parameter, Rows},
    },
    record::Record,
};

pub(super) const WHEN: &str = "skip_when";
pub(super) const UNLESS_KNOWN: &str = "skip_unless_known";

/// Why it could not be decided whether a run is skipped.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Undecided {
    /// A query failed.
    #[error("{setting}: {}", .error.message())]
    Unanswered {
        /// Its setting.
        setting: &'static str,
        /// Why.
        error: Error,
    },
    /// The answer is not one row with TRUE or FALSE.
    #[error("{0}")]
    Answer(String),
    /// The data behind `skip_when` is not there.
    #[error("{why}: skip_when is TRUE for {date}, but skip_unless_known is FALSE, so it is unknown whether to skip it")]
    NotKnown {
        /// The data date.
        date: Date,
        /// The reason in the setting.
        why: String,
    },
    /// It has only skipped for too long.
    #[error(
        "has skipped since {since} ({days} days; skip_at_most = \"{at_most}\"): {why}; if that is right, raise skip_at_most, or give a calendar with the effect skip"
    )]
    TooLong {
        /// The first date.
        since: Date,
        /// The days from then to this date.
        days: i32,
        /// The limit.
        at_most: SkipAtMost,
        /// Why it would be skipped.
        why: String,
    },
    /// The record did not answer.
    #[error("skip_at_most: {0}")]
    Unrecorded(String),
}

/// Why a run is skipped; `None` if it is not.
pub(super) async fn skipped(
    check: &str,
    skip: &Skip,
    backends: &Backends,
    calls: &Arc<Calls>,
    record: &Record,
    moment: &Moment,
) -> Result<Option<String>, Undecided> {
    if !truth(WHEN, &skip.when, backends, calls, moment).await? {
        return Ok(None);
    }
    let date = moment.data_date;
    if let Some(known) = &skip.unless_known
        && !truth(UNLESS_KNOWN, known, backends, calls, moment).await?
    {
        let why = known.why.clone().unwrap_or_else(|| "its data is not loaded yet".to_owned());
        return Err(Undecided::NotKnown { date, why });
    }
    let why = match &skip.when.why {
        Some(why) => format!("{why} ({WHEN})"),
        None => format!("{WHEN} is TRUE for {date}"),
    };
    // A date that is looked at again says nothing of the present.
    let Some(most) = skip.at_most.0.filter(|_| !moment.past) else { return Ok(Some(why)) };
    let since = record.skipping_since(check, date).await;
    let since = since.map_err(|error| Undecided::Unrecorded(format!("{error:#}")))?;
    let days = since.map_or(0, |since| (date - since).get_days());
    match since {
        Some(since) if u64::from(days.unsigned_abs()) * 24 * 60 * 60 > most.0.as_secs() => {
            Err(Undecided::TooLong { since, days, at_most: skip.at_most, why })
        }
        _ => Ok(Some(why)),
    }
}

/// Asks a query that gives one row with one BOOL.
pub(super) async fn truth(
    setting: &'static str,
    query: &SkipQuery,
    backends: &Backends,
    calls: &Arc<Calls>,
    moment: &Moment,
) -> Result<bool, Undecided> {
    let rows = ask(query, backends, calls, moment).await;
    let rows = rows.map_err(|error| Undecided::Unanswered { setting, error })?;
    let wrong = |what: String| Undecided::Answer(format!("{setting} gave {what}"));
    if let Some(what) = wrong_columns(&rows) {
        return Err(wrong(what));
    }
    match rows.values.as_slice() {
        [row] => match row.as_slice() {
            [Value::Boolean(truth)] => Ok(*truth),
            [Value::Null] => Err(wrong(
                "NULL, which is neither TRUE nor FALSE; use COALESCE(…, FALSE), or count rows: COUNT(*) = 0".to_owned(),
            )),
            _ => Err(wrong("a value that is not a BOOL; compare it, as in COUNT(*) = 0".to_owned())),
        },
        [] => Err(wrong("no row; it must give one, as COUNT(*) = 0 and EXISTS (…) do".to_owned())),
        rows => Err(wrong(format!("{} rows; it must give one, as COUNT(*) = 0 and EXISTS (…) do", rows.len()))),
    }
}

pub(super) async fn ask(
    query: &SkipQuery,
    backends: &Backends,
    calls: &Arc<Calls>,
    moment: &Moment,
) -> Result<Rows, Error> {
    let parameters = [
        ("date", Value::Date(moment.data_date.to_string())),
        ("due", Value::Timestamp(moment.due.as_second())),
        ("day_start", Value::Timestamp(moment.day_start.as_second())),
        ("day_end", Value::Timestamp(moment.day_end.as_second())),
    ];
    let parameters = parameters.map(|(name, value)| Argument::from(Parameter { name: name.to_owned(), value }));
    backends.ask(calls, query.sql.clone(), Ok(parameters.into())).await
}

/// What is wrong with the columns of an answer, if anything is.
pub(super) fn wrong_columns(rows: &Rows) -> Option<String> {
    match rows.columns.as_slice() {
        [column] if ["BOOL", "BOOLEAN", "ANY"].contains(&column.kind.as_str()) => None,
        [column] => Some(format!("{}, not BOOL; compare it, as in COUNT(*) = 0", column.kind)),
        columns => {
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            Some(format!("{} columns ({}); select one", names.len(), names.join(", ")))
        }
    }
}
