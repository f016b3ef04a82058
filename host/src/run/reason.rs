//! Why a check, or part of it, could not be evaluated: a type where code decides by it, text where it is printed.

use serde::{Serialize, Serializer};

use super::{report::Over, skip::Undecided};
use crate::{
    capability::{Call, Unanswered},
    config::raise,
    contract::{Error, Failure, slack::Alert},
    sandbox::{HOST_LINE, Stopped, exception},
    text::shortened,
};

/// The longest part of an error that a plugin wrote, in bytes: more than anybody reads, and small beside the rest of a
/// run.
const WRITTEN_BYTES: usize = 2 << 10;

/// Why there is no verdict, or only a partial one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Reason {
    /// The check cannot run.
    #[error("{0}")]
    Unable(String),
    /// The host itself failed.
    #[error("the host failed: {0}")]
    Broken(String),
    /// The host's own lookup failed.
    #[error("{0}")]
    NotFound(String),
    /// Whether the run is skipped could not be decided, so the plugin did not run.
    #[error(transparent)]
    Undecided(Undecided),
    /// The guest gave no report.
    #[error("{}", .0.shown())]
    Stopped(Ended),
    /// The report exceeds a budget.
    #[error("returned {}; {}", .over.what, raise(.plugin, .over.budget))]
    Over {
        /// The budget and the amount.
        over: Over,
        /// The plugin's name.
        plugin: String,
    },
    /// The report contradicts itself.
    #[error("returned a malformed report: {0}")]
    Malformed(String),
    /// The report has unknown items.
    #[error("unknown: {}", shortened(&.0.join("; "), WRITTEN_BYTES))]
    Unknown(Vec<String>),
}

impl Reason {
    /// Whether no retry can change it: the check stays unable to run until somebody changes host.toml, a plugin or a pin.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Unable(_) => true,
            Self::Undecided(undecided) => {
                matches!(undecided, Undecided::Unanswered { error: Error::Denied(_), .. })
            }
            Self::Stopped(ended) => match &ended.stopped {
                Stopped::Failure(Failure::Settings(_)) => true,
                Stopped::Failure(Failure::Call(error)) => matches!(error, Error::Denied(_)),
                _ => false,
            },
            Self::Broken(_) | Self::NotFound(_) | Self::Over { .. } | Self::Malformed(_) | Self::Unknown(_) => false,
        }
    }
}

/// How a guest ended without a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Why.
    pub stopped: Stopped,
    /// The plugin's name.
    pub plugin: String,
    /// The memory or table that it was refused before it failed.
    pub refused: Option<Stopped>,
    /// The exception that made it trap, with file and line number.
    pub exception: Option<String>,
    /// The end of the guest's output, if it trapped without an exception.
    pub wrote: Option<String>,
    /// The error of its last host call, if it trapped: probably why.
    pub unanswered: Option<String>,
    /// The titles of the alerts it posted before: they may explain the error, and are not sent.
    pub said: Vec<String>,
}

impl Ended {
    pub(super) fn new(stopped: Stopped, plugin: &str) -> Self {
        let stopped = match stopped {
            Stopped::Failure(Failure::Settings(message)) => Stopped::Failure(Failure::Settings(short(message))),
            Stopped::Failure(Failure::Call(error)) => Stopped::Failure(Failure::Call(error.reworded(short))),
            Stopped::Failure(Failure::Other(message)) => Stopped::Failure(Failure::Other(short(message))),
            other => other,
        };
        Self {
            stopped,
            plugin: plugin.to_owned(),
            refused: None,
            exception: None,
            wrote: None,
            unanswered: None,
            said: Vec::new(),
        }
    }

    /// With the memory that it was refused, which explains a failure of its own.
    pub(super) fn refused(self, refused: Option<Stopped>) -> Self {
        let own = matches!(self.stopped, Stopped::Failure(Failure::Other(_)));
        Self { refused: refused.filter(|_| own), ..self }
    }

    /// With what its output, its calls and its alerts say of it.
    pub(super) fn explained(self, log: &str, calls: &[Call], alerts: &[Alert]) -> Self {
        let said = alerts.iter().map(|alert| alert.title.clone()).collect();
        if !matches!(self.stopped, Stopped::Trap(_)) {
            return Self { said, ..self };
        }
        let exception = exception(log).map(short);
        let own = |line: &&str| !line.trim().is_empty() && !line.starts_with("note:") && !line.starts_with(HOST_LINE);
        let lines: Vec<&str> = log.lines().filter(own).collect();
        let last = lines.get(lines.len().saturating_sub(2)..).unwrap_or_default();
        let wrote = (exception.is_none() && !last.is_empty()).then(|| short(last.join(" ")));
        let answered = |call: &&Call| !matches!(call.error, Some(Unanswered::CalledOff));
        let unanswered =
            calls.iter().rfind(answered).and_then(|call| call.error.as_ref()).map(|error| short(error.to_string()));
        Self { exception, wrote, unanswered, said, ..self }
    }

    fn shown(&self) -> String {
        let mut text = match &self.exception {
            Some(exception) => exception.clone(),
            None => self.stopped.explained(&self.plugin),
        };
        if let Some(unanswered) = &self.unanswered {
            text = format!("{unanswered}; then the plugin failed: {text}");
        }
        if let Some(refused) = &self.refused {
            text += &format!("; it {}", refused.explained(&self.plugin));
        }
        if let Some(wrote) = &self.wrote {
            text += &format!("; its log ends with: {wrote}");
        }
        if !self.said.is_empty() {
            text += &format!(
                "; before that it posted alerts, which were not sent: {}",
                shortened(&self.said.join("; "), WRITTEN_BYTES)
            );
        }
        text
    }
}

fn short(text: String) -> String {
    shortened(&text, WRITTEN_BYTES)
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
