//! `warehouse`: one SELECT at a time, on granted datasets.

mod allowed;
mod bigquery;
mod catalog;
mod datasets;
mod fault;
mod large;
mod ledger;
pub mod memory;
mod rehearsal;
mod sqlite;
#[cfg(test)]
mod tests;

pub(super) use allowed::value_size;
pub use bigquery::{BigQuery, ENDPOINT as BIGQUERY, Place};
pub use ledger::Ledger;
pub use rehearsal::{Answers, Problem, Rehearsal, Shapes};
pub use sqlite::Sqlite;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::calls::Calls;
use crate::contract::{
    Error,
    warehouse::{Column, Parameter, Rows, Table},
};

/// What answers questions.
#[derive(Debug, Clone)]
pub enum Warehouse {
    /// The embedded engine.
    Sqlite(Sqlite),
    /// Google's.
    BigQuery(BigQuery),
    /// Another one's shapes, filled with made-up values.
    Rehearsed {
        /// What makes the values up.
        rehearsal: Arc<Rehearsal>,
        /// Whose shapes.
        of: Box<Warehouse>,
    },
}

impl Warehouse {
    /// Asks, if the run may, within its budgets and until it is over.
    pub(super) async fn query(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> Result<Rows, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.query(calls, sql, parameters).await,
            Self::BigQuery(bigquery) => bigquery.query(calls, sql, parameters).await,
            Self::Rehearsed { rehearsal, of } => rehearsal.query(of, calls, sql, parameters).await,
        }
    }

    /// The columns that a query would answer with; not a row is read.
    async fn shape(&self, calls: &Arc<Calls>, sql: String, parameters: Vec<Parameter>) -> Result<Vec<Column>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.shape(calls, sql, parameters).await,
            Self::BigQuery(bigquery) => bigquery.shape(calls, sql, parameters).await,
            Self::Rehearsed { of, .. } => Box::pin(of.shape(calls, sql, parameters)).await,
        }
    }

    /// Whether each dataset can be asked: what was looked at, and what was seen or what is wrong.
    pub(super) async fn probe(
        &self,
        datasets: &BTreeSet<String>,
        deadline: Instant,
    ) -> Vec<(String, Result<String, String>)> {
        join_all(datasets.iter().map(async |dataset| {
            let found = match self {
                Self::Sqlite(sqlite) => sqlite.probe(dataset),
                Self::BigQuery(bigquery) => bigquery.probe(dataset, deadline).await,
                Self::Rehearsed { .. } => Ok("simulated".to_owned()),
            };
            (format!("warehouse {dataset}"), found.map_err(|error| error.message().to_owned()))
        }))
        .await
    }

    /// The tables of a dataset that was allowed.
    pub(super) async fn tables(&self, calls: &Arc<Calls>, dataset: &str) -> Result<Vec<Table>, Error> {
        let tables = match self {
            Self::Sqlite(sqlite) => sqlite.tables(calls, dataset).await?,
            Self::BigQuery(bigquery) => bigquery.tables(calls, dataset).await?,
            Self::Rehearsed { rehearsal, of } => Box::pin(rehearsal.tables(of, calls, dataset)).await?,
        };
        let size = tables.iter().map(|table| size_of::<Table>() + table.name.len()).sum();
        calls.within("tables", tables.len(), size)?;
        Ok(tables)
    }

    /// Ends what still runs elsewhere, when the host goes.
    pub async fn close(&self) {
        if let Self::BigQuery(bigquery) = self {
            bigquery.close().await;
        }
    }
}
