//! When to speak: one state machine a check, in Alertmanager's words. Values in, values out; the time is the runs' own.
//!
//! A check has two sides, which turn bad and good on their own: what its data is like, and whether it can be evaluated.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::Level;
use crate::config::{Alerts, Time};

/// The most points that are remembered of one side: a plugin that names something else each time is no news for ever.
const POINTS: usize = 200;

/// How bad it is, for each channel that is concerned. Empty: all is well.
pub(super) type Levels = BTreeMap<String, BTreeSet<Level>>;

/// What one run says of one side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Finding {
    /// Empty when all is well.
    pub levels: Levels,
    /// What exactly is wrong, in words that stay the same while numbers change.
    pub points: BTreeSet<String>,
    /// One line.
    pub summary: String,
}

/// What is remembered of one side of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Side {
    /// Since when it is bad; kept while it flaps.
    pub began: Option<Timestamp>,
    /// Bad results in a row.
    pub bad: u32,
    /// What was found last.
    pub levels: Levels,
    /// What was found last, in one line.
    pub summary: String,
    /// What each channel was told last.
    pub told: Levels,
    /// The worst that each channel was told since it turned bad.
    worst_told: BTreeMap<String, Level>,
    /// Channels that read of it under the message of what it depends on.
    pub listed: BTreeSet<String>,
    /// When people were told first, and last.
    pub announced: Option<(Timestamp, Timestamp)>,
    /// The points that people were told of.
    points: BTreeSet<String>,
    /// When it changed, as far as that matters for flapping.
    changes: Vec<Timestamp>,
    /// People know that it flaps.
    flapping: bool,
}

/// What there is to say of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// It turned bad.
    Began,
    /// It is bad in another way: more or less severe, or something else is wrong besides.
    Changed {
        /// What it was, for this channel; none when the channel hears of it for the first time.
        before: Option<Level>,
        /// What is wrong besides.
        new: Vec<String>,
    },
    /// It still is.
    Reminder {
        /// Since when.
        since: Timestamp,
    },
    /// It comes and goes; nothing more is said until it is steady.
    Flapping {
        /// How often it changed within the window.
        changes: usize,
        /// In seconds.
        window: i64,
    },
    /// It is good again.
    Recovered {
        /// How long it was not, in seconds.
        lasted: i64,
    },
}

impl Say {
    /// Why it is said, in a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Changed { .. } => "changed",
            Self::Reminder { .. } => "reminder",
            Self::Flapping { .. } => "flapping",
            Self::Recovered { .. } => "recovered",
        }
    }
}

/// What is to be said, and to whom.
pub(super) type Said = BTreeMap<String, Say>;

impl Side {
    /// Whether there is anything to say of it.
    fn is_bad(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Whether something is wrong, told or not.
    pub fn failing(&self) -> bool {
        self.worst() > Some(Level::Info)
    }

    /// The worst of it.
    pub fn worst(&self) -> Option<Level> {
        self.levels.values().flatten().max().copied()
    }

    /// Takes in what a run found.
    pub fn observe(&mut self, finding: &Finding, at: Timestamp) {
        self.forget_the_future(at);
        if self.levels != finding.levels {
            self.changes.push(at);
        }
        let failed = self.failing();
        self.levels.clone_from(&finding.levels);
        // A remark is no bad result, and what follows it begins on its own.
        self.bad = if self.failing() { self.bad.saturating_add(1) } else { 0 };
        if self.failing() && !failed && self.told_worst() <= Some(Level::Info) {
            self.began = Some(at);
        }
        if self.is_bad() {
            self.began.get_or_insert(at);
            self.summary.clone_from(&finding.summary);
        }
    }

    /// The worst that anybody was told last.
    fn told_worst(&self) -> Option<Level> {
        self.told.values().flatten().max().copied()
    }

    /// Whether people know that it is bad.
    pub fn is_known(&self) -> bool {
        self.told_worst() > Some(Level::Info)
    }

    /// Decides what to say after a result was taken in. What is `held` back is not said now; it will be once nothing
    /// holds it back any more. Recoveries are not held back.
    pub fn decide(&mut self, finding: &Finding, at: Timestamp, confirm: u32, rules: &Alerts, held: bool) -> Said {
        let steady = self.steady_at(at, rules);
        if !self.is_bad() {
            return self.recover(at, steady);
        }
        self.flapping &= !steady;
        let flaps = self.flaps(at, rules);
        // What comes and goes is never bad often enough in a row, and is told all the same.
        let unconfirmed = self.failing() && !self.is_known() && self.bad < confirm && !flaps;
        if held || unconfirmed {
            return Said::new();
        }
        let room = POINTS.saturating_sub(self.points.len());
        let new: Vec<String> = finding.points.difference(&self.points).take(room).cloned().collect();
        let mut said = match self.told.is_empty() {
            true => self.levels.keys().map(|channel| (channel.clone(), Say::Began)).collect(),
            false => self.changed(&new, at),
        };
        if self.flapping {
            said.retain(|channel, say| !matches!(say, Say::Recovered { .. }) && self.is_worse(channel));
        } else if flaps && !said.is_empty() {
            self.flapping = true;
            let say = Say::Flapping { changes: self.changes.len(), window: seconds(rules.flap_window) };
            // Who has nothing more to do with it hears that.
            said.retain(|_, say| matches!(say, Say::Recovered { .. }));
            said.extend(self.levels.keys().map(|channel| (channel.clone(), say.clone())));
        }
        let last = self.announced.map(|(_, last)| last);
        let due = last.is_some_and(|last| at.duration_since(last).as_secs() >= seconds(rules.repeat_interval));
        if said.is_empty() && due && self.failing() && !self.flapping {
            let since = self.began.unwrap_or(at);
            said = self.levels.keys().map(|channel| (channel.clone(), Say::Reminder { since })).collect();
        }
        self.note(&said, new, at);
        said
    }

    /// Whether it is worse for a channel than that was ever told.
    fn is_worse(&self, channel: &str) -> bool {
        let now = self.levels.get(channel).and_then(|levels| levels.iter().max());
        now > self.worst_told.get(channel)
    }

    /// Notes what is said now: each channel knows what it was told, and no more.
    fn note(&mut self, said: &Said, new: Vec<String>, at: Timestamp) {
        for (channel, say) in said {
            match (say, self.levels.get(channel)) {
                (Say::Recovered { .. }, _) | (_, None) => drop(self.told.remove(channel)),
                (_, Some(levels)) => {
                    if let Some(worst) = levels.iter().max() {
                        let known = self.worst_told.entry(channel.clone()).or_insert(*worst);
                        *known = (*known).max(*worst);
                    }
                    self.told.insert(channel.clone(), levels.clone());
                }
            }
        }
        if !said.is_empty() {
            self.points.extend(new);
            self.announced = Some((self.announced.map_or(at, |(first, _)| first), at));
        }
    }

    /// Notes that a channel reads of it under the message of what it depends on.
    pub fn list(&mut self, channel: &str) {
        self.listed.insert(channel.to_owned());
    }

    /// For each channel whether it is bad in another way than it was told.
    fn changed(&self, new: &[String], at: Timestamp) -> Said {
        let channels: BTreeSet<&String> = self.levels.keys().chain(self.told.keys()).collect();
        let mut said = Said::new();
        for channel in channels {
            let (now, before) = (self.levels.get(channel), self.told.get(channel));
            let say = match (now, before) {
                // The rest of it goes on elsewhere.
                (None, _) => Say::Recovered { lasted: self.lasted(at) },
                (Some(now), Some(before)) if now == before && new.is_empty() => continue,
                (_, before) => {
                    Say::Changed { before: before.and_then(|levels| levels.iter().max().copied()), new: new.to_vec() }
                }
            };
            said.insert(channel.clone(), say);
        }
        said
    }

    /// A recovery is told to all who know, once it is not merely the other half of flapping.
    fn recover(&mut self, at: Timestamp, steady: bool) -> Said {
        if self.flapping && !steady {
            return Said::new();
        }
        let lasted = self.lasted(at);
        let notable = self.told.iter().filter(|(_, levels)| levels.iter().any(|level| *level > Level::Info));
        let knowing: BTreeSet<String> = notable.map(|(channel, _)| channel).chain(&self.listed).cloned().collect();
        let changes = std::mem::take(&mut self.changes);
        *self = Self { changes, ..Self::default() };
        knowing.into_iter().map(|channel| (channel, Say::Recovered { lasted })).collect()
    }

    /// In seconds; not less than nothing when the clock was set back.
    fn lasted(&self, at: Timestamp) -> i64 {
        self.began.map_or(0, |began| at.duration_since(began).as_secs().max(0))
    }

    fn flaps(&self, at: Timestamp, rules: &Alerts) -> bool {
        let most = rules.flap_changes.0 as usize;
        let recent = self.changes.iter().filter(|change| within(**change, at, seconds(rules.flap_window)));
        // The change that is told now is one more.
        most > 0 && recent.count() > most
    }

    fn steady_at(&mut self, at: Timestamp, rules: &Alerts) -> bool {
        let window = seconds(rules.flap_window);
        self.changes.retain(|change| within(*change, at, window));
        self.changes.last().is_none_or(|change| !within(*change, at, window / 2))
    }

    /// A clock that was set back must not keep reminders away.
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
