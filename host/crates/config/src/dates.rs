//! Which data dates of a check are expected, by when, and how long a bad one is looked at again.

use std::{str::FromStr, time::Duration};

use anyhow::{Result, bail};
use jiff::{SignedDuration, Timestamp, civil};
use serde::{Deserialize, Deserializer, de::Error};

use super::{Time, Zone};

/// How long a bad date is looked at again, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recheck {
    /// The first wait; it doubles with each further one, up to a day.
    pub wait: Duration,
    /// How long in all.
    pub length: Duration,
}

/// The latest time after a date's end at which its data can be expected. A failure is told only then.
const LATEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// By when the data of a date is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExpectBy {
    /// At a time of the day on which the check judges the date, in a zone: the check's if there is none.
    At(civil::Time, Option<Zone>),
    /// A time after the end of the date.
    After(Duration),
}

impl ExpectBy {
    /// The deadline of a date that ends at `end` in the pipeline's zone and is judged on `day`. `zone` is the check's.
    pub fn deadline(&self, day: civil::Date, end: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            // A time that clocks skip is the time after the gap.
            Self::At(time, own) => {
                let zone = own.as_ref().unwrap_or(zone).rules();
                Some(day.to_datetime(*time).to_zoned(zone).ok()?.timestamp())
            }
            Self::After(length) => end.checked_add(SignedDuration::try_from(*length).ok()?).ok(),
        }
    }
}

impl FromStr for ExpectBy {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (time, zone) = text.split_once(' ').map_or((text, None), |(time, zone)| (time, Some(zone.trim())));
        if time.contains(':') {
            let parsed = civil::Time::strptime("%H:%M", time).ok();
            let Some(parsed) = parsed.filter(|_| time.len() == 5) else {
                bail!("`{text}` is not a time of day; write it like \"09:00\" or \"09:00 Europe/Berlin\"");
            };
            return Ok(Self::At(parsed, zone.map(Zone::new).transpose()?));
        }
        match text.parse::<Time>() {
            Ok(length) if length.0 > LATEST => {
                bail!("`{text}` is more than {} days after the date's end", LATEST.as_secs() / (24 * 60 * 60))
            }
            Ok(length) => Ok(Self::After(length.0)),
            Err(_) => {
                bail!("`{text}` is neither a time of day like \"09:00\" nor a time after the date's end like \"6h\"")
            }
        }
    }
}

impl<'de> Deserialize<'de> for ExpectBy {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

/// A data date of which it is known how it was: `2026-02-11 14 games missing`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownDate {
    /// The date.
    pub date: civil::Date,
    /// What was wrong, or what looked wrong; may be empty.
    pub why: String,
}

impl FromStr for KnownDate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (date, why) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
        match date.parse() {
            Ok(parsed) if date.len() == 10 => Ok(Self { date: parsed, why: why.trim().to_owned() }),
            _ => bail!("`{text}` does not begin with a date; write it like \"2026-02-11 14 games missing\""),
        }
    }
}

impl<'de> Deserialize<'de> for KnownDate {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_date_may_say_why() {
        let known = |text: &str| text.parse::<KnownDate>().ok().map(|known| (known.date.to_string(), known.why));
        let of = |date: &str, why: &str| Some((date.to_owned(), why.to_owned()));
        assert_eq!(known("2026-02-11 14 games missing"), of("2026-02-11", "14 games missing"));
        assert_eq!(known(" 2026-02-11"), of("2026-02-11", ""));
        for wrong in ["", "yesterday", "14 games missing", "2026-02-30 x", "20260211 x", "2026-02-11x"] {
            assert_eq!(known(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_deadline_is_a_time_of_day_or_after_the_end() {
        let zone = Zone::new_york();
        let end: Timestamp = "2026-02-06T05:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("09:00", "2026-02-06T14:00:00Z"),
            ("09:00 Europe/Berlin", "2026-02-06T08:00:00Z"),
            ("6h", "2026-02-06T11:00:00Z"),
        ] {
            let by: ExpectBy = text.parse().expect(text);
            let deadline = by.deadline(civil::date(2026, 2, 6), end, &zone).expect(text);
            assert_eq!(deadline.to_string(), expected, "{text}");
        }
        // Clocks go from 2 to 3 on 8 March.
        let skipped: ExpectBy = "02:30".parse().expect("a time");
        let deadline = skipped.deadline(civil::date(2026, 3, 8), end, &zone).expect("a time");
        assert_eq!(deadline.to_string(), "2026-03-08T07:30:00Z");
        for wrong in ["9", "9:00", "25:00", "09:00 Nowhere", "-6h", "32d", "900d", "soon", ""] {
            assert!(wrong.parse::<ExpectBy>().is_err(), "{wrong}");
        }
    }
}
