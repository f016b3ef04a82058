//! `[calendars.NAME]`: dates and hours at which checks are skipped or silenced.

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, civil::Date};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Cron, Time, Zone};

/// `[calendars.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// Whether the checks are skipped or silenced.
    pub effect: Effect,
    /// The checks that it applies to; `NAME.consulted` is the check of `expect_consult`. Default: all.
    #[serde(default)]
    pub checks: Vec<String>,
    /// The time zone of `windows`. Default: the pipeline's.
    #[serde(default)]
    pub timezone: Option<Zone>,
    /// Data dates: `2026-12-25`, `12-25` for every year, or a range, `07-01..09-30`.
    #[serde(default)]
    pub dates: Vec<DateRange>,
    /// Recurring hours, compared with the due time of a run.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// The reason, which is recorded and shown.
    pub why: String,
}

/// `calendars.NAME.effect`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The checks do not run; a skip is recorded, with the reason.
    Skip,
    /// The checks run and are recorded, but new alerts are held back.
    Silence,
}

/// One of `calendars.NAME.windows`: a cron expression for the start, and a length.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When it begins: a cron expression.
    pub cron: Cron,
    /// How long it lasts.
    #[serde(rename = "for")]
    pub length: Time,
}

/// A range of dates, the first and the last included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateRange {
    /// Of one year.
    Once(Date, Date),
    /// Of every year, as month and day; a last date before the first belongs to the next year.
    Yearly((i8, i8), (i8, i8)),
}

impl DateRange {
    /// Whether the range contains a date.
    pub fn contain(&self, date: Date) -> bool {
        match *self {
            Self::Once(first, last) => (first..=last).contains(&date),
            Self::Yearly(first, last) => {
                let day = (date.month(), date.day());
                match first <= last {
                    true => (first..=last).contains(&day),
                    false => day >= first || day <= last,
                }
            }
        }
    }

    /// As it is written: `12-24..01-02`.
    pub fn words(&self) -> String {
        let day = |(month, day): (i8, i8)| format!("{month:02}-{day:02}");
        let (first, last) = match *self {
            Self::Once(first, last) => (first.to_string(), last.to_string()),
            Self::Yearly(first, last) => (day(first), day(last)),
        };
        if first == last { first } else { format!("{first}..{last}") }
    }

    fn parse(text: &str) -> Result<Self> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let (first, last) = (first.trim(), last.trim());
        match (first.parse::<Date>(), last.parse::<Date>()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self::Once(first, last)),
            (Ok(_), Ok(_)) => bail!("`{text}` ends before it begins"),
            (Err(_), Err(_)) => Ok(Self::Yearly(day(first)?, day(last)?)),
            _ => bail!("`{text}` has a year on one side only"),
        }
    }
}

/// `12-25`, also `02-29`.
fn day(text: &str) -> Result<(i8, i8)> {
    let parsed = || {
        let (month, day) = text.split_once('-')?;
        // A leap year has every possible day.
        Date::new(2024, month.parse().ok()?, day.parse().ok()?).ok()
    };
    let day = parsed().with_context(|| format!("`{text}` is not a date; write 2026-12-25, or 12-25 for every year"))?;
    Ok((day.month(), day.day()))
}

impl Calendar {
    /// Whether the calendar is for a check.
    pub fn names(&self, check: &str) -> bool {
        self.checks.is_empty() || self.checks.iter().any(|name| name == check)
    }

    /// Whether the calendar applies to a run.
    pub fn covers(&self, check: &str, due: Timestamp, data_date: Date, pipeline: &Zone) -> bool {
        let zone = self.timezone.as_ref().unwrap_or(pipeline);
        self.covers_date(check, data_date)
            || self.names(check) && self.windows.iter().any(|window| window.contains(due, zone))
    }

    /// Whether its dates contain a check's data date, whatever the hour.
    pub fn covers_date(&self, check: &str, data_date: Date) -> bool {
        self.names(check) && self.dates.iter().any(|dates| dates.contain(data_date))
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.dates.is_empty() && self.windows.is_empty() {
            bail!("has neither `dates` nor `windows`, so it is never in effect");
        }
        if self.why.trim().is_empty() {
            bail!("why: give a reason; it is shown wherever the calendar applies");
        }
        Ok(())
    }
}

impl Window {
    /// The window that begins last before or at a moment has not ended yet.
    fn contains(&self, due: Timestamp, zone: &Zone) -> bool {
        let Ok(length) = jiff::SignedDuration::try_from(self.length.0) else { return false };
        let Ok(earliest) = due.checked_sub(length) else { return false };
        self.cron.next(earliest, &zone.rules()).is_some_and(|start| start <= due)
    }
}

impl<'de> Deserialize<'de> for DateRange {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(source)?).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn dates_contain_their_first_and_last() {
        let cases = [
            ("2026-12-25", "2026-12-25", true),
            ("2026-12-25", "2027-12-25", false),
            ("12-25", "2027-12-25", true),
            ("12-25", "2027-12-24", false),
            ("07-01..09-30", "2026-07-01", true),
            ("07-01..09-30", "2026-09-30", true),
            ("07-01..09-30", "2026-10-01", false),
            ("12-24..01-02", "2026-12-31", true),
            ("12-24..01-02", "2027-01-02", true),
            ("12-24..01-02", "2027-01-03", false),
            ("02-29", "2028-02-29", true),
            ("02-29", "2027-02-28", false),
            ("2026-06-20..2026-10-20", "2026-10-20", true),
            ("2026-06-20..2026-10-20", "2026-10-21", false),
        ];
        for (dates, date, expected) in cases {
            let parsed = DateRange::parse(dates).expect(dates);
            assert_eq!(parsed.contain(date.parse().expect(date)), expected, "{dates} {date}");
        }
        for wrong in ["", "25.12.", "13-01", "02-30", "2026-12-25..12-26", "2026-12-25..2026-12-24"] {
            assert!(DateRange::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Two hours from two in the morning in New York: by the wall clock, also on the day when there is no such hour.
    #[test]
    fn a_window_is_in_effect_from_its_start_and_not_at_its_end() {
        let text = "effect = 'silence'\nwhy = 'load'\nwindows = [{ cron = '0 2 * * *', for = '2h' }]";
        let calendar: Calendar = toml::from_str(text).expect("a calendar");
        let zone = Zone::new_york();
        for (due, expected) in [
            ("2026-02-06T06:59:59Z", false),
            ("2026-02-06T07:00:00Z", true),
            ("2026-02-06T08:59:59Z", true),
            ("2026-02-06T09:00:00Z", false),
            // Clocks go from 2 to 3 on 8 March: the window begins at 3.
            ("2026-03-08T07:30:00Z", true),
        ] {
            let due: Timestamp = due.parse().expect(due);
            assert_eq!(calendar.covers("any", due, date(2026, 2, 5), &zone), expected, "{due}");
        }
        let due = "2026-02-06T07:00:00Z".parse().expect("a time");
        assert!(!Calendar { checks: vec!["other".to_owned()], ..calendar }.covers("any", due, date(2026, 2, 5), &zone));
    }
}
