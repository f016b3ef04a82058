//! GoogleSQL's functions as functions of the embedded engine, each under a name that begins with `g_`.
//! NULL in, NULL out, as GoogleSQL has it for all of these.

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use rusqlite::{
    Connection,
    functions::{Context, FunctionFlags},
    types::{Value, ValueRef},
};

use super::dates::{self, Answer, Part};

/// Registers all of them.
pub(super) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let scalar = |name: &str, count: i32, function: fn(&Arguments<'_, '_>) -> Answer<Value>| {
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        connection.create_scalar_function(name, count, flags, move |context| {
            let arguments = Arguments(context);
            if (0..context.len()).any(|at| context.get_raw(at) == ValueRef::Null) {
                return Ok(Value::Null);
            }
            function(&arguments).map_err(|message| rusqlite::Error::UserFunctionError(message.into()))
        })
    };

    scalar("g_add", 2, |a| overflowing(a, "+", i64::checked_add))?;
    scalar("g_subtract", 2, |a| overflowing(a, "-", i64::checked_sub))?;
    scalar("g_multiply", 2, |a| overflowing(a, "*", i64::checked_mul))?;
    scalar("g_divide", 2, |a| match a.float(1)? {
        0.0 => Err(format!("division by zero: {} / 0", a.float(0)?)),
        divisor => Ok(Value::Real(a.float(0)? / divisor)),
    })?;
    scalar("g_div", 2, |a| match a.integer(1)? {
        0 => Err(format!("division by zero: DIV({}, 0)", a.integer(0)?)),
        _ => overflowing(a, "DIV", i64::checked_div),
    })?;
    scalar("g_mod", 2, |a| match a.integer(1)? {
        0 => Err(format!("division by zero: MOD({}, 0)", a.integer(0)?)),
        _ => overflowing(a, "MOD", i64::checked_rem),
    })?;
    scalar("g_round", 2, |a| {
        let scale = 10f64.powi(i32::try_from(a.integer(1)?).unwrap_or(0));
        let scaled = a.float(0)? * scale;
        Ok(Value::Real(if scaled.is_finite() { scaled.round() / scale } else { a.float(0)? }))
    })?;
    scalar("g_trunc", 1, |a| Ok(Value::Real(a.float(0)?.trunc())))?;
    scalar("g_floor", 1, |a| Ok(Value::Real(a.float(0)?.floor())))?;
    scalar("g_ceil", 1, |a| Ok(Value::Real(a.float(0)?.ceil())))?;
    scalar("g_sqrt", 1, |a| match a.float(0)? {
        negative if negative < 0.0 => Err(format!("SQRT of the negative number {negative}")),
        number => Ok(Value::Real(number.sqrt())),
    })?;
    scalar("g_pow", 2, |a| Ok(Value::Real(a.float(0)?.powf(a.float(1)?))))?;
    scalar("g_exp", 1, |a| Ok(Value::Real(a.float(0)?.exp())))?;
    scalar("g_ln", 1, |a| match a.float(0)? {
        number if number > 0.0 => Ok(Value::Real(number.ln())),
        number => Err(format!("LN of {number}, which is not positive")),
    })?;

    scalar("g_concat", -1, |a| {
        let parts: Answer<Vec<String>> = (0..a.0.len()).map(|at| a.text(at)).collect();
        Ok(Value::Text(parts?.concat()))
    })?;
    scalar("g_lower", 1, |a| Ok(Value::Text(a.text(0)?.to_lowercase())))?;
    scalar("g_upper", 1, |a| Ok(Value::Text(a.text(0)?.to_uppercase())))?;
    scalar("g_starts_with", 2, |a| Ok(truth(a.text(0)?.starts_with(&a.text(1)?))))?;
    scalar("g_ends_with", 2, |a| Ok(truth(a.text(0)?.ends_with(&a.text(1)?))))?;
    scalar("g_contains_substr", 2, |a| Ok(truth(a.text(0)?.to_lowercase().contains(&a.text(1)?.to_lowercase()))))?;
    scalar("g_substr", -1, substring)?;
    scalar("g_reverse", 1, |a| Ok(Value::Text(a.text(0)?.chars().rev().collect())))?;

    scalar("g_timestamp", -1, |a| match a.0.get_raw(0) {
        ValueRef::Integer(seconds) => {
            seconds.checked_mul(1_000_000).map(Value::Integer).ok_or_else(|| format!("{seconds} is no TIMESTAMP"))
        }
        _ => {
            let text = a.text(0)?;
            let zone = a.zone(1)?;
            dates::moment(&text, &zone).map(Value::Integer).ok_or_else(|| format!("Invalid timestamp: {text:?}"))
        }
    })?;
    scalar("g_date_of", 2, |a| Ok(Value::Text(dates::zoned(a.integer(0)?, &a.zone(1)?)?.date().to_string())))?;
    scalar("g_date_from", 3, |a| {
        let part = |at| a.integer(at).map(|number| i16::try_from(number).unwrap_or(0));
        let narrow = |number: i16| i8::try_from(number).unwrap_or(0);
        let date = jiff::civil::Date::new(part(0)?, narrow(part(1)?), narrow(part(2)?));
        date.map(|date| Value::Text(date.to_string())).map_err(|error| format!("Invalid date: {error}"))
    })?;
    scalar("g_date_add", 3, |a| Ok(Value::Text(dates::add(a.date(0)?, a.integer(1)?, a.part(2)?)?.to_string())))?;
    scalar("g_date_diff", 3, |a| dates::difference(a.date(0)?, a.date(1)?, a.part(2)?).map(Value::Integer))?;
    scalar("g_date_trunc", 2, |a| Ok(Value::Text(dates::truncate(a.date(0)?, a.part(1)?)?.to_string())))?;
    scalar("g_last_day", 2, |a| Ok(Value::Text(dates::last_day(a.date(0)?, a.part(1)?)?.to_string())))?;
    scalar("g_extract_date", 2, |a| dates::extract(a.date(0)?, a.part(1)?).map(Value::Integer))?;
    scalar("g_extract_timestamp", 3, |a| {
        dates::extract_moment(a.integer(0)?, a.part(1)?, &a.zone(2)?).map(Value::Integer)
    })?;
    scalar("g_timestamp_add", 3, |a| {
        dates::add_to_moment(a.integer(0)?, a.integer(1)?, a.part(2)?).map(Value::Integer)
    })?;
    scalar("g_timestamp_diff", 3, |a| {
        dates::moments_difference(a.integer(0)?, a.integer(1)?, a.part(2)?).map(Value::Integer)
    })?;
    scalar("g_timestamp_trunc", 3, |a| {
        dates::truncate_moment(a.integer(0)?, a.part(1)?, &a.zone(2)?).map(Value::Integer)
    })?;
    scalar("g_format_date", 2, |a| {
        strtime::format(a.text(0)?, a.date(1)?).map(Value::Text).map_err(|error| format!("FORMAT_DATE: {error}"))
    })?;
    scalar("g_format_timestamp", 3, |a| {
        let moment = dates::zoned(a.integer(1)?, &a.zone(2)?)?;
        strtime::format(a.text(0)?, &moment).map(Value::Text).map_err(|error| format!("FORMAT_TIMESTAMP: {error}"))
    })?;
    scalar("g_parse_date", 2, |a| {
        let text = a.text(1)?;
        jiff::civil::Date::strptime(a.text(0)?, &text)
            .map(|date| Value::Text(date.to_string()))
            .map_err(|error| format!("PARSE_DATE of {text:?}: {error}"))
    })?;
    scalar("g_cast", 3, |a| {
        let (from, to) = (a.text(1)?, a.text(2)?);
        cast(&a.value(0)?, &from, &to).ok_or_else(|| format!("Bad {to} value: {}", a.shown(0)))
    })?;
    scalar("g_safe_cast", 3, |a| {
        let (from, to) = (a.text(1)?, a.text(2)?);
        Ok(cast(&a.value(0)?, &from, &to).unwrap_or(Value::Null))
    })
}

/// The arguments of a call; none of them is NULL.
struct Arguments<'c, 'a>(&'c Context<'a>);

impl Arguments<'_, '_> {
    fn value(&self, at: usize) -> Answer<Value> {
        self.0.get(at).map_err(|error| error.to_string())
    }

    fn integer(&self, at: usize) -> Answer<i64> {
        match self.0.get_raw(at) {
            ValueRef::Integer(number) => Ok(number),
            _ => Err(format!("{} is no INT64", self.shown(at))),
        }
    }

    fn float(&self, at: usize) -> Answer<f64> {
        match self.0.get_raw(at) {
            ValueRef::Integer(number) => Ok(number as f64),
            ValueRef::Real(number) => Ok(number),
            _ => Err(format!("{} is no number", self.shown(at))),
        }
    }

    fn text(&self, at: usize) -> Answer<String> {
        match self.0.get_raw(at) {
            ValueRef::Text(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
            _ => Err(format!("{} is no STRING", self.shown(at))),
        }
    }

    fn date(&self, at: usize) -> Answer<jiff::civil::Date> {
        let text = self.text(at)?;
        dates::date(&text).ok_or_else(|| format!("Invalid date: {text:?}"))
    }

    fn part(&self, at: usize) -> Answer<Part> {
        let name = self.text(at)?;
        Part::new(&name).ok_or_else(|| format!("{name} is no part of a date"))
    }

    /// UTC when there is no such argument.
    fn zone(&self, at: usize) -> Answer<TimeZone> {
        if at >= self.0.len() {
            return Ok(TimeZone::UTC);
        }
        let name = self.text(at)?;
        TimeZone::get(&name).map_err(|_| format!("Invalid time zone: {name}"))
    }

    fn shown(&self, at: usize) -> String {
        match self.0.get_raw(at) {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
            ValueRef::Blob(_) => "BYTES".to_owned(),
        }
    }
}

fn overflowing(a: &Arguments<'_, '_>, sign: &str, compute: fn(i64, i64) -> Option<i64>) -> Answer<Value> {
    let (one, other) = (a.integer(0)?, a.integer(1)?);
    compute(one, other).map(Value::Integer).ok_or_else(|| format!("integer overflow: {one} {sign} {other}"))
}

fn truth(is: bool) -> Value {
    Value::Integer(is.into())
}

/// SUBSTR: counted in characters from 1; from the end when negative.
fn substring(a: &Arguments<'_, '_>) -> Answer<Value> {
    let characters: Vec<char> = a.text(0)?.chars().collect();
    let count = i64::try_from(characters.len()).unwrap_or(i64::MAX);
    let start = match a.integer(1)? {
        start if start > 0 => start - 1,
        0 => 0,
        start => (count + start).max(0),
    };
    let length = if a.0.len() > 2 { a.integer(2)? } else { count };
    if length < 0 {
        return Err("SUBSTR with a negative length".to_owned());
    }
    let (start, length) = (usize::try_from(start).unwrap_or(usize::MAX), usize::try_from(length).unwrap_or(usize::MAX));
    Ok(Value::Text(characters.into_iter().skip(start).take(length).collect()))
}

/// CAST; none when the value has no counterpart.
fn cast(value: &Value, from: &str, to: &str) -> Option<Value> {
    let text = |value: &Value| match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    };
    Some(match (to, from, value) {
        ("INT64", "BOOL" | "INT64", Value::Integer(number)) => Value::Integer(*number),
        ("INT64", "FLOAT64", Value::Integer(number)) => Value::Integer(*number),
        ("INT64", _, Value::Real(number)) => {
            // Halves are rounded away from zero.
            let rounded = number.round();
            let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded);
            Value::Integer(fits.then_some(rounded as i64)?)
        }
        ("INT64", _, Value::Text(text)) => Value::Integer(match text.trim().strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok()?,
            None => text.trim().parse().ok()?,
        }),
        ("FLOAT64", "INT64" | "FLOAT64", Value::Integer(number)) => Value::Real(*number as f64),
        ("FLOAT64", _, Value::Real(number)) => Value::Real(*number),
        ("FLOAT64", _, Value::Text(text)) => Value::Real(text.trim().parse().ok()?),
        ("BOOL", "INT64", Value::Integer(number)) => truth(*number != 0),
        ("BOOL", "BOOL", Value::Integer(number)) => truth(*number != 0),
        ("BOOL", _, Value::Text(text)) => truth(match text.to_ascii_lowercase().as_str() {
            "true" => true,
            "false" => false,
            _ => return None,
        }),
        ("STRING", "BOOL", Value::Integer(number)) => Value::Text((*number != 0).to_string()),
        ("STRING", "TIMESTAMP", Value::Integer(micros)) => Value::Text(dates::moment_text(*micros).ok()?),
        ("STRING", _, Value::Integer(number)) => Value::Text(number.to_string()),
        ("STRING", _, Value::Real(number)) => Value::Text(number.to_string()),
        ("STRING", _, Value::Text(text)) => Value::Text(text.clone()),
        ("DATE", "TIMESTAMP", Value::Integer(micros)) => {
            Value::Text(dates::zoned(*micros, &TimeZone::UTC).ok()?.date().to_string())
        }
        ("DATE", _, value) => Value::Text(dates::date(text(value)?.trim())?.to_string()),
        ("TIMESTAMP", "TIMESTAMP", Value::Integer(micros)) => Value::Integer(*micros),
        ("TIMESTAMP", _, value) => {
            let micros = dates::moment(&text(value)?, &TimeZone::UTC)?;
            Timestamp::from_microsecond(micros).ok()?;
            Value::Integer(micros)
        }
        _ => return None,
    })
}
