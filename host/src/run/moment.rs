//! The moment of a run: its clock and its data date.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp, civil::Date};

use crate::{
    check::{Check, Work},
    config::{Config, Dates, Effect, Zone},
    record::run_id,
};

/// An unusual clock or date for a round.
#[derive(Debug, Clone, Copy, Default)]
pub struct When {
    /// The runs' clock.
    pub at: Option<Timestamp>,
    /// The data date.
    pub date: Option<Date>,
}

/// The moment of a run: its clock and its data date.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// The beginning of that date in the pipeline's time zone.
    pub day_start: Timestamp,
    /// The beginning of the next date.
    pub day_end: Timestamp,
    /// By when the data of that date is expected: what ages of it are measured against. For a check about now, the run's
    /// clock.
    pub deadline: Timestamp,
    /// 1 for the first attempt at this date and due time, 2 for the next.
    pub attempt: u32,
    /// Whether it is about another date than the one that is due.
    pub past: bool,
    /// Whether `expect_by` names that time, and it has not come.
    pub early: bool,
    /// Whether its date is looked at again, and not because its check is due.
    pub again: bool,
    /// Why the run is skipped, if so.
    pub skip: Option<String>,
}

impl Moment {
    /// The date before the due time's, in the pipeline's time zone.
    pub fn yesterday(due: Timestamp, zone: &Zone) -> Result<Self> {
        let date = due.to_zoned(zone.rules()).date().yesterday()?;
        Self::new(due, date, zone)
    }

    /// The moment of a check's run.
    pub fn of(check: &Check, config: &Config, now: Timestamp, when: When) -> Result<Self> {
        let zone = &config.timezone;
        let due = when.at.unwrap_or(now);
        let usual = Self::yesterday(due, zone)?;
        let moment = match when.date.filter(|date| *date != usual.data_date) {
            None => usual,
            Some(date) => Self { past: true, ..Self::new(due, date, zone)? },
        };
        let expected = config.checks.get(&check.name).and_then(|own| own.expect_by.as_ref());
        let judged_on = moment.data_date.tomorrow()?;
        let named = expected.and_then(|by| by.deadline(judged_on, moment.day_end, &check.zone));
        let deadline = match check.dates() {
            Dates::Dated => named.unwrap_or_else(|| deadline(check, moment.day_end)),
            Dates::Now => moment.due,
        };
        let early = named.is_some_and(|by| due < by);
        let moment = Self { deadline, early, ..moment };
        let left_out = config.calendars.iter().find(|(_, calendar)| {
            let date = moment.data_date;
            // Nobody need ask a gate about a date on which the gate itself is skipped.
            let of_gate = || matches!(&check.work, Work::Consultation(gate) if calendar.covers_date(gate, date));
            calendar.effect == Effect::Skip && (calendar.covers(&check.name, moment.due, date, zone) || of_gate())
        });
        let skip = left_out.map(|(name, calendar)| format!("{} (calendars.{name})", calendar.why));
        Ok(Self { skip, deadline, ..moment })
    }

    /// The run's id: date, due time and attempt.
    pub fn id(&self) -> String {
        run_id(self.data_date, self.due, self.attempt)
    }

    /// The moment for a given date. Its deadline is the run's clock.
    pub fn new(due: Timestamp, data_date: Date, zone: &Zone) -> Result<Self> {
        let start = |date: Date| date.to_zoned(zone.rules()).map(|start| start.timestamp());
        let day = || Ok::<_, jiff::Error>((start(data_date)?, start(data_date.tomorrow()?)?));
        let (day_start, day_end) =
            day().ok().with_context(|| format!("{data_date} is beyond the dates that can be asked about"))?;
        Ok(Self {
            due,
            data_date,
            day_start,
            day_end,
            attempt: 1,
            past: false,
            deadline: due,
            early: false,
            again: false,
            skip: None,
        })
    }
}

/// By when the data of a date that ends then is expected: the check's first due time after it.
pub fn deadline(check: &Check, day_end: Timestamp) -> Timestamp {
    first_due(check, day_end).unwrap_or(day_end)
}

/// The check's first due time at the end of a date, or after it.
fn first_due(check: &Check, day_end: Timestamp) -> Option<Timestamp> {
    let just_before = day_end.checked_sub(SignedDuration::from_nanos(1)).ok()?;
    check.schedule.next(just_before, &check.zone.rules())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Yesterday is a date in the pipeline's time zone, also on the days when clocks change.
    #[test]
    fn yesterday_is_a_date_in_the_pipelines_time_zone() {
        let zone = Zone::new("America/New_York").expect("a zone");
        let cases = [
            ("2026-02-06T11:30:00Z", "2026-02-05", 24),
            ("2026-02-06T04:59:59Z", "2026-02-04", 24),
            ("2026-02-06T05:00:00Z", "2026-02-05", 24),
            ("2026-03-09T12:00:00Z", "2026-03-08", 23),
            ("2026-11-02T12:00:00Z", "2026-11-01", 25),
            ("2024-03-01T12:00:00Z", "2024-02-29", 24),
        ];
        for (due, date, hours) in cases {
            let moment = Moment::yesterday(due.parse().expect("a time"), &zone).expect("a moment");
            assert_eq!(moment.data_date.to_string(), date, "{due}");
            assert_eq!(moment.day_end.as_second() - moment.day_start.as_second(), hours * 3600, "{due}");
        }
    }
}
