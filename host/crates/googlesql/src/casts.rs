//! CAST: conversion of values between types.

use jiff::{Timestamp, tz::TimeZone};
use rusqlite::types::Value;

use super::{dates, text_functions::truth};

/// CAST; `None` if the value cannot be converted.
pub(super) fn cast(value: &Value, from: &str, to: &str) -> Option<Value> {
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
        ("DATE", "DATETIME", value) => Value::Text(dates::civil(&text(value)?)?.date().to_string()),
        ("DATETIME", "TIMESTAMP", Value::Integer(micros)) => {
            Value::Text(dates::civil_text(dates::zoned(*micros, &TimeZone::UTC).ok()?.datetime()))
        }
        ("DATETIME", _, value) => Value::Text(dates::civil_text(dates::civil(&text(value)?)?)),
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
