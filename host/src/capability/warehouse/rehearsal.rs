//! A warehouse with simulated answers: each query is prepared or dry-run, and its columns are filled with possible
//! values. So every query of a check is validated without reading a row, and a check that no data can make fail is
//! detected.

use std::sync::Arc;

use sqlparser::{
    ast::{Expr, Function, GroupByExpr, LimitClause, Query, Select, SelectItem, SetExpr, Statement, TableFactor},
    dialect::BigQueryDialect,
    parser::Parser,
};

use super::{Argument, Warehouse};
use crate::{
    capability::{
        calls::Calls,
        rehearsal::Rehearsal,
        shapes::{Shape, lock},
    },
    contract::{
        Error, Value,
        warehouse::{Column, Rows, Table},
    },
    googlesql,
};

impl Rehearsal {
    pub(super) async fn query(
        &self,
        warehouse: &Warehouse,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<Rows, Error> {
        let asked = self.asked(&sql, &parameters);
        if uses_date(&sql, &parameters, calls) {
            self.shapes.use_date();
        }
        // The values of the parameters do not change the columns.
        let kinds = parameters.iter().map(|parameter| (&parameter.name, parameter.kind));
        let key = format!("{sql}\0{:?}", kinds.collect::<Vec<_>>());
        let known = lock(&self.shapes.queries).get(&key).cloned();
        let shape = match known {
            Some(shape) => shape,
            None => {
                let parsed = Parser::parse_sql(&BigQueryDialect {}, &sql).ok();
                let query = parsed.as_deref().and_then(|statements| query(statements.first()?));
                let found = warehouse.shape(calls, sql.clone(), parameters).await;
                let shape = match found {
                    Ok((columns, bytes)) => Shape { bytes, ..Shape::new(columns, query) },
                    Err(error) => {
                        self.shapes.complain(&sql, &error);
                        // Let the check continue, so that its other queries are validated too.
                        Shape::new(query.and_then(select).map(names).ok_or(error)?, query)
                    }
                };
                lock(&self.shapes.queries).insert(key, shape.clone());
                shape
            }
        };
        Ok(self.rows(shape, &asked, calls.budgets().rows.0 as usize))
    }

    pub(super) async fn tables(
        &self,
        warehouse: &Warehouse,
        calls: &Arc<Calls>,
        dataset: &str,
    ) -> Result<Vec<Table>, Error> {
        let known = lock(&self.shapes.tables).get(dataset).cloned();
        let mut tables = match known {
            Some(tables) => tables,
            None => match warehouse.tables(calls, dataset).await {
                Ok(tables) => {
                    lock(&self.shapes.tables).insert(dataset.to_owned(), tables.clone());
                    tables
                }
                Err(error) => {
                    self.shapes.complain(dataset, &error);
                    return Err(error);
                }
            },
        };
        if self.is_empty() {
            return Ok(Vec::new());
        }
        let mut draw = self.draw(dataset);
        for table in &mut tables {
            let (rows, bytes) = (draw.number("rows", true, true), draw.number("bytes", true, true));
            let written = draw.moment().map(|moment| moment.as_second());
            // What the warehouse does not record, it never will.
            table.rows = table.rows.map(|_| rows as u64);
            table.bytes = table.bytes.map(|_| bytes as u64);
            table.modified = table.modified.and(written);
        }
        Ok(tables)
    }

    fn rows(&self, mut shape: Shape, asked: &str, most: usize) -> Rows {
        if shape.all_columns && self.changes_types() {
            // A type that cannot be told never can.
            for column in shape.columns.iter_mut().filter(|column| column.kind != "ANY") {
                column.kind = if column.kind == "STRING" { "INT64" } else { "STRING" }.to_owned();
            }
        }
        let mut draw = self.draw(asked);
        let columns = || shape.columns.iter().zip(&shape.counts);
        let earlier = self.earlier(asked);
        let rows = match earlier {
            _ if shape.one_row => 1,
            Some(rows) if !draw.often(3) => rows.len(),
            _ => draw.rows(shape.limit.map_or(most, |limit| limit.min(most))),
        };
        let row = |at: usize| -> Vec<Value> {
            match earlier.and_then(|rows| rows.get(at)) {
                Some(row) => {
                    let cells = columns().zip(row);
                    cells.map(|((column, count), was)| draw.changed(column, *count, at, row, was)).collect()
                }
                None => columns().map(|(column, count)| draw.value(column, *count, at)).collect(),
            }
        };
        let values: Vec<Vec<Value>> = (0..rows).map(row).collect();
        self.gives(asked, &values);
        Rows { values, columns: shape.columns, bytes_processed: shape.bytes }
    }
}

/// Whether a query depends on the data date: it has the date itself, or a parameter with it or with a time that goes with
/// it. The run's clock does not.
fn uses_date(sql: &str, parameters: &[Argument], calls: &Calls) -> bool {
    let (date, due) = (calls.caller.data_date.to_string(), calls.caller.due.as_second());
    let named = sql.to_ascii_lowercase();
    let used = |parameter: &&Argument| {
        named.contains(&format!("@{}", parameter.name.trim_start_matches('@').to_ascii_lowercase()))
    };
    let dated = parameters.iter().filter(used).any(|parameter| match &parameter.value {
        Value::Date(value) | Value::Text(value) => *value == date,
        Value::Timestamp(at) => *at != due,
        _ => false,
    });
    dated || sql.contains(&date)
}

impl Shape {
    /// From the columns and the query, as far as it can be read.
    fn new(columns: Vec<Column>, query: Option<&Query>) -> Self {
        let items = query.and_then(select).map(|select| select.projection.as_slice()).unwrap_or_default();
        // With a `*` the positions do not correspond, so no column counts as a count.
        let counts = match items.len() == columns.len() {
            true => items.iter().map(|item| expression(item).is_some_and(is_count)).collect(),
            false => vec![false; columns.len()],
        };
        let known = items.len() == columns.len();
        let each = || items.iter().take(if known { items.len() } else { 0 }).map(expression);
        // The value of RAND() and the like is another each time, but those are refused.
        let expressions = each().map(|of| of.map(ToString::to_string)).collect();
        let row_counts = each().map(|of| of.is_some_and(counts_rows)).collect();
        let all_columns = items.iter().any(|item| matches!(item, SelectItem::Wildcard(_)));
        let one_row = query.is_some_and(|query| gives_one_row(query, &[]));
        Self { columns, counts, expressions, row_counts, one_row, limit: query.and_then(limit), all_columns, bytes: 0 }
    }
}

fn query(statement: &Statement) -> Option<&Query> {
    match statement {
        Statement::Query(query) => Some(query),
        _ => None,
    }
}

/// The outermost SELECT.
fn select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => select(query),
        _ => None,
    }
}

/// The number of its LIMIT.
fn limit(query: &Query) -> Option<usize> {
    match query.limit_clause.as_ref()? {
        LimitClause::LimitOffset { limit: Some(limit), .. } => limit.to_string().parse().ok(),
        _ => None,
    }
}

/// Whether a query gives exactly one row whatever the data is. `single` are the names of earlier WITH clauses that do.
fn gives_one_row(query: &Query, single: &[String]) -> bool {
    let mut single = single.to_vec();
    for table in query.with.iter().flat_map(|with| &with.cte_tables) {
        let name = table.alias.name.value.to_lowercase();
        single.retain(|known| *known != name);
        if gives_one_row(&table.query, &single) {
            single.push(name);
        }
    }
    let Some(select) = select(query) else { return false };
    let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
    let restricted = grouped || select.having.is_some() || select.qualify.is_some();
    let aggregate = select.projection.iter().filter_map(expression).any(aggregates);
    // Each row of the sources gives one, and each source has one.
    let sources = || {
        let joined = select.from.iter().all(|from| from.joins.is_empty());
        joined && select.from.iter().all(|from| is_single(&from.relation, &single))
    };
    !restricted && (aggregate || (select.selection.is_none() && sources()))
}

fn is_single(source: &TableFactor, single: &[String]) -> bool {
    match source {
        TableFactor::Derived { subquery, .. } => gives_one_row(subquery, single),
        TableFactor::Table { name, args: None, .. } => single.contains(&name.to_string().to_lowercase()),
        _ => false,
    }
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => Some(expression),
        _ => None,
    }
}

/// Columns of a SELECT that could not be prepared. Nothing is said of their types.
fn names(select: &Select) -> Vec<Column> {
    let names = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => path.last().map(|name| name.value.clone()),
        _ => None,
    });
    names.map(|name| Column { name, kind: "ANY".to_owned() }).collect()
}

fn name(function: &Function) -> String {
    function.name.to_string().to_ascii_uppercase()
}

/// Whether it counts the selected rows, and not only those that meet a condition of its own.
fn counts_rows(of: &Expr) -> bool {
    match of {
        Expr::Nested(inner) => counts_rows(inner),
        Expr::Subquery(query) => match select(query).map(|select| select.projection.as_slice()) {
            Some([item]) => expression(item).is_some_and(counts_rows),
            _ => false,
        },
        Expr::Function(function) => matches!(name(function).as_str(), "COUNT" | "APPROX_COUNT_DISTINCT"),
        _ => false,
    }
}

fn is_count(of: &Expr) -> bool {
    match of {
        Expr::Nested(inner) => is_count(inner),
        Expr::Subquery(query) => match select(query).map(|select| select.projection.as_slice()) {
            Some([item]) => gives_one_row(query, &[]) && expression(item).is_some_and(is_count),
            _ => false,
        },
        Expr::Function(function) => {
            matches!(name(function).as_str(), "COUNT" | "COUNTIF" | "APPROX_COUNT_DISTINCT")
        }
        _ => false,
    }
}

/// Whether an expression contains an aggregate of its own query.
fn aggregates(expression: &Expr) -> bool {
    use sqlparser::ast::{Visit, Visitor};
    struct Aggregates;
    impl Visitor for Aggregates {
        type Break = ();

        fn pre_visit_expr(&mut self, expression: &Expr) -> std::ops::ControlFlow<()> {
            let aggregate = |function: &Function| function.over.is_none() && googlesql::is_aggregate(&name(function));
            match expression {
                Expr::Function(function) if aggregate(function) => std::ops::ControlFlow::Break(()),
                _ => std::ops::ControlFlow::Continue(()),
            }
        }
    }
    // Aggregates in a subquery do not count.
    let subquery = matches!(expression, Expr::Subquery(_) | Expr::Exists { .. });
    !subquery && expression.visit(&mut Aggregates).is_break()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_that_always_gives_one_row_is_recognised() {
        let shape = |sql: &str| {
            let parsed = Parser::parse_sql(&BigQueryDialect {}, sql).expect("SQL");
            let column = |name: &str| Column { name: name.to_owned(), kind: "INT64".to_owned() };
            let shape = Shape::new(vec![column("n")], parsed.first().and_then(query));
            (shape.one_row, shape.counts == [true])
        };
        for (sql, one_row, count) in [
            ("SELECT COUNT(*) AS n FROM t", true, true),
            ("SELECT COUNT(*) AS n FROM t LIMIT 1", true, true),
            ("SELECT SUM(x) AS n FROM t", true, false),
            ("SELECT (SELECT COUNT(*) FROM t) AS n", true, true),
            ("SELECT (SELECT COUNT(*) FROM t GROUP BY x LIMIT 1) AS n", true, false),
            (
                "SELECT a.n - b.n AS n FROM (SELECT COUNT(*) AS n FROM t) AS a, (SELECT COUNT(*) AS n FROM u) AS b",
                true,
                false,
            ),
            ("WITH a AS (SELECT COUNT(*) AS n FROM t) SELECT n FROM a", true, false),
            ("WITH a AS (SELECT n FROM t) SELECT n FROM a", false, false),
            ("SELECT n FROM (SELECT COUNT(*) AS n FROM t) AS a WHERE n > 5", false, false),
            ("SELECT n FROM t", false, false),
            ("SELECT COUNT(*) AS n FROM t GROUP BY x", false, true),
            ("SELECT COUNT(*) AS n FROM t HAVING COUNT(*) > 1", false, true),
            ("SELECT COUNT(*) AS n FROM t UNION ALL SELECT 1", false, false),
        ] {
            assert_eq!(shape(sql), (one_row, count), "{sql}");
        }
    }
}
