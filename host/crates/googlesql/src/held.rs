//! What a column holds: SQLite stores any value in any column, whatever its declaration says. Text would count as 0 in a sum,
//! and be above every number in a comparison.

use rusqlite::types::{Value, ValueRef};

use super::{
    call::{Arguments, Calls},
    dates::{self, Answer},
};

/// `g_held(value, type, place)`: the value, as the type is computed with.
pub(super) fn register(calls: &Calls<'_>) -> rusqlite::Result<()> {
    calls.plain("g_held", 3, held)
}

fn held(a: &Arguments<'_, '_>) -> Answer<Value> {
    let ValueRef::Text(kind) = a.raw(1) else { return Err("g_held needs a type".to_owned()) };
    let held = match (kind, a.raw(0)) {
        (b"INT64", ValueRef::Integer(number)) => Some(number),
        (b"FLOAT64" | b"NUMERIC" | b"BIGNUMERIC", ValueRef::Integer(number)) => Some(number),
        (b"FLOAT64" | b"NUMERIC" | b"BIGNUMERIC", ValueRef::Real(number)) => return Ok(Value::Real(number)),
        (b"BOOL", ValueRef::Integer(number @ (0 | 1))) => Some(number),
        (b"TIMESTAMP", ValueRef::Integer(seconds)) => seconds.checked_mul(1_000_000),
        (b"TIMESTAMP", ValueRef::Text(_)) => dates::moment(&a.text(0)?, &jiff::tz::TimeZone::UTC),
        (b"DATETIME", ValueRef::Text(_)) => match dates::civil(&a.text(0)?) {
            Some(at) => return Ok(Value::Text(dates::civil_text(at))),
            None => None,
        },
        _ => None,
    };
    held.map(Value::Integer).ok_or_else(|| {
        let (value, kind, place) = (a.shown(0), String::from_utf8_lossy(kind), a.loose(2).unwrap_or_default());
        let form = match &*kind {
            "TIMESTAMP" => "; it must be like 2026-02-05 06:30:00 UTC",
            "DATETIME" => "; it must be like 2026-02-05 06:30:00",
            _ => "",
        };
        format!("column {place} is {kind} but holds {value}, which is not a valid {kind}{form}")
    })
}
