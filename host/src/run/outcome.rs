//! What came of a run, as a replay must repeat it: all but how long it took.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Reason, Run, Status};
use crate::{
    capability::Call,
    contract::{Metric, Report, slack::Alert},
    text::shortened,
};

/// The longest line of a difference that is shown, in bytes.
const SHOWN: usize = 300;

/// The call for the dates that were good before.
const GOOD_DATES: &str = "expectation.good-dates";

/// What came of a run: its parts as text, so that they are compared as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Its host calls, in the order of their ends.
    calls: String,
    /// Its output.
    log: String,
    /// Its alerts, as the plugin wrote them.
    alerts: String,
    /// Rows that explain its violations.
    evidence: String,
    /// Its report.
    report: String,
    /// Why it could not be evaluated, in words.
    error: Option<String>,
}

/// A host call that ended.
#[derive(Serialize)]
struct Ended<'c> {
    name: &'static str,
    asked: &'c str,
    bytes: u64,
    error: Option<String>,
}

impl Outcome {
    /// Of a run that has ended.
    pub fn of(run: &Run) -> Self {
        Self {
            calls: run.calls.iter().map(|call| one_line(&Ended::of(call)) + "\n").collect(),
            log: run.log.clone(),
            alerts: lines(run.said.as_ref().unwrap_or(&run.alerts)),
            evidence: lines(&run.evidence),
            report: lines(&run.report),
            error: run.error.as_ref().map(ToString::to_string),
        }
    }

    /// Only what people hear of a run: its report, its alerts, and why it could not be evaluated.
    pub fn brief(run: &Run) -> Self {
        let names = run.calls.iter().map(|call| call.name).filter(|name| *name == GOOD_DATES);
        let calls = names.take(1).collect();
        Self { calls, log: String::new(), evidence: String::new(), ..Self::of(run) }
    }

    /// Whether it depends on which dates were good before.
    pub fn asks_dates(&self) -> bool {
        self.calls.contains(GOOD_DATES)
    }

    /// What people hear of it: the status and the alerts, the values of the metrics and the violations. Limits are not among it.
    pub fn says(&self) -> (Status, Option<Report>, &str) {
        let without = |metric: Metric| Metric { min: None, max: None, below: None, ..metric };
        let report =
            self.report().map(|report| Report { metrics: report.metrics.into_iter().map(without).collect(), ..report });
        (self.status(), report, &self.alerts)
    }

    /// The worst status that applies.
    pub fn status(&self) -> Status {
        Status::of(self.report().as_ref().map(|report| &report.verdict), self.error.is_some())
    }

    /// How another one differs, for people: the violations that are new and those that are gone, else what the summaries say.
    pub fn changes(&self, other: &Self) -> String {
        let said = |outcome: &Self| -> BTreeSet<String> {
            let report = outcome.report();
            let violations = report.iter().flat_map(|report| &report.violations);
            violations.map(|violation| violation.message.clone()).chain(outcome.error.clone()).collect()
        };
        let (then, now) = (said(self), said(other));
        let new = now.difference(&then).map(|line| format!("new: {line}"));
        let gone = then.difference(&now).map(|line| format!("gone: {line}"));
        let lines: Vec<String> = new.chain(gone).collect();
        let summary = |outcome: &Self| outcome.report().map(|report| report.summary).unwrap_or_default();
        let (then, now) = (summary(self), summary(other));
        match (lines.is_empty(), then == now) {
            (false, _) => lines.join("; "),
            (true, false) => format!("then {then}, now {now}"),
            (true, true) => self.parts(other).unwrap_or_default(),
        }
    }

    /// A run with this outcome, as far as people are told of it.
    pub(super) fn run(&self, empty: Run) -> Run {
        let report = self.report();
        let unknown = report.as_ref().map(|report| report.unknown.clone()).unwrap_or_default();
        let error = self.error.clone().map(|error| match unknown.is_empty() {
            true => Reason::NotFound(error),
            false => Reason::Unknown(unknown),
        });
        Run { report, error, alerts: self.alerts(), ..empty }
    }

    /// Whether a host call failed with a message.
    pub fn called(&self, message: &str) -> bool {
        self.calls.contains(&one_line(&message))
    }

    /// The report, if there was one.
    pub fn report(&self) -> Option<Report> {
        serde_json::from_str(&self.report).ok().flatten()
    }

    /// The alerts.
    pub fn alerts(&self) -> Vec<Alert> {
        serde_json::from_str(&self.alerts).unwrap_or_default()
    }

    /// Why it could not be evaluated.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Where another one parts from this one, in words: the first part that differs, and its first line; `None` if they are the same,
    /// byte for byte.
    pub fn parts(&self, other: &Self) -> Option<String> {
        let parts: [(&str, &str, &str); 6] = [
            ("the host calls", &self.calls, &other.calls),
            ("the log", &self.log, &other.log),
            ("the alerts", &self.alerts, &other.alerts),
            ("the evidence", &self.evidence, &other.evidence),
            ("the report", &self.report, &other.report),
            ("the error", self.error.as_deref().unwrap_or_default(), other.error.as_deref().unwrap_or_default()),
        ];
        let (what, then, now) = parts.into_iter().find(|(_, then, now)| then != now)?;
        let at = then.lines().zip(now.lines()).take_while(|(then, now)| then == now).count();
        let line = |text: &str| match text.lines().nth(at) {
            Some(line) => shortened(line.trim(), SHOWN),
            None => "nothing".to_owned(),
        };
        Some(format!("{what}: then {}, now {}", line(then), line(now)))
    }
}

impl<'c> Ended<'c> {
    fn of(call: &'c Call) -> Self {
        let error = call.error.as_ref().map(ToString::to_string);
        Self { name: call.name, asked: &call.asked, bytes: call.bytes, error }
    }
}

fn one_line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// A line for each value.
fn lines(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
