//! Converts BigQuery's values for a guest. docs/warehouses.md, "Types", has the table for both engines.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

use super::protocol::{Cell, Field, Wrapped};
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

/// The column of a field.
pub(super) fn column(field: &Field) -> Column {
    Column { name: field.name.clone(), kind: kind(field).into_owned() }
}

/// The GoogleSQL name of a type; the API has older names for some.
fn kind(field: &Field) -> Cow<'_, str> {
    if field.mode == "REPEATED" {
        let element = Field { mode: String::new(), ..field.clone() };
        return format!("ARRAY<{}>", kind(&element)).into();
    }
    match field.kind.as_str() {
        "INTEGER" => "INT64".into(),
        "FLOAT" => "FLOAT64".into(),
        "BOOLEAN" => "BOOL".into(),
        "RECORD" | "STRUCT" => {
            let fields: Vec<_> = field.fields.iter().map(|field| format!("{} {}", field.name, kind(field))).collect();
            format!("STRUCT<{}>", fields.join(", ")).into()
        }
        other => other.into(),
    }
}

/// Converts a value for a guest; a value that does not fit its column's type is an error.
pub(super) fn value(field: &Field, cell: &Cell<'_>) -> Result<Value, Error> {
    let text = match cell {
        Cell::Null => return Ok(Value::Null),
        Cell::List(_) | Cell::Struct(_) => return Ok(Value::Text(json(field, cell)?.to_string())),
        Cell::Text(text) => text.as_ref(),
    };
    let wrong = || wrong(field, text);
    Ok(match field.kind.as_str() {
        "INTEGER" | "INT64" => Value::Integer(text.parse().map_err(|_| wrong())?),
        "FLOAT" | "FLOAT64" | "NUMERIC" | "BIGNUMERIC" => Value::Float(text.parse().map_err(|_| wrong())?),
        "BOOLEAN" | "BOOL" => Value::Boolean(text.parse().map_err(|_| wrong())?),
        "DATE" => Value::Date(text.to_owned()),
        "TIMESTAMP" => Value::Timestamp(seconds(text).ok_or_else(wrong)?),
        "BYTES" => Value::Text(hex(&STANDARD.decode(text).map_err(|_| wrong())?)),
        "DATETIME" | "TIME" => Value::Text(clock(text)),
        _ => Value::Text(text.to_owned()),
    })
}

/// Microseconds since 1970, as requested; a server without that option sends seconds with a fraction.
fn seconds(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(micros) => Some(micros.div_euclid(1_000_000)),
        Err(_) => text.parse::<f64>().ok().filter(|seconds| seconds.is_finite()).map(|seconds| seconds.floor() as i64),
    }
}

/// Arrays and structs, as TO_JSON_STRING writes them.
fn json(field: &Field, cell: &Cell<'_>) -> Result<Json, Error> {
    let text = match cell {
        Cell::Null => return Ok(Json::Null),
        Cell::List(values) => {
            let element = Field { mode: String::new(), ..field.clone() };
            return values.iter().map(|Wrapped { v }| json(&element, v)).collect();
        }
        Cell::Struct(values) => {
            let named = field.fields.iter().zip(values);
            let named = named.map(|(field, Wrapped { v })| Ok((field.name.clone(), json(field, v)?)));
            return named.collect::<Result<serde_json::Map<_, _>, Error>>().map(Json::Object);
        }
        Cell::Text(text) => text,
    };
    Ok(match value(field, &Cell::Text(Cow::Borrowed(text)))? {
        Value::Boolean(truth) => truth.into(),
        Value::Integer(number) if number.unsigned_abs() <= EXACT => number.into(),
        Value::Float(number) if number.is_finite() => number.into(),
        Value::Text(text) if field.kind == "JSON" => serde_json::from_str(&text).unwrap_or(Json::String(text)),
        Value::Text(text) | Value::Date(text) => text.into(),
        // BigQuery's own text, with all digits.
        Value::Timestamp(seconds) => match jiff::Timestamp::from_second(seconds) {
            Ok(moment) => moment.to_string().into(),
            Err(_) => return Err(wrong(field, text)),
        },
        Value::Integer(_) | Value::Float(_) | Value::Null => text.as_ref().into(),
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
