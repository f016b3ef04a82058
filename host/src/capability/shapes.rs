//! What a check asks in its rehearsals, and the shapes of the answers.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::contract::{
    Error,
    deployments::Deployment,
    warehouse::{Column, Table},
};

/// What a check asks, and the shapes of the answers.
#[derive(Debug, Default)]
pub struct Shapes {
    pub(super) queries: Mutex<HashMap<String, Shape>>,
    pub(super) tables: Mutex<HashMap<String, Vec<Table>>>,
    pub(super) paths: Mutex<HashMap<Vec<String>, Vec<String>>>,
    pub(super) services: Mutex<HashMap<String, Option<Deployment>>>,
    problems: Mutex<Vec<Problem>>,
    dated: AtomicBool,
}

/// A question that cannot be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The SQL, the dataset, the paths or the service.
    pub asked: String,
    /// The error.
    pub error: Error,
}

/// The shape of an answer.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) columns: Vec<Column>,
    /// Which of the columns are counts: never NULL, never negative.
    pub(super) counts: Vec<bool>,
    /// The expressions of the columns, as far as they are known.
    pub(super) expressions: Vec<Option<String>>,
    /// Which of the columns count the rows that the query selects, all or those with a value.
    pub(super) row_counts: Vec<bool>,
    /// Whether there is always exactly one row.
    pub(super) one_row: bool,
    /// The most rows, if the query has a LIMIT.
    pub(super) limit: Option<usize>,
    /// Whether the columns are those of the table, whatever they are.
    pub(super) all_columns: bool,
    /// The most bytes that the query bills.
    pub(super) bytes: u64,
}

impl Shapes {
    /// Whether a query used the data date.
    pub fn is_dated(&self) -> bool {
        self.dated.load(Ordering::Relaxed)
    }

    /// Remembers that a query used the data date.
    pub(super) fn use_date(&self) {
        self.dated.store(true, Ordering::Relaxed);
    }

    /// Whether there was a query.
    pub fn queried(&self) -> bool {
        !lock(&self.queries).is_empty()
    }

    /// The shape of a query that gives one number.
    #[cfg(test)]
    pub fn with_column(name: &str) -> Self {
        let column = Column { name: name.to_owned(), kind: "FLOAT64".to_owned() };
        let shape = Shape {
            columns: vec![column],
            counts: vec![false],
            expressions: vec![None],
            row_counts: vec![false],
            one_row: true,
            limit: None,
            all_columns: false,
            bytes: 0,
        };
        let shapes = Self::default();
        lock(&shapes.queries).insert(String::new(), shape);
        shapes
    }

    /// The questions that cannot be answered.
    pub fn problems(&self) -> Vec<Problem> {
        lock(&self.problems).clone()
    }

    pub(super) fn complain(&self, asked: &str, error: &Error) {
        let problem = Problem { asked: asked.to_owned(), error: error.clone() };
        let mut problems = lock(&self.problems);
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// Whether the check asked for any data.
    pub fn asked(&self) -> bool {
        let of_warehouse = !lock(&self.queries).is_empty() || !lock(&self.tables).is_empty();
        let of_code = !lock(&self.paths).is_empty() || !lock(&self.services).is_empty();
        of_warehouse || of_code || !lock(&self.problems).is_empty()
    }

    /// The names of all columns of all answers.
    pub fn columns(&self) -> Vec<String> {
        self.distinct(|_, _| true)
    }

    /// The type of the column with a name; as in SQL, upper and lower case are the same.
    pub fn kind(&self, name: &str) -> Option<String> {
        let queries = lock(&self.queries);
        let mut columns = queries.values().flat_map(|shape| &shape.columns);
        columns.find(|column| column.name.eq_ignore_ascii_case(name)).map(|column| column.kind.clone())
    }

    /// The names of the columns that are counts wherever they occur.
    pub fn counts(&self) -> Vec<String> {
        let others = self.distinct(|_, count| !count);
        let mut counts = self.distinct(|_, count| count);
        counts.retain(|count| !others.contains(count));
        counts
    }

    /// The names of the columns that count the rows which a query selects.
    pub fn row_counts(&self) -> Vec<String> {
        let queries = lock(&self.queries);
        let columns = queries.values().flat_map(|shape| shape.columns.iter().zip(&shape.row_counts));
        columns.filter(|(_, counts)| **counts).map(|(column, _)| column.name.clone()).collect()
    }

    /// The pairs of columns of one query that have the same expression, and so the same value: two names and the expression.
    pub fn twins(&self) -> Vec<(String, String, String)> {
        let queries = lock(&self.queries);
        let of_shape = |shape: &Shape| {
            let known: Vec<(&str, &str)> = shape
                .columns
                .iter()
                .zip(&shape.expressions)
                .filter_map(|(column, expression)| Some((column.name.as_str(), expression.as_deref()?)))
                .collect();
            let pairs = known.iter().flat_map(|one| known.iter().map(move |other| (one, other)));
            let same = pairs.filter(|(one, other)| one.0 != other.0 && one.1 == other.1);
            same.map(|(one, other)| (one.0.to_owned(), other.0.to_owned(), one.1.to_owned())).collect::<Vec<_>>()
        };
        let mut twins: Vec<_> = queries.values().flat_map(of_shape).collect();
        twins.sort();
        twins.dedup();
        twins
    }

    /// Whether an answer may hold more than can be simulated: text has a meaning for the check.
    pub fn opaque(&self) -> bool {
        const PLAIN: [&str; 8] = ["INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "BOOL", "TIMESTAMP", "DATE", "DATETIME"];
        let listed =
            !lock(&self.tables).is_empty() || !lock(&self.paths).is_empty() || !lock(&self.services).is_empty();
        listed || !self.distinct(|column, _| !PLAIN.contains(&column.kind.as_str())).is_empty()
    }

    fn distinct(&self, wanted: impl Fn(&Column, bool) -> bool) -> Vec<String> {
        let queries = lock(&self.queries);
        let columns = queries.values().flat_map(|shape| shape.columns.iter().zip(&shape.counts));
        let mut names: Vec<String> =
            columns.filter(|(column, count)| wanted(column, **count)).map(|(column, _)| column.name.clone()).collect();
        names.sort();
        names.dedup();
        names
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
