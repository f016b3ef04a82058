//! When checks run: each follows its own cron expression in its own time zone. Also decides what happens when a check
//! is still running at its due time, when the host was down or asleep, and when the clock was set. Values in, values
//! out: the time is passed in.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::{Cron, Missed, Overlap, Zone},
    text::span,
};

/// A run later than this after its due time counts as missed: the host was down, or the machine asleep.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// A clock that goes back by more than this was set.
const SET_BACK: SignedDuration = SignedDuration::from_secs(60);
/// Missed due times that are counted exactly; beyond that, only the last day's are listed.
const COUNTED: usize = 2000;

/// The schedule of one check, with its policies for overlapping and missed due times.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its schedule.
    pub schedule: Cron,
    /// The time zone of the schedule.
    pub zone: Zone,
    /// What to do when it is still running.
    pub overlap: Overlap,
    /// What to do with missed due times.
    pub missed: Missed,
}

/// A due time that has come: the check runs now, or the reason why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The check's name.
    pub check: String,
    /// Its due time.
    pub due: Timestamp,
    /// Why it does not run, if it does not.
    pub left_out: Option<String>,
    /// The due time for which the check was still running, if that is why.
    pub overlaps: Option<Timestamp>,
}

/// The due times of all checks.
#[derive(Debug)]
pub struct Agenda {
    entries: BTreeMap<String, Entry>,
    looked: Timestamp,
}

#[derive(Debug)]
struct Entry {
    plan: Plan,
    next: Option<Timestamp>,
    /// The due time of the current run.
    running: Option<Timestamp>,
    /// The due time to run after the current run.
    queued: Option<Timestamp>,
}

impl Agenda {
    /// `last` returns the newest recorded due time of a check; without one, it is next due after now.
    pub fn new(plans: BTreeMap<String, Plan>, last: impl Fn(&str) -> Option<Timestamp>, now: Timestamp) -> Self {
        let entries = plans.into_iter().map(|(check, plan)| {
            // A due time in the future was recorded before the clock was set back.
            let after = last(&check).filter(|last| *last <= now).unwrap_or(now);
            let next = plan.next(after);
            (check, Entry { plan, next, running: None, queued: None })
        });
        Self { entries: entries.collect(), looked: now }
    }

    /// Replaces the plans. A check with an unchanged schedule keeps its next due time, and a running check keeps
    /// running.
    pub fn change(&mut self, plans: BTreeMap<String, Plan>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.entries);
        for (check, plan) in plans {
            let entry = match before.remove(&check) {
                Some(entry) if entry.next.is_some() && entry.plan.same_times(&plan) => Entry { plan, ..entry },
                entry => Entry {
                    next: plan.next(now),
                    running: entry.as_ref().and_then(|entry| entry.running),
                    queued: None,
                    plan,
                },
            };
            self.entries.insert(check, entry);
        }
        // A running check must not be started twice if it is added again.
        self.entries.extend(
            before
                .into_iter()
                .filter(|(_, entry)| entry.running.is_some())
                .map(|(check, entry)| (check, Entry { next: None, queued: None, ..entry })),
        );
    }

    /// The next due time of any check.
    pub fn next(&self) -> Option<Timestamp> {
        self.entries.values().filter_map(|entry| entry.next).min()
    }

    /// The next due time of one check.
    pub fn next_of(&self, check: &str) -> Option<Timestamp> {
        self.entries.get(check)?.next
    }

    /// The due time of a check's current run, or its next one.
    pub fn owed(&self, check: &str) -> Option<Timestamp> {
        let entry = self.entries.get(check)?;
        entry.running.or(entry.next)
    }

    /// The checks that are due now; and by how much the clock was set back, if it was: then due times are counted from
    /// now.
    pub fn take(&mut self, now: Timestamp) -> (Vec<Turn>, Option<SignedDuration>) {
        let back = self.looked.duration_since(now);
        self.looked = now;
        if back > SET_BACK {
            for entry in self.entries.values_mut() {
                entry.next = entry.plan.next(now);
                entry.queued = None;
            }
            return (Vec::new(), Some(back));
        }
        let mut turns = Vec::new();
        for (check, entry) in &mut self.entries {
            entry.take(check, now, &mut turns);
        }
        (turns, None)
    }

    /// Ends a check's run; returns the queued due time, which runs now.
    pub fn ended(&mut self, check: &str) -> Option<Turn> {
        let entry = self.entries.get_mut(check)?;
        entry.running = entry.queued.take();
        entry.running.map(|due| Turn { check: check.to_owned(), due, left_out: None, overlaps: None })
    }
}

impl Plan {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, &self.zone.rules())
    }

    fn same_times(&self, other: &Self) -> bool {
        self.schedule.to_string() == other.schedule.to_string() && self.zone == other.zone
    }

    /// The due times from `first` to now: the count, the one before the last, and the last. Does not count through
    /// years.
    fn passed(&self, first: Timestamp, now: Timestamp) -> (usize, Option<Timestamp>, Timestamp) {
        let (mut count, mut before, mut last) = (1, None, first);
        while let Some(next) = self.next(last).filter(|next| *next <= now) {
            (count, before, last) = (count + 1, Some(last), next);
            if count == COUNTED {
                let yesterday = now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(now);
                last = self.next(last.max(yesterday)).filter(|next| *next <= now).unwrap_or(last);
            }
        }
        (count, before, last)
    }
}

impl Entry {
    fn take(&mut self, check: &str, now: Timestamp, turns: &mut Vec<Turn>) {
        let Some(first) = self.next.filter(|next| *next <= now) else { return };
        let (count, before, last) = self.plan.passed(first, now);
        self.next = self.plan.next(now);
        let mut leave_out = |due, why: String, overlaps| {
            turns.push(Turn { check: check.to_owned(), due, left_out: Some(why), overlaps });
        };
        let missed = |count: usize, until: Timestamp| {
            let many = if count > COUNTED { format!("more than {COUNTED}") } else { count.to_string() };
            match count {
                1 => "missed: the host was down, or the machine asleep".to_owned(),
                _ => format!(
                    "missed: {many} due times from {first} to {until}; the host was down, or the machine asleep"
                ),
            }
        };
        let late = now.duration_since(last) > LATE;
        if late && self.plan.missed == Missed::Skip {
            leave_out(last, missed(count, last), None);
            return;
        }
        if let Some(before) = before {
            leave_out(before, missed(count - 1, before), None);
        }
        match (self.running, self.plan.overlap) {
            (None, _) => {
                self.running = Some(last);
                turns.push(Turn { check: check.to_owned(), due: last, left_out: None, overlaps: None });
            }
            (Some(since), Overlap::Skip) => {
                let long = span(now.duration_since(since).as_secs());
                leave_out(last, format!("the run of {since} is still running, after {long}"), Some(since));
            }
            (Some(since), Overlap::Queue) => {
                if let Some(older) = self.queued.replace(last) {
                    leave_out(older, format!("still queued behind the previous run when {last} came due"), Some(since));
                }
            }
        }
    }
}

/// The random delay of a check after its due time: the same for the same check and due time.
pub fn jitter(check: &str, due: Timestamp, most: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    (check, due).hash(&mut hasher);
    // 53 bits, the precision of a float.
    most.mul_f64((hasher.finish() >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests;
