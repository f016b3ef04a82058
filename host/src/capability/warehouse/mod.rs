//! `warehouse`: one SELECT at a time, on granted datasets.

mod allowed;
mod argument;
mod bigquery;
mod catalog;
mod datasets;
mod fault;
mod large;
mod ledger;
pub mod memory;
mod rehearsal;
pub mod scratch;
mod sqlite;
#[cfg(test)]
mod tests;

pub use argument::Argument;
pub use bigquery::{BigQuery, ENDPOINT as BIGQUERY, Place};
pub use ledger::Ledger;
pub use sqlite::Sqlite;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use tokio::time::Instant;

use super::{calls::Calls, rehearsal::Rehearsal};
use crate::contract::{
    Error,
    warehouse::{Column, Rows, Table},
};

/// A warehouse that answers queries.
#[derive(Debug, Clone)]
pub enum Warehouse {
    /// The embedded engine.
    Sqlite(Sqlite),
    /// Google BigQuery.
    BigQuery(BigQuery),
    /// Simulated answers, in the shapes that another warehouse would return.
    Rehearsed {
        /// Generates the values.
        rehearsal: Arc<Rehearsal>,
        /// The warehouse that gives the shapes.
        of: Box<Warehouse>,
    },
}

impl Warehouse {
    /// Runs a query, within the run's grants, budgets and time.
    pub(super) async fn query(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<Rows, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.query(calls, sql, parameters).await,
            Self::BigQuery(bigquery) => bigquery.query(calls, sql, parameters).await,
            Self::Rehearsed { rehearsal, of } => rehearsal.query(of, calls, sql, parameters).await,
        }
    }

    /// Whether a query may be asked: by its text alone, so that nothing is asked of a warehouse elsewhere.
    pub(super) fn permits(&self, calls: &Calls, sql: &str) -> Result<(), Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.permits(calls, sql),
            Self::BigQuery(bigquery) => bigquery.permits(calls, sql),
            Self::Rehearsed { of, .. } => of.permits(calls, sql),
        }
    }

    /// The columns of a query, and the most bytes that it would bill, without reading a row.
    pub(super) async fn shape(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<(Vec<Column>, u64), Error> {
        match self {
            Self::Sqlite(sqlite) => Ok((sqlite.shape(calls, sql, parameters).await?, 0)),
            Self::BigQuery(bigquery) => bigquery.shape(calls, sql, parameters).await,
            Self::Rehearsed { of, .. } => Box::pin(of.shape(calls, sql, parameters)).await,
        }
    }

    /// Probes each dataset and view: the name of the probe, and the answer or the error.
    pub(super) async fn probe(
        &self,
        datasets: &BTreeSet<String>,
        views: &BTreeSet<String>,
        deadline: Instant,
    ) -> Vec<(String, Result<String, String>)> {
        join_all(datasets.iter().chain(views).map(async |name| {
            let found = match self {
                Self::Sqlite(sqlite) => sqlite.probe(name),
                Self::BigQuery(bigquery) => bigquery.probe(name, deadline).await,
                Self::Rehearsed { .. } => Ok("simulated".to_owned()),
            };
            (format!("warehouse {name}"), found.map_err(|error| error.message().to_owned()))
        }))
        .await
    }

    /// The tables of a granted dataset.
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

    /// Cancels remote work on shutdown.
    pub async fn close(&self) {
        if let Self::BigQuery(bigquery) = self {
            bigquery.close().await;
        }
    }
}
