//! Dates and timestamps as GoogleSQL defines them. A date is ISO text, a timestamp microseconds since 1970.
//! <https://cloud.google.com/bigquery/docs/reference/standard-sql/date_functions>

use jiff::{
    Span, Timestamp, ToSpan, Zoned,
    civil::{Date, DateTime, Weekday},
    tz::TimeZone,
};

/// The longest text of a timestamp, with its time zone.
const MOMENT_BYTES: usize = 100;

/// The error message.
pub(super) type Answer<T> = Result<T, String>;

/// A TIME or DATETIME as CAST(… AS STRING) has it: a space before the time, no zeros at the end of a fraction.
/// What is neither stays as it is, since an error shows it.
pub fn clock(text: &str) -> String {
    let text = match text.split_at_checked(10) {
        Some((date, time)) if time.starts_with('T') => format!("{date} {}", time.trim_start_matches('T')),
        _ => text.to_owned(),
    };
    match text.rfind('.') > text.rfind(':') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A part of a date or moment, as queries name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week(Weekday),
    Month,
    Quarter,
    Year,
    IsoYear,
    DayOfWeek,
    DayOfYear,
    Date,
}

impl Part {
    /// `DAY`, `WEEK(MONDAY)`, …
    pub(super) fn new(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        Some(match name.as_str() {
            "MICROSECOND" => Self::Microsecond,
            "MILLISECOND" => Self::Millisecond,
            "SECOND" => Self::Second,
            "MINUTE" => Self::Minute,
            "HOUR" => Self::Hour,
            "DAY" => Self::Day,
            "WEEK" | "WEEK(SUNDAY)" => Self::Week(Weekday::Sunday),
            "ISOWEEK" | "WEEK(MONDAY)" => Self::Week(Weekday::Monday),
            "WEEK(TUESDAY)" => Self::Week(Weekday::Tuesday),
            "WEEK(WEDNESDAY)" => Self::Week(Weekday::Wednesday),
            "WEEK(THURSDAY)" => Self::Week(Weekday::Thursday),
            "WEEK(FRIDAY)" => Self::Week(Weekday::Friday),
            "WEEK(SATURDAY)" => Self::Week(Weekday::Saturday),
            "MONTH" => Self::Month,
            "QUARTER" => Self::Quarter,
            "YEAR" => Self::Year,
            "ISOYEAR" => Self::IsoYear,
            "DAYOFWEEK" => Self::DayOfWeek,
            "DAYOFYEAR" => Self::DayOfYear,
            "DATE" => Self::Date,
            _ => return None,
        })
    }

    /// Its length in microseconds, if that is constant.
    fn micros(self) -> Option<i64> {
        Some(match self {
            Self::Microsecond => 1,
            Self::Millisecond => 1_000,
            Self::Second => 1_000_000,
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
            _ => return None,
        })
    }
}

/// `2026-02-05`, with all its digits; `None` for a day that does not exist.
pub fn date(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok())?
}

/// A timestamp from text: a date, optionally a time and a zone (`Z`, `UTC`, `+02:00`, `America/New_York`); the default
/// zone is UTC.
pub(super) fn moment(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    if text.len() > MOMENT_BYTES {
        return None;
    }
    if let Some(day) = date(text) {
        return Some(zone.to_zoned(day.at(0, 0, 0, 0)).ok()?.timestamp().as_microsecond());
    }
    let (clock, named) = match text.rsplit_once(' ') {
        Some((clock, name)) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (clock, TimeZone::get(name).ok()?)
        }
        _ => (text.strip_suffix(['Z', 'z']).unwrap_or(text), zone.clone()),
    };
    let named = if text.ends_with(['Z', 'z']) { TimeZone::UTC } else { named };
    let after_date = clock.get(10..)?;
    if let Some(at) = after_date.find(['+', '-']) {
        let (clock, offset) = clock.split_at_checked(10 + at)?;
        let offset = match offset.len() {
            3 => format!("{offset}:00"),
            _ => offset.to_owned(),
        };
        return format!("{}{offset}", clock.replacen(' ', "T", 1))
            .parse::<Timestamp>()
            .ok()
            .map(|moment| moment.as_microsecond());
    }
    let civil: DateTime = clock.replacen(' ', "T", 1).parse().ok()?;
    Some(named.to_zoned(civil).ok()?.timestamp().as_microsecond())
}

/// A DATETIME from text: a date, optionally a time, but no zone.
pub(super) fn civil(text: &str) -> Option<DateTime> {
    let text = text.trim();
    if text.len() > MOMENT_BYTES {
        return None;
    }
    if let Some(day) = date(text) {
        return Some(day.at(0, 0, 0, 0));
    }
    // jiff would ignore an offset.
    let local = text.get(11..)?.chars().all(|c| c.is_ascii_digit() || c == ':' || c == '.');
    local.then(|| text.parse().ok())?
}

/// `2026-02-05 06:30:00`, with as many decimals as are not zero: as text, the later one is greater.
pub(super) fn civil_text(at: DateTime) -> String {
    clock(&format!("{}.{:06}", at.strftime("%Y-%m-%d %H:%M:%S"), at.subsec_nanosecond() / 1000))
}

/// A DATETIME as if its time zone were UTC, in microseconds since 1970.
pub(super) fn civil_micros(at: DateTime) -> Answer<i64> {
    Ok(at.to_zoned(TimeZone::UTC).map_err(|_| out_of_range())?.timestamp().as_microsecond())
}

/// `2026-02-05 06:30:00+00`, with as many decimals as are not zero.
pub(super) fn moment_text(micros: i64) -> Answer<String> {
    let moment = zoned(micros, &TimeZone::UTC)?;
    let fraction = moment.timestamp().as_microsecond().rem_euclid(1_000_000);
    let decimals =
        if fraction == 0 { String::new() } else { format!(".{fraction:06}").trim_end_matches('0').to_owned() };
    Ok(format!("{}{decimals}+00", moment.strftime("%Y-%m-%d %H:%M:%S")))
}

/// A moment in a zone.
pub(super) fn zoned(micros: i64, zone: &TimeZone) -> Answer<Zoned> {
    Ok(Timestamp::from_microsecond(micros).map_err(|_| out_of_range())?.to_zoned(zone.clone()))
}

/// DATE_ADD; the last day of a month stays within the month.
pub(super) fn add(day: Date, count: i64, part: Part) -> Answer<Date> {
    let span = match part {
        Part::Day => Span::new().try_days(count),
        Part::Week(Weekday::Sunday) => Span::new().try_weeks(count),
        Part::Month => Span::new().try_months(count),
        Part::Quarter => Span::new().try_months(count.checked_mul(3).ok_or_else(out_of_range)?),
        Part::Year => Span::new().try_years(count),
        other => return Err(format!("DATE_ADD and DATE_SUB do not support {other:?}")),
    };
    day.checked_add(span.map_err(|_| out_of_range())?).map_err(|_| out_of_range())
}

/// DATE_DIFF: how many boundaries of the part lie between.
pub(super) fn difference(one: Date, other: Date, part: Part) -> Answer<i64> {
    let months = |day: Date| i64::from(day.year()) * 12 + i64::from(day.month()) - 1;
    let days =
        |one: Date, other: Date| other.until(one).map(|span| i64::from(span.get_days())).map_err(|_| out_of_range());
    Ok(match part {
        Part::Day => days(one, other)?,
        Part::Week(_) => days(truncate(one, part)?, truncate(other, part)?)? / 7,
        Part::Month => months(one) - months(other),
        Part::Quarter => months(one).div_euclid(3) - months(other).div_euclid(3),
        Part::Year => i64::from(one.year()) - i64::from(other.year()),
        Part::IsoYear => i64::from(one.iso_week_date().year()) - i64::from(other.iso_week_date().year()),
        other => return Err(format!("DATE_DIFF does not support {other:?}")),
    })
}

/// DATE_TRUNC: the first day of the part.
pub(super) fn truncate(day: Date, part: Part) -> Answer<Date> {
    Ok(match part {
        Part::Day => day,
        Part::Week(first) => {
            let back = i64::from(first.until(day.weekday()));
            day.checked_sub(back.days()).map_err(|_| out_of_range())?
        }
        Part::Month => day.first_of_month(),
        Part::Quarter => {
            let month = (day.month() - 1) / 3 * 3 + 1;
            Date::new(day.year(), month, 1).map_err(|_| out_of_range())?
        }
        Part::Year => day.first_of_year(),
        Part::IsoYear => jiff::civil::ISOWeekDate::new(day.iso_week_date().year(), 1, Weekday::Monday)
            .map_err(|_| out_of_range())?
            .date(),
        other => return Err(format!("a DATE cannot be truncated to {other:?}")),
    })
}

/// LAST_DAY.
pub(super) fn last_day(day: Date, part: Part) -> Answer<Date> {
    let first = truncate(day, part)?;
    let next = match part {
        Part::Week(_) => add(first, 7, Part::Day),
        Part::Month | Part::Quarter | Part::Year => add(first, 1, part),
        other => return Err(format!("LAST_DAY does not support {other:?}")),
    }?;
    next.yesterday().map_err(|_| out_of_range())
}

/// EXTRACT from a date.
pub(super) fn extract(day: Date, part: Part) -> Answer<i64> {
    Ok(match part {
        Part::Day => day.day().into(),
        Part::DayOfWeek => i64::from(day.weekday().to_sunday_one_offset()),
        Part::DayOfYear => day.day_of_year().into(),
        Part::Week(Weekday::Monday) => day.iso_week_date().week().into(),
        // Days before the year's first such weekday are in week 0.
        Part::Week(first) => {
            let weekday = i64::from(first.until(day.weekday()));
            (i64::from(day.day_of_year()) - 1 + 7 - weekday) / 7
        }
        Part::Month => day.month().into(),
        Part::Quarter => i64::from((day.month() - 1) / 3 + 1),
        Part::Year => day.year().into(),
        Part::IsoYear => day.iso_week_date().year().into(),
        other => return Err(format!("{other:?} cannot be extracted from a DATE")),
    })
}

/// EXTRACT from a moment, in a zone.
pub(super) fn extract_moment(micros: i64, part: Part, zone: &TimeZone) -> Answer<i64> {
    let moment = zoned(micros, zone)?;
    Ok(match part {
        Part::Hour => moment.hour().into(),
        Part::Minute => moment.minute().into(),
        Part::Second => moment.second().into(),
        Part::Millisecond => i64::from(moment.subsec_nanosecond() / 1_000_000),
        Part::Microsecond => i64::from(moment.subsec_nanosecond() / 1_000),
        part => extract(moment.date(), part)?,
    })
}

/// TIMESTAMP_ADD: a day has 24 hours.
pub(super) fn add_to_moment(micros: i64, count: i64, part: Part) -> Answer<i64> {
    let unit = part.micros().ok_or_else(|| format!("TIMESTAMP_ADD and TIMESTAMP_SUB do not support {part:?}"))?;
    let sum = count.checked_mul(unit).and_then(|added| micros.checked_add(added)).ok_or_else(out_of_range)?;
    zoned(sum, &TimeZone::UTC).map(|_| sum)
}

/// TIMESTAMP_DIFF: how many whole parts lie between.
pub(super) fn moments_difference(one: i64, other: i64, part: Part) -> Answer<i64> {
    let unit = part.micros().ok_or_else(|| format!("TIMESTAMP_DIFF does not support {part:?}"))?;
    Ok(one.checked_sub(other).ok_or_else(out_of_range)? / unit)
}

/// TIMESTAMP_TRUNC, in a zone.
pub(super) fn truncate_moment(micros: i64, part: Part, zone: &TimeZone) -> Answer<i64> {
    match part {
        Part::Microsecond | Part::Millisecond | Part::Second | Part::Minute | Part::Hour => {
            // Offsets of whole hours and minutes leave shorter parts where they are; other offsets shift them.
            let moment = zoned(micros, zone)?;
            let offset = i64::from(moment.offset().seconds()) * 1_000_000;
            let unit = part.micros().unwrap_or(1);
            Ok((micros + offset).div_euclid(unit) * unit - offset)
        }
        part => {
            let day = truncate(zoned(micros, zone)?.date(), part)?;
            let start = day.to_zoned(zone.clone()).map_err(|_| out_of_range())?;
            Ok(start.timestamp().as_microsecond())
        }
    }
}

fn out_of_range() -> String {
    "the date is out of range".to_owned()
}
