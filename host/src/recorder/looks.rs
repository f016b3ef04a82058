//! The data dates that are looked at again now: bad ones, and expected ones that nobody judged.

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::Recorder;
use crate::{
    alert::{Day, Standing, State},
    check::Check,
    config::{Config, Dates},
    run::{Moment, When, first_due},
};

/// The most dates of a check that are looked at again in one round.
const MOST: usize = 20;

/// What is to be done about a check's dates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looks {
    /// The dates to look at now, the newest first.
    pub now: Vec<Date>,
    /// How many expected dates were never judged.
    pub unjudged: usize,
    /// How many dates are bad.
    pub open: usize,
}

impl Recorder {
    /// The dates of a check to look at, at a time.
    pub async fn looks(&self, check: &Check, config: &Config, now: Timestamp) -> Looks {
        let standings = self.standings.lock().await;
        match standings.get(&check.name) {
            Some(standing) if check.dates() == Dates::Dated => looks(check, standing, config, now),
            _ => Looks::default(),
        }
    }
}

fn looks(check: &Check, standing: &Standing, config: &Config, now: Timestamp) -> Looks {
    let look = |day: &Day| day.look.is_some_and(|look| look.at <= now);
    let looked = standing.days.iter().filter(|(_, day)| look(day)).filter_map(|(subject, _)| *subject);
    let mut due: Vec<Date> = looked.collect();
    let unjudged = unjudged(check, standing, config, now);
    let count = unjudged.len();
    due.extend(unjudged);
    due.sort_unstable();
    due.dedup();
    due.reverse();
    due.truncate(MOST);
    Looks { now: due, unjudged: count, open: standing.open().count() }
}

/// The expected dates before the present one that have no result, or one that says nothing, and are not looked at again
/// anyway.
fn unjudged(check: &Check, standing: &Standing, config: &Config, now: Timestamp) -> Vec<Date> {
    let Ok(present) = Moment::of(check, config, now, When::default()) else { return Vec::new() };
    let open = |day: &Day| day.state == State::NotJudged && day.look.is_none();
    let since = config.checks.get(&check.name).and_then(|own| own.since);
    let kept = SignedDuration::try_from(config.state.keep.0)
        .ok()
        .and_then(|keep| now.checked_sub(keep).ok())
        .map(|oldest| oldest.to_zoned(config.timezone.rules()).date());
    let Some(first) = since.or(standing.first).map(|first| kept.map_or(first, |kept| first.max(kept))) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut date = present.data_date.yesterday().ok();
    while let Some(this) = date.filter(|this| *this >= first) {
        let missing = standing.days.get(&Some(this)).is_none_or(open);
        if missing && is_expected(check, config, this) {
            found.push(this);
        }
        date = this.yesterday().ok();
    }
    found
}

/// Whether the check's schedule has a due time that judges a date.
fn is_expected(check: &Check, config: &Config, date: Date) -> bool {
    let Some(due) = first_due(check, date, &config.timezone) else { return false };
    Moment::of(check, config, due, When::default()).is_ok_and(|judged| judged.data_date == date)
}
