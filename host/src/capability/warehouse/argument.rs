//! The parameters of a query with their values, of both functions of the contract.

use crate::contract::{
    Error, Value,
    warehouse::{Parameter, Scalar, TypedParameter},
};

/// A parameter's value, and its type.
#[derive(Debug, Clone, PartialEq)]
pub struct Argument {
    /// With or without the `@`.
    pub name: String,
    /// The value.
    pub value: Value,
    /// The type; only that of a NULL may be unknown.
    pub kind: Option<Scalar>,
}

impl Argument {
    /// All of it as text, each number in full: `@date DATE Value::Date("2026-02-05")`. Recorded answers are found by it, so it stays as it is.
    pub(in crate::capability) fn text(&self) -> String {
        let name = self.name.trim_start_matches('@').to_lowercase();
        format!("@{name} {} {:?}", self.kind.map_or("", sql_type), self.value)
    }

    /// Its memory, in bytes; its value is copied once.
    pub(in crate::capability) fn size(&self) -> usize {
        size_of::<Self>() + self.name.len() + 2 * value_size(&self.value)
    }
}

impl From<Parameter> for Argument {
    fn from(Parameter { name, value }: Parameter) -> Self {
        Self { name, kind: scalar(&value), value }
    }
}

impl TryFrom<TypedParameter> for Argument {
    type Error = Error;

    fn try_from(TypedParameter { name, kind, value }: TypedParameter) -> Result<Self, Error> {
        match scalar(&value) {
            Some(own) if own != kind => Err(Error::Invalid(format!(
                "query refused: parameter @{} is {}, but its value is {}",
                name.trim_start_matches('@'),
                sql_type(kind),
                sql_type(own)
            ))),
            _ => Ok(Self { name, value, kind: Some(kind) }),
        }
    }
}

/// The type of a value; `None` for NULL.
fn scalar(value: &Value) -> Option<Scalar> {
    Some(match value {
        Value::Null => return None,
        Value::Boolean(_) => Scalar::Boolean,
        Value::Integer(_) => Scalar::Integer,
        Value::Float(_) => Scalar::Float,
        Value::Text(_) => Scalar::Text,
        Value::Date(_) => Scalar::Date,
        Value::Timestamp(_) => Scalar::Timestamp,
    })
}

/// GoogleSQL's name of a type.
pub(super) fn sql_type(kind: Scalar) -> &'static str {
    match kind {
        Scalar::Boolean => "BOOL",
        Scalar::Integer => "INT64",
        Scalar::Float => "FLOAT64",
        Scalar::Text => "STRING",
        Scalar::Date => "DATE",
        Scalar::Timestamp => "TIMESTAMP",
    }
}

/// Memory of a value, in bytes.
pub(super) fn value_size(value: &Value) -> usize {
    let text = match value {
        Value::Text(text) | Value::Date(text) => text.len(),
        _ => 0,
    };
    size_of::<Value>() + text
}
