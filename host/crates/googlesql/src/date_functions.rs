//! GoogleSQL's date and timestamp functions, by name: the SQL for the embedded engine, and the result type.

use sqlparser::ast::Expr;

use super::{
    dates::Part,
    dialect::Translator,
    kind::Kind,
    scope::Scope,
    typed::{Result, Typed, literal, no_signature, unsupported},
};

impl Translator<'_> {
    /// Date and timestamp functions; `None` when `name` is not one.
    pub(super) fn date_call(&mut self, name: &str, expressions: &[&Expr], scope: &Scope) -> Result<Option<Typed>> {
        let typed = match (name, expressions) {
            ("DATE_ADD" | "DATE_SUB" | "TIMESTAMP_ADD" | "TIMESTAMP_SUB", [expr, Expr::Interval(interval)]) => {
                let typed = self.shift(expr, name.ends_with("SUB"), interval, scope)?;
                let wanted = if name.starts_with("DATE") { Kind::Date } else { Kind::Timestamp };
                if typed.kind.common(wanted).is_none() {
                    return Err(no_signature(&format!("function {name}"), &[&typed]));
                }
                typed
            }
            ("DATE_DIFF", [one, other, unit]) => {
                let (one, other) =
                    (self.dated(name, one, Kind::Date, scope)?, self.dated(name, other, Kind::Date, scope)?);
                Typed::new(format!("g_date_diff({one}, {other}, {})", part(unit)?), Kind::Int64)
            }
            ("TIMESTAMP_DIFF", [one, other, unit]) => {
                let one = self.dated(name, one, Kind::Timestamp, scope)?;
                let other = self.dated(name, other, Kind::Timestamp, scope)?;
                Typed::new(format!("g_timestamp_diff({one}, {other}, {})", part(unit)?), Kind::Int64)
            }
            // Both take any of the three types, and the value's type decides.
            ("DATE_TRUNC" | "TIMESTAMP_TRUNC", [expr, unit, zone @ ..]) if zone.len() < 2 => {
                let kind = if name == "DATE_TRUNC" { Kind::Date } else { Kind::Timestamp };
                let typed = self.expression(expr, scope)?;
                let typed = typed.clone().coerced(kind).unwrap_or(typed);
                let (sql, unit, zoned) = (&typed.sql, part(unit)?, !zone.is_empty());
                match typed.kind {
                    Kind::Date if !zoned && kind == Kind::Date => {
                        Typed::new(format!("g_date_trunc({sql}, {unit})"), Kind::Date)
                    }
                    Kind::Datetime if !zoned => Typed::new(format!("g_datetime_trunc({sql}, {unit})"), Kind::Datetime),
                    Kind::Timestamp => Typed::new(
                        format!("g_timestamp_trunc({sql}, {unit}, {})", self.zone(zone, scope)?),
                        Kind::Timestamp,
                    ),
                    _ => return Err(no_signature(&format!("function {name}"), &[&typed])),
                }
            }
            ("LAST_DAY", [date, unit @ ..]) if unit.len() < 2 => {
                let unit = unit.first().map(|unit| part(unit)).transpose()?.unwrap_or_else(|| literal("MONTH"));
                Typed::new(format!("g_last_day({}, {unit})", self.dated(name, date, Kind::Date, scope)?), Kind::Date)
            }
            ("DATE", [year, month, day]) => {
                let parts = [year, month, day].map(|expr| self.expression(expr, scope));
                let [year, month, day] = parts;
                let (year, month, day) = (year?, month?, day?);
                if ![&year, &month, &day].iter().all(|typed| matches!(typed.kind, Kind::Int64 | Kind::Null)) {
                    return Err(no_signature("function DATE", &[&year, &month, &day]));
                }
                Typed::new(format!("g_date_from({}, {}, {})", year.sql, month.sql, day.sql), Kind::Date)
            }
            ("DATE", [expr, zone @ ..]) if zone.len() < 2 => {
                let typed = self.expression(expr, scope)?;
                let typed = if typed.literal().is_some() {
                    typed.clone().coerced(Kind::Timestamp).unwrap_or(typed)
                } else {
                    typed
                };
                match typed.kind {
                    Kind::Date if zone.is_empty() => typed,
                    Kind::Datetime if zone.is_empty() => typed.date_of_datetime(),
                    Kind::Timestamp => {
                        Typed::new(format!("g_date_of({}, {})", typed.sql, self.zone(zone, scope)?), Kind::Date)
                    }
                    _ => return Err(no_signature("function DATE", &[&typed])),
                }
            }
            ("TIMESTAMP", [expr, zone @ ..]) if zone.len() < 2 => {
                let typed = self.expression(expr, scope)?;
                let zone = self.zone(zone, scope)?;
                match typed.kind {
                    Kind::Timestamp => typed,
                    Kind::String | Kind::Date | Kind::Datetime | Kind::Null => {
                        Typed::new(format!("g_timestamp({}, {zone})", typed.sql), Kind::Timestamp)
                    }
                    _ => return Err(no_signature("function TIMESTAMP", &[&typed])),
                }
            }
            ("TIMESTAMP_SECONDS" | "TIMESTAMP_MILLIS" | "TIMESTAMP_MICROS", [expr]) => {
                let typed = self.expression(expr, scope)?;
                let factor = match name {
                    "TIMESTAMP_SECONDS" => 1_000_000,
                    "TIMESTAMP_MILLIS" => 1_000,
                    _ => 1,
                };
                if typed.kind.common(Kind::Int64) != Some(Kind::Int64) {
                    return Err(no_signature(&format!("function {name}"), &[&typed]));
                }
                Typed::new(format!("g_multiply({}, {factor})", typed.sql), Kind::Timestamp)
            }
            ("UNIX_SECONDS" | "UNIX_MILLIS" | "UNIX_MICROS", [expr]) => {
                let unit = match name {
                    "UNIX_SECONDS" => "SECOND",
                    "UNIX_MILLIS" => "MILLISECOND",
                    _ => "MICROSECOND",
                };
                let moment = self.dated(name, expr, Kind::Timestamp, scope)?;
                Typed::new(
                    format!("g_timestamp_diff(g_timestamp_trunc({moment}, '{unit}', 'UTC'), 0, '{unit}')"),
                    Kind::Int64,
                )
            }
            ("FORMAT_DATE", [format, date]) => {
                let format = self.expression(format, scope)?.sql;
                Typed::new(
                    format!("g_format_date({format}, {})", self.dated(name, date, Kind::Date, scope)?),
                    Kind::String,
                )
            }
            ("FORMAT_TIMESTAMP", [format, moment, zone @ ..]) if zone.len() < 2 => {
                let format = self.expression(format, scope)?.sql;
                let moment = self.dated(name, moment, Kind::Timestamp, scope)?;
                Typed::new(format!("g_format_timestamp({format}, {moment}, {})", self.zone(zone, scope)?), Kind::String)
            }
            ("PARSE_DATE", [format, text]) => {
                let (format, text) = (self.expression(format, scope)?, self.expression(text, scope)?);
                if !format.is_text() || !text.is_text() {
                    return Err(no_signature("function PARSE_DATE", &[&format, &text]));
                }
                Typed::new(format!("g_parse_date({}, {})", format.sql, text.sql), Kind::Date)
            }
            _ => return Ok(None),
        };
        Ok(Some(typed))
    }

    /// An argument that must be a DATE or TIMESTAMP.
    fn dated(&mut self, function: &str, expr: &Expr, kind: Kind, scope: &Scope) -> Result<String> {
        let typed = self.expression(expr, scope)?;
        match typed.clone().coerced(kind) {
            Some(typed) => Ok(typed.sql),
            // BigQuery's functions take it.
            None if typed.kind == Kind::Datetime => Err(unsupported(format!("{function} of a DATETIME"))),
            None => Err(no_signature(&format!("function {function}"), &[&typed])),
        }
    }

    /// The time zone among the last arguments, or else UTC.
    fn zone(&mut self, rest: &[&Expr], scope: &Scope) -> Result<String> {
        match rest.first() {
            None => Ok(literal("UTC")),
            Some(expr) => {
                let zone = self.expression(expr, scope)?;
                if zone.is_text() { Ok(zone.sql) } else { Err(no_signature("a time zone", &[&zone])) }
            }
        }
    }
}

/// The name of a date part, as text.
fn part(expr: &Expr) -> Result<String> {
    let name = expr.to_string().replace(' ', "").to_ascii_uppercase();
    match Part::new(&name) {
        Some(_) => Ok(literal(&name)),
        None => Err(unsupported(format!("`{expr}` as a date part"))),
    }
}
