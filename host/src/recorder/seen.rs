//! What is known of the data dates of one check, in memory, so that the page neither reads the record nor waits for a round
//! that is being written.

use jiff::{Timestamp, civil::Date};

use super::looks::{Expected, unjudged};
use crate::{
    alert::{Day, Days, Incident, Standing, Subject},
    check::Check,
    config::{Config, Dates},
};

/// What is known of the data dates of one check.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether it is about now.
    pub now: bool,
    /// The dates.
    pub days: Days,
    /// What is wrong while it cannot be evaluated.
    pub unevaluated: Option<Incident>,
    /// The first date that its schedule judged.
    first: Option<Date>,
}

impl Seen {
    /// What a standing says.
    pub(super) fn of(standing: &Standing) -> Self {
        let side = &standing.evaluation;
        Self {
            now: standing.now,
            days: standing.days.clone(),
            unevaluated: side.failing().then(|| Incident { side: side.clone(), ..Incident::default() }),
            first: standing.first,
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
            false => unjudged(check, (&self.days, self.first), config, (now, Some(from)), expected),
        }
    }
}
