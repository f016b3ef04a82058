//! When to send: one state machine a check, in Alertmanager's terms. Values in, values out; times are the runs' own.
//!
//! A check has two sides, which turn bad and good independently: its data, and whether it can be evaluated.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Level,
    points::Beyond,
    say::{Said, Say},
};
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
    /// The limit that each metric is beyond.
    pub beyond: BTreeMap<String, Beyond>,
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
    /// In how many results in a row each of these was found.
    repeated: BTreeMap<String, u32>,
    /// The limit that each metric was beyond when it was last told.
    beyond: BTreeMap<String, Beyond>,
    /// The same in the last result.
    found_beyond: BTreeMap<String, Beyond>,
    /// Channels that were told in a line, and that the check no longer concerns since its own channels changed.
    left: BTreeSet<String>,
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
        let crossed = finding.beyond.iter().any(|(metric, now)| is_other(self.found_beyond.get(metric), *now));
        if self.levels != finding.levels || crossed {
            self.changes.push(at);
        }
        let failed = self.failing();
        if !finding.levels.is_empty() {
            let left = self.levels.keys().filter(|channel| self.listed.contains(*channel)).cloned();
            self.left.extend(left.collect::<Vec<_>>());
        }
        self.left.retain(|channel| !finding.levels.contains_key(channel));
        self.levels.clone_from(&finding.levels);
        self.found = finding.points.iter().take(POINTS).cloned().collect();
        let times = |point: &String| self.repeated.get(point).map_or(1, |times| times.saturating_add(1));
        self.repeated = self.found.iter().map(|point| (point.clone(), times(point))).collect();
        self.found_beyond = finding.beyond.iter().take(POINTS).map(|(metric, now)| (metric.clone(), *now)).collect();
        // An info result is not bad, and a later bad one starts over.
        self.bad = if self.failing() { self.bad.saturating_add(1) } else { 0 };
        if self.failing() && !failed && !self.is_told() {
            self.began = Some(at);
        }
        if self.is_bad() {
            self.began.get_or_insert(at);
            self.summary.clone_from(&finding.summary);
        }
    }

    /// Whether it was told by an older host, which kept no points of errors.
    pub(super) fn was_told_without_points(&self) -> bool {
        self.points.is_empty() && self.is_told()
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
    ///
    /// `told`: the worst level of the check's other dates that were told less than `repeat_interval` ago; a date is told
    /// for the first time only if it is worse than that.
    pub(super) fn decide(
        &mut self,
        at: Timestamp,
        confirm: u32,
        rules: &Alerts,
        hold: &Hold,
        told: Option<Level>,
    ) -> Said {
        let steady = self.steady_at(at, rules);
        let recovers = !self.failing() && self.is_told();
        let mut over = if recovers || !self.is_bad() { self.recover(at, steady) } else { Said::new() };
        if !self.is_bad() {
            return over;
        }
        self.flapping &= !steady;
        let flaps = self.flaps(at, rules);
        // A flapping check never reaches `confirm`; report it anyway.
        let unconfirmed = !self.is_confirmed(confirm) && !flaps;
        let further = !self.is_told() && told.is_some() && self.worst() <= told;
        if *hold == Hold::All || unconfirmed || further {
            return over;
        }
        let new = self.news(confirm);
        let mut said = match self.told.is_empty() {
            true => self.levels.keys().map(|channel| (channel.clone(), Say::Began)).collect(),
            false => self.changed(&new),
        };
        said.extend(self.moved(hold));
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
        self.note(&said, at);
        over.extend(said);
        over
    }

    /// Decides on reminders, if nothing else was decided now: once nothing was told for `repeat_interval`. `last` is when
    /// something was.
    pub(super) fn remind(&mut self, at: Timestamp, last: Option<Timestamp>, rules: &Alerts, hold: &Hold) -> Said {
        if !due_again(last, at, rules) || *hold != Hold::Free || !self.failing() || self.flapping || !self.is_told() {
            return Said::new();
        }
        let since = self.began.unwrap_or(at);
        let said = self.levels.keys().map(|channel| (channel.clone(), Say::Reminder { since })).collect();
        self.note(&said, at);
        said
    }

    /// Ends it, though it is not good again: everybody who knows of it is told.
    pub(super) fn give_up(&mut self, at: Timestamp, why: &str) -> Said {
        let lasted = self.lasted(at);
        let knowing = std::mem::take(self).knowing();
        knowing.into_iter().map(|channel| (channel, Say::GivenUp { lasted, why: why.to_owned() })).collect()
    }

    /// When it was last announced.
    pub(super) fn last_announced(&self) -> Option<Timestamp> {
        self.announced.map(|(_, last)| last)
    }

    /// The points of the last result.
    pub(super) fn found(&self) -> &BTreeSet<String> {
        &self.found
    }

    /// What is told of a notice while an upstream check speaks for this one.
    fn under(&self, (channel, say): (String, Say), upstream: &Upstream, new: &[String]) -> Option<(String, Say)> {
        let level = self.levels.get(&channel).and_then(|levels| levels.iter().max().copied());
        if say.ends() || level <= Some(Level::Info) {
            return say.ends().then_some((channel, say));
        }
        let aware = self.knows_of_it(&channel);
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

    /// What is wrong besides what was announced, in words, once it was found in `confirm` results in a row; and each metric
    /// that is beyond its other limit now.
    fn news(&self, confirm: u32) -> Vec<String> {
        let confirmed = |point: &String| self.repeated.get(point).is_none_or(|times| *times >= confirm);
        let crossed = self.found_beyond.iter().filter(|(metric, now)| is_other(self.beyond.get(*metric), **now));
        let crossed = crossed.map(|(metric, now)| format!("{metric} is {}", now.words()));
        self.new_points().into_iter().filter(confirmed).chain(crossed).collect()
    }

    /// The points of the last result that were not announced.
    fn new_points(&self) -> Vec<String> {
        let room = POINTS.saturating_sub(self.points.len());
        self.found.difference(&self.points).take(room).cloned().collect()
    }

    /// Whether it was bad often enough to be told, or is known already.
    pub(super) fn is_confirmed(&self, confirm: u32) -> bool {
        !self.failing() || self.is_told() || self.bad >= confirm
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
                    self.left.remove(channel);
                }
            }
        }
        if !said.is_empty() {
            self.announce_points();
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
        self.announce_points();
    }

    fn announce_points(&mut self) {
        self.points.extend(self.new_points());
        if self.beyond.len() > POINTS {
            self.beyond.clear();
        }
        // A metric that is beyond no limit now is remembered, so that its other limit is news.
        self.beyond.extend(self.found_beyond.clone());
    }

    /// The channels that knew of it by a line, and hear no more of it since the check has other channels. Where the check
    /// that it depends on is still reported, they do hear of it.
    fn moved(&self, hold: &Hold) -> Said {
        let speaks = |channel: &String| match hold {
            Hold::Under(Upstream::Reported { channels, .. }) => channels.contains(channel),
            _ => false,
        };
        let left = self.left.iter().filter(|channel| !speaks(channel) && !self.told.contains_key(*channel));
        let moved = left.map(|channel| {
            let before = self.worst_told.get(channel).copied();
            (channel.clone(), Say::Moved { before, now: self.worst(), to: self.levels.keys().cloned().collect() })
        });
        moved.collect()
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
            repeated: before.repeated,
            found_beyond: before.found_beyond,
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

    /// Whether a channel knows that it is bad.
    pub(super) fn knows_of_it(&self, channel: &str) -> bool {
        self.is_sent(channel) || self.listed.contains(channel)
    }

    /// Whether any channel knows that it is bad.
    pub(super) fn is_told(&self) -> bool {
        !self.listed.is_empty() || self.is_known()
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

/// Whether something that was last told at a time may be told again.
pub(super) fn due_again(last: Option<Timestamp>, at: Timestamp, rules: &Alerts) -> bool {
    last.is_some_and(|last| at.duration_since(last).as_secs() >= seconds(rules.repeat_interval))
}

/// Whether a metric is beyond the other one of its limits.
fn is_other(before: Option<&Beyond>, now: Beyond) -> bool {
    before.is_some_and(|before| *before != now)
}

fn within(moment: Timestamp, at: Timestamp, window: i64) -> bool {
    at.duration_since(moment) < SignedDuration::from_secs(window)
}

fn seconds(time: Time) -> i64 {
    i64::try_from(time.0.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
