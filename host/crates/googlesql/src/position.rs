//! Where in the SQL an error is.

use host_contract::Error;
use sqlparser::{
    ast::{Expr, ObjectName, TypedString},
    tokenizer::Location,
};

/// An error with the place it is about, unless it names one already: the innermost place is the best.
pub(super) fn located(error: Error, place: Option<Location>) -> Error {
    let Some(Location { line, column }) = place.filter(|place| place.line > 0) else { return error };
    let add = |message: String| match message.contains(" at [") || message.contains(" at Line: ") {
        true => message,
        false => format!("{message} at [{line}:{column}]"),
    };
    match error {
        Error::Invalid(message) => Error::Invalid(add(message)),
        Error::NotFound(message) => Error::NotFound(add(message)),
        other => other,
    }
}

/// Where a name begins.
pub(super) fn of_name(name: &ObjectName) -> Option<Location> {
    Some(name.0.first()?.as_ident()?.span.start)
}

/// Where an expression begins, as far as the parser keeps it. It does not recurse, since expressions may be deep.
pub(super) fn of(mut expr: &Expr) -> Option<Location> {
    loop {
        expr = match expr {
            Expr::Identifier(name) => return Some(name.span.start),
            Expr::CompoundIdentifier(path) => return Some(path.first()?.span.start),
            Expr::Value(value) | Expr::TypedString(TypedString { value, .. }) => return Some(value.span.start),
            Expr::Function(function) => return of_name(&function.name),
            Expr::BinaryOp { left: inner, .. }
            | Expr::UnaryOp { expr: inner, .. }
            | Expr::Nested(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsDistinctFrom(inner, _)
            | Expr::IsNotDistinctFrom(inner, _)
            | Expr::Between { expr: inner, .. }
            | Expr::InList { expr: inner, .. }
            | Expr::InSubquery { expr: inner, .. }
            | Expr::Like { expr: inner, .. }
            | Expr::Cast { expr: inner, .. }
            | Expr::Extract { expr: inner, .. }
            | Expr::Ceil { expr: inner, .. }
            | Expr::Floor { expr: inner, .. }
            | Expr::Substring { expr: inner, .. }
            | Expr::Trim { expr: inner, .. }
            | Expr::AtTimeZone { timestamp: inner, .. } => inner,
            Expr::Case { operand, conditions, .. } => match operand {
                Some(operand) => operand,
                None => &conditions.first()?.condition,
            },
            _ => return None,
        };
    }
}
