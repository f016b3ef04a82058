//! Time zones in queries. A misspelt name is found before the query runs; BigQuery finds it only with a row at hand.

use host_contract::Error;
use host_text::nearest;
use jiff::tz::{Offset, TimeZone};
use sqlparser::ast::{Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments};

/// A zone by its name, or by its offset: `America/New_York`, `+05:30`, `-8`.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    offset(name).map(TimeZone::fixed).or_else(|| TimeZone::get(name).ok())
}

/// `+H`, `+HH`, `+HH:MM`.
fn offset(text: &str) -> Option<Offset> {
    let digits = text.strip_prefix(['+', '-'])?;
    let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
    let number = |text: &str| text.parse::<i32>().ok().filter(|_| text.len() < 3 && !text.starts_with(['+', '-']));
    let seconds = 3600 * number(hours)? + 60 * number(minutes).filter(|minutes| *minutes < 60)?;
    Offset::from_seconds(if text.starts_with('-') { -seconds } else { seconds }).ok()
}

/// Whether an expression, where a time zone is expected, is a text that names none.
pub(super) fn check(expr: &Expr) -> Result<(), Error> {
    let Expr::Value(value) = expr else { return Ok(()) };
    // What begins with a digit is a time: DATETIME(day, '06:30:00').
    let name = value.value.clone().into_string().filter(|name| !name.starts_with(|c: char| c.is_ascii_digit()));
    match name {
        Some(name) if zone(&name).is_none() => {
            let name: String = name.chars().take(100).collect();
            let known: Vec<String> = jiff::tz::db().available().map(|known| known.as_str().to_owned()).collect();
            let near = nearest(&name, &known);
            Err(Error::Invalid(format!("query failed: Invalid time zone: {name}{near}")))
        }
        _ => Ok(()),
    }
}

/// The argument of a function that is a time zone, if it has one.
pub(super) fn argument<'f>(name: &str, function: &'f Function) -> Option<&'f Expr> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let at = match (name, list.args.len()) {
        ("TIMESTAMP" | "DATE" | "DATETIME" | "TIME" | "STRING", 2) => 1,
        ("FORMAT_TIMESTAMP" | "PARSE_TIMESTAMP" | "TIMESTAMP_TRUNC", 3) => 2,
        _ => return None,
    };
    match list.args.get(at)? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_have_names_and_offsets() {
        for name in ["UTC", "America/New_York", "europe/berlin", "+5", "-08", "+05:30", "-8:00"] {
            assert!(zone(name).is_some(), "{name}");
        }
        for name in ["Amerika/New_York", "", "+", "+5:99", "+123", "+-5", "+99", "5"] {
            assert!(zone(name).is_none(), "{name}");
        }
    }
}
