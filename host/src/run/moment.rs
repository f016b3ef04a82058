//! The moment of a run: its clock and its data date.

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Span, Timestamp, civil::Date};

use crate::{
    check::{Check, Work},
    config::{Calendar, Config, DataDate, Dates, Effect, Zone},
    record::{Lease, run_id},
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
    /// When it is to begin: later than its due time if that was missed.
    pub clock: Timestamp,
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
    /// Whether its date is before the check's usual one.
    pub past: bool,
    /// Whether `expect_by` names that time, and it has not come.
    pub early: bool,
    /// Whether its date is looked at again, and not because its check is due.
    pub again: bool,
    /// Whether its queries belong to the part of the day's bytes that looking at dates again may take.
    pub recheck: bool,
    /// When it began: see `Recorder::begins`; `None` before.
    pub began: Option<u64>,
    /// Under which claim it runs, on a record of several hosts.
    pub lease: Option<Lease>,
    /// Why the run is skipped, if so.
    pub skip: Option<String>,
    /// Whether a window of a calendar skips it, and not its date.
    pub off_hours: bool,
}

impl Moment {
    /// The moment of a run about its usual date, counted back from the due time's date in the pipeline's time zone.
    pub fn usual(due: Timestamp, data_date: DataDate, zone: &Zone) -> Result<Self> {
        let beyond = || format!("{data_date} of {due} is beyond the dates that can be asked about");
        let today = due.to_zoned(zone.rules()).date();
        let date = today.checked_sub(Span::new().days(data_date.days_back())).with_context(beyond)?;
        // A zone that crossed the date line has no such date: the one before it is the newest there.
        Self::new(due, date, zone).or_else(|_| Self::new(due, date.yesterday().with_context(beyond)?, zone))
    }

    /// The moment of a check's run; a date after the check's newest one is an error.
    pub fn of(check: &Check, config: &Config, now: Timestamp, when: When) -> Result<Self> {
        let zone = &config.timezone;
        let due = when.at.unwrap_or(now);
        let usual = Self::usual(due, check.data_date, zone)?;
        let moment = match when.date.filter(|date| *date != usual.data_date) {
            None => usual,
            Some(date) if date > usual.data_date => bail!(
                "{date} is after the newest date of {}, which is {} in {} (data_date = \"{}\")",
                check.name,
                usual.data_date,
                zone.name(),
                check.data_date
            ),
            Some(date) => Self { past: true, ..Self::new(due, date, zone)? },
        };
        let expected = config.checks.get(&check.name).and_then(|own| own.expect_by.as_ref());
        let judged_on = moment.data_date.checked_add(Span::new().days(check.data_date.days_back()))?;
        let named = expected.and_then(|by| by.deadline(judged_on, moment.day_end, &check.zone));
        let deadline = match check.dates() {
            Dates::Dated => named.unwrap_or_else(|| deadline(check, &moment, zone)),
            Dates::Now => moment.due,
        };
        let early = named.is_some_and(|by| due < by) && check.dates() == Dates::Dated;
        let moment = Self { deadline, early, ..moment };
        // Nobody need ask a gate about a date on which the gate itself is skipped.
        let by_date = |calendar: &Calendar| {
            let date = moment.data_date;
            let of_gate = || matches!(&check.work, Work::Consultation(gate) if calendar.covers_date(gate, date));
            calendar.covers_date(&check.name, date) || of_gate()
        };
        let mut skips = config.calendars.iter().filter(|(_, calendar)| calendar.effect == Effect::Skip);
        let covers = |calendar: &Calendar| calendar.covers(&check.name, moment.due, moment.data_date, zone);
        let left_out = skips.clone().find(|(_, calendar)| by_date(calendar) || covers(calendar));
        let off_hours = left_out.is_some() && !skips.any(|(_, calendar)| by_date(calendar));
        let skip = left_out.map(|(name, calendar)| format!("{} (calendars.{name})", calendar.why));
        Ok(Self { skip, off_hours, deadline, ..moment })
    }

    /// The run's id: date, due time and attempt.
    pub fn id(&self) -> String {
        run_id(self.data_date, self.due, self.attempt)
    }

    /// The moment for a given date. Its deadline is the run's clock.
    pub fn new(due: Timestamp, data_date: Date, zone: &Zone) -> Result<Self> {
        let day = || Ok::<_, jiff::Error>((start(data_date, zone)?, start(data_date.tomorrow()?, zone)?));
        let (day_start, day_end) =
            day().ok().with_context(|| format!("{data_date} is beyond the dates that can be asked about"))?;
        if day_start >= day_end {
            bail!("{data_date} does not exist in {}: its clocks went past it", zone.name());
        }
        Ok(Self {
            due,
            clock: due,
            data_date,
            day_start,
            day_end,
            attempt: 1,
            past: false,
            deadline: due,
            early: false,
            again: false,
            recheck: false,
            began: None,
            lease: None,
            skip: None,
            off_hours: false,
        })
    }
}

/// By when the data of a moment's date is expected: the check's first due time for it. A check of the day itself is due
/// often before its data is there: its last due time on that day counts.
fn deadline(check: &Check, moment: &Moment, zone: &Zone) -> Timestamp {
    let last = match check.data_date.days_back() {
        0 => check.schedule.last(moment.day_end, &check.zone.rules()).filter(|due| *due >= moment.day_start),
        _ => None,
    };
    last.or_else(|| first_due(check, moment.data_date, zone)).unwrap_or(moment.day_end)
}

/// The check's first due time on the day that has a date as its usual one, or after that.
pub fn first_due(check: &Check, date: Date, zone: &Zone) -> Option<Timestamp> {
    let day = date.checked_add(Span::new().days(check.data_date.days_back())).ok()?;
    let just_before = start(day, zone).ok()?.checked_sub(SignedDuration::from_nanos(1)).ok()?;
    check.schedule.next(just_before, &check.zone.rules())
}

/// The first moment of a date: midnight, the first of two, or what comes in place of a midnight that the clocks skip.
fn start(date: Date, zone: &Zone) -> Result<Timestamp, jiff::Error> {
    date.to_zoned(zone.rules()).map(|start| start.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(due: &str, data_date: &str, zone: &str) -> Moment {
        let zone = Zone::new(zone).expect("a zone");
        let data_date = data_date.parse().expect("a data date");
        Moment::usual(due.parse().expect("a time"), data_date, &zone).expect("a moment")
    }

    /// The usual date is one of the pipeline's time zone, with its bounds, also on the days when clocks change.
    #[test]
    fn the_usual_date_is_counted_back_in_the_pipelines_time_zone() {
        let new_york = "America/New_York";
        for (zone, due, data_date, date, hours) in [
            (new_york, "2026-02-06T11:30:00Z", "yesterday", "2026-02-05", 24),
            (new_york, "2026-02-06T11:30:00Z", "today", "2026-02-06", 24),
            (new_york, "2026-02-06T11:30:00Z", "-2d", "2026-02-04", 24),
            (new_york, "2026-02-06T04:59:59Z", "yesterday", "2026-02-04", 24),
            (new_york, "2026-02-06T04:59:59Z", "today", "2026-02-05", 24),
            (new_york, "2026-02-06T05:00:00Z", "yesterday", "2026-02-05", 24),
            (new_york, "2026-02-06T05:00:00Z", "today", "2026-02-06", 24),
            // 23 hours.
            (new_york, "2026-03-08T12:00:00Z", "today", "2026-03-08", 23),
            (new_york, "2026-03-09T12:00:00Z", "yesterday", "2026-03-08", 23),
            (new_york, "2026-03-10T12:00:00Z", "-2d", "2026-03-08", 23),
            (new_york, "2026-03-09T03:59:59Z", "today", "2026-03-08", 23),
            // 25 hours.
            (new_york, "2026-11-01T12:00:00Z", "today", "2026-11-01", 25),
            (new_york, "2026-11-02T12:00:00Z", "yesterday", "2026-11-01", 25),
            (new_york, "2026-11-03T12:00:00Z", "-2d", "2026-11-01", 25),
            (new_york, "2026-11-02T04:59:59Z", "today", "2026-11-01", 25),
            (new_york, "2024-03-01T12:00:00Z", "yesterday", "2024-02-29", 24),
            (new_york, "2026-02-06T11:30:00Z", "-366d", "2025-02-05", 24),
            // Clocks skip midnight, or show it twice.
            ("America/Havana", "2026-03-08T12:00:00Z", "today", "2026-03-08", 23),
            ("America/Havana", "2026-11-02T12:00:00Z", "yesterday", "2026-11-01", 25),
            ("Asia/Beirut", "2026-03-29T12:00:00Z", "today", "2026-03-29", 23),
            ("Asia/Beirut", "2026-10-27T12:00:00Z", "-3d", "2026-10-24", 25),
            // There was no 30 December.
            ("Pacific/Apia", "2011-12-30T20:00:00Z", "today", "2011-12-31", 24),
            ("Pacific/Apia", "2011-12-30T20:00:00Z", "yesterday", "2011-12-29", 24),
        ] {
            let moment = moment(due, data_date, zone);
            assert_eq!(moment.data_date.to_string(), date, "{zone} {due} {data_date}");
            assert_eq!(moment.day_end.as_second() - moment.day_start.as_second(), hours * 3600, "{zone} {due}");
        }
    }

    /// A date begins when the one before it ends.
    #[test]
    fn a_date_without_a_midnight_begins_when_its_clocks_first_show_it() {
        for (zone, due, start) in [
            ("America/Havana", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z"),
            ("America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z"),
            ("Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z"),
            ("Asia/Beirut", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z"),
        ] {
            let found = moment(due, "today", zone);
            assert_eq!(found.day_start.to_string(), start, "{zone} {due}");
            let before = moment(due, "yesterday", zone);
            assert_eq!(before.day_end, found.day_start, "{zone} {due}");
            assert_eq!(found.day_start.to_zoned(Zone::new(zone).expect("a zone").rules()).date(), found.data_date);
        }
        let apia = Zone::new("Pacific/Apia").expect("a zone");
        let error = Moment::new(Timestamp::UNIX_EPOCH, "2011-12-30".parse().expect("a date"), &apia).expect_err("none");
        assert!(error.to_string().contains("2011-12-30 does not exist in Pacific/Apia"), "{error}");
    }
}
