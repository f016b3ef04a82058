//! What a notice says about one side of a check, and to which channel.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Level;

/// A notice about one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// It turned bad.
    Began,
    /// It changed: more or less severe, or something else is wrong too.
    Changed {
        /// The previous level for this channel; `None` if the channel gets it for the first time.
        before: Option<Level>,
        /// The additional points.
        new: Vec<String>,
    },
    /// It is still bad.
    Reminder {
        /// When it turned bad.
        since: Timestamp,
    },
    /// It is flapping; no further notices until it is stable.
    Flapping {
        /// The changes within the window.
        changes: usize,
        /// The window, in seconds.
        window: i64,
    },
    /// It turned bad, and the check that it depends on is silenced: no alert of its own, but one line.
    Held {
        /// That check.
        root: String,
        /// The silence.
        why: String,
    },
    /// It turned bad, and the check that it depends on was reported before: no alert of its own, but one line.
    Below {
        /// That check.
        root: String,
        /// When that was first reported.
        at: Timestamp,
    },
    /// It is still bad, but from now on other channels are told.
    Moved {
        /// The last level that this channel was sent.
        before: Option<Level>,
        /// The level now.
        now: Option<Level>,
        /// The channels that are told from now on.
        to: Vec<String>,
    },
    /// It is not looked at any more, though it was never good again.
    GivenUp {
        /// How long it was bad, in seconds.
        lasted: i64,
        /// Why.
        why: String,
    },
    /// It recovered: all is well.
    Recovered {
        /// How long it was bad, in seconds.
        lasted: i64,
    },
}

impl Say {
    /// The reason, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Changed { .. } => "changed",
            Self::Reminder { .. } => "reminder",
            Self::Flapping { .. } => "flapping",
            Self::Held { .. } => "held",
            Self::Below { .. } => "below",
            Self::Moved { .. } => "moved",
            Self::GivenUp { .. } => "given_up",
            Self::Recovered { .. } => "recovered",
        }
    }

    /// Whether it is neither an alert nor an error, but a line about one.
    pub(super) fn is_line(&self) -> bool {
        self.is_brief() || self.ends()
    }

    /// Whether it is a line in place of an alert.
    pub(super) fn is_brief(&self) -> bool {
        matches!(self, Self::Held { .. } | Self::Below { .. })
    }

    /// Whether what it is about is over: it is good, or given up.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::GivenUp { .. } | Self::Recovered { .. })
    }

    /// Whether it tells a channel that it hears no more of this.
    pub(super) fn ends(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::GivenUp { .. } | Self::Recovered { .. })
    }
}

/// The notices, and their channels. A channel gets two when a failure ends and leaves a remark.
pub(super) type Said = Vec<(String, Say)>;
