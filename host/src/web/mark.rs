//! The sign of a data date: a letter or shape, a color and a word, so that no state is told by its color alone.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::alert::{Day, State};

/// The sign of a data date. The style sheet has the shape and the color of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) class: &'static str,
    pub(super) word: &'static str,
}

const GOOD: Mark = Mark { class: "good", word: "good" };
const LATE: Mark = Mark { class: "late", word: "good, late" };
const WARNED: Mark = Mark { class: "warned", word: "warned" };
const BAD: Mark = Mark { class: "bad", word: "bad" };
const ACKNOWLEDGED: Mark = Mark { class: "acked", word: "acknowledged" };
const PENDING: Mark = Mark { class: "pending", word: "pending" };
const SKIPPED: Mark = Mark { class: "skipped", word: "skipped" };
const GIVEN_UP: Mark = Mark { class: "given-up", word: "given up" };
/// Expected, and never judged.
pub(super) const NOT_JUDGED: Mark = Mark { class: "unjudged", word: "not judged" };

/// All of them, for the legend.
pub(super) const LEGEND: [Mark; 9] = [GOOD, LATE, WARNED, BAD, ACKNOWLEDGED, PENDING, SKIPPED, NOT_JUDGED, GIVEN_UP];

impl Mark {
    /// The sign of a date, at a time.
    pub(super) fn of(day: &Day, now: Timestamp) -> Self {
        if day.is_open() && day.acknowledged(now).is_some() {
            return ACKNOWLEDGED;
        }
        match day.state {
            State::Good if day.late.is_some() => LATE,
            State::Good => GOOD,
            State::Warned => WARNED,
            State::Bad => BAD,
            State::Pending => PENDING,
            State::Skipped => SKIPPED,
            State::NotJudged => NOT_JUDGED,
            State::GivenUp => GIVEN_UP,
        }
    }

    /// Whether somebody should look at such a date.
    pub(super) fn needs_a_look(self) -> bool {
        [WARNED, BAD, ACKNOWLEDGED, NOT_JUDGED].contains(&self)
    }

    /// The sign with its word.
    pub(super) fn shown(self) -> Markup {
        html! { span.state { span class={ "mark " (self.class) } {} " " (self.word) } }
    }
}
