//! The bytes that each check's queries bill each day: reserved before a query runs, and corrected afterwards. They are
//! kept in the record, so that a restart does not reset the count.

use jiff::civil::Date;

use crate::{
    capability::calls::Calls,
    config::{Zone, raise},
    contract::Error,
    record::{self, Record},
    text,
};

/// The bytes of all checks.
#[derive(Debug, Clone)]
pub struct Ledger {
    record: Record,
    zone: Zone,
    /// The day on which all counts.
    only: Option<Date>,
}

/// The part of a day's bytes that looking at dates again may take.
const AGAIN: u64 = 4;

/// Reserved bytes. They stay reserved if the result of the query is unknown, since it may have billed them.
pub(super) struct Reserved<'l> {
    ledger: &'l Ledger,
    check: String,
    day: Date,
    again: bool,
    bytes: u64,
}

impl Ledger {
    /// Kept in a record; days are those of a time zone.
    pub fn new(record: Record, zone: Zone) -> Self {
        Self { record, zone, only: None }
    }

    /// The same, but a limit of a day is one for all time: midnight gives nobody more.
    #[must_use]
    pub fn in_one_day(self) -> Self {
        Self { only: Some(Date::ZERO), ..self }
    }

    /// Reserves bytes within the day's budget.
    pub(super) async fn reserve(&self, calls: &Calls, bytes: u64) -> Result<Reserved<'_>, Error> {
        let check = &calls.caller.check;
        let most = calls.budgets.bytes_per_day;
        let day = self.only.unwrap_or_else(|| record::now().to_zoned(self.zone.rules()).date());
        let again = calls.caller.again.then_some(most.0 as u64 / AGAIN);
        let spent = self.record.spend(check, day, bytes, (most.0 as u64, again)).await;
        let spent = spent
            .map_err(|error| Error::Unavailable(format!("query refused: its cost cannot be recorded: {error:#}")))?;
        match spent {
            None => Ok(Reserved { ledger: self, check: check.clone(), day, again: again.is_some(), bytes }),
            Some(spent) => {
                calls.has_exceeded("bytes_per_day");
                if self.only.is_some() {
                    return Err(Error::OverBudget(format!(
                        "query refused: the queries have billed {} of {most} in all, and this one needs {}; raise --max-bytes",
                        text::bytes(spent),
                        text::bytes(bytes)
                    )));
                }
                let resets = day.tomorrow().and_then(|next| next.to_zoned(self.zone.rules()));
                let resets =
                    resets.map_or(String::new(), |at| format!("; it resets at {}", at.strftime("%Y-%m-%d %H:%M %Z")));
                let (spent, bytes) = (text::bytes(spent), text::bytes(bytes));
                let of = match again {
                    Some(most) => {
                        format!("the {} that looking at dates again may take of its budget", text::bytes(most))
                    }
                    None => format!("its {most}"),
                };
                Err(Error::OverBudget(format!(
                    "query refused: {check} has billed {spent} of {of} for {day}, and this query needs {bytes}{resets}; {}",
                    raise(&calls.caller.plugin, "bytes_per_day")
                )))
            }
        }
    }
}

impl Reserved<'_> {
    /// Replaces the reserved bytes by the billed bytes.
    pub(super) async fn settle(self, bytes: u64) {
        if let Err(error) =
            self.ledger.record.correct_spending(&self.check, self.day, (self.bytes, bytes), self.again).await
        {
            // The record shows more than was billed, which errs on the safe side.
            tracing::warn!("the cost of {}'s query cannot be recorded: {error:#}", self.check);
        }
    }
}
