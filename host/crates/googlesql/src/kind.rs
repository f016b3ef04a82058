//! GoogleSQL types in the embedded engine: how a column declares and stores each, and how its values are converted for
//! a guest.

use host_contract::{Error, Value};
use rusqlite::types::ValueRef;

use super::dates;

/// The type of an expression.
///
/// | GoogleSQL | in a file | while it is computed with |
/// |---|---|---|
/// | INT64, BOOL | integer | the same |
/// | FLOAT64, NUMERIC, BIGNUMERIC | real or integer | the same, as floats |
/// | STRING, TIME, DATETIME | text; a STRING is declared TEXT, since SQLite turns number-like text in any other column into a number | the same |
/// | BYTES | blob | the same |
/// | DATE | text, `2026-02-05` | the same |
/// | TIMESTAMP | text with a zone, `2026-02-05 06:30:00 UTC`, or whole seconds since 1970 | microseconds since 1970 |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// INT64.
    Int64,
    /// FLOAT64.
    Float64,
    /// NUMERIC, computed as a float.
    Numeric,
    /// BIGNUMERIC, computed as a float.
    Bignumeric,
    /// BOOL.
    Bool,
    /// STRING.
    String,
    /// BYTES.
    Bytes,
    /// DATE.
    Date,
    /// DATETIME.
    Datetime,
    /// TIME.
    Time,
    /// TIMESTAMP.
    Timestamp,
    /// A literal NULL, which fits every type.
    Null,
    /// A column of a SQLite view without a declared type: the stored value decides.
    Any,
}

impl Kind {
    /// From a column's declaration; `None` for a type that the engine cannot store faithfully.
    pub fn declared(declaration: &str) -> Option<Self> {
        let name = declaration.split('(').next().unwrap_or_default().trim().to_ascii_uppercase();
        Some(match name.as_str() {
            "INT64" | "INTEGER" | "INT" | "BIGINT" | "SMALLINT" => Self::Int64,
            "FLOAT64" | "FLOAT" | "REAL" | "DOUBLE" => Self::Float64,
            "NUMERIC" | "DECIMAL" => Self::Numeric,
            "BIGNUMERIC" | "BIGDECIMAL" => Self::Bignumeric,
            "BOOL" | "BOOLEAN" => Self::Bool,
            "TEXT" | "VARCHAR" => Self::String,
            "BYTES" | "BLOB" => Self::Bytes,
            "DATE" => Self::Date,
            "DATETIME" => Self::Datetime,
            "TIME" => Self::Time,
            "TIMESTAMP" => Self::Timestamp,
            "" => Self::Any,
            _ => return None,
        })
    }

    /// GoogleSQL's name; `ANY` if the type cannot be told.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int64 | Self::Null => "INT64",
            Self::Float64 => "FLOAT64",
            Self::Numeric => "NUMERIC",
            Self::Bignumeric => "BIGNUMERIC",
            Self::Bool => "BOOL",
            Self::String => "STRING",
            Self::Any => "ANY",
            Self::Bytes => "BYTES",
            Self::Date => "DATE",
            Self::Datetime => "DATETIME",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP",
        }
    }

    /// The name of the type that it is computed with.
    pub(super) fn computed(self) -> &'static str {
        match self {
            Self::Numeric | Self::Bignumeric => Self::Float64.name(),
            Self::Any => Self::String.name(),
            kind => kind.name(),
        }
    }

    pub(super) fn is_numeric(self) -> bool {
        self.width().is_some() || matches!(self, Self::Null | Self::Any)
    }

    /// Its place among the numbers: GoogleSQL converts each to the wider ones.
    fn width(self) -> Option<u8> {
        Some(match self {
            Self::Int64 => 0,
            Self::Numeric => 1,
            Self::Bignumeric => 2,
            Self::Float64 => 3,
            _ => return None,
        })
    }

    /// Whether GoogleSQL converts one number to another type of number.
    pub(super) fn widens_to(self, other: Self) -> bool {
        self.width().zip(other.width()).is_some_and(|(own, other)| own < other)
    }

    /// The type to compare both as; `None` if GoogleSQL has no common type.
    pub(super) fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (one, other) if one == other => Some(one),
            (Self::Null | Self::Any, other) => Some(other),
            (one, Self::Null | Self::Any) => Some(one),
            (one, other) if one.widens_to(other) => Some(other),
            (one, other) if other.widens_to(one) => Some(one),
            _ => None,
        }
    }

    /// Converts a value for a guest. A value that does not fit its column's type is an error.
    pub fn value(self, column: &str, found: ValueRef<'_>) -> Result<Value, Error> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(match (self, found) {
            (_, ValueRef::Null) => Value::Null,
            (Self::Int64, ValueRef::Integer(number)) => Value::Integer(number),
            (Self::Float64 | Self::Numeric | Self::Bignumeric, ValueRef::Real(number)) => Value::Float(number),
            (Self::Float64 | Self::Numeric | Self::Bignumeric, ValueRef::Integer(number)) => {
                Value::Float(number as f64)
            }
            (Self::Bool, ValueRef::Integer(number @ (0 | 1))) => Value::Boolean(number == 1),
            (Self::Date, ValueRef::Text(bytes)) if dates::date(&text(bytes)).is_some() => Value::Date(text(bytes)),
            (Self::Timestamp, ValueRef::Integer(micros)) => Value::Timestamp(micros.div_euclid(1_000_000)),
            (Self::String, ValueRef::Text(bytes)) => Value::Text(text(bytes)),
            (Self::Datetime | Self::Time, ValueRef::Text(bytes)) => Value::Text(dates::clock(&text(bytes))),
            (Self::Bytes, ValueRef::Blob(bytes) | ValueRef::Text(bytes)) => {
                Value::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
            }
            (Self::Any | Self::Null, ValueRef::Integer(number)) => Value::Integer(number),
            (Self::Any | Self::Null, ValueRef::Real(number)) => Value::Float(number),
            (Self::Any | Self::Null, ValueRef::Text(bytes)) => Value::Text(text(bytes)),
            (kind, found) => {
                let kind = kind.name();
                return Err(Error::Unavailable(format!(
                    "query failed: column {column} is {kind} but holds {}, which is not a valid {kind}",
                    shown(found)
                )));
            }
        })
    }
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) => format!("{:?}", String::from_utf8_lossy(bytes).chars().take(40).collect::<String>()),
        ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
    }
}
