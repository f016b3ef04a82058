//! The dates that a check judged good: from the record, as a case gives them, or simulated.

use jiff::civil::Date;

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
    /// Every date before, for a validation.
    Simulated,
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
            Self::Simulated => {
                let before = std::iter::successors(date.yesterday().ok(), |date| date.yesterday().ok());
                before.take(SIMULATED as usize).collect()
            }
        };
        Ok(found.iter().take(limit as usize).map(Date::to_string).collect())
    }
}
