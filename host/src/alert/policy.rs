//! When to send: one state machine a check, in Alertmanager's terms. Values in, values out; times are the runs' own.
//!
//! A check has two sides, which turn bad and good independently: its data, and whether it can be evaluated.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Level;
use crate::config::{Alerts, Time};

/// The most points that are kept of one side; a plugin that reports new ones in every run must not grow the record.
const POINTS: usize = 200;

/// The levels for each channel concerned. Empty: all is well.
pub(super) type Levels = BTreeMap<String, BTreeSet<Level>>;

/// The result of one run for one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Empty if all is well.
    pub levels: Levels,
    /// What is wrong, in words that stay the same while the numbers change.
    pub points: BTreeSet<String>,
    /// One line.
    pub summary: String,
}

/// The remembered state of one side of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    /// When it turned bad; kept while it flaps.
    pub began: Option<Timestamp>,
    /// Bad results in a row.
    pub bad: u32,
    /// The last levels.
    pub levels: Levels,
    /// The last result, in one line.
    pub summary: String,
    /// The levels that each channel was last sent.
    pub told: Levels,
    /// The worst level that each channel was told of, also in a line, since it turned bad.
    worst_told: BTreeMap<String, Level>,
    /// Channels that know of it by a line: in the message of an upstream check, or in place of an alert.
    pub listed: BTreeSet<String>,
    /// Why nobody was sent an alert of its own, if so.
    pub held: Option<String>,
    /// When it was first and last announced.
    pub announced: Option<(Timestamp, Timestamp)>,
    /// The points that were announced.
    points: BTreeSet<String>,
    /// The points of the last result.
    found: BTreeSet<String>,
    /// Recent times of change, for flapping.
    changes: Vec<Timestamp>,
    /// Whether flapping was announced.
    flapping: bool,
}

/// What holds back notices about one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nothing.
    #[default]
    Free,
    /// All are held back.
    All,
    /// A check that it depends on speaks for it: nothing is repeated, and some channels get a line in place of the first
    /// alert. A worse level and new points are told all the same.
    Under(Upstream),
}

/// A failing check that speaks for one that depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Upstream {
    /// It was reported.
    Reported {
        /// Its name.
        root: String,
        /// When it was first reported.
        at: Timestamp,
        /// The channels that know of it; these get a line, and every other one an alert.
        channels: BTreeSet<String>,
    },
    /// It is silenced; every channel gets a line.
    Silenced {
        /// Its name.
        root: String,
        /// The silence.
        why: String,
    },
}

impl Upstream {
    /// The line that a channel gets in place of an alert; `None` if it gets an alert. `aware`: it knows already.
    fn line(&self, channel: &str, aware: bool) -> Option<Say> {
        match self {
            Self::Reported { root, at, channels } if !aware && channels.contains(channel) => {
                Some(Say::Below { root: root.clone(), at: *at })
            }
            Self::Reported { .. } => None,
            Self::Silenced { root, why } => Some(Say::Held { root: root.clone(), why: why.clone() }),
        }
    }
}

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

    /// Whether it tells a channel that it hears no more of this.
    pub(super) fn ends(&self) -> bool {
        matches!(self, Self::Moved { .. } | Self::Recovered { .. })
    }
}

/// The notices, and their channels. A channel gets two when a failure ends and leaves a remark.
pub(super) type Said = Vec<(String, Say)>;

impl Side {
    /// Whether there is anything to announce.
    fn is_bad(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Whether something is wrong, announced or not.
    pub fn failing(&self) -> bool {
        self.worst() > Some(Level::Info)
    }

    /// The worst level.
    pub fn worst(&self) -> Option<Level> {
        self.levels.values().flatten().max().copied()
    }

    /// Takes in the result of a run.
    pub fn observe(&mut self, finding: &Finding, at: Timestamp) {
        self.forget_the_future(at);
        if self.levels != finding.levels {
            self.changes.push(at);
        }
        let failed = self.failing();
        self.levels.clone_from(&finding.levels);
        self.found = finding.points.iter().take(POINTS).cloned().collect();
        // An info result is not bad, and a later bad one starts over.
        self.bad = if self.failing() { self.bad.saturating_add(1) } else { 0 };
        if self.failing() && !failed && self.knowing().is_empty() {
            self.began = Some(at);
        }
        if self.is_bad() {
            self.began.get_or_insert(at);
            self.summary.clone_from(&finding.summary);
        }
    }

    /// The worst level that any channel was last sent.
    pub(super) fn told_worst(&self) -> Option<Level> {
        self.told.values().flatten().max().copied()
    }

    /// Whether it was announced as bad.
    pub fn is_known(&self) -> bool {
        self.told_worst() > Some(Level::Info)
    }

    /// Decides on notices after a result was taken in. A notice that is held back is sent once nothing holds it back any
    /// more. Recoveries are never held back.
    pub(super) fn decide(&mut self, at: Timestamp, confirm: u32, rules: &Alerts, hold: &Hold) -> Said {
        let steady = self.steady_at(at, rules);
        let recovers = !self.failing() && !self.knowing().is_empty();
        let mut over = if recovers || !self.is_bad() { self.recover(at, steady) } else { Said::new() };
        if !self.is_bad() {
            return over;
        }
        self.flapping &= !steady;
        let flaps = self.flaps(at, rules);
        // A flapping check never reaches `confirm`; report it anyway.
        let unconfirmed = !self.is_confirmed(confirm) && !flaps;
        if *hold == Hold::All || unconfirmed {
            return over;
        }
        let new = self.new_points();
        let mut said = match self.told.is_empty() {
            true => self.levels.keys().map(|channel| (channel.clone(), Say::Began)).collect(),
            false => self.changed(&new),
        };
        if let Hold::Under(upstream) = hold {
            said = said.into_iter().filter_map(|said| self.under(said, upstream, &new)).collect();
        }
        if self.flapping {
            said.retain(|(channel, say)| !say.ends() && self.is_worse(channel));
        } else if flaps && !said.is_empty() {
            self.flapping = true;
            let say = Say::Flapping { changes: self.changes.len(), window: seconds(rules.flap_window) };
            // Tell channels that are no longer concerned, or that get only a line.
            let free: Vec<String> = match hold {
                Hold::Free => self.levels.keys().cloned().collect(),
                _ => said.iter().filter(|(_, say)| !say.is_line()).map(|(channel, _)| channel.clone()).collect(),
            };
            said.retain(|(_, say)| say.is_line());
            said.extend(free.into_iter().map(|channel| (channel, say.clone())));
        }
        let last = self.announced.map(|(_, last)| last);
        let due = last.is_some_and(|last| at.duration_since(last).as_secs() >= seconds(rules.repeat_interval));
        if said.is_empty() && due && *hold == Hold::Free && self.failing() && !self.flapping {
            let since = self.began.unwrap_or(at);
            said = self.levels.keys().map(|channel| (channel.clone(), Say::Reminder { since })).collect();
        }
        self.note(&said, at);
        over.extend(said);
        over
    }

    /// What is told of a notice while an upstream check speaks for this one.
    fn under(&self, (channel, say): (String, Say), upstream: &Upstream, new: &[String]) -> Option<(String, Say)> {
        let level = self.levels.get(&channel).and_then(|levels| levels.iter().max().copied());
        if say.ends() || level <= Some(Level::Info) {
            return say.ends().then_some((channel, say));
        }
        let aware = self.knowing().contains(&channel);
        if aware && !self.is_worse(&channel) && new.is_empty() {
            return None;
        }
        let say = match (upstream.line(&channel, aware), say) {
            (Some(line), _) => line,
            (None, Say::Began) if aware => {
                Say::Changed { before: self.worst_told.get(&channel).copied(), new: new.to_vec() }
            }
            (None, say) => say,
        };
        Some((channel, say))
    }

    /// The points of the last result that were not announced.
    fn new_points(&self) -> Vec<String> {
        let room = POINTS.saturating_sub(self.points.len());
        self.found.difference(&self.points).take(room).cloned().collect()
    }

    /// Whether it was bad often enough to be told, or is known already.
    pub(super) fn is_confirmed(&self, confirm: u32) -> bool {
        !self.failing() || !self.knowing().is_empty() || self.bad >= confirm
    }

    /// Whether it is worse than a channel was ever told.
    fn is_worse(&self, channel: &str) -> bool {
        let now = self.levels.get(channel).and_then(|levels| levels.iter().max());
        now > self.worst_told.get(channel)
    }

    /// Records what each channel is sent now.
    fn note(&mut self, said: &Said, at: Timestamp) {
        for (channel, say) in said {
            match (say, self.levels.get(channel).cloned()) {
                (say, _) if say.is_brief() => self.list(channel),
                (say, Some(levels)) if !say.ends() => {
                    self.knows(channel, levels.iter().max().copied());
                    self.told.insert(channel.clone(), levels);
                }
                // Whoever is told that it hears no more of this hears no end either.
                _ => {
                    self.told.remove(channel);
                    self.listed.remove(channel);
                }
            }
        }
        if !said.is_empty() {
            self.points.extend(self.new_points());
        }
        if said.iter().any(|(_, say)| !say.is_brief()) {
            self.announced = Some((self.announced.map_or(at, |(first, _)| first), at));
        }
    }

    fn knows(&mut self, channel: &str, level: Option<Level>) {
        if let Some(level) = level {
            let known = self.worst_told.entry(channel.to_owned()).or_insert(level);
            *known = (*known).max(level);
        }
    }

    /// Records that a channel knows of it by a line.
    pub fn list(&mut self, channel: &str) {
        let own = self.levels.get(channel).and_then(|levels| levels.iter().max().copied());
        self.knows(channel, own.or(self.worst()));
        self.listed.insert(channel.to_owned());
        self.points.extend(self.new_points());
    }

    /// The channels whose level differs from what they were last sent.
    fn changed(&self, new: &[String]) -> Said {
        let channels: BTreeSet<&String> = self.levels.keys().chain(self.told.keys()).collect();
        let worst = |levels: &BTreeSet<Level>| levels.iter().max().copied();
        let mut said = Said::new();
        for channel in channels {
            let (now, before) = (self.levels.get(channel), self.told.get(channel));
            let say = match (now, before) {
                // Nobody waits for the end of a remark.
                (None, before) if before.and_then(worst) <= Some(Level::Info) => continue,
                (None, before) => Say::Moved {
                    before: before.and_then(worst),
                    now: self.worst(),
                    to: self.levels.keys().cloned().collect(),
                },
                (Some(now), Some(before)) if now == before && new.is_empty() => continue,
                (_, before) => Say::Changed { before: before.and_then(worst), new: new.to_vec() },
            };
            said.push((channel.clone(), say));
        }
        said
    }

    /// Sends a recovery to all channels that were told, unless it is only part of flapping.
    fn recover(&mut self, at: Timestamp, steady: bool) -> Said {
        if self.flapping && !steady {
            return Said::new();
        }
        let lasted = self.lasted(at);
        let knowing = self.knowing();
        let before = std::mem::take(self);
        // A remark that is left begins now.
        let began = before.is_bad().then_some(at);
        *self = Self {
            changes: before.changes,
            levels: before.levels,
            found: before.found,
            summary: began.map(|_| before.summary).unwrap_or_default(),
            began,
            ..Self::default()
        };
        knowing.into_iter().map(|channel| (channel, Say::Recovered { lasted })).collect()
    }

    /// Whether changes are not told, since it flaps.
    pub(super) fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// Whether a channel was sent its own alert.
    pub(super) fn is_sent(&self, channel: &str) -> bool {
        self.told.get(channel).is_some_and(|levels| levels.iter().any(|level| *level > Level::Info))
    }

    /// The channels that know that it is bad.
    pub(super) fn knowing(&self) -> BTreeSet<String> {
        let notable = self.told.iter().filter(|(_, levels)| levels.iter().any(|level| *level > Level::Info));
        notable.map(|(channel, _)| channel).chain(&self.listed).cloned().collect()
    }

    /// Seconds since it turned bad; 0 if the clock was set back.
    pub(super) fn lasted(&self, at: Timestamp) -> i64 {
        self.began.map_or(0, |began| at.duration_since(began).as_secs().max(0))
    }

    fn flaps(&self, at: Timestamp, rules: &Alerts) -> bool {
        let most = rules.flap_changes.0 as usize;
        let recent = self.changes.iter().filter(|change| within(**change, at, seconds(rules.flap_window)));
        // Count the change that is announced now too.
        most > 0 && recent.count() > most
    }

    fn steady_at(&mut self, at: Timestamp, rules: &Alerts) -> bool {
        let window = seconds(rules.flap_window);
        self.changes.retain(|change| within(*change, at, window));
        self.changes.last().is_none_or(|change| !within(*change, at, window / 2))
    }

    /// A clock that was set back must not prevent reminders.
    fn forget_the_future(&mut self, at: Timestamp) {
        self.changes.retain(|change| *change <= at);
        self.announced = self.announced.map(|(first, last)| (first.min(at), last.min(at)));
    }
}

fn within(moment: Timestamp, at: Timestamp, window: i64) -> bool {
    at.duration_since(moment) < SignedDuration::from_secs(window)
}

fn seconds(time: Time) -> i64 {
    i64::try_from(time.0.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
