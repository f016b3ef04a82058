//! The dates that a check judged good: from the record, as a case gives them, or simulated.

use std::{collections::BTreeMap, sync::Arc};

use jiff::civil::Date;
use tokio::sync::watch;

use super::calls::Calls;
use crate::{contract::Error, record::Record};

/// The most dates of one answer.
const MOST: u32 = 1000;
/// The dates of a simulated answer: enough for a check that compares with the same weekday of a year.
const SIMULATED: u32 = 400;

/// Where the good dates come from.
#[derive(Debug, Clone, Default)]
pub enum GoodDates {
    /// There is no record to ask, so there are none.
    #[default]
    None,
    /// The check's runs.
    Record(Record),
    /// Those of a case.
    Given(Vec<Date>),
    /// Those of dates that are tried now, one after the other or side by side.
    Tried(Arc<Judged>),
    /// Every date before, for a validation.
    Simulated,
}

/// What was found of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// It passed.
    Good,
    /// It only warned.
    Warned,
    /// Anything else.
    Other,
}

/// What was found so far of dates that are tried, and of those before them.
#[derive(Debug)]
pub struct Judged(watch::Sender<BTreeMap<Date, Option<Grade>>>);

impl Judged {
    /// `known` are good dates before those that are tried.
    pub fn new(known: impl IntoIterator<Item = Date>, tried: impl IntoIterator<Item = Date>) -> Self {
        let known = known.into_iter().map(|date| (date, Some(Grade::Good)));
        Self(watch::Sender::new(known.chain(tried.into_iter().map(|date| (date, None))).collect()))
    }

    /// Notes what was found of a date.
    pub fn note(&self, date: Date, grade: Grade) {
        self.0.send_modify(|dates| {
            dates.insert(date, Some(grade));
        });
    }

    /// The newest good ones before a date, once all before it are known: as in the record, dates that only warned count while there
    /// are too few.
    async fn before(&self, date: Date, limit: usize) -> Vec<Date> {
        let mut dates = self.0.subscribe();
        let known = |dates: &BTreeMap<Date, Option<Grade>>| dates.range(..date).all(|(_, grade)| grade.is_some());
        let Ok(dates) = dates.wait_for(known).await else { return Vec::new() };
        let good = dates.range(..date).rev().filter_map(|(date, grade)| Some(((*grade)?, *date)));
        let mut good: Vec<(Grade, Date)> = good.filter(|(grade, _)| *grade != Grade::Other).collect();
        // Stable: of each grade the newest first.
        good.sort_by_key(|(grade, _)| *grade);
        good.truncate(limit);
        let mut newest: Vec<Date> = good.into_iter().map(|(_, date)| date).collect();
        newest.sort_unstable_by(|one, other| other.cmp(one));
        newest
    }
}

impl GoodDates {
    /// The newest before the run's data date, newest first.
    pub(super) async fn before(&self, calls: &Calls, limit: u32) -> Result<Vec<String>, Error> {
        let (date, limit) = (calls.caller.data_date, limit.min(MOST));
        let found: Vec<Date> = match self {
            Self::None => Vec::new(),
            Self::Record(record) => {
                let found = record.good_dates(&calls.caller.check, date, limit);
                let found = tokio::time::timeout_at(calls.deadline(), found).await;
                let found =
                    found.map_err(|_| Error::TimedOut("good-dates: the record did not answer in time".to_owned()))?;
                found.map_err(|error| Error::Unavailable(format!("good-dates failed: {error:#}")))?
            }
            Self::Given(dates) => {
                let mut before: Vec<Date> = dates.iter().copied().filter(|good| *good < date).collect();
                before.sort_unstable_by(|one, other| other.cmp(one));
                before
            }
            Self::Tried(judged) => {
                let found = tokio::time::timeout_at(calls.deadline(), judged.before(date, limit as usize)).await;
                found.map_err(|_| Error::TimedOut("good-dates: the dates before are not judged yet".to_owned()))?
            }
            Self::Simulated => {
                let before = std::iter::successors(date.yesterday().ok(), |date| date.yesterday().ok());
                before.take(SIMULATED as usize).collect()
            }
        };
        Ok(found.iter().take(limit as usize).map(Date::to_string).collect())
    }
}
