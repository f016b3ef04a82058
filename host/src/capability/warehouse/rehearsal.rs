//! A warehouse with simulated answers: each query is prepared or dry-run, and its columns are filled with possible
//! values. So every query of a check is validated without reading a row, and a check that no data can make fail is
//! detected.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use fastrand::Rng;
use jiff::civil::Date;
use sqlparser::{
    ast::{Expr, Function, GroupByExpr, Query, Select, SelectItem, SetExpr, Statement},
    dialect::BigQueryDialect,
    parser::Parser,
};

use super::Warehouse;
use crate::{
    capability::calls::Calls,
    contract::{
        Error, Value,
        warehouse::{Column, Parameter, Rows, Table},
    },
    googlesql,
};

/// Larger than any count of a check, and exact as a float.
const MANY: i64 = 1_000_000;
/// Rows of a query that may return several.
const ROWS: usize = 3;
const HOUR: i64 = 3600;

/// The kinds of simulated data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// Every number as low as possible, every timestamp long ago.
    Low,
    /// Every number high, every timestamp the run's own.
    High,
    /// Everything that can be NULL is NULL.
    Null,
    /// All tables are empty.
    Empty,
    /// A mixture of all, determined by the number.
    Mixed(u64),
}

/// One run of a check on simulated answers.
#[derive(Debug)]
pub struct Rehearsal {
    answers: Answers,
    due: i64,
    date: Date,
    shapes: Arc<Shapes>,
}

/// The queries of a check, and the shapes of their answers.
#[derive(Debug, Default)]
pub struct Shapes {
    queries: Mutex<HashMap<String, Shape>>,
    tables: Mutex<HashMap<String, Vec<Table>>>,
    problems: Mutex<Vec<Problem>>,
}

/// A query that would fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The SQL, or the dataset.
    pub asked: String,
    /// The error.
    pub error: Error,
}

/// The shape of an answer.
#[derive(Debug, Clone)]
struct Shape {
    columns: Vec<Column>,
    /// Which of the columns are counts: never NULL, never negative.
    counts: Vec<bool>,
    /// Whether there is always exactly one row.
    one_row: bool,
}

impl Rehearsal {
    /// `shapes` are the shapes from earlier rehearsals of the check.
    pub fn new(answers: Answers, due: i64, date: Date, shapes: Arc<Shapes>) -> Self {
        Self { answers, due, date, shapes }
    }

    pub(super) async fn query(
        &self,
        warehouse: &Warehouse,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> Result<Rows, Error> {
        let key = format!("{sql}\0{parameters:?}");
        let known = lock(&self.shapes.queries).get(&key).cloned();
        let shape = match known {
            Some(shape) => shape,
            None => {
                let parsed = Parser::parse_sql(&BigQueryDialect {}, &sql).ok();
                let select = parsed.as_deref().and_then(|statements| select(statements.first()?));
                let found = warehouse.shape(calls, sql.clone(), parameters).await;
                let shape = match found {
                    Ok(columns) => Shape::new(columns, select),
                    Err(error) => {
                        lock(&self.shapes.problems).push(Problem { asked: sql.clone(), error: error.clone() });
                        // Let the check continue, so that its other queries are validated too.
                        Shape::new(select.map(names).ok_or(error)?, select)
                    }
                };
                lock(&self.shapes.queries).insert(key, shape.clone());
                shape
            }
        };
        Ok(self.rows(shape, &sql))
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
                    lock(&self.shapes.problems).push(Problem { asked: dataset.to_owned(), error: error.clone() });
                    return Err(error);
                }
            },
        };
        if self.answers == Answers::Empty {
            return Ok(Vec::new());
        }
        let mut random = self.random(dataset);
        for table in &mut tables {
            let mut count = || match self.number(&mut random, true) {
                Value::Integer(number) => u64::try_from(number).ok(),
                _ => None,
            };
            (table.rows, table.bytes) = (count(), count());
            table.modified = match self.moment(&mut random) {
                Value::Timestamp(moment) => Some(moment),
                _ => None,
            };
        }
        Ok(tables)
    }

    fn rows(&self, shape: Shape, sql: &str) -> Rows {
        let mut random = self.random(sql);
        let rows = match self.answers {
            _ if shape.one_row => 1,
            Answers::Empty => 0,
            Answers::Mixed(_) => random.usize(0..=2 * ROWS),
            Answers::Low | Answers::High | Answers::Null => ROWS,
        };
        let values = (0..rows).map(|row| {
            let columns = shape.columns.iter().zip(&shape.counts);
            columns.map(|(column, count)| self.value(&column.kind, *count, row, &mut random)).collect()
        });
        Rows { values: values.collect(), columns: shape.columns, bytes_processed: 0 }
    }

    fn value(&self, kind: &str, count: bool, row: usize, random: &mut Rng) -> Value {
        let null = match self.answers {
            Answers::Empty | Answers::Null => !count,
            Answers::Mixed(_) => !count && random.u8(0..6) == 0,
            Answers::Low | Answers::High => false,
        };
        match kind {
            _ if null => Value::Null,
            "INT64" => self.number(random, count),
            "FLOAT64" | "NUMERIC" | "BIGNUMERIC" => match self.number(random, count) {
                Value::Integer(number) => Value::Float(number as f64),
                other => other,
            },
            "BOOL" => Value::Boolean(match self.answers {
                Answers::Mixed(_) => random.bool(),
                answers => answers == Answers::High,
            }),
            "TIMESTAMP" => self.moment(random),
            "DATETIME" => match self.moment(random) {
                Value::Timestamp(moment) => {
                    let moment = jiff::Timestamp::from_second(moment).ok();
                    let clock = moment.map(|moment| jiff::tz::Offset::UTC.to_datetime(moment).to_string());
                    clock.map_or(Value::Null, Value::Text)
                }
                other => other,
            },
            "DATE" if self.answers == Answers::Low => Value::Date("1970-01-01".to_owned()),
            "DATE" => Value::Date(self.date.to_string()),
            kind if kind.starts_with("ARRAY") => Value::Text("[]".to_owned()),
            kind if kind.starts_with("STRUCT") || kind == "JSON" => Value::Text("{}".to_owned()),
            _ => Value::Text(format!("x{row}")),
        }
    }

    fn number(&self, random: &mut Rng, count: bool) -> Value {
        let lowest = if count { 0 } else { -MANY };
        Value::Integer(match self.answers {
            Answers::Low => lowest,
            Answers::High => MANY,
            Answers::Empty => 0,
            Answers::Null => 100,
            Answers::Mixed(_) => *random.choice(&[lowest, 0, 0, 1, 3, 60, 500, MANY]).unwrap_or(&0),
        })
    }

    fn moment(&self, random: &mut Rng) -> Value {
        match self.answers {
            Answers::Low => Value::Timestamp(0),
            Answers::High => Value::Timestamp(self.due),
            Answers::Null | Answers::Empty => Value::Null,
            Answers::Mixed(_) => match random.u8(0..5) {
                0 => Value::Null,
                1 => Value::Timestamp(0),
                2 => Value::Timestamp(self.due - 13 * HOUR),
                3 => Value::Timestamp(self.due - 30 * HOUR),
                _ => Value::Timestamp(self.due - HOUR),
            },
        }
    }

    /// The same random numbers for the same query.
    fn random(&self, asked: &str) -> Rng {
        let seed = match self.answers {
            Answers::Mixed(seed) => seed,
            _ => 0,
        };
        let mixed = asked.bytes().fold(seed + 1, |hash, byte| hash.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte));
        Rng::with_seed(mixed)
    }
}

impl Shapes {
    /// The queries that would fail.
    pub fn problems(&self) -> Vec<Problem> {
        lock(&self.problems).clone()
    }

    /// Whether the check queried the warehouse.
    pub fn asked(&self) -> bool {
        !lock(&self.queries).is_empty() || !lock(&self.tables).is_empty() || !lock(&self.problems).is_empty()
    }

    /// The names of all columns of all answers.
    pub fn columns(&self) -> Vec<String> {
        let queries = lock(&self.queries);
        let mut names: Vec<String> =
            queries.values().flat_map(|shape| shape.columns.iter().map(|column| column.name.clone())).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Shape {
    fn new(columns: Vec<Column>, select: Option<&Select>) -> Self {
        let items = select.map(|select| select.projection.as_slice()).unwrap_or_default();
        // With a `*` the positions do not correspond, so no column counts as a count.
        let counts = match items.len() == columns.len() {
            true => items.iter().map(|item| expression(item).is_some_and(is_count)).collect(),
            false => vec![false; columns.len()],
        };
        let one_row = select.is_some_and(|select| {
            let grouped = !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty());
            let aggregate = items.iter().filter_map(expression).any(aggregates);
            aggregate && !grouped && select.having.is_none()
        });
        Self { columns, counts, one_row }
    }
}

/// The outermost SELECT.
fn select(statement: &Statement) -> Option<&Select> {
    let Statement::Query(query) = statement else { return None };
    let Query { body, limit_clause: None, .. } = query.as_ref() else { return None };
    match body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expression) | SelectItem::ExprWithAlias { expr: expression, .. } => Some(expression),
        _ => None,
    }
}

/// Columns of a SELECT that could not be prepared.
fn names(select: &Select) -> Vec<Column> {
    let names = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(path)) => path.last().map(|name| name.value.clone()),
        _ => None,
    });
    names.map(|name| Column { name, kind: "INT64".to_owned() }).collect()
}

fn name(function: &Function) -> String {
    function.name.to_string().to_ascii_uppercase()
}

fn is_count(expression: &Expr) -> bool {
    match expression {
        Expr::Nested(inner) => is_count(inner),
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

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
