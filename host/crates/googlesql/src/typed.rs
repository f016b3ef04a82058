//! An expression of the embedded engine with its type, and its conversions to other types.

use std::fmt::Display;

use host_contract::Error;
use sqlparser::ast::{DataType, TimezoneInfo};

use super::{dates, kind::Kind};

/// The result of a translation, or why it is rejected.
pub(super) type Result<T> = std::result::Result<T, Error>;

/// An expression of the embedded engine.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) sql: String,
    pub(super) kind: Kind,
    text: Text,
    /// For a number of a table: the column itself, without the check that it holds one.
    unchecked: Option<String>,
}

/// Whether it is a STRING literal or parameter, which GoogleSQL converts to DATE, DATETIME or TIMESTAMP.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    No,
    Literal(String),
    Parameter,
}

impl Typed {
    pub(super) fn new(sql: impl Into<String>, kind: Kind) -> Self {
        Self { sql: sql.into(), kind, text: Text::No, unchecked: None }
    }

    /// A column, and the same without the check that it holds a number, if it has one.
    pub(super) fn column(sql: String, kind: Kind, unchecked: Option<String>) -> Self {
        Self { unchecked, ..Self::new(sql, kind) }
    }

    /// For a comparison with `=`: text equals no number, and an index can be used.
    pub(super) fn for_equality(self) -> Self {
        match self.unchecked {
            Some(sql) => Self { sql, unchecked: None, ..self },
            None => self,
        }
    }

    /// A text literal.
    pub(super) fn text(text: String) -> Self {
        Self { text: Text::Literal(text.clone()), ..Self::new(literal(&text), Kind::String) }
    }

    /// A parameter, by its lower-case name.
    pub(super) fn parameter(name: &str, kind: Kind) -> Self {
        let text = if kind == Kind::String { Text::Parameter } else { Text::No };
        Self { text, ..Self::new(format!("@{name}"), kind) }
    }

    /// The same with other SQL, for example in parentheses.
    pub(super) fn written(self, write: impl FnOnce(&str) -> String) -> Self {
        Self { sql: write(&self.sql), unchecked: None, ..self }
    }

    /// The text of a literal.
    pub(super) fn literal(&self) -> Option<&str> {
        match &self.text {
            Text::Literal(text) => Some(text),
            _ => None,
        }
    }

    /// Converts a STRING that may stand for a DATE; anything else stays.
    pub(super) fn dated(self) -> Self {
        match self.text {
            Text::No => self,
            _ => self.clone().coerced(Kind::Date).unwrap_or(self),
        }
    }

    /// The date of a DATETIME.
    pub(super) fn date_of_datetime(&self) -> Self {
        Self::new(format!("g_cast({}, 'DATETIME', 'DATE')", self.sql), Kind::Date)
    }

    /// As another type, if GoogleSQL converts to it implicitly.
    pub(super) fn coerced(self, kind: Kind) -> Option<Self> {
        let bad = |text: &str| Typed::new(format!("g_cast({}, 'STRING', '{}')", literal(text), kind.name()), kind);
        match (&self.text, self.kind, kind) {
            (_, own, wanted) if own == wanted => Some(self),
            (Text::Literal(text), Kind::String, Kind::Date) => Some(match dates::date(text) {
                Some(_) => Typed::new(self.sql, kind),
                None => bad(text),
            }),
            (Text::Literal(text), Kind::String, Kind::Timestamp) => {
                Some(match dates::moment(text, &jiff::tz::TimeZone::UTC) {
                    Some(micros) => Typed::new(micros.to_string(), kind),
                    None => bad(text),
                })
            }
            (Text::Literal(text), Kind::String, Kind::Datetime) => Some(match dates::civil(text) {
                Some(at) => Typed::new(literal(&dates::civil_text(at)), kind),
                None => bad(text),
            }),
            (_, Kind::Date, Kind::Datetime) => Some(Typed::new(format!("({} || ' 00:00:00')", self.sql), kind)),
            (Text::Parameter, Kind::String, Kind::Date | Kind::Datetime | Kind::Timestamp) => {
                Some(Typed::new(format!("g_cast({}, 'STRING', '{}')", self.sql, kind.name()), kind))
            }
            (_, Kind::Null | Kind::Any, _) | (_, _, Kind::Any) => Some(Typed::new(self.sql, kind)),
            (_, own, wanted) if own.widens_to(wanted) => Some(Typed::new(self.sql, kind)),
            _ => None,
        }
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::String | Kind::Null | Kind::Any)
    }

    pub(super) fn is_bool(&self) -> bool {
        matches!(self.kind, Kind::Bool | Kind::Null | Kind::Any)
    }
}

/// A text literal, quoted for SQLite.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Both as their common type; an error if they have none.
pub(super) fn together(what: &str, one: Typed, other: Typed) -> Result<(Typed, Typed)> {
    if let Some(kind) = one.kind.common(other.kind) {
        return Ok((Typed { kind, ..one }, Typed { kind, ..other }));
    }
    if let Some(coerced) = one.clone().coerced(other.kind) {
        return Ok((coerced, other));
    }
    match other.clone().coerced(one.kind) {
        Some(coerced) => Ok((one, coerced)),
        None => Err(no_signature(what, &[&one, &other])),
    }
}

/// The common type of all.
pub(super) fn common<'t>(what: &str, all: impl Iterator<Item = &'t Typed> + Clone) -> Result<Kind> {
    let mut kind = Kind::Null;
    for typed in all.clone() {
        let wider = kind.common(typed.kind).or_else(|| typed.clone().coerced(kind).map(|typed| typed.kind));
        let wider = wider.or_else(|| Typed::new("", kind).coerced(typed.kind).map(|typed| typed.kind));
        kind = wider.ok_or_else(|| no_signature(what, &all.clone().collect::<Vec<_>>()))?;
    }
    Ok(kind)
}

/// The type named in a CAST or a literal.
pub(super) fn kind_of(data_type: &DataType) -> Result<Kind> {
    Ok(match data_type {
        DataType::Int64 | DataType::Integer(_) | DataType::Int(_) | DataType::BigInt(_) => Kind::Int64,
        DataType::Float64 | DataType::Float(_) => Kind::Float64,
        DataType::Numeric(_) => Kind::Numeric,
        DataType::BigNumeric(_) => Kind::Bignumeric,
        DataType::Bool | DataType::Boolean => Kind::Bool,
        DataType::String(_) => Kind::String,
        DataType::Date => Kind::Date,
        DataType::Datetime(None) => Kind::Datetime,
        DataType::Timestamp(_, TimezoneInfo::None) => Kind::Timestamp,
        other => return Err(unsupported(format!("the type {other}"))),
    })
}

/// The error of GoogleSQL for arguments of the wrong types.
pub(super) fn no_signature(what: &str, arguments: &[&Typed]) -> Error {
    let kinds: Vec<&str> = arguments.iter().map(|typed| typed.kind.name()).collect();
    Error::Invalid(format!("query failed: No matching signature for {what} for argument types: {}", kinds.join(", ")))
}

/// The error for an unsupported construct.
pub(super) fn unsupported(what: impl Display) -> Error {
    Error::Invalid(format!("query failed: the embedded warehouse does not support {what}"))
}

/// The beginning of a construct, to quote in an error.
pub(super) fn start(what: &impl Display) -> String {
    let text = what.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
