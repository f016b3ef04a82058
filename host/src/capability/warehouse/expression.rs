//! Expressions of GoogleSQL, written anew for the embedded engine, with their types.

use sqlparser::ast::{
    BinaryOperator, CastKind, CeilFloorKind, DataType, Expr, Interval, OrderByExpr, OrderBySort, TimezoneInfo,
    TypedString, UnaryOperator, Value,
};

use super::{
    dates,
    dialect::{Translator, start, unsupported},
    kind::Kind,
    scope::Scope,
};
use crate::contract::Error;

type Result<T> = std::result::Result<T, Error>;

/// How deep an expression may nest; chains of operators nest to the left.
const DEPTH: usize = 400;

/// An expression of the embedded engine.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    pub(super) sql: String,
    pub(super) kind: Kind,
    /// A STRING that is written out or a parameter: GoogleSQL lets it stand for a DATE or TIMESTAMP.
    text: Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    No,
    Literal(String),
    Parameter,
}

impl Typed {
    pub(super) fn new(sql: impl Into<String>, kind: Kind) -> Self {
        Self { sql: sql.into(), kind, text: Text::No }
    }

    /// The text of a literal.
    pub(super) fn literal(&self) -> Option<&str> {
        match &self.text {
            Text::Literal(text) => Some(text),
            _ => None,
        }
    }

    /// As another type, when GoogleSQL converts to it without being asked.
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
            (Text::Parameter, Kind::String, Kind::Date | Kind::Timestamp) => {
                Some(Typed::new(format!("g_cast({}, 'STRING', '{}')", self.sql, kind.name()), kind))
            }
            (_, Kind::Null | Kind::Any, _) | (_, _, Kind::Any) => Some(Typed::new(self.sql, kind)),
            (_, Kind::Int64, Kind::Float64) => Some(Typed::new(self.sql, kind)),
            _ => None,
        }
    }
}

/// A text as SQLite wants it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The error of GoogleSQL for arguments of the wrong types.
pub(super) fn no_signature(what: &str, arguments: &[&Typed]) -> Error {
    let kinds: Vec<&str> = arguments.iter().map(|typed| typed.kind.name()).collect();
    Error::Invalid(format!("query failed: No matching signature for {what} for argument types: {}", kinds.join(", ")))
}

/// Both as their common type; none when they have none.
pub(super) fn together(one: Typed, other: Typed) -> std::result::Result<(Typed, Typed), (Typed, Typed)> {
    if let Some(kind) = one.kind.common(other.kind) {
        return Ok((Typed { kind, ..one }, Typed { kind, ..other }));
    }
    if let Some(coerced) = one.clone().coerced(other.kind) {
        return Ok((coerced, other));
    }
    match other.clone().coerced(one.kind) {
        Some(coerced) => Ok((one, coerced)),
        None => Err((one, other)),
    }
}

impl Translator<'_> {
    /// An expression that must be true or false.
    pub(super) fn condition(&mut self, expr: &Expr, scope: &Scope, clause: &str) -> Result<String> {
        let typed = self.expression(expr, scope)?;
        match typed.kind {
            Kind::Bool | Kind::Null | Kind::Any => Ok(typed.sql),
            other => Err(Error::Invalid(format!(
                "query failed: {clause} clause should return type BOOL, but returns {}: {}",
                other.name(),
                start(expr)
            ))),
        }
    }

    /// An expression, and whether GROUP BY names it.
    pub(super) fn expression(&mut self, expr: &Expr, scope: &Scope) -> Result<Typed> {
        let bare = self.bare.len();
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(Error::Invalid(format!("query refused: it is nested more than {DEPTH} deep")));
        }
        let typed = self.bare_expression(expr, scope)?;
        self.depth -= 1;
        if self.grouped.contains(&typed.sql) {
            self.bare.truncate(bare);
        }
        Ok(typed)
    }

    fn bare_expression(&mut self, expr: &Expr, scope: &Scope) -> Result<Typed> {
        match expr {
            Expr::Identifier(name) => match name.value.strip_prefix('@').filter(|_| name.quote_style.is_none()) {
                Some(parameter) => self.parameter(parameter),
                None => self.column(None, &name.value, scope),
            },
            Expr::CompoundIdentifier(path) => match path.as_slice() {
                [table, name] => self.column(Some(&table.value), &name.value, scope),
                _ => {
                    Err(unsupported(format!("the path `{expr}`: name tables with an alias, and no fields of a STRUCT")))
                }
            },
            Expr::Nested(inner) => {
                let inner = self.expression(inner, scope)?;
                Ok(Typed { sql: format!("({})", inner.sql), ..inner })
            }
            Expr::Value(value) => self.value(&value.value),
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                let Some(text) = value.value.clone().into_string() else {
                    return Err(unsupported(format!("`{expr}`")));
                };
                let kind = kind_of(data_type)?;
                let typed = Typed { sql: literal(&text), kind: Kind::String, text: Text::Literal(text) };
                let typed = typed.coerced(kind).ok_or_else(|| unsupported(format!("`{expr}`")))?;
                match typed.sql.starts_with("g_cast") {
                    true => Err(Error::Invalid(format!("query failed: Invalid {} literal: {expr}", kind.name()))),
                    false => Ok(typed),
                }
            }
            Expr::UnaryOp { op, expr: inner } => {
                let typed = self.expression(inner, scope)?;
                match op {
                    UnaryOperator::Not if matches!(typed.kind, Kind::Bool | Kind::Null | Kind::Any) => {
                        Ok(Typed::new(format!("(NOT {})", typed.sql), Kind::Bool))
                    }
                    UnaryOperator::Minus if typed.kind.is_numeric() => {
                        Ok(Typed::new(format!("(- {})", typed.sql), typed.kind))
                    }
                    UnaryOperator::Plus if typed.kind.is_numeric() => Ok(typed),
                    UnaryOperator::Not | UnaryOperator::Minus | UnaryOperator::Plus => {
                        Err(no_signature(&format!("operator {op}"), &[&typed]))
                    }
                    _ => Err(unsupported(format!("the operator {op}"))),
                }
            }
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            Expr::IsNull(inner) => self.test(inner, "IS NULL", scope),
            Expr::IsNotNull(inner) => self.test(inner, "IS NOT NULL", scope),
            Expr::IsTrue(inner) => self.test(inner, "IS TRUE", scope),
            Expr::IsNotTrue(inner) => self.test(inner, "IS NOT TRUE", scope),
            Expr::IsFalse(inner) => self.test(inner, "IS FALSE", scope),
            Expr::IsNotFalse(inner) => self.test(inner, "IS NOT FALSE", scope),
            Expr::IsDistinctFrom(one, other) => self.compare(one, "IS NOT", other, scope),
            Expr::IsNotDistinctFrom(one, other) => self.compare(one, "IS", other, scope),
            Expr::Between { expr: inner, negated, low, high } => {
                let not = if *negated { "NOT " } else { "" };
                let (typed, bounds) = self.against(inner, &[low, high], "BETWEEN", scope)?;
                Ok(Typed::new(format!("({} {not}BETWEEN {})", typed.sql, bounds.join(" AND ")), Kind::Bool))
            }
            Expr::InList { expr: inner, list, negated } => {
                let not = if *negated { "NOT " } else { "" };
                let (typed, items) = self.against(inner, &list.iter().collect::<Vec<_>>(), "IN", scope)?;
                Ok(Typed::new(format!("({} {not}IN ({}))", typed.sql, items.join(", ")), Kind::Bool))
            }
            Expr::InSubquery { expr: inner, subquery, negated } => {
                let typed = self.expression(inner, scope)?;
                let inner = self.query(subquery, Some(scope))?;
                let [column] = inner.columns.as_slice() else {
                    return Err(Error::Invalid(
                        "query failed: Subquery of type IN must have only one output column".to_owned(),
                    ));
                };
                let other = Typed::new("", column.kind);
                let (typed, _) =
                    together(typed, other).map_err(|(one, other)| no_signature("operator IN", &[&one, &other]))?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Typed::new(format!("({} {not}IN ({}))", typed.sql, inner.sql), Kind::Bool))
            }
            Expr::Exists { subquery, negated } => {
                let inner = self.query(subquery, Some(scope))?;
                let not = if *negated { "NOT " } else { "" };
                Ok(Typed::new(format!("({not}EXISTS ({}))", inner.sql), Kind::Bool))
            }
            Expr::Subquery(subquery) => {
                let inner = self.query(subquery, Some(scope))?;
                let [column] = inner.columns.as_slice() else {
                    return Err(Error::Invalid(
                        "query failed: Scalar subquery cannot have more than one column".to_owned(),
                    ));
                };
                Ok(Typed::new(format!("({})", inner.sql), column.kind))
            }
            Expr::Like { negated, any: false, expr: inner, pattern, escape_char: None } => {
                let (text, pattern) = (self.expression(inner, scope)?, self.expression(pattern, scope)?);
                match (text.kind, pattern.kind) {
                    (Kind::String | Kind::Null | Kind::Any, Kind::String | Kind::Null | Kind::Any) => {
                        let not = if *negated { "NOT " } else { "" };
                        Ok(Typed::new(format!("({} {not}LIKE {} ESCAPE '\\')", text.sql, pattern.sql), Kind::Bool))
                    }
                    _ => Err(no_signature("operator LIKE", &[&text, &pattern])),
                }
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                let (subject, tests) = match operand {
                    Some(operand) => {
                        let values: Vec<&Expr> = conditions.iter().map(|when| &when.condition).collect();
                        let (subject, tests) = self.against(operand, &values, "CASE", scope)?;
                        (format!(" {}", subject.sql), tests)
                    }
                    None => {
                        let tests = conditions.iter().map(|when| self.condition(&when.condition, scope, "WHEN"));
                        (String::new(), tests.collect::<Result<Vec<_>>>()?)
                    }
                };
                let mut results = Vec::new();
                for result in conditions.iter().map(|when| &when.result).chain(else_result.as_deref()) {
                    results.push(self.expression(result, scope)?);
                }
                let kind = common("CASE", results.iter())?;
                let mut sql = format!("(CASE{subject}");
                let tests = tests.iter().map(|test| format!(" WHEN {test} THEN")).chain([" ELSE".to_owned()]);
                for (test, typed) in tests.zip(results) {
                    sql += &format!("{test} {}", typed.coerced(kind).map(|typed| typed.sql).unwrap_or_default());
                }
                Ok(Typed::new(sql + " END)", kind))
            }
            Expr::Cast { kind, expr: inner, data_type, format: None } => {
                let function = match kind {
                    CastKind::Cast => "g_cast",
                    CastKind::SafeCast => "g_safe_cast",
                    _ => return Err(unsupported(format!("`{expr}`: write CAST(… AS …)"))),
                };
                let typed = self.expression(inner, scope)?;
                let to = kind_of(data_type)?;
                let sql = format!("{function}({}, '{}', '{}')", typed.sql, typed.kind.name(), to.name());
                Ok(Typed::new(sql, to))
            }
            Expr::Extract { field, expr: inner, .. } => {
                let (inner, zone) = match inner.as_ref() {
                    Expr::AtTimeZone { timestamp, time_zone } => (timestamp, self.expression(time_zone, scope)?.sql),
                    _ => (inner, "'UTC'".to_owned()),
                };
                let typed = self.expression(inner, scope)?;
                self.extract(&field.to_string(), &typed, &zone)
            }
            Expr::Ceil {
                expr: inner,
                field: CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime),
            } => self.call("CEIL", &[inner], scope),
            Expr::Floor {
                expr: inner,
                field: CeilFloorKind::DateTimeField(sqlparser::ast::DateTimeField::NoDateTime),
            } => self.call("FLOOR", &[inner], scope),
            Expr::Substring { expr: inner, substring_from: Some(from), substring_for, .. } => {
                let arguments: Vec<&Expr> = [Some(inner.as_ref()), Some(from.as_ref()), substring_for.as_deref()]
                    .into_iter()
                    .flatten()
                    .collect();
                self.call("SUBSTR", &arguments, scope)
            }
            Expr::Trim { trim_where: None, trim_what: None, expr: inner, trim_characters } => {
                let characters = trim_characters.iter().flatten();
                let arguments: Vec<&Expr> = std::iter::once(inner.as_ref()).chain(characters).collect();
                self.call("TRIM", &arguments, scope)
            }
            Expr::Function(function) => self.function(function, scope),
            other => Err(unsupported(format!("`{}`", start(other)))),
        }
    }

    fn column(&mut self, table: Option<&str>, name: &str, scope: &Scope) -> Result<Typed> {
        let found = scope.column(table, name)?;
        if found.own {
            self.bare.push(name.to_owned());
        }
        Ok(Typed::new(found.sql, found.kind))
    }

    fn parameter(&mut self, name: &str) -> Result<Typed> {
        let name = name.to_lowercase();
        match self.parameters.get(&name) {
            Some(kind) => {
                let text = if *kind == Kind::String { Text::Parameter } else { Text::No };
                Ok(Typed { sql: format!("@{name}"), kind: *kind, text })
            }
            None => Err(Error::Invalid(format!("query failed: Query parameter '{name}' not found"))),
        }
    }

    fn value(&mut self, value: &Value) -> Result<Typed> {
        match value {
            Value::Number(number, _) if number.parse::<i64>().is_ok() => Ok(Typed::new(number.clone(), Kind::Int64)),
            Value::Number(number, _) => match number.parse::<f64>() {
                Ok(float) if float.is_finite() && number.contains(['.', 'e', 'E']) => {
                    Ok(Typed::new(format!("{float:?}"), Kind::Float64))
                }
                _ => Err(Error::Invalid(format!("query failed: Invalid number {number}"))),
            },
            Value::Boolean(truth) => Ok(Typed::new(if *truth { "1" } else { "0" }, Kind::Bool)),
            Value::Null => Ok(Typed::new("NULL", Kind::Null)),
            Value::Placeholder(name) => match name.strip_prefix('@') {
                Some(name) => self.parameter(name),
                None => Err(unsupported("positional parameters: name them, as in @date")),
            },
            Value::HexStringLiteral(digits) => match i64::from_str_radix(digits, 16) {
                Ok(number) => Ok(Typed::new(number.to_string(), Kind::Int64)),
                Err(_) => Err(Error::Invalid(format!("query failed: Invalid number 0x{digits}"))),
            },
            Value::SingleQuotedByteStringLiteral(_) | Value::DoubleQuotedByteStringLiteral(_) => {
                Err(unsupported("BYTES literals"))
            }
            other => match other.clone().into_string() {
                Some(text) if !text.contains('\0') => {
                    Ok(Typed { sql: literal(&text), kind: Kind::String, text: Text::Literal(text) })
                }
                _ => Err(unsupported(format!("the literal {other}"))),
            },
        }
    }

    fn test(&mut self, inner: &Expr, test: &str, scope: &Scope) -> Result<Typed> {
        let typed = self.expression(inner, scope)?;
        if test.ends_with("NULL") || matches!(typed.kind, Kind::Bool | Kind::Null | Kind::Any) {
            return Ok(Typed::new(format!("({} {test})", typed.sql), Kind::Bool));
        }
        Err(no_signature(&format!("operator {test}"), &[&typed]))
    }

    fn compare(&mut self, one: &Expr, operator: &str, other: &Expr, scope: &Scope) -> Result<Typed> {
        let (one, other) = (self.expression(one, scope)?, self.expression(other, scope)?);
        match together(one, other) {
            Ok((one, other)) => Ok(Typed::new(format!("({} {operator} {})", one.sql, other.sql), Kind::Bool)),
            Err((one, other)) => Err(no_signature(&format!("operator {operator}"), &[&one, &other])),
        }
    }

    /// An expression and what it is held against, each written once, as types that can be compared.
    fn against(&mut self, one: &Expr, others: &[&Expr], operator: &str, scope: &Scope) -> Result<(Typed, Vec<String>)> {
        let mut one = self.expression(one, scope)?;
        let mut all = Vec::new();
        for other in others {
            let other = self.expression(other, scope)?;
            let (same, other) = together(one, other)
                .map_err(|(one, other)| no_signature(&format!("operator {operator}"), &[&one, &other]))?;
            one = same;
            all.push(other.sql);
        }
        Ok((one, all))
    }

    fn binary(&mut self, left: &Expr, op: &BinaryOperator, right: &Expr, scope: &Scope) -> Result<Typed> {
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

    /// `expr ± INTERVAL`, and DATE_ADD and its kin.
    pub(super) fn shift(&mut self, expr: &Expr, back: bool, interval: &Interval, scope: &Scope) -> Result<Typed> {
        let typed = self.expression(expr, scope)?;
        let count = self.expression(&interval.value, scope)?;
        let (Some(part), Kind::Int64) = (&interval.leading_field, count.kind) else {
            return Err(unsupported(format!("`{interval}`: write INTERVAL n PART, with a whole n")));
        };
        let count = if back { format!("(- {})", count.sql) } else { count.sql };
        let typed = match typed.text {
            Text::No => typed,
            _ => typed.clone().coerced(Kind::Date).unwrap_or(typed),
        };
        let function = match typed.kind {
            Kind::Date | Kind::Null => "g_date_add",
            Kind::Timestamp => "g_timestamp_add",
            _ => return Err(no_signature("interval arithmetic", &[&typed])),
        };
        Ok(Typed::new(format!("{function}({}, {count}, {})", typed.sql, literal(&part.to_string())), typed.kind))
    }

    fn extract(&mut self, part: &str, typed: &Typed, zone: &str) -> Result<Typed> {
        let name = part.to_ascii_uppercase();
        match (dates::Part::new(&name), typed.kind) {
            (Some(dates::Part::Date), Kind::Timestamp) => {
                Ok(Typed::new(format!("g_date_of({}, {zone})", typed.sql), Kind::Date))
            }
            (Some(_), Kind::Timestamp) => {
                Ok(Typed::new(format!("g_extract_timestamp({}, '{name}', {zone})", typed.sql), Kind::Int64))
            }
            (Some(_), Kind::Date | Kind::Null) => {
                Ok(Typed::new(format!("g_extract_date({}, '{name}')", typed.sql), Kind::Int64))
            }
            (Some(_), _) => Err(no_signature("EXTRACT", &[typed])),
            (None, _) => Err(unsupported(format!("EXTRACT({part} FROM …)"))),
        }
    }

    /// The keys of an ORDER BY. Ordinals stay as they are.
    pub(super) fn sort_keys(&mut self, expressions: &[OrderByExpr], scope: &Scope) -> Result<String> {
        let mut keys = Vec::new();
        for OrderByExpr { expr, options, with_fill } in expressions {
            if with_fill.is_some() {
                return Err(unsupported("WITH FILL"));
            }
            let key = self.expression(expr, scope)?.sql;
            let direction = match options.sort {
                None | Some(OrderBySort::Asc) => "",
                Some(OrderBySort::Desc) => " DESC",
                Some(OrderBySort::Using(_)) => return Err(unsupported("ORDER BY USING")),
            };
            let nulls = match options.nulls_first {
                None => "",
                Some(true) => " NULLS FIRST",
                Some(false) => " NULLS LAST",
            };
            keys.push(format!("{key}{direction}{nulls}"));
        }
        Ok(keys.join(", "))
    }
}

/// The type that all can be.
pub(super) fn common<'t>(what: &str, all: impl Iterator<Item = &'t Typed> + Clone) -> Result<Kind> {
    let mut kind = Kind::Null;
    for typed in all.clone() {
        let wider = kind.common(typed.kind).or_else(|| typed.clone().coerced(kind).map(|typed| typed.kind));
        kind = wider.ok_or_else(|| no_signature(what, &all.clone().collect::<Vec<_>>()))?;
    }
    Ok(kind)
}

/// The type that a CAST or a literal names.
fn kind_of(data_type: &DataType) -> Result<Kind> {
    Ok(match data_type {
        DataType::Int64 | DataType::Integer(_) | DataType::Int(_) | DataType::BigInt(_) => Kind::Int64,
        DataType::Float64 | DataType::Float(_) | DataType::Numeric(_) | DataType::BigNumeric(_) => Kind::Float64,
        DataType::Bool | DataType::Boolean => Kind::Bool,
        DataType::String(_) => Kind::String,
        DataType::Date => Kind::Date,
        DataType::Timestamp(_, TimezoneInfo::None) => Kind::Timestamp,
        other => return Err(unsupported(format!("the type {other}"))),
    })
}
