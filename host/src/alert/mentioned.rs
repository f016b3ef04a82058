//! The incidents that a message is about, so that the messages about one of them find each other.

use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{id, say::Say};

/// The kind of an incident that is about the data.
pub(super) const FAILURE: &str = "failure";

/// An incident that a message is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mentioned {
    /// The incident's id: the same in all messages about it.
    pub id: String,
    /// The check.
    pub check: String,
    /// What the message tells of it.
    pub stage: Stage,
    /// How it stands after the message, in words that follow the check's name.
    #[serde(default)]
    pub state: String,
    /// The data date, if it is about one.
    #[serde(default)]
    pub date: Option<Date>,
    /// Whether it is about the data, and not about whether the check can be evaluated.
    #[serde(default)]
    pub data: bool,
    /// Whether somebody works on it.
    #[serde(default)]
    pub acknowledged: bool,
}

/// What a message tells of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It began.
    Began,
    /// It goes on: it changed, or this is a reminder.
    FollowUp,
    /// It ended well.
    Recovered,
    /// It ended without being well.
    GivenUp,
}

impl Mentioned {
    /// An incident of a check: of which kind, of which data date, and since when.
    pub(super) fn new((check, kind): (&str, &str), date: Option<Date>, began: Timestamp, stage: Stage) -> Self {
        let day = date.map(|date| date.to_string()).unwrap_or_default();
        Self {
            id: id(&format!("{check} {kind} {day} {began}")),
            check: check.to_owned(),
            stage,
            state: String::new(),
            date,
            data: kind == FAILURE,
            acknowledged: false,
        }
    }
}

impl Stage {
    pub(super) fn of(say: &Say) -> Self {
        match say {
            Say::Began | Say::Held { .. } | Say::Below { .. } => Self::Began,
            Say::Changed { .. } | Say::Reminder { .. } | Say::Flapping { .. } | Say::Moved { .. } => Self::FollowUp,
            Say::Recovered { .. } => Self::Recovered,
            Say::GivenUp { .. } => Self::GivenUp,
        }
    }

    /// Whether the incident is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Recovered | Self::GivenUp)
    }
}
