//! Operators of GoogleSQL: comparisons, arithmetic, intervals, EXTRACT.

use sqlparser::ast::{BinaryOperator, Expr, Interval};

use super::{
    dates,
    dialect::Translator,
    kind::Kind,
    scope::Scope,
    typed::{Result, Typed, literal, no_signature, together, unsupported},
};

impl Translator<'_> {
    pub(super) fn test(&mut self, inner: &Expr, test: &str, scope: &Scope) -> Result<Typed> {
        let typed = self.expression(inner, scope)?;
        if test.ends_with("NULL") || typed.is_bool() {
            return Ok(Typed::new(format!("({} {test})", typed.sql), Kind::Bool));
        }
        Err(no_signature(&format!("operator {test}"), &[&typed]))
    }

    pub(super) fn compare(&mut self, one: &Expr, operator: &str, other: &Expr, scope: &Scope) -> Result<Typed> {
        let (one, other) = (self.expression(one, scope)?, self.expression(other, scope)?);
        let equality = |typed: Typed| if operator == "=" { typed.for_equality() } else { typed };
        let (one, other) = together(&format!("operator {operator}"), equality(one), equality(other))?;
        Ok(Typed::new(format!("({} {operator} {})", one.sql, other.sql), Kind::Bool))
    }

    /// An expression and the expressions it is compared with, converted to comparable types.
    pub(super) fn against(
        &mut self,
        one: &Expr,
        others: &[&Expr],
        operator: &str,
        scope: &Scope,
    ) -> Result<(Typed, Vec<String>)> {
        let mut one = self.expression(one, scope)?;
        let mut all = Vec::new();
        for other in others {
            let other = self.expression(other, scope)?;
            let (same, other) = together(&format!("operator {operator}"), one, other)?;
            one = same;
            all.push(other.sql);
        }
        Ok((one, all))
    }

    pub(super) fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr, scope: &Scope) -> Result<Typed> {
        let sign = match op {
            BinaryOperator::Eq => return self.compare(left, "=", right, scope),
            BinaryOperator::NotEq => return self.compare(left, "<>", right, scope),
            BinaryOperator::Lt => return self.compare(left, "<", right, scope),
            BinaryOperator::LtEq => return self.compare(left, "<=", right, scope),
            BinaryOperator::Gt => return self.compare(left, ">", right, scope),
            BinaryOperator::GtEq => return self.compare(left, ">=", right, scope),
            BinaryOperator::And | BinaryOperator::Or => {
                let (one, other) = (self.condition(left, scope, "AND/OR")?, self.condition(right, scope, "AND/OR")?);
                return Ok(Typed::new(format!("({one} {op} {other})"), Kind::Bool));
            }
            BinaryOperator::Plus | BinaryOperator::Minus => {
                if let Expr::Interval(interval) = right {
                    return self.shift(left, op == &BinaryOperator::Minus, interval, scope);
                }
                if op == &BinaryOperator::Plus { "+" } else { "-" }
            }
            BinaryOperator::Multiply => "*",
            BinaryOperator::Divide => "/",
            BinaryOperator::StringConcat => "||",
            other => return Err(unsupported(format!("the operator {other}"))),
        };
        let (one, other) = (self.expression(left, scope)?, self.expression(right, scope)?);
        let error = |one: &Typed, other: &Typed| no_signature(&format!("operator {sign}"), &[one, other]);
        match (sign, one.kind, other.kind) {
            ("||", Kind::String | Kind::Null | Kind::Any, Kind::String | Kind::Null | Kind::Any) => {
                Ok(Typed::new(format!("({} || {})", one.sql, other.sql), Kind::String))
            }
            ("+" | "-", Kind::Date, Kind::Int64) => {
                let days = if sign == "+" { other.sql } else { format!("(- {})", other.sql) };
                Ok(Typed::new(format!("g_date_add({}, {days}, 'DAY')", one.sql), Kind::Date))
            }
            ("/", _, _) if one.kind.is_numeric() && other.kind.is_numeric() => {
                Ok(Typed::new(format!("g_divide({}, {})", one.sql, other.sql), Kind::Float64))
            }
            ("+" | "-" | "*", Kind::Int64, Kind::Int64) => {
                let function = match sign {
                    "+" => "g_add",
                    "-" => "g_subtract",
                    _ => "g_multiply",
                };
                Ok(Typed::new(format!("{function}({}, {})", one.sql, other.sql), Kind::Int64))
            }
            ("+" | "-" | "*", _, _) if one.kind.is_numeric() && other.kind.is_numeric() => {
                let kind = one.kind.common(other.kind).ok_or_else(|| error(&one, &other))?;
                Ok(Typed::new(format!("({} {sign} {})", one.sql, other.sql), kind))
            }
            _ => Err(error(&one, &other)),
        }
    }

    /// `expr ± INTERVAL`, DATE_ADD, DATE_SUB, TIMESTAMP_ADD and TIMESTAMP_SUB.
    pub(super) fn shift(&mut self, expr: &Expr, back: bool, interval: &Interval, scope: &Scope) -> Result<Typed> {
        let typed = self.expression(expr, scope)?;
        let count = self.expression(&interval.value, scope)?;
        let (Some(part), Kind::Int64) = (&interval.leading_field, count.kind) else {
            return Err(unsupported(format!("`{interval}`: write INTERVAL n PART, with a whole n")));
        };
        let count = if back { format!("(- {})", count.sql) } else { count.sql };
        let typed = typed.dated();
        let function = match typed.kind {
            Kind::Date | Kind::Null => "g_date_add",
            Kind::Timestamp => "g_timestamp_add",
            Kind::Datetime => return Err(unsupported("interval arithmetic with a DATETIME")),
            _ => return Err(no_signature("interval arithmetic", &[&typed])),
        };
        Ok(Typed::new(format!("{function}({}, {count}, {})", typed.sql, literal(&part.to_string())), typed.kind))
    }

    pub(super) fn extract(&mut self, part: &str, typed: &Typed, zone: &str) -> Result<Typed> {
        let name = part.to_ascii_uppercase();
        match (dates::Part::new(&name), typed.kind) {
            (Some(dates::Part::Date), Kind::Timestamp) => {
                Ok(Typed::new(format!("g_date_of({}, {zone})", typed.sql), Kind::Date))
            }
            (Some(_), Kind::Timestamp) => {
                Ok(Typed::new(format!("g_extract_timestamp({}, '{name}', {zone})", typed.sql), Kind::Int64))
            }
            (Some(dates::Part::Date), Kind::Datetime) => Ok(typed.date_of_datetime()),
            (Some(_), Kind::Datetime) => {
                Ok(Typed::new(format!("g_extract_datetime({}, '{name}')", typed.sql), Kind::Int64))
            }
            (Some(_), Kind::Date | Kind::Null) => {
                Ok(Typed::new(format!("g_extract_date({}, '{name}')", typed.sql), Kind::Int64))
            }
            (Some(_), _) => Err(no_signature("EXTRACT", &[typed])),
            (None, _) => Err(unsupported(format!("EXTRACT({part} FROM …)"))),
        }
    }
}
