//! Expressions. Operators keep the author's order and parentheses: BigQuery's own precedence decides.

use sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastFormat, CastKind, CeilFloorKind, DateTimeField, Expr,
    ExtractSyntax, Subscript, TypedString, UnaryOperator,
};

use super::{Printer, refused};
use crate::typed::{Result, start};

impl Printer<'_> {
    pub(super) fn expression(&mut self, expr: &Expr) -> Result<()> {
        self.deeper(|printer| printer.chain(expr))
    }

    /// Chains of operators nest to the left and can be long, so they are not walked by recursion.
    fn chain(&mut self, expr: &Expr) -> Result<()> {
        let mut first = expr;
        let mut rest = Vec::new();
        while let Expr::BinaryOp { left, op, right } = first {
            rest.push((op, right.as_ref()));
            first = left;
        }
        self.operand(first)?;
        for (op, right) in rest.into_iter().rev() {
            self.put(operator(op)?);
            self.expression(right)?;
        }
        Ok(())
    }

    fn operand(&mut self, expr: &Expr) -> Result<()> {
        match expr {
            Expr::Identifier(name) if name.quote_style.is_none() && name.value.starts_with('@') => {
                self.mark(name.span.start);
                self.parameter(&name.value)
            }
            Expr::Identifier(name) => self.name(name),
            Expr::CompoundIdentifier(path) => self.names(path, "."),
            Expr::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            Expr::Value(value) => self.value(value),
            Expr::Nested(inner) => self.enclosed("(", inner, ")"),
            Expr::Function(function) => self.function(function),
            Expr::IsNull(inner) => self.tested(inner, " IS NULL"),
            Expr::IsNotNull(inner) => self.tested(inner, " IS NOT NULL"),
            Expr::IsTrue(inner) => self.tested(inner, " IS TRUE"),
            Expr::IsNotTrue(inner) => self.tested(inner, " IS NOT TRUE"),
            Expr::IsFalse(inner) => self.tested(inner, " IS FALSE"),
            Expr::IsNotFalse(inner) => self.tested(inner, " IS NOT FALSE"),
            Expr::IsDistinctFrom(one, other) => self.pair(one, " IS DISTINCT FROM ", other),
            Expr::IsNotDistinctFrom(one, other) => self.pair(one, " IS NOT DISTINCT FROM ", other),
            Expr::InList { expr, list, negated } => {
                self.tested(expr, if *negated { " NOT IN (" } else { " IN (" })?;
                self.list(list, ", ", Self::expression)?;
                self.put(")");
                Ok(())
            }
            Expr::InSubquery { expr, subquery, negated } => {
                self.tested(expr, if *negated { " NOT IN " } else { " IN " })?;
                self.subquery(subquery)
            }
            Expr::InUnnest { expr, array_expr, negated } => {
                self.tested(expr, if *negated { " NOT IN " } else { " IN " })?;
                self.enclosed("UNNEST(", array_expr, ")")
            }
            Expr::Between { expr, negated, low, high } => {
                self.tested(expr, if *negated { " NOT BETWEEN " } else { " BETWEEN " })?;
                self.pair(low, " AND ", high)
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char: None } => {
                self.pair(expr, if *negated { " NOT LIKE " } else { " LIKE " }, pattern)
            }
            Expr::UnaryOp { op, expr } => {
                // With a space: two minus signs would begin a comment.
                self.put(match op {
                    UnaryOperator::Not => "NOT ",
                    UnaryOperator::Minus => "- ",
                    UnaryOperator::Plus => "+ ",
                    UnaryOperator::BitwiseNot => "~ ",
                    other => return Err(refused(format_args!("the operator {other}"))),
                });
                self.expression(expr)
            }
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                self.put("CASE");
                if let Some(operand) = operand {
                    self.enclosed(" ", operand, "")?;
                }
                for CaseWhen { condition, result } in conditions {
                    self.put(" WHEN ");
                    self.pair(condition, " THEN ", result)?;
                }
                if let Some(result) = else_result {
                    self.enclosed(" ELSE ", result, "")?;
                }
                self.put(" END");
                Ok(())
            }
            Expr::Exists { subquery, negated } => {
                self.put(if *negated { "NOT EXISTS " } else { "EXISTS " });
                self.subquery(subquery)
            }
            Expr::Subquery(query) => self.subquery(query),
            Expr::Tuple(values) => self.tuple(values),
            Expr::Array(Array { elem, named }) => {
                self.put(if *named { "ARRAY[" } else { "[" });
                self.list(elem, ", ", Self::expression)?;
                self.put("]");
                Ok(())
            }
            Expr::Struct { values, fields } => {
                match fields.as_slice() {
                    [] => self.put("STRUCT"),
                    fields => self.fields(fields)?,
                }
                self.put("(");
                self.list(values, ", ", |printer, value| match value {
                    Expr::Named { expr, name } => {
                        printer.enclosed("", expr, " AS ")?;
                        printer.name(name)
                    }
                    other => printer.expression(other),
                })?;
                self.put(")");
                Ok(())
            }
            Expr::Interval(interval) => self.interval(interval),
            Expr::TypedString(TypedString { data_type, value, uses_odbc_syntax: false }) => {
                self.data_type(data_type)?;
                self.put(" ");
                self.value(value)
            }
            Expr::AtTimeZone { timestamp, time_zone } => self.pair(timestamp, " AT TIME ZONE ", time_zone),
            Expr::Cast { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. } => self.special(expr),
            Expr::GroupingSets(sets) => self.sets("GROUPING SETS (", sets),
            Expr::Cube(sets) => self.sets("CUBE (", sets),
            Expr::Rollup(sets) => self.sets("ROLLUP (", sets),
            other => Err(refused(format_args!("`{}`", start(other)))),
        }
    }

    /// Functions with a syntax of their own.
    fn special(&mut self, expr: &Expr) -> Result<()> {
        match expr {
            Expr::Cast { kind, expr, data_type, format } => {
                self.put(match kind {
                    CastKind::Cast => "CAST(",
                    CastKind::SafeCast => "SAFE_CAST(",
                    CastKind::TryCast | CastKind::DoubleColon => return Err(refused("a cast other than CAST(… AS …)")),
                });
                self.enclosed("", expr, " AS ")?;
                self.data_type(data_type)?;
                match format {
                    None => {}
                    Some(CastFormat::Value(format)) => {
                        self.put(" FORMAT ");
                        self.value(format)?;
                    }
                    Some(CastFormat::ValueAtTimeZone(format, zone)) => {
                        self.put(" FORMAT ");
                        self.value(format)?;
                        self.put(" AT TIME ZONE ");
                        self.value(zone)?;
                    }
                }
                self.put(")");
                Ok(())
            }
            Expr::Extract { field, syntax: ExtractSyntax::From, expr } => {
                self.put("EXTRACT(");
                self.part(field)?;
                self.enclosed(" FROM ", expr, ")")
            }
            Expr::Ceil { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.enclosed("CEIL(", expr, ")")
            }
            Expr::Floor { expr, field: CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) } => {
                self.enclosed("FLOOR(", expr, ")")
            }
            Expr::Substring { expr, substring_from: Some(from), substring_for, special: true, shorthand } => {
                self.put(if *shorthand { "SUBSTR(" } else { "SUBSTRING(" });
                self.pair(expr, ", ", from)?;
                if let Some(length) = substring_for {
                    self.enclosed(", ", length, "")?;
                }
                self.put(")");
                Ok(())
            }
            Expr::Trim { trim_where: None, trim_what: None, expr, trim_characters } => {
                self.enclosed("TRIM(", expr, "")?;
                for characters in trim_characters.iter().flatten() {
                    self.enclosed(", ", characters, "")?;
                }
                self.put(")");
                Ok(())
            }
            other => Err(refused(format_args!("`{}`", start(other)))),
        }
    }

    /// `root.field[index]`
    fn access(&mut self, root: &Expr, chain: &[AccessExpr]) -> Result<()> {
        self.expression(root)?;
        for access in chain {
            match access {
                AccessExpr::Dot(Expr::Identifier(name)) => {
                    self.put(".");
                    self.name(name)?;
                }
                AccessExpr::Subscript(Subscript::Index { index }) => self.enclosed("[", index, "]")?,
                AccessExpr::Dot(_) | AccessExpr::Subscript(Subscript::Slice { .. }) => {
                    return Err(refused(format_args!("`{access}`")));
                }
            }
        }
        Ok(())
    }

    fn sets(&mut self, word: &str, sets: &[Vec<Expr>]) -> Result<()> {
        self.put(word);
        self.list(sets, ", ", |printer, set| match set.as_slice() {
            [only] => printer.expression(only),
            several => printer.tuple(several),
        })?;
        self.put(")");
        Ok(())
    }

    fn tuple(&mut self, values: &[Expr]) -> Result<()> {
        self.put("(");
        self.list(values, ", ", Self::expression)?;
        self.put(")");
        Ok(())
    }

    fn tested(&mut self, expr: &Expr, after: &str) -> Result<()> {
        self.enclosed("", expr, after)
    }

    fn pair(&mut self, one: &Expr, between: &str, other: &Expr) -> Result<()> {
        self.enclosed("", one, between)?;
        self.expression(other)
    }

    pub(super) fn enclosed(&mut self, before: &str, expr: &Expr, after: &str) -> Result<()> {
        self.put(before);
        self.expression(expr)?;
        self.put(after);
        Ok(())
    }
}

/// The operators of GoogleSQL.
fn operator(op: &BinaryOperator) -> Result<&'static str> {
    Ok(match op {
        BinaryOperator::Plus => " + ",
        BinaryOperator::Minus => " - ",
        BinaryOperator::Multiply => " * ",
        BinaryOperator::Divide => " / ",
        BinaryOperator::StringConcat => " || ",
        BinaryOperator::Gt => " > ",
        BinaryOperator::Lt => " < ",
        BinaryOperator::GtEq => " >= ",
        BinaryOperator::LtEq => " <= ",
        BinaryOperator::Eq => " = ",
        BinaryOperator::NotEq => " != ",
        BinaryOperator::And => " AND ",
        BinaryOperator::Or => " OR ",
        BinaryOperator::BitwiseOr => " | ",
        BinaryOperator::BitwiseAnd => " & ",
        BinaryOperator::BitwiseXor => " ^ ",
        other => return Err(refused(format_args!("the operator {other}"))),
    })
}
