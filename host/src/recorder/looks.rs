//! The data dates that are looked at again now: bad ones, and expected ones that nobody judged.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    iter::successors,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp, civil::Date};

use super::Recorder;
use crate::{
    alert::{Day, MOST_LOOKS, Standing, State, Subject},
    check::Check,
    config::{Config, Dates},
    record::{self, Lease},
    run::{Moment, first_due},
};

/// What is to be done about a check's dates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Looks {
    /// The dates to look at now, the newest first; `None` for a check about now.
    pub now: Vec<Subject>,
    /// How many expected dates were never judged.
    pub unjudged: usize,
    /// How many dates are bad.
    pub open: usize,
}

/// Which dates the schedules judge, of one configuration. Asking a schedule takes a while, and many checks have the same.
#[derive(Debug, Default)]
pub struct Expected(HashMap<String, BTreeMap<Date, bool>>);

impl Expected {
    /// What was asked of the schedule of a check.
    fn of(&mut self, check: &Check) -> &mut BTreeMap<Date, bool> {
        self.0.entry(format!("{} {} {}", check.schedule, check.zone.name(), check.data_date)).or_default()
    }
}

impl Recorder {
    /// The dates of a check to look at, at a time.
    pub async fn looks(&self, check: &Check, config: &Config, now: Timestamp, expected: &mut Expected) -> Looks {
        let standings = self.standings.lock().await;
        match standings.get(&check.name) {
            Some(standing) => looks(check, standing, config, now, expected),
            // Its first dates may be expected before it ever ran.
            None => looks(check, &Standing::default(), config, now, expected),
        }
    }
}

/// Dates that are looked at, until they are released or this is dropped.
#[derive(Debug)]
pub struct Looking {
    recorder: Arc<Recorder>,
    /// The check and the date, in the order in which they were given.
    pub dates: Vec<(String, Subject)>,
    /// Those that are not released.
    held: Mutex<BTreeSet<(String, Subject)>>,
}

impl Looking {
    /// Of some dates, those that are not being looked at already.
    pub fn new(recorder: &Arc<Recorder>, dates: Vec<(String, Subject)>) -> Self {
        let mut looking = recorder.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let dates: Vec<(String, Subject)> = dates.into_iter().filter(|date| looking.insert(date.clone())).collect();
        let held = Mutex::new(dates.iter().cloned().collect());
        Self { recorder: recorder.clone(), dates, held }
    }

    /// Ends this for some dates, which are recorded.
    pub fn release(&self, dates: &[(String, Subject)]) {
        let mut looking = self.recorder.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        for date in dates.iter().filter(|date| held.remove(*date)) {
            looking.remove(date);
        }
    }
}

impl Recorder {
    /// The checks of which dates are being looked at.
    pub fn looked_at(&self) -> BTreeSet<String> {
        let looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        looking.iter().map(|(check, _)| check.clone()).collect()
    }

    /// Those of some dates that are pending: they are judged for the first time at their deadline.
    pub async fn pending<'d>(&self, dates: &'d [(String, Subject)]) -> BTreeSet<(&'d str, Subject)> {
        let standings = self.standings.lock().await;
        let state = |(check, date): &(String, Subject)| Some(standings.get(check)?.days.get(date)?.state);
        let pending = dates.iter().filter(|date| state(date) == Some(State::Pending));
        pending.map(|(check, date)| (check.as_str(), *date)).collect()
    }
}

impl Recorder {
    /// Of some dates of these checks, those that are still due to be looked at, or were never judged.
    pub async fn still_due(
        &self,
        dates: Vec<(String, Subject)>,
        checks: &BTreeMap<String, Lease>,
        config: &Config,
    ) -> Vec<(String, Subject)> {
        let now = record::now();
        let standings = self.standings.lock().await;
        let is_due = |(check, subject): &(String, Subject)| {
            let day = standings.get(check).and_then(|standing| standing.days.get(subject));
            checks.contains_key(check)
                && day.is_none_or(|day| {
                    day.is_looked_at(now, &config.recheck(check)) || day.state == State::NotJudged && day.look.is_none()
                })
        };
        dates.into_iter().filter(is_due).collect()
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.release(&self.dates);
    }
}

fn looks(check: &Check, standing: &Standing, config: &Config, now: Timestamp, expected: &mut Expected) -> Looks {
    let dated = check.dates() == Dates::Dated;
    let recheck = config.recheck(&check.name);
    let look = |subject: &Subject, day: &Day| subject.is_some() == dated && day.is_looked_at(now, &recheck);
    let looked = standing.days.iter().filter(|(subject, day)| look(subject, day));
    let (open, mut unknown): (Vec<_>, Vec<_>) = looked.partition(|(_, day)| day.is_open());
    unknown.sort_by_key(|(subject, _)| Reverse(**subject));
    let unjudged = match dated {
        true => unjudged(check, (&standing.days, standing.first), config, (now, None), expected),
        false => Vec::new(),
    };
    let count = unjudged.len();
    let mut overdue = open.clone();
    overdue.sort_by_key(|(_, day)| day.look.map(|look| look.at));
    let unknown = unknown.into_iter().map(|(subject, _)| *subject).chain(unjudged.into_iter().map(Some));
    let newest = open.into_iter().rev().map(|(subject, _)| *subject);
    let overdue = overdue.into_iter().map(|(subject, _)| *subject);
    let due = in_turn([newest.collect(), overdue.collect(), unknown.collect()]);
    Looks { now: due, unjudged: count, open: standing.open().count() }
}

/// The first dates of some lists in turn, so that none starves behind another: the newest bad ones, those that wait longest,
/// and those that nobody judged.
fn in_turn(lists: [Vec<Subject>; 3]) -> Vec<Subject> {
    let most = lists.iter().map(Vec::len).max().unwrap_or_default();
    let all = (0..most).flat_map(|at| lists.iter().filter_map(move |list| list.get(at).copied()));
    let mut seen = BTreeSet::new();
    all.filter(|subject| seen.insert(*subject)).take(MOST_LOOKS).collect()
}

/// The expected dates before the present one, and from one on, that have no result, or one that says nothing, and are not
/// looked at again anyway; the newest first. `first` is the first date that its schedule judged.
pub(super) fn unjudged(
    check: &Check,
    (days, first): (&BTreeMap<Subject, Day>, Option<Date>),
    config: &Config,
    (now, from): (Timestamp, Option<Date>),
    expected: &mut Expected,
) -> Vec<Date> {
    let Ok(present) = Moment::usual(now, check.data_date, &config.timezone) else { return Vec::new() };
    let open = |day: &Day| day.state == State::NotJudged && day.look.is_none();
    let since = config.checks.get(&check.name).and_then(|own| own.since);
    let kept = SignedDuration::try_from(config.state.keep.0)
        .ok()
        .and_then(|keep| now.checked_sub(keep).ok())
        .map(|oldest| oldest.to_zoned(config.timezone.rules()).date());
    let Some(first) = since.or(first).map(|first| first.max(kept.max(from).unwrap_or(first))) else {
        return Vec::new();
    };
    let schedule = expected.of(check);
    successors(present.data_date.yesterday().ok(), |date| date.yesterday().ok())
        .take_while(|date| *date >= first)
        .filter(|date| days.get(&Some(*date)).is_none_or(open))
        .filter(|date| *schedule.entry(*date).or_insert_with(|| is_expected(check, config, *date)))
        .collect()
}

/// Whether the check's schedule has a due time that judges a date.
fn is_expected(check: &Check, config: &Config, date: Date) -> bool {
    let Some(due) = first_due(check, date, &config.timezone) else { return false };
    Moment::usual(due, check.data_date, &config.timezone).is_ok_and(|judged| judged.data_date == date)
}
