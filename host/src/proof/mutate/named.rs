//! The columns that a check's queries name, and those that they compare with its date.

use std::{collections::BTreeSet, ops::ControlFlow};

use anyhow::{Result, anyhow};
use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Value,
    ValueWithSpan, visit_expressions,
};

use crate::googlesql::{self, Select};

/// The columns that some queries name, in lower case. An error if one cannot be read, as one that is too long to be recorded.
pub(super) fn columns(queries: &[String], project: Option<&str>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for sql in queries {
        let select = googlesql::read(sql, project).map_err(|error| {
            anyhow!("a query of it cannot be read again, so nothing is known of its columns: {}", error.message())
        })?;
        found.extend(columns_of(&select));
    }
    Ok(found)
}

/// The columns that queries of a table name, in lower case.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) all: BTreeSet<String>,
    /// Those that must be the date, or within it.
    pub(super) equal: BTreeSet<String>,
    /// Those that are compared with it otherwise: later, earlier.
    pub(super) beyond: BTreeSet<String>,
    /// Those whose date is asked for in UTC.
    pub(super) utc: BTreeSet<String>,
}

impl Named {
    /// Adds those of a query.
    pub(super) fn add(&mut self, select: &Select) {
        self.all.extend(columns_of(select));
        let (equal, beyond) = dates_of(select);
        self.equal.extend(equal);
        self.beyond.extend(beyond);
        self.utc.extend(dates_in_utc(select));
    }
}

/// The parameters that say which date is asked about.
const OF_DATE: [&str; 3] = ["@date", "@day_start", "@day_end"];

/// Whether an expression is the date of the run, or made of it alone: not of a query or a condition with it.
fn is_date(expression: &Expr) -> bool {
    let (mut is_named, mut is_other) = (false, false);
    let _ = visit_expressions(expression, |part| {
        match part {
            Expr::Identifier(Ident { value: name, .. })
            | Expr::Value(ValueWithSpan { value: Value::Placeholder(name), .. }) => {
                is_named |= OF_DATE.contains(&name.to_lowercase().as_str());
            }
            Expr::Case { .. } | Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => is_other = true,
            Expr::Function(Function { name, .. }) => is_other |= name.to_string().eq_ignore_ascii_case("IF"),
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    is_named && !is_other
}

/// The columns that a query compares with its date: those that must be it or within it, and the others.
fn dates_of(select: &Select) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut equal, mut beyond) = (BTreeSet::new(), BTreeSet::new());
    let _ = visit_expressions(&select.query, |expression| {
        let (sides, found): (Vec<&Expr>, &mut BTreeSet<String>) = match expression {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => (vec![left, right], &mut equal),
            Expr::Between { expr, low, high, .. } => (vec![expr, low, high], &mut equal),
            Expr::InList { expr, list, .. } => (std::iter::once(&**expr).chain(list).collect(), &mut equal),
            Expr::BinaryOp { left, op, right } if is_comparison(op) => (vec![left, right], &mut beyond),
            _ => return ControlFlow::<()>::Continue(()),
        };
        if sides.iter().any(|side| is_date(side)) {
            for side in sides.into_iter().filter(|side| !is_date(side)) {
                let _ = visit_expressions(side, |expression| {
                    found.extend(name_of(expression));
                    ControlFlow::<()>::Continue(())
                });
            }
        }
        ControlFlow::Continue(())
    });
    (equal, beyond)
}

/// The columns of which a query takes the date without naming a zone.
fn dates_in_utc(select: &Select) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(&select.query, |expression| {
        match expression {
            Expr::Cast { expr, data_type: DataType::Date, .. } => found.extend(name_of(expr)),
            Expr::Function(Function { name, args: FunctionArguments::List(list), .. })
                if name.to_string().eq_ignore_ascii_case("DATE") =>
            {
                if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] = list.args.as_slice() {
                    found.extend(name_of(of));
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    matches!(op, Gt | GtEq | Lt | LtEq)
}

/// The name of a column, in lower case.
fn name_of(expression: &Expr) -> Option<String> {
    let name = match expression {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    name.map(|name| name.value.to_lowercase())
}

fn columns_of(select: &Select) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(&select.query, |expression| {
        found.extend(name_of(expression));
        ControlFlow::<()>::Continue(())
    });
    // The names in `USING (…)` are not expressions.
    let text = select.text();
    for using in text.split(" USING(").chain(text.split(" USING (")).skip(1) {
        let names = using.split(')').next().unwrap_or_default();
        found.extend(names.split(',').map(|name| name.trim().trim_matches('`').to_lowercase()));
    }
    found
}
