//! Rows that explain a violation: the host records them, and shows them in the message and on the page.

use crate::{
    Row,
    bindings::pipeline::check::{
        evidence as host,
        types::{Error, Value},
    },
};

/// Shows the rows of an answer as evidence of a metric. They must be of one query.
pub fn evidence(metric: &str, rows: &[Row]) -> Result<(), Error> {
    let Some(first) = rows.first() else { return Ok(()) };
    let values: Vec<Vec<Value>> = rows.iter().map(|row| row.values().to_vec()).collect();
    host::add(metric, first.columns(), &values)
}

/// The same for rows that are not of a query: the columns, and as many values in each row.
pub fn evidence_rows(metric: &str, columns: &[String], rows: &[Vec<Value>]) -> Result<(), Error> {
    host::add(metric, columns, rows)
}

/// Says how many rows there are, when only the first are shown.
pub fn evidence_total(metric: &str, rows: u64) -> Result<(), Error> {
    host::total(metric, rows)
}
