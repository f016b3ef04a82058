//! The latest results of each check, in memory, so that a page of a thousand checks is quick: the same as the record has, in
//! the same order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;
use tokio::sync::Mutex;

use super::seen::Seen;
use crate::{
    alert::{Standing, Standings},
    contract::Metric,
    record::{Line, PastRun, Record, metrics},
    run::{Run, Status, Untold},
};

/// Runs that are shown of each check.
const SHOWN: usize = 40;

/// The checks' latest results.
#[derive(Debug, Default)]
pub struct Board {
    checks: RwLock<BTreeMap<String, Arc<Recent>>>,
}

/// One check's latest results.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    /// The last result, not counting due times without a run.
    pub last: Option<Latest>,
    /// Since when the status is the same; `None` if that is before the oldest run shown.
    pub since: Option<Timestamp>,
    /// The newest last.
    pub dots: VecDeque<Dot>,
    /// The faults in the check itself that the last validation found.
    pub invalid: Vec<String>,
    /// The remarks of the last validation.
    pub remarks: Vec<String>,
    /// Its data dates.
    pub seen: Arc<Seen>,
}

/// The last result of a check.
#[derive(Debug, Clone, Serialize)]
pub struct Latest {
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// Its status.
    pub status: Status,
    /// The summary, one line.
    pub summary: String,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

/// One run, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dot {
    /// Its due time.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// Its status.
    pub status: Status,
    /// Whether it did not run.
    pub left_out: bool,
}

impl Board {
    /// Reads the recorded results of checks. Returns the newest due time of each.
    pub async fn load(
        &self,
        record: &Record,
        names: &[&str],
        standings: &Mutex<Standings>,
    ) -> Result<BTreeMap<String, Timestamp>> {
        let mut newest = BTreeMap::new();
        for name in names {
            let mut recent = Recent::default();
            let mut seen = BTreeSet::new();
            // The last attempt at each date and due time counts.
            let mut lines = record.recent(name, SHOWN).await?;
            lines.retain(|line| seen.insert((line.due, line.data_date)));
            for Line { due, data_date, status, left_out } in lines.into_iter().rev() {
                recent.push(Dot { due, data_date, status: Status::named(&status), left_out });
            }
            if let Some(last) = recent.last_judged() {
                recent.last = record.run(name, last.data_date, last.due).await?.map(Latest::from);
            }
            // Nobody waits for its turn to decide while the record is read.
            recent.remember(standings.lock().await.get(*name));
            newest.extend(recent.dots.back().map(|dot| ((*name).to_owned(), dot.due)));
            self.write(|checks| checks.insert((*name).to_owned(), Arc::new(recent)));
        }
        Ok(newest)
    }

    /// Adds recorded runs.
    pub fn add<'r>(&self, runs: impl Iterator<Item = &'r Run>, standings: &Standings) {
        self.write(|checks| {
            for run in runs.filter(|run| run.untold != Some(Untold::TriedAgain)) {
                let recent = Arc::make_mut(checks.entry(run.check.clone()).or_default());
                recent.remember(standings.get(&run.check));
                // The list of runs is that of the newest dates.
                if run.past {
                    continue;
                }
                let left_out = run.is_left_out();
                recent.push(Dot { due: run.due, data_date: run.data_date, status: run.status(), left_out });
                // One for an older due time may end later, as when it is caught up with while its date is looked at.
                if !left_out && recent.last.as_ref().is_none_or(|last| last.due <= run.due) {
                    recent.last = Some(Latest::from(run));
                }
            }
        });
    }

    /// Takes over the standing of a check: the findings of its last validation, and its dates.
    pub fn stands(&self, check: &str, standings: &Standings) {
        self.write(|checks| {
            Arc::make_mut(checks.entry(check.to_owned()).or_default()).remember(standings.get(check));
        });
    }

    /// One check's latest results.
    pub fn of(&self, check: &str) -> Arc<Recent> {
        self.checks.read().unwrap_or_else(PoisonError::into_inner).get(check).cloned().unwrap_or_default()
    }

    fn write<T>(&self, change: impl FnOnce(&mut BTreeMap<String, Arc<Recent>>) -> T) -> T {
        change(&mut self.checks.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recent {
    /// Adds a run that was recorded after the others; its due time may be an older one.
    fn push(&mut self, dot: Dot) {
        // A later attempt replaces an earlier one.
        self.dots.retain(|other| (other.due, other.data_date) != (dot.due, dot.data_date));
        let after = self.dots.partition_point(|other| other.due <= dot.due);
        self.dots.insert(after, dot);
        if self.dots.len() > SHOWN {
            self.dots.pop_front();
        }
        let judged = || self.dots.iter().rev().filter(|dot| !dot.left_out);
        let status = judged().next().map(|dot| dot.status);
        let same = judged().take_while(|dot| Some(dot.status) == status);
        let first = same.last().map(|dot| dot.due);
        let older = self.dots.iter().find(|dot| !dot.left_out).map(|dot| dot.due);
        // All runs shown have the same status: it may have been so for longer.
        self.since = match self.dots.len() == SHOWN && first == older {
            true => None,
            false => first,
        };
    }

    fn last_judged(&self) -> Option<Dot> {
        self.dots.iter().rev().find(|dot| !dot.left_out).copied()
    }

    fn remember(&mut self, standing: Option<&Standing>) {
        self.invalid = standing.map(Standing::faults).unwrap_or_default();
        self.remarks = standing.map(Standing::all_remarks).unwrap_or_default();
        self.seen = Arc::new(standing.map(Seen::of).unwrap_or_default());
    }
}

impl From<&Run> for Latest {
    fn from(run: &Run) -> Self {
        Self {
            due: run.due,
            data_date: run.data_date,
            status: run.status(),
            summary: run.summary(),
            metrics: run.report.as_ref().map(|report| report.metrics.clone()).unwrap_or_default(),
        }
    }
}

impl From<PastRun> for Latest {
    fn from(past: PastRun) -> Self {
        let metrics = past.report.as_ref().map(|report| metrics(report.get())).unwrap_or_default();
        let status = Status::named(&past.status);
        Self { due: past.due, data_date: past.data_date, status, summary: past.summary, metrics }
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn dot(minute: i64, status: Status) -> Dot {
        let due = Timestamp::from_second(minute * 60).expect("a time");
        Dot { due, data_date: date(2026, 7, 4), status, left_out: false }
    }

    /// As the record has them when they are read again.
    #[test]
    fn runs_are_in_the_order_of_their_due_times_whichever_ended_first() {
        let mut recent = Recent::default();
        for (minute, status) in [(1, Status::Pass), (7, Status::Fail), (3, Status::Fail), (7, Status::Pass)] {
            recent.push(dot(minute, status));
        }
        assert_eq!(recent.dots, [dot(1, Status::Pass), dot(3, Status::Fail), dot(7, Status::Pass)]);
        assert_eq!(recent.since, Some(dot(7, Status::Pass).due));
    }
}
