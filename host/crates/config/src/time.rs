//! Time zones and cron expressions, as host.toml and plugins write them.

use std::{str::FromStr, time::Duration};

use anyhow::{Result, bail};
use host_text::{counted, nearest};
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::budgets::quoted;

/// A moment as people read it everywhere: `2026-02-05 10:30 EST`.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// An IANA time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(String);

impl Zone {
    /// Checks the name.
    pub fn new(name: &str) -> Result<Self> {
        if TimeZone::get(name).is_err() {
            let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
            let near = match nearest(name, &known) {
                near if near.is_empty() => "; write it like `America/New_York`".to_owned(),
                near => near,
            };
            bail!("`{name}` is not an IANA time zone{near}");
        }
        Ok(Self(name.to_owned()))
    }

    /// The pipeline's default time zone.
    pub fn new_york() -> Self {
        Self("America/New_York".to_owned())
    }

    /// The zone's rules. The name was checked when it was read; UTC replaces a zone whose data has disappeared since.
    pub fn rules(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        Self::new(&String::deserialize(source)?).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

/// A cron expression that is due at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron(croner::Cron);

impl Cron {
    /// Parses five fields, and rejects a date that does not exist, such as 30 February.
    pub fn new(expression: &str) -> Result<Self> {
        let cron = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .build()
            .parse(expression)
            .map_err(|error| {
                let why = match expression.split_whitespace().count() {
                    5 => error.to_string().trim_end_matches('.').to_owned(),
                    fields => format!("it has {} instead of five", counted(fields, "field", "fields")),
                };
                anyhow::anyhow!(
                    "`{expression}` is not a valid schedule: {why}; write minute, hour, day of month, month, day of week, like `*/30 * * * *`"
                )
            })?;
        let start = jiff::civil::date(2024, 1, 1).to_zoned(TimeZone::UTC)?;
        if cron.find_next_occurrence(&start, true).is_err() {
            bail!("`{expression}` is never due: that day does not exist");
        }
        Ok(Self(cron))
    }

    /// The shortest time between two due times of consecutive hours, or an hour.
    pub fn shortest_gap(&self) -> Duration {
        let pattern = &self.0.pattern;
        let due: Vec<u64> =
            (0..60).filter(|minute| pattern.minute_match(*minute).unwrap_or(true)).map(u64::from).collect();
        let is_due = |hour: u32| pattern.hour_match(hour % 24).unwrap_or(true);
        let goes_on = (0..24).any(|hour| is_due(hour) && is_due(hour + 1));
        let across = due.first().filter(|_| goes_on).map(|first| first + 60);
        let next = due.iter().skip(1).copied().chain(across);
        let shortest = due.iter().zip(next).map(|(one, next)| next - one).min();
        Duration::from_secs(60 * shortest.unwrap_or(60))
    }

    /// How its days are read, if both the day of month and the day of week are restricted: cron programs differ there, and
    /// some read `*/2` like `*`.
    pub fn days(&self) -> Option<String> {
        let pattern = &self.0.pattern;
        let fields: Vec<&str> = self.0.as_str().split_whitespace().collect();
        let [_, _, day, _, weekday] = fields.as_slice() else { return None };
        if pattern.is_dom_wildcard() || pattern.is_dow_wildcard() {
            return None;
        }
        let weekday = named(weekday.trim_start_matches('+'));
        Some(match pattern.matches_dom_and_dow() {
            true => format!("only on days that match both day of month {day} and day of week {weekday}"),
            false => format!(
                "on each day that matches day of month {day}, and on each that matches day of week {weekday} (write +{weekday} for days that match both)"
            ),
        })
    }

    /// On Mondays at nine.
    pub fn mondays() -> Self {
        let mondays = croner::Cron::from_str("0 9 * * 1");
        // Five plain fields always parse.
        #[allow(clippy::expect_used)]
        Self(mondays.expect("a valid schedule"))
    }

    /// At the beginning of every hour.
    pub fn hourly() -> Self {
        let hourly = croner::Cron::from_str("0 * * * *");
        // Five plain fields always parse.
        #[allow(clippy::expect_used)]
        Self(hourly.expect("a valid schedule"))
    }

    /// The first due time after a moment, in a time zone; `None` after the last one.
    pub fn next(&self, after: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let after = after.to_zoned(zone.clone());
        self.0.find_next_occurrence(&after, false).ok().map(|due| due.timestamp())
    }

    /// The last due time before a moment, in a time zone; `None` before the first one.
    pub fn last(&self, before: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let before = before.to_zoned(zone.clone());
        self.0.find_previous_occurrence(&before, false).ok().map(|due| due.timestamp())
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        Self::new(&String::deserialize(source)?).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

/// A field of days of the week with their names, `MON-FRI` for `1-5`; numbers after `#` and `/` are not days.
fn named(weekday: &str) -> String {
    const NAMES: [&str; 8] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];
    let mut before = None;
    let name = |c: char| {
        let counts = matches!(before.replace(c), Some('#' | '/'));
        let name = c.to_digit(10).filter(|_| !counts).and_then(|day| NAMES.get(day as usize));
        name.map_or_else(|| c.to_string(), |name| (*name).to_owned())
    };
    weekday.chars().map(name).collect()
}

/// `validate_schedule`; `None` is `never`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidateSchedule(pub Option<Cron>);

impl Default for ValidateSchedule {
    fn default() -> Self {
        // Before the day's first runs, and after nightly deployments.
        Self(Cron::new("0 5 * * *").ok())
    }
}

impl<'de> Deserialize<'de> for ValidateSchedule {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        match quoted(source, "a schedule in quotes, such as \"0 5 * * *\", or \"never\"")?.as_str() {
            "never" => Ok(Self(None)),
            text => {
                Cron::new(text).map(|cron| Self(Some(cron))).map_err(|error| D::Error::custom(format!("{error:#}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_gap_is_found_also_across_the_hour() {
        for (cron, minutes) in [
            ("* * * * *", 1),
            ("*/5 * * * *", 5),
            ("0,4 6 * * *", 4),
            ("58,1 * * * *", 3),
            ("58,1 6,8 * * *", 57),
            ("58,1 0,23 * * *", 3),
            ("30 6 * * *", 60),
            ("7-59/13 * * * *", 8),
        ] {
            assert_eq!(Cron::new(cron).expect("valid").shortest_gap(), Duration::from_secs(60 * minutes), "{cron}");
        }
    }

    /// The words agree with the due times: 6 February 2026 is a Friday.
    #[test]
    fn days_of_both_kinds_are_explained() {
        let due = |cron: &str| {
            let cron = Cron::new(cron).expect("valid");
            let after = "2026-02-05T12:00:00Z".parse().expect("a time");
            let next = cron.next(after, &TimeZone::UTC).expect("due").to_string();
            (next.get(..10).map(str::to_owned).unwrap_or_default(), cron.days().unwrap_or_default())
        };
        for (cron, date, says) in [
            ("0 6 * * MON", "2026-02-09", ""),
            ("0 6 */2 * *", "2026-02-07", ""),
            ("0 6 ? * MON", "2026-02-09", ""),
            (
                "0 6 */2 * MON",
                "2026-02-07",
                "on each day that matches day of month */2, and on each that matches day of week MON",
            ),
            (
                "0 6 10 * FRI",
                "2026-02-06",
                "on each day that matches day of month 10, and on each that matches day of week FRI",
            ),
            ("0 6 13 * +FRI", "2026-02-13", "only on days that match both day of month 13 and day of week FRI"),
            (
                "0 6 1 * 1-3,SAT",
                "2026-02-07",
                "on each day that matches day of month 1, and on each that matches day of week MON-WED,SAT",
            ),
        ] {
            let (next, days) = due(cron);
            assert_eq!(next, date, "{cron}");
            assert!(days.starts_with(says) && days.is_empty() == says.is_empty(), "{cron}: {days}");
        }
    }

    /// Due times are times of day in their zone, also when its clocks change.
    #[test]
    fn the_next_due_time_follows_the_zones_clock() {
        let cases = [
            ("30 6 * * *", "America/New_York", "2026-02-05T11:29:59Z", "2026-02-05T11:30:00Z"),
            ("30 6 * * *", "America/New_York", "2026-02-05T11:30:00Z", "2026-02-06T11:30:00Z"),
            ("30 6 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T10:30:00Z"),
            ("30 6 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T11:30:00Z"),
            ("*/30 * * * *", "America/New_York", "2026-03-08T06:45:00Z", "2026-03-08T07:00:00Z"),
            ("*/30 * * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z"),
            ("0 */2 * * *", "UTC", "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ];
        for (cron, zone, after, due) in cases {
            let next = Cron::new(cron)
                .expect("valid")
                .next(after.parse().expect("a time"), &Zone::new(zone).expect("a zone").rules());
            assert_eq!(next.map(|next| next.to_string()).as_deref(), Some(due), "{cron} in {zone} after {after}");
        }
    }
}
