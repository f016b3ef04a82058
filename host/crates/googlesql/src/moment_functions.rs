//! Date and timestamp functions, and casts. Their arguments are short, so each call is quick.

use jiff::{civil::Date, fmt::strtime, tz::TimeZone};
use rusqlite::types::{Value, ValueRef};

use super::{call::Calls, casts::cast, dates};

/// Registers all of them.
pub(super) fn register(calls: &Calls<'_>) -> rusqlite::Result<()> {
    calls.plain("g_timestamp", -1, |a| match a.raw(0) {
        ValueRef::Integer(seconds) => {
            seconds.checked_mul(1_000_000).map(Value::Integer).ok_or_else(|| format!("{seconds} is not a TIMESTAMP"))
        }
        _ => {
            let zone = a.zone(1)?;
            let moment = dates::moment(&a.text(0)?, &zone).map(Value::Integer);
            moment.ok_or_else(|| format!("Invalid timestamp: {}; it must be like 2026-02-05 06:30:00", a.shown(0)))
        }
    })?;
    calls.plain("g_date_of", 2, |a| Ok(Value::Text(dates::zoned(a.integer(0)?, &a.zone(1)?)?.date().to_string())))?;
    calls.plain("g_date_from", 3, |a| {
        let part = |at| a.integer(at).map(|number| i16::try_from(number).unwrap_or(0));
        let narrow = |number: i16| i8::try_from(number).unwrap_or(0);
        let date = Date::new(part(0)?, narrow(part(1)?), narrow(part(2)?));
        date.map(|date| Value::Text(date.to_string())).map_err(|error| format!("Invalid date: {error}"))
    })?;
    calls
        .plain("g_date_add", 3, |a| Ok(Value::Text(dates::add(a.date(0)?, a.integer(1)?, a.part(2)?)?.to_string())))?;
    calls.plain("g_date_diff", 3, |a| dates::difference(a.date(0)?, a.date(1)?, a.part(2)?).map(Value::Integer))?;
    calls.plain("g_date_trunc", 2, |a| Ok(Value::Text(dates::truncate(a.date(0)?, a.part(1)?)?.to_string())))?;
    calls.plain("g_last_day", 2, |a| Ok(Value::Text(dates::last_day(a.date(0)?, a.part(1)?)?.to_string())))?;
    calls.plain("g_extract_date", 2, |a| dates::extract(a.date(0)?, a.part(1)?).map(Value::Integer))?;
    calls.plain("g_extract_datetime", 2, |a| {
        dates::extract_moment(dates::civil_micros(a.civil(0)?)?, a.part(1)?, &TimeZone::UTC).map(Value::Integer)
    })?;
    calls.plain("g_datetime_trunc", 2, |a| {
        let micros = dates::truncate_moment(dates::civil_micros(a.civil(0)?)?, a.part(1)?, &TimeZone::UTC)?;
        Ok(Value::Text(dates::civil_text(dates::zoned(micros, &TimeZone::UTC)?.datetime())))
    })?;
    calls.plain("g_extract_timestamp", 3, |a| {
        dates::extract_moment(a.integer(0)?, a.part(1)?, &a.zone(2)?).map(Value::Integer)
    })?;
    calls.plain("g_timestamp_add", 3, |a| {
        dates::add_to_moment(a.integer(0)?, a.integer(1)?, a.part(2)?).map(Value::Integer)
    })?;
    calls.plain("g_timestamp_diff", 3, |a| {
        dates::moments_difference(a.integer(0)?, a.integer(1)?, a.part(2)?).map(Value::Integer)
    })?;
    calls.plain("g_timestamp_trunc", 3, |a| {
        dates::truncate_moment(a.integer(0)?, a.part(1)?, &a.zone(2)?).map(Value::Integer)
    })?;
    calls.plain("g_format_date", 2, |a| {
        strtime::format(&*a.short(0)?, a.date(1)?).map(Value::Text).map_err(|error| format!("FORMAT_DATE: {error}"))
    })?;
    calls.plain("g_format_timestamp", 3, |a| {
        let moment = dates::zoned(a.integer(1)?, &a.zone(2)?)?;
        strtime::format(&*a.short(0)?, &moment).map(Value::Text).map_err(|error| format!("FORMAT_TIMESTAMP: {error}"))
    })?;
    calls.plain("g_parse_date", 2, |a| {
        Date::strptime(&*a.short(0)?, &*a.short(1)?)
            .map(|date| Value::Text(date.to_string()))
            .map_err(|error| format!("PARSE_DATE of {}: {error}", a.shown(1)))
    })?;
    calls.plain("g_cast", 3, |a| {
        let (from, to) = (a.short(1)?, a.short(2)?);
        cast(&a.value(0)?, &from, &to).ok_or_else(|| format!("Bad {to} value: {}", a.shown(0)))
    })?;
    calls.plain("g_safe_cast", 3, |a| {
        let (from, to) = (a.short(1)?, a.short(2)?);
        Ok(cast(&a.value(0)?, &from, &to).unwrap_or(Value::Null))
    })
}
