//! Expressions of GoogleSQL, translated for the embedded engine, with their types.

use host_contract::Error;
use sqlparser::ast::{
    CastKind, CeilFloorKind, DateTimeField, Expr, OrderByExpr, OrderBySort, TypedString, UnaryOperator, Value,
};

use super::{
    dialect::Translator,
    kind::Kind,
    position::{self, located},
    scope::Scope,
    typed::{Result, Typed, common, kind_of, no_signature, start, together, unsupported},
};

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
        self.room.enter()?;
        let typed = self.bare_expression(expr, scope).map_err(|error| located(error, position::of(expr)))?;
        self.room.leave();
        self.room.work(1 + self.grouped.len())?;
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
            Expr::Nested(inner) => Ok(self.expression(inner, scope)?.written(|sql| format!("({sql})"))),
            Expr::Value(value) => self.value(&value.value),
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                let Some(text) = value.value.clone().into_string() else {
                    return Err(unsupported(format!("`{expr}`")));
                };
                let kind = kind_of(data_type)?;
                let typed = Typed::text(text).coerced(kind).ok_or_else(|| unsupported(format!("`{expr}`")))?;
                match typed.sql.starts_with("g_cast") {
                    true => Err(Error::Invalid(format!("query failed: Invalid {} literal: {expr}", kind.name()))),
                    false => Ok(typed),
                }
            }
            Expr::UnaryOp { op, expr: inner } => {
                let typed = self.expression(inner, scope)?;
                match op {
                    UnaryOperator::Not if typed.is_bool() => Ok(Typed::new(format!("(NOT {})", typed.sql), Kind::Bool)),
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
                let typed = if *negated { typed } else { typed.for_equality() };
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
                let (typed, _) = together("operator IN", typed, other)?;
                let typed = if *negated { typed } else { typed.for_equality() };
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
                if !text.is_text() || !pattern.is_text() {
                    return Err(no_signature("operator LIKE", &[&text, &pattern]));
                }
                let not = if *negated { "NOT " } else { "" };
                Ok(Typed::new(format!("({not}g_like({}, {}))", text.sql, pattern.sql), Kind::Bool))
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
                let sql = format!("{function}({}, '{}', '{}')", typed.sql, typed.kind.computed(), to.computed());
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
            Expr::Ceil { expr: inner, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call("CEIL", &[inner], scope)
            }
            Expr::Floor { expr: inner, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.call("FLOOR", &[inner], scope)
            }
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
        self.room.work(scope.columns())?;
        let found = scope.column(table, name)?;
        if found.own {
            self.bare.push(name.to_owned());
        }
        Ok(Typed::column(found.sql, found.kind, found.unchecked))
    }

    fn parameter(&mut self, name: &str) -> Result<Typed> {
        let name = name.to_lowercase();
        match self.parameters.get(&name) {
            Some(kind) => Ok(Typed::parameter(&name, *kind)),
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
                Some(text) if !text.contains('\0') => Ok(Typed::text(text)),
                _ => Err(unsupported(format!("the literal {other}"))),
            },
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
