//! Why a check, or part of it, could not be evaluated: a type where code decides by it, text where it is printed.

use serde::{Serialize, Serializer};

use super::report::Over;
use crate::{
    config::raise,
    contract::Failure,
    sandbox::{HOST_LINE, Stopped},
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

/// How a guest ended without a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Why.
    pub stopped: Stopped,
    /// The plugin's name.
    pub plugin: String,
    /// The end of the guest's output, if it trapped: a panic's message is there and not in the trap.
    pub wrote: Option<String>,
    /// The titles of the alerts it posted before: they may explain the error, and are not sent.
    pub said: Vec<String>,
}

impl Ended {
    pub(super) fn new(stopped: Stopped, plugin: &str, log: &str, said: Vec<String>) -> Self {
        let own = |line: &&str| !line.trim().is_empty() && !line.starts_with("note:") && !line.starts_with(HOST_LINE);
        let lines: Vec<&str> = log.lines().filter(own).collect();
        let last = lines.get(lines.len().saturating_sub(2)..).unwrap_or_default();
        let short = |text: String| shortened(&text, WRITTEN_BYTES);
        let wrote = (matches!(stopped, Stopped::Trap(_)) && !last.is_empty()).then(|| short(last.join(" ")));
        let stopped = match stopped {
            Stopped::Failure(Failure::Settings(message)) => Stopped::Failure(Failure::Settings(short(message))),
            Stopped::Failure(Failure::Call(error)) => Stopped::Failure(Failure::Call(error.reworded(short))),
            Stopped::Failure(Failure::Other(message)) => Stopped::Failure(Failure::Other(short(message))),
            other => other,
        };
        Self { stopped, plugin: plugin.to_owned(), wrote, said }
    }

    fn shown(&self) -> String {
        let mut text = self.stopped.explained(&self.plugin);
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

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
