//! One run: its moment, its execution and its result. Also the validation of checks.

mod consulted;
mod execution;
mod moment;
mod outcome;
mod reason;
mod replay;
mod report;
mod script;
mod skip;
pub mod validation;

use std::{collections::BTreeSet, time::Duration};

use jiff::{Timestamp, civil::Date};
use serde::Serialize;

pub use moment::{Moment, When, first_due};
pub use outcome::Outcome;
pub use reason::{Ended, Reason};
pub use replay::{Again, Replay};
pub use report::Over;
pub use script::{Given, Keeper, Script};
pub use skip::Undecided;

use crate::{
    capability::{self, Call, Evidence, Tape, Unanswered},
    check::Family,
    config::Dates,
    contract::{Error, Report, Verdict, slack::Alert},
    plugin::Origin,
    record::{Lease, run_id},
};

/// One execution of a check, with its result.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The check's name.
    pub check: String,
    /// The plugin's name, version and digest, if one ran.
    pub plugin: Option<Origin>,
    /// The run's clock.
    pub due: Timestamp,
    /// When it was to begin: later than its due time if that was missed.
    #[serde(skip)]
    pub clock: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// 1 for the first attempt at this date and due time, 2 for the next.
    pub attempt: u32,
    /// Whether it is about another date than the one that was due.
    pub past: bool,
    /// Whether its check judges dates or the present.
    #[serde(skip)]
    pub dates: Dates,
    /// By when the data of the date is expected.
    #[serde(skip)]
    pub deadline: Timestamp,
    /// Whether `expect_by` names that time, and it had not come.
    #[serde(skip)]
    pub early: bool,
    /// Whether its date was looked at again, and not because its check was due.
    pub again: bool,
    /// Whether a window of a calendar skipped it, which says nothing about its date.
    #[serde(skip)]
    pub off_hours: bool,
    /// When it began: see `Recorder::begins`; `None` if it never did.
    #[serde(skip)]
    pub began: Option<u64>,
    /// Under which claim it ran, on a record of several hosts.
    #[serde(skip)]
    pub lease: Option<Lease>,
    /// The plugin's report.
    pub report: Option<Report>,
    /// Why the check, or part of it, could not be evaluated.
    pub error: Option<Reason>,
    /// Its duration.
    #[serde(rename = "seconds", serialize_with = "capability::seconds")]
    pub duration: Duration,
    /// Rows that explain its violations.
    pub evidence: Vec<Evidence>,
    /// Its host calls.
    pub calls: Vec<Call>,
    /// Its output.
    pub log: String,
    /// Its alerts.
    #[serde(skip)]
    pub alerts: Vec<Alert>,
    /// Its family: channel and group.
    #[serde(skip)]
    pub family: Option<Family>,
    /// The check's next due time after this one; `None` if there is none, or it is not known.
    #[serde(skip)]
    pub next: Option<Timestamp>,
    /// Why it causes no alerts, if so.
    #[serde(skip)]
    pub untold: Option<Untold>,
    /// The budgets that it exceeded.
    #[serde(skip)]
    pub exceeded: BTreeSet<&'static str>,
    /// What it was answered.
    #[serde(skip)]
    pub tapes: Tapes,
    /// What it was given, if its answers are recorded.
    #[serde(skip)]
    pub given: Option<Box<Given>>,
    /// Its alerts as the plugin wrote them, where the host changed them since.
    #[serde(skip)]
    pub said: Option<Vec<Alert>>,
}

/// What a run was answered, if that is recorded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tapes {
    /// The queries of `skip_when`.
    pub skip: Option<Tape>,
    /// The plugin.
    pub plugin: Option<Tape>,
}

/// Why a recorded run causes no alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untold {
    /// It did not run: its due time was missed.
    Missed,
    /// It did not run: the check was still running for an older due time.
    Overlapped(Timestamp),
    /// It gave no verdict, and was retried.
    TriedAgain,
    /// Its check was removed from host.toml while it ran.
    Removed,
}

/// The status of a run, from best to worst. The order decides the exit code of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is as it should be.
    Pass,
    /// Nothing to judge. Not a pass.
    Skip,
    /// Imperfect, within what is tolerated.
    Warn,
    /// Something is wrong.
    Fail,
    /// Not evaluated.
    Error,
}

impl Status {
    /// Parses a recorded word; any other word counts as an error.
    pub fn named(name: &str) -> Self {
        let all = [Self::Pass, Self::Skip, Self::Warn, Self::Fail];
        all.into_iter().find(|status| status.name() == name).unwrap_or(Self::Error)
    }

    /// The worst that applies to a verdict, if there is one, and an error.
    pub(crate) fn of(verdict: Option<&Verdict>, is_error: bool) -> Self {
        match (is_error, verdict) {
            (true, Some(Verdict::Fail)) => Self::Fail,
            (true, _) | (false, None) => Self::Error,
            (false, Some(Verdict::Pass)) => Self::Pass,
            (false, Some(Verdict::Skip(_))) => Self::Skip,
            (false, Some(Verdict::Warn)) => Self::Warn,
            (false, Some(Verdict::Fail)) => Self::Fail,
        }
    }

    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Error => "error",
        }
    }
}

impl Run {
    /// Whether its error stays until somebody changes host.toml, a plugin or a pin: no retry can change it.
    pub fn is_lasting(&self) -> bool {
        let denied = |call: &Call| matches!(call.error, Some(Unanswered::Error(Error::Denied(_))));
        match &self.error {
            // Why something is unknown, only the calls tell.
            Some(Reason::Unknown(_)) => {
                let mut failed = self.calls.iter().filter(|call| call.error.is_some()).peekable();
                failed.peek().is_some() && failed.all(denied)
            }
            Some(reason) => reason.is_lasting(),
            None => false,
        }
    }

    /// The data date that its result is about; `None` if its check is about now.
    pub fn subject(&self) -> Option<Date> {
        (self.dates == Dates::Dated).then_some(self.data_date)
    }

    /// Whether it gave a verdict on the data. A pass with unknown items does not count.
    pub fn judged(&self) -> bool {
        match self.report.as_ref().map(|report| &report.verdict) {
            Some(Verdict::Fail | Verdict::Warn) => true,
            Some(Verdict::Pass) => self.error.is_none(),
            Some(Verdict::Skip(_)) | None => false,
        }
    }

    /// Whether it did not run at its due time.
    pub fn is_left_out(&self) -> bool {
        matches!(self.untold, Some(Untold::Missed | Untold::Overlapped(_)))
    }

    /// The due time of the run that was still running when this one was due, if it was left out for that.
    pub fn overlaps(&self) -> Option<Timestamp> {
        match self.untold {
            Some(Untold::Overlapped(running)) => Some(running),
            _ => None,
        }
    }

    /// The worst status that applies.
    pub fn status(&self) -> Status {
        Status::of(self.report.as_ref().map(|report| &report.verdict), self.error.is_some())
    }

    /// Its exit code: 0 pass or skip, 1 warn, 2 fail, 3 not (or not wholly) evaluated.
    pub fn exit_code(&self) -> u8 {
        match self.status() {
            _ if self.error.is_some() => 3,
            Status::Pass | Status::Skip => 0,
            Status::Warn => 1,
            Status::Fail => 2,
            Status::Error => 3,
        }
    }

    /// Its id: date, due time and attempt.
    pub fn id(&self) -> String {
        run_id(self.data_date, self.due, self.attempt)
    }

    /// One line: the result, and anything unknown.
    pub fn summary(&self) -> String {
        let found = self.report.as_ref().map(|report| match &report.verdict {
            Verdict::Skip(why) => format!("skipped: {why}"),
            _ => report.summary.clone(),
        });
        match (found, &self.error) {
            (Some(found), None) => found,
            (Some(found), Some(error)) if self.status() == Status::Fail => format!("{found}; {error}"),
            (_, Some(error)) => error.to_string(),
            (None, None) => String::new(),
        }
    }
}

/// `pass`, `warn`, `fail` or `skip`.
pub fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Warn => "warn",
        Verdict::Fail => "fail",
        Verdict::Skip(_) => "skip",
    }
}

/// The words for a number of runs of each status, the worst first.
pub(crate) const COUNTED: [(Status, &str); 5] = [
    (Status::Fail, "failed"),
    (Status::Error, "not evaluated"),
    (Status::Warn, "warned"),
    (Status::Pass, "passed"),
    (Status::Skip, "skipped"),
];

/// `1 failed, 5 passed`, the worst first.
pub fn tally<'r>(runs: impl Iterator<Item = &'r Run> + Clone) -> String {
    let counted = COUNTED.iter().filter_map(|(status, word)| {
        let count = runs.clone().filter(|run| run.status() == *status).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// The data dates of runs: `2026-02-05`.
pub fn dates<'r>(runs: impl Iterator<Item = &'r Run>) -> String {
    let mut dates: Vec<Date> = runs.map(|run| run.data_date).collect();
    dates.sort_unstable();
    dates.dedup();
    dates.iter().map(Date::to_string).collect::<Vec<_>>().join(", ")
}
