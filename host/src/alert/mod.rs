//! Alerts: from the runs of a round to delivered messages. When to send (`policy`, `decide`), the text (`compose`,
//! `block_kit`, `console`), where to (`receivers`, `threads`), and the delivery.

mod block_kit;
mod bot;
mod buttons;
mod closing;
mod commands;
mod compose;
mod console;
mod dated;
mod dates;
mod day;
mod decide;
mod delivery;
mod downstream;
mod entries;
mod episodes;
mod exchange;
mod findings;
mod held;
mod mentioned;
mod orders;
mod points;
mod policy;
mod proof;
mod receivers;
mod remark;
mod roots;
mod say;
mod sources;
mod spoken;
mod standing;
mod taken_in;
mod threads;
mod unsaid;
mod updates;
mod would;

use std::{cmp::Reverse, collections::BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use buttons::ACKNOWLEDGE;
pub use closing::{Closed, close};
pub use commands::suit;
pub use compose::compose;
pub use console::plain;
pub use dated::Dated;
pub use dates::{DateNews, ranges};
pub use day::{Ack, Day, Days, GivenUp, Incident, Look, State, Subject};
pub use decide::{Decided, decide};
pub use delivery::{Delivery, unrecorded};
pub use exchange::{Answer, Posted};
pub use mentioned::{Mentioned, Stage};
pub use orders::{ACKNOWLEDGED_FOR, LONGEST_REASON, MOST_LOOKS, Ordered, Wanted, order, recall};
pub use proof::Proof;
pub use receivers::{FALLBACK, Receivers};
pub use remark::{Remark, remarks};
pub use say::Say;
pub use spoken::{About, News, Notice, with_evidence};
pub use standing::{Rules, Standing, Standings};
pub use would::would_say;

use crate::{
    contract::slack::{Alert, Severity},
    text::hex::hex,
};

/// A message for one channel about a batch of runs. It is kept in the outbox and rendered when it is sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// Its channel.
    pub channel: String,
    /// The worst level in it; `None` if it has only good news.
    pub level: Option<Level>,
    /// The title, one line.
    pub title: String,
    /// Whether it only repeats what was told before.
    pub reminder: bool,
    /// The alerts, in the plugins' words.
    pub alerts: Vec<Told>,
    /// The checks that could not be fully evaluated, and why.
    pub errors: Vec<(String, String)>,
    /// The checks that fail without an alert of their own, since one that they depend on is silenced.
    pub held: Vec<(String, String)>,
    /// The checks that fail without an alert of their own, since one that they depend on was reported before.
    pub below: Vec<(String, String)>,
    /// The checks that are still not well, though this channel hears no more of it, and why.
    pub moved: Vec<(String, String)>,
    /// The checks that are gone while they were not well, and why.
    pub closed: Vec<(String, String)>,
    /// The checks that recovered, and how long each was bad.
    pub recoveries: Vec<(String, String)>,
    /// The incidents that it is about.
    pub incidents: Vec<Mentioned>,
    /// One line about the rest.
    pub footer: String,
    /// The address of the page, without a slash at its end.
    pub page: Option<String>,
    /// The command that lists all alerts, if it needs more than `host history`.
    pub history: Option<String>,
}

/// An alert within a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The check's name, as host.toml and `host silence` have it.
    #[serde(default)]
    pub check: String,
    /// The alert that the plugin posted.
    pub alert: Alert,
    /// What is wrong, in one line.
    #[serde(default)]
    pub found: String,
    /// The change since the previous message about it, if any.
    pub note: Option<String>,
    /// Failing checks that depend on this one, and their results.
    pub downstream: Vec<(String, String)>,
}

/// The severity of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For information.
    Info,
    /// Needs attention, but nothing is broken yet; or not evaluated.
    Warning,
    /// Broken.
    Critical,
}

impl Level {
    /// `info`, `warning` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Info => Self::Info,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// A message's id: a hash of its text, channel and time.
pub fn id(content: &str) -> String {
    hex(Sha256::digest(content).get(..6).unwrap_or_default())
}

impl Notification {
    /// The names of the checks in it.
    pub fn checks(&self) -> BTreeSet<String> {
        let alerts = self.alerts.iter().map(|told| &told.check);
        let others = self
            .errors
            .iter()
            .chain(&self.held)
            .chain(&self.below)
            .chain(&self.moved)
            .chain(&self.closed)
            .chain(&self.recoveries)
            .map(|(check, _)| check);
        alerts.chain(others).filter(|check| !check.is_empty()).cloned().collect()
    }

    /// The address of a check's page.
    fn link(&self, check: &str) -> Option<String> {
        let page = self.page.as_ref().filter(|_| !check.is_empty())?;
        Some(format!("{page}/checks/{check}#runbook"))
    }

    /// The address of the form that says what an alert of a check was.
    fn label_link(&self, check: &str) -> Option<String> {
        let page = self.page.as_ref().filter(|_| !check.is_empty())?;
        Some(format!("{page}/checks/{check}#alerts"))
    }

    /// The title, after an emoji for its level.
    fn headline(&self) -> String {
        format!("{} {}", self.mark(), self.title)
    }

    fn mark(&self) -> &'static str {
        match self.level {
            None => "✅",
            Some(Level::Info) => "🔵",
            Some(Level::Warning) => "🟠",
            Some(Level::Critical) => "🔴",
        }
    }

    /// What it says about each check, in one line, the worst first.
    fn worst_first(&self) -> Vec<(&str, &str)> {
        let alerts = self.alerts.iter().map(|told| {
            let texts = [&told.found, &told.alert.summary, &told.alert.title];
            let what = texts.into_iter().find(|text| !text.is_empty()).map_or("", String::as_str);
            (Some(Level::from(told.alert.severity)), told.check.as_str(), what)
        });
        let mut all: Vec<(Option<Level>, &str, &str)> = alerts.collect();
        for (level, list) in [
            (Some(Level::Warning), &self.errors),
            (Some(Level::Warning), &self.below),
            (Some(Level::Info), &self.held),
            (Some(Level::Info), &self.moved),
            (Some(Level::Info), &self.closed),
            (None, &self.recoveries),
        ] {
            all.extend(list.iter().map(|(check, what)| (level, check.as_str(), what.as_str())));
        }
        all.sort_by_key(|(level, ..)| Reverse(*level));
        let mut seen = BTreeSet::new();
        all.retain(|(_, check, _)| seen.insert(*check));
        all.into_iter().map(|(_, check, what)| (check, what)).collect()
    }
}
