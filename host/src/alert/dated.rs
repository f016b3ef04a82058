//! One data date of a check, as the API and `host history` show it.

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{Day, Subject};

/// One data date of a check.
#[derive(Debug, Clone, Serialize)]
pub struct Dated {
    /// The check's name.
    pub check: String,
    /// The data date; `None` for a check about now.
    pub data_date: Option<Date>,
    /// `good`, `warned`, `bad`, `pending`, `skipped`, `not_judged` or `given_up`.
    pub state: &'static str,
    /// Whether it is bad, and not given up.
    pub open: bool,
    /// The due time of the run that says so.
    pub at: Timestamp,
    /// Since when it is bad.
    pub since: Option<Timestamp>,
    /// The last result, one line.
    pub summary: Option<String>,
    /// How long after its deadline it became good, in seconds, if it was late.
    pub late_seconds: Option<i64>,
    /// When it is looked at again, if not by its check's schedule.
    pub next_look: Option<Timestamp>,
    /// Who works on it, if somebody said so, and that still holds.
    pub acknowledged: Option<Statement>,
    /// Who gave it up, if it is given up.
    pub given_up: Option<Statement>,
}

/// What somebody said of a date.
#[derive(Debug, Clone, Serialize)]
pub struct Statement {
    /// Who; `None` if its time was over.
    pub who: Option<String>,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// Until when that holds; `None` if for good.
    pub until: Option<Timestamp>,
}

impl Dated {
    /// What is known of a date, at a time.
    pub fn new(check: &str, subject: Subject, day: &Day, now: Timestamp) -> Self {
        let incident = day.incident.as_deref();
        let side = incident.map(|incident| &incident.side).filter(|_| day.is_open());
        let acknowledged = day.acknowledged(now).map(|ack| Statement {
            who: Some(ack.who.clone()),
            why: ack.why.clone(),
            at: ack.at,
            until: Some(ack.until),
        });
        let given_up = incident.and_then(|incident| incident.given_up.as_ref());
        Self {
            check: check.to_owned(),
            data_date: subject,
            state: day.state.name(),
            open: day.is_open(),
            at: day.at,
            since: side.and_then(|side| side.began).or_else(|| given_up.and_then(|given_up| given_up.began)),
            summary: side.map(|side| side.summary.clone()).filter(|summary| !summary.is_empty()),
            late_seconds: day.late,
            next_look: day.look.map(|look| look.at),
            acknowledged: acknowledged.filter(|_| day.is_open()),
            given_up: given_up.map(|given_up| Statement {
                who: given_up.who.clone(),
                why: given_up.why.clone(),
                at: given_up.at,
                until: None,
            }),
        }
    }
}
