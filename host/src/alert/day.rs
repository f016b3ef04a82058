//! What is known of one data date of a check: its state, its incident while it is not good, and when it is looked at again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{Level, policy::Side};
use crate::config::Recheck;

/// What an incident of a check is about: a data date; `None` for a check about now.
pub type Subject = Option<Date>;

/// The data dates of a check, shared until one changes; a check about now has one entry, without a date.
pub type Days = Arc<BTreeMap<Subject, Day>>;

/// The state of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its last verdict is a pass.
    Good,
    /// Its last verdict is a warning.
    Warned,
    /// Its last verdict is a failure.
    Bad,
    /// It is bad or empty, and its deadline has not come.
    Pending,
    /// There was nothing to judge.
    Skipped,
    /// It could not be evaluated, or nobody asked.
    NotJudged,
    /// It was never good again, and is not looked at any more.
    GivenUp,
}

impl State {
    /// All states, with their words in the record.
    const ALL: [(Self, &str); 7] = [
        (Self::Good, "good"),
        (Self::Warned, "warned"),
        (Self::Bad, "bad"),
        (Self::Pending, "pending"),
        (Self::Skipped, "skipped"),
        (Self::NotJudged, "not_judged"),
        (Self::GivenUp, "given_up"),
    ];

    /// The word in the record and the API.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("not_judged", |(_, name)| name)
    }

    /// Parses a recorded word; any other word counts as not judged.
    pub fn named(name: &str) -> Self {
        Self::ALL.iter().find(|(_, word)| *word == name).map_or(Self::NotJudged, |(state, _)| *state)
    }

    /// Whether it is known and over: nothing is to be done about such a date.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Good | Self::Skipped | Self::GivenUp)
    }
}

/// One data date of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Day {
    /// Its state.
    pub state: State,
    /// The due time of the run that says so.
    pub at: Timestamp,
    /// When it is looked at again; `None` if only its check's own schedule does.
    pub look: Option<Look>,
    /// How long after its deadline it became good, in seconds, if it was late.
    pub late: Option<i64>,
    /// When the run began that judged it last, in milliseconds since the Unix epoch by the record's clock, and later than that of any before
    /// in its process; 0 if that is not known.
    pub began: u64,
    /// What the alert policy remembers of it, if anything.
    pub incident: Option<Arc<Incident>>,
}

/// When a date is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// The time.
    pub at: Timestamp,
    /// How often it was looked at again before.
    pub tries: u32,
    /// Since when it is looked at again; `recheck_for` counts from here.
    pub from: Timestamp,
}

/// What the alert policy remembers of a date.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Incident {
    /// The state of its alerts.
    pub side: Side,
    /// The check that speaks for this one while it fails, if one does.
    pub waits: Option<Waits>,
    /// Who works on it, if somebody said so.
    pub ack: Option<Ack>,
    /// Why it is not looked at any more, if so.
    pub given_up: Option<GivenUp>,
}

/// A failing check waits for one that it depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// The check that it waits for.
    pub root: String,
    /// Whether that check has recovered, so that this one has had one more run to follow.
    pub recovered: bool,
}

/// When something is decided, and for which data date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// The due time.
    pub(super) due: Timestamp,
    /// The data date.
    pub(super) date: Date,
}

/// It is known, and somebody works on it: no reminders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Who said so: a user, or the name of a token.
    pub who: String,
    /// Their reason.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// Until when it holds.
    pub until: Timestamp,
    /// How bad it was; it lapses when it gets worse.
    pub level: Option<Level>,
    /// What was wrong; it lapses when something else is wrong too.
    pub points: BTreeSet<String>,
}

/// A date was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenUp {
    /// Who did: a user, or the name of a token; `None` if its time was over.
    pub who: Option<String>,
    /// Why.
    pub why: String,
    /// When.
    pub at: Timestamp,
    /// When it turned bad.
    pub began: Option<Timestamp>,
    /// The channels that know of it; they hear if it is good after all.
    pub channels: BTreeSet<String>,
    /// How bad it was.
    #[serde(default)]
    pub level: Option<Level>,
    /// What was wrong.
    #[serde(default)]
    pub points: BTreeSet<String>,
}

impl Ack {
    /// Whether it still holds.
    pub fn holds(&self, side: &Side, at: Timestamp) -> bool {
        at < self.until && side.worst() <= self.level && side.found().is_subset(&self.points)
    }
}

impl Day {
    /// A date of which nothing is known.
    pub fn new(at: Timestamp) -> Self {
        Self { state: State::NotJudged, at, look: None, late: None, began: 0, incident: None }
    }

    /// Whether it is to be looked at again at a time. Only a deadline is further away than the longest wait; any other look
    /// that is was set before the clock was set back.
    pub fn is_looked_at(&self, at: Timestamp, recheck: &Recheck) -> bool {
        let longest = SignedDuration::try_from(LONGEST.max(recheck.wait)).unwrap_or(SignedDuration::MAX);
        let too_far = |look: Look| self.state != State::Pending && look.at.duration_since(at) > longest;
        self.look.is_some_and(|look| look.at <= at || too_far(look))
    }

    /// The state of its alerts; blank if there is nothing.
    pub fn side(&self) -> Side {
        self.incident.as_ref().map(|incident| incident.side.clone()).unwrap_or_default()
    }

    /// Whether it is bad, and not given up.
    pub fn is_open(&self) -> bool {
        self.state != State::GivenUp && self.is_failing()
    }

    /// Whether its last verdict was bad, given up or not.
    pub(super) fn is_failing(&self) -> bool {
        self.incident.as_ref().is_some_and(|incident| incident.side.failing())
    }

    /// Whether some channel knows of it, and has not heard its end.
    pub(super) fn is_told(&self) -> bool {
        self.incident.as_ref().is_some_and(|incident| incident.side.is_told())
    }

    /// The acknowledgement that holds.
    pub fn acknowledged(&self, at: Timestamp) -> Option<&Ack> {
        let incident = self.incident.as_ref()?;
        incident.ack.as_ref().filter(|ack| ack.holds(&incident.side, at))
    }

    /// Changes what is remembered; a blank incident is forgotten.
    pub(super) fn change<T>(&mut self, change: impl FnOnce(&mut Incident) -> T) -> T {
        let mut incident = self.incident.take().unwrap_or_default();
        let done = change(Arc::make_mut(&mut incident));
        self.incident = (*incident != Incident::default()).then_some(incident);
        done
    }
}

impl Look {
    /// The first look after a result of the check's own schedule, at a time.
    pub fn first(at: Timestamp, recheck: &Recheck) -> Option<Self> {
        Self::after(at, 0, at, recheck)
    }

    /// The next look after this one, which ended with a bad result at a time; `None` if its time is over. The time in which
    /// no host looked does not count.
    pub fn next(self, at: Timestamp, recheck: &Recheck) -> Option<Self> {
        let late = at.duration_since(self.at);
        let away = if Duration::try_from(late).is_ok_and(|late| late > LONGEST) { late } else { SignedDuration::ZERO };
        // It may have begun before the clock was set back.
        let from = self.from.saturating_add(away).unwrap_or(at).min(at);
        Self::after(at, self.tries + 1, from, recheck)
    }

    /// A look a day later, whether or not its time is over.
    pub(super) fn daily(at: Timestamp, from: Timestamp, recheck: &Recheck) -> Self {
        let wait = SignedDuration::try_from(LONGEST.max(recheck.wait)).unwrap_or(SignedDuration::MAX);
        Self { at: at.saturating_add(wait).unwrap_or(Timestamp::MAX), tries: 0, from }
    }

    /// The waits double up to a day. The last look is at the end of `recheck_for`.
    fn after(at: Timestamp, tries: u32, from: Timestamp, recheck: &Recheck) -> Option<Self> {
        let end = from.checked_add(SignedDuration::try_from(recheck.length).ok()?).ok()?;
        let wait = recheck.wait.checked_mul(2u32.checked_pow(tries).unwrap_or(u32::MAX)).unwrap_or(LONGEST);
        let wait = SignedDuration::try_from(wait.min(LONGEST.max(recheck.wait))).ok()?;
        (at < end).then(|| Self { at: at.checked_add(wait).map_or(end, |next| next.min(end)), tries, from })
    }
}

/// The longest wait between two looks, unless `recheck` is longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    /// With its defaults a date is looked at again eleven times within seven days.
    #[test]
    fn the_waits_double_up_to_a_day() {
        let recheck = Recheck { wait: Duration::from_secs(3600), length: Duration::from_secs(7 * 24 * 3600) };
        let start = Timestamp::UNIX_EPOCH;
        let mut hours = Vec::new();
        let mut look = Look::first(start, &recheck);
        while let Some(this) = look {
            hours.push(this.at.duration_since(start).as_hours());
            look = this.next(this.at, &recheck);
        }
        assert_eq!(hours, [1, 3, 7, 15, 31, 55, 79, 103, 127, 151, 168]);
    }

    /// The days in which the host was down are not taken from the seven in which a date is looked at.
    #[test]
    fn a_look_that_comes_late_has_others_after_it() {
        let recheck = Recheck { wait: Duration::from_secs(3600), length: Duration::from_secs(7 * 24 * 3600) };
        let start = Timestamp::UNIX_EPOCH;
        let first = Look::first(start, &recheck).expect("a look");
        let late = start + SignedDuration::from_hours(30 * 24);
        let next = first.next(late, &recheck).expect("a look");
        assert_eq!(next.at, late + SignedDuration::from_hours(2));
        assert_eq!(late.duration_since(next.from), SignedDuration::from_hours(1));
        let early = start + SignedDuration::from_hours(100);
        assert_eq!(first.next(early, &recheck).map(|look| look.at), Some(early + SignedDuration::from_hours(2)));
    }
}
