//! What is spoken of: news of checks, and what is to be said of one in one channel. Deciding and composing share it.

use std::borrow::Cow;

use jiff::{Timestamp, civil::Date};

use super::{Level, policy::Say};
use crate::{
    check::Family,
    contract::{
        Verdict,
        slack::{Alert, Section, Severity},
    },
    run::{Run, validation::Validation},
};

/// Something new about a check.
#[derive(Debug, Clone, Copy)]
pub enum News<'r> {
    /// It ran.
    Run(&'r Run),
    /// It was validated.
    Validation(&'r Validation),
}

impl<'r> News<'r> {
    /// The check's name.
    pub fn check(self) -> &'r str {
        match self {
            Self::Run(run) => &run.check,
            Self::Validation(validation) => &validation.check,
        }
    }

    /// Where it is told of.
    pub fn family(self) -> Option<&'r Family> {
        match self {
            Self::Run(run) => run.family.as_ref(),
            Self::Validation(validation) => validation.family.as_ref(),
        }
    }

    /// When it is.
    pub fn due(self) -> Timestamp {
        match self {
            Self::Run(run) => run.due,
            Self::Validation(validation) => validation.due,
        }
    }

    /// The date that it is about.
    pub fn data_date(self) -> Date {
        match self {
            Self::Run(run) => run.data_date,
            Self::Validation(validation) => validation.data_date,
        }
    }

    /// The run, when it is one.
    pub fn run(self) -> Option<&'r Run> {
        match self {
            Self::Run(run) => Some(run),
            Self::Validation(_) => None,
        }
    }

    /// Whether nobody is told of it, since it is about the past.
    pub(super) fn is_past(self) -> bool {
        self.run().is_some_and(|run| run.past)
    }
}

/// Something to say of one check in one channel.
#[derive(Debug)]
pub struct Notice<'r> {
    /// What brought it about.
    pub news: News<'r>,
    /// Which side of the check it is about.
    pub about: About,
    /// Why the check cannot be evaluated or trusted, a line each.
    pub reasons: Vec<String>,
    /// Where it is said.
    pub channel: String,
    /// What.
    pub say: Say,
    /// Failing checks that depend on this one, and what was found there.
    pub downstream: Vec<(String, String)>,
}

/// The two sides of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// What the data is like.
    Data,
    /// Whether it can be evaluated.
    Evaluation,
}

/// What a run's alerts are: what its plugin posted, or, when that fails without a word, what the host says for it.
pub(super) fn alerts(run: &Run) -> Cow<'_, [Alert]> {
    let severity = match run.report.as_ref().map(|report| &report.verdict) {
        Some(Verdict::Fail) => Severity::Critical,
        Some(Verdict::Warn) => Severity::Warning,
        _ => return Cow::Borrowed(&run.alerts),
    };
    let silent = !run.alerts.iter().any(|alert| Level::from(alert.severity) > Level::Info);
    let (true, Some(family), Some(report)) = (silent, &run.family, &run.report) else {
        return Cow::Borrowed(&run.alerts);
    };
    let own = Alert {
        channel: family.channel.clone(),
        severity,
        title: format!("{} {}", run.check, if severity == Severity::Critical { "fails" } else { "warns" }),
        summary: report.summary.clone(),
        sections: vec![Section {
            title: "Violations".to_owned(),
            lines: report.violations.iter().map(|violation| violation.message.clone()).collect(),
            fields: Vec::new(),
            code: None,
        }],
        steps: Vec::new(),
    };
    Cow::Owned(run.alerts.iter().cloned().chain([own]).collect())
}
