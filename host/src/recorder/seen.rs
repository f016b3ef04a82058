//! What is known of the data dates of one check, in memory, so that the page neither reads the record nor waits for a round
//! that is being written.

use std::collections::BTreeMap;

use jiff::{Timestamp, civil::Date};

use super::looks::{Expected, unjudged};
use crate::{
    alert::{Day, Incident, Standing, Subject},
    check::Check,
    config::{Config, Dates},
};

/// The most dates that a page shows, and one more for a check that judges the day itself.
const NEWEST: usize = 61;

/// What is known of the data dates of one check.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether it is about now.
    pub now: bool,
    /// The newest dates, and all that are open; a check about now has one entry, without a date.
    pub days: BTreeMap<Subject, Day>,
    /// What is wrong while it cannot be evaluated.
    pub unevaluated: Option<Incident>,
    /// The first date that its schedule judged.
    first: Option<Date>,
    /// The date from which on all known ones are here; `None` if all are.
    since: Option<Date>,
}

impl Seen {
    /// What a standing says.
    pub(super) fn of(standing: &Standing) -> Self {
        let newest = standing.days.iter().rev().take(NEWEST);
        let oldest = newest.clone().next_back().and_then(|(subject, _)| *subject);
        let days = newest.chain(standing.days.iter().filter(|(_, day)| day.is_open()));
        let side = &standing.evaluation;
        Self {
            now: standing.now,
            days: days.map(|(subject, day)| (*subject, day.clone())).collect(),
            unevaluated: side.failing().then(|| Incident { side: side.clone(), ..Incident::default() }),
            first: standing.first,
            since: oldest.filter(|_| standing.days.len() > NEWEST),
        }
    }

    /// The incidents that are open, by date.
    pub fn open(&self) -> impl Iterator<Item = (Subject, &Day)> {
        self.days.iter().filter(|(_, day)| day.is_open()).map(|(subject, day)| (*subject, day))
    }

    /// Whether the check has no dates. Before its first run, its plugin says.
    pub fn is_about_now(&self, check: &Check) -> bool {
        if self.days.is_empty() { check.dates() == Dates::Now } else { self.now }
    }

    /// The expected dates from one on that have no result, the newest first.
    pub fn unjudged(
        &self,
        check: &Check,
        config: &Config,
        (now, from): (Timestamp, Date),
        expected: &mut Expected,
    ) -> Vec<Date> {
        match self.is_about_now(check) {
            true => Vec::new(),
            false => unjudged(check, (&self.days, self.first), config, (now, self.since.max(Some(from))), expected),
        }
    }
}
