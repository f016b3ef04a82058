//! News of checks, and notices about them; shared by `decide` and `compose`.

use std::{borrow::Cow, collections::BTreeSet};

use jiff::{Timestamp, civil::Date};

use super::{
    Level,
    dates::DateNews,
    day::{At, Subject},
    mentioned::{FAILURE, Mentioned},
    say::Say,
};
use crate::{
    capability::Evidence,
    check::Family,
    config::Dates,
    contract::{
        Verdict,
        slack::{Alert, Section, Severity},
    },
    run::{Run, validation::Validation},
};

/// News of a check.
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

    /// Its family: channel and group.
    pub fn family(self) -> Option<&'r Family> {
        match self {
            Self::Run(run) => run.family.as_ref(),
            Self::Validation(validation) => validation.family.as_ref(),
        }
    }

    /// Its time.
    pub fn due(self) -> Timestamp {
        match self {
            Self::Run(run) => run.due,
            Self::Validation(validation) => validation.due,
        }
    }

    /// When its run was to begin: later than its due time if that was missed.
    pub(super) fn clock(self) -> Timestamp {
        self.run().map_or(self.due(), |run| run.clock)
    }

    /// Its data date.
    pub fn data_date(self) -> Date {
        match self {
            Self::Run(run) => run.data_date,
            Self::Validation(validation) => validation.data_date,
        }
    }

    /// The run, if it is one.
    pub fn run(self) -> Option<&'r Run> {
        match self {
            Self::Run(run) => Some(run),
            Self::Validation(_) => None,
        }
    }

    /// Its time and data date.
    pub(super) fn at(self) -> At {
        At { due: self.due(), date: self.data_date() }
    }

    /// Whether it says nothing about its check: the present as it was at another time.
    pub(super) fn is_idle(self) -> bool {
        self.run().is_some_and(|run| run.past && run.dates == Dates::Now)
    }
}

/// A notice about one check for one channel.
#[derive(Debug)]
pub struct Notice<'r> {
    /// The news that caused it.
    pub news: News<'r>,
    /// Which side of the check it is about.
    pub about: About,
    /// The data date that it is mainly about: the newest of `dates`; `None` if it is not about a date.
    pub subject: Subject,
    /// All data dates that it is about, and those that are bad besides.
    pub dates: DateNews,
    /// The worst level of these dates, and the last result of the main one.
    pub state: (Option<Level>, String),
    /// Why the check cannot be evaluated, a line each.
    pub reasons: Vec<String>,
    /// The channel.
    pub channel: String,
    /// The change.
    pub say: Say,
    /// Whether no date of the check is bad.
    pub well: bool,
    /// Failing checks that depend on this one, and their results.
    pub downstream: Vec<(String, String)>,
    /// The failing check that it depends on, and the channels in which that is reported.
    pub root: Option<(String, Vec<String>)>,
    /// The incidents of the dates of which something is said.
    pub incidents: Vec<Mentioned>,
    /// Since when it is not well, and what held the first alert back until now, if something did.
    pub since: Option<(Timestamp, String)>,
}

impl<'r> Notice<'r> {
    /// The run that it is mainly about, if that is one of this batch and says something about it.
    pub fn run(&self) -> Option<&'r Run> {
        let run = self.news.run()?;
        (self.about == About::Evaluation || run.subject() == self.subject && run.judged()).then_some(run)
    }
}

/// Why a check that is not well is in no message, unless it is in one of this round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unsaid {
    /// It is silenced.
    Silenced,
    /// It was not bad often enough.
    Unconfirmed,
    /// The check that it depends on has just recovered, and it has one more run to follow.
    Follows,
    /// Another date of its check was told a short time ago.
    Later,
    /// It was told before, to these channels.
    Before(BTreeSet<String>),
}

/// The two sides of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The state of its data.
    Data,
    /// Whether it can be evaluated.
    Evaluation,
}

impl About {
    /// The word in the record.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Data => FAILURE,
            Self::Evaluation => "error",
        }
    }
}

/// A run's alerts, with its evidence.
pub(super) fn alerts(run: &Run) -> Cow<'_, [Alert]> {
    let posted = posted(run);
    match run.evidence.is_empty() {
        true => posted,
        false => Cow::Owned(with_evidence(run, posted.into_owned())),
    }
}

/// Adds a run's evidence to its alerts: once for each channel, under the first alert that is more than information.
pub fn with_evidence(run: &Run, mut alerts: Vec<Alert>) -> Vec<Alert> {
    let section = |evidence: &Evidence| Section {
        title: evidence.title(),
        lines: evidence.lines(),
        fields: Vec::new(),
        code: None,
    };
    let mut shown = BTreeSet::new();
    for alert in alerts.iter_mut().filter(|alert| Level::from(alert.severity) > Level::Info) {
        if shown.insert(alert.channel.clone()) {
            alert.sections.extend(run.evidence.iter().map(section));
        }
    }
    alerts
}

/// A run's alerts: those that its plugin posted, or one by the host if the plugin fails without posting any.
fn posted(run: &Run) -> Cow<'_, [Alert]> {
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
