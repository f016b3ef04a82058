//! Converts BigQuery's values for a guest. docs/warehouses.md, "Types", has the table for both engines.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use gcp_bigquery_client::model::{field_type::FieldType, table_field_schema::TableFieldSchema as Field};
use serde_json::Value as Json;

use crate::{
    contract::{
        Error, Value,
        warehouse::{Column, Rows, Table},
    },
    googlesql::clock,
    text::hex::hex,
};

/// The largest whole number that every JSON reader keeps exact; TO_JSON_STRING writes larger ones as text.
const EXACT: u64 = 1 << 53;

/// The last second of the year 9999, with which BigQuery's timestamps end.
const LATEST: i64 = 253_402_300_799;

/// The column of a field.
pub(super) fn column(field: &Field) -> Column {
    Column { name: field.name.clone(), kind: kind(field).into_owned() }
}

/// The GoogleSQL name of a type; the API has older names for some.
fn kind(field: &Field) -> Cow<'static, str> {
    if field.mode.as_deref() == Some("REPEATED") {
        return format!("ARRAY<{}>", kind(&element(field))).into();
    }
    match field.r#type {
        FieldType::String => "STRING",
        FieldType::Bytes => "BYTES",
        FieldType::Integer | FieldType::Int64 => "INT64",
        FieldType::Float | FieldType::Float64 => "FLOAT64",
        FieldType::Numeric => "NUMERIC",
        FieldType::Bignumeric => "BIGNUMERIC",
        FieldType::Boolean | FieldType::Bool => "BOOL",
        FieldType::Timestamp => "TIMESTAMP",
        FieldType::Date => "DATE",
        FieldType::Time => "TIME",
        FieldType::Datetime => "DATETIME",
        FieldType::Geography => "GEOGRAPHY",
        FieldType::Json => "JSON",
        FieldType::Interval => "INTERVAL",
        FieldType::Record | FieldType::Struct => {
            let fields = field.fields.iter().flatten().map(|field| format!("{} {}", field.name, kind(field)));
            return format!("STRUCT<{}>", fields.collect::<Vec<_>>().join(", ")).into();
        }
    }
    .into()
}

/// One element of an array.
fn element(field: &Field) -> Field {
    Field { mode: None, ..field.clone() }
}

/// Converts a value for a guest; a value that does not fit its column's type is an error.
pub(super) fn value(field: &Field, cell: Option<&Json>) -> Result<Value, Error> {
    let text = match cell {
        None | Some(Json::Null) => return Ok(Value::Null),
        Some(Json::String(text)) => text.as_str(),
        Some(other) => return Ok(Value::Text(json(field, other)?.to_string())),
    };
    let wrong = || wrong(field, text);
    Ok(match field.r#type {
        FieldType::Integer | FieldType::Int64 => Value::Integer(text.parse().map_err(|_| wrong())?),
        FieldType::Float | FieldType::Float64 | FieldType::Numeric | FieldType::Bignumeric => {
            Value::Float(text.parse().map_err(|_| wrong())?)
        }
        FieldType::Boolean | FieldType::Bool => Value::Boolean(text.parse().map_err(|_| wrong())?),
        FieldType::Date => Value::Date(text.to_owned()),
        FieldType::Timestamp => Value::Timestamp(seconds(text).ok_or_else(wrong)?),
        FieldType::Bytes => Value::Text(hex(&STANDARD.decode(text).map_err(|_| wrong())?)),
        FieldType::Datetime | FieldType::Time => Value::Text(clock(text)),
        _ => Value::Text(text.to_owned()),
    })
}

/// Seconds since 1970. BigQuery writes seconds with a fraction, or microseconds where it is told to; an emulator writes
/// whole microseconds always. Within 272 years of 1970 a number of 64 bits holds every microsecond, so that the whole
/// second is exact; after that, a time within 30 microseconds of the next second may be taken for it.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(micros) = text.parse::<i64>() {
        return Some(micros.div_euclid(1_000_000));
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?.floor() as i64;
    // The last microsecond of the year 9999, which stands for "never", is written as the year 10000.
    Some(if seconds == LATEST + 1 { LATEST } else { seconds })
}

/// Arrays and structs, as TO_JSON_STRING writes them.
fn json(field: &Field, cell: &Json) -> Result<Json, Error> {
    let inner = |cell: &Json, field: &Field| match cell.get("v") {
        Some(value) => json(field, value),
        None => Err(wrong(field, &cell.to_string())),
    };
    let text = match cell {
        Json::String(text) => text,
        Json::Null => return Ok(Json::Null),
        Json::Array(values) => {
            let element = element(field);
            return values.iter().map(|value| inner(value, &element)).collect();
        }
        other => {
            let values = other.get("f").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
            let named = field.fields.iter().flatten().zip(values);
            let named = named.map(|(field, value)| Ok((field.name.clone(), inner(value, field)?)));
            return named.collect::<Result<serde_json::Map<_, _>, Error>>().map(Json::Object);
        }
    };
    Ok(match value(field, Some(cell))? {
        Value::Boolean(truth) => truth.into(),
        Value::Integer(number) if number.unsigned_abs() <= EXACT => number.into(),
        Value::Float(number) if number.is_finite() => number.into(),
        Value::Text(text) if matches!(field.r#type, FieldType::Json) => {
            serde_json::from_str(&text).unwrap_or(Json::String(text))
        }
        Value::Text(text) | Value::Date(text) => text.into(),
        Value::Timestamp(seconds) => match jiff::Timestamp::from_second(seconds) {
            Ok(moment) => moment.to_string().into(),
            Err(_) => return Err(wrong(field, text)),
        },
        // BigQuery's own text, with all digits.
        Value::Integer(_) | Value::Float(_) | Value::Null => text.as_str().into(),
    })
}

/// The tables of a dataset, from the rows of `__TABLES__`.
pub(super) fn tables(rows: Rows) -> Result<Vec<Table>, Error> {
    let unsigned = |value: &Value| match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    let tables = rows.values.into_iter().map(|row| match row.as_slice() {
        [Value::Text(name), rows, bytes, modified] => Ok(Table {
            name: name.clone(),
            rows: unsigned(rows),
            bytes: unsigned(bytes),
            modified: match modified {
                Value::Integer(millis) => Some(millis.div_euclid(1000)),
                _ => None,
            },
        }),
        _ => Err(Error::Unavailable("tables failed: BigQuery: __TABLES__ does not have the usual columns".to_owned())),
    });
    tables.collect()
}

fn wrong(field: &Field, text: &str) -> Error {
    let (kind, shown) = (kind(field), text.chars().take(40).collect::<String>());
    Error::Unavailable(format!(
        "query failed: BigQuery: column {} is {kind} but holds {shown:?}, which is not a valid {kind}",
        field.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As BigQuery writes them without `useInt64Timestamp`: the shortest digits of a number of 64 bits, or 16 digits.
    #[test]
    fn a_time_written_with_a_fraction_is_exact_to_the_microsecond() {
        fastrand::seed(7);
        // 272 years: beyond, two microseconds can share a number.
        let far = 1_i64 << 33;
        for _ in 0..200_000 {
            let micros = fastrand::i64(-far * 1_000_000..far * 1_000_000);
            for text in [format!("{:E}", micros as f64 / 1e6), format!("{:.15E}", micros as f64 / 1e6)] {
                let read: f64 = text.parse().unwrap_or_default();
                let whole = read.floor();
                assert_eq!(whole as i64 * 1_000_000 + ((read - whole) * 1e6).round() as i64, micros, "{text}");
                assert_eq!(seconds(&text), Some(micros.div_euclid(1_000_000)), "{text}");
            }
        }
        for (text, expected) in [
            ("1.770273000900000E9", Some(1_770_273_000)),
            ("-0.5", Some(-1)),
            ("0.0", Some(0)),
            // 9999-12-31 23:59:59.999999
            ("2.534023008E11", Some(LATEST)),
            ("2.53402300799E11", Some(LATEST)),
            ("1770273000900000", Some(1_770_273_000)),
            ("NaN", None),
            ("soon", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
