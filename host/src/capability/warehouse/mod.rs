//! `warehouse`: one SELECT at a time, on granted datasets.

mod bigquery;
mod builtin;
mod datasets;
mod dates;
mod dialect;
mod expression;
mod functions;
mod guard;
mod kind;
mod ledger;
pub mod memory;
mod rehearsal;
mod scope;
mod sqlite;
#[cfg(test)]
mod tests;

pub use bigquery::{BigQuery, ENDPOINT as BIGQUERY, Place};
pub use ledger::Ledger;
pub use rehearsal::{Answers, Problem, Rehearsal, Shapes};
pub use sqlite::Sqlite;

use std::{collections::BTreeSet, sync::Arc};

use futures_util::future::join_all;
use tokio::time::Instant;
use wasmtime::component::{Accessor, HasSelf};

use super::{calls::Session, grant::Wish};
use crate::{
    contract::{
        Error,
        warehouse::{Column, Host, HostWithStore, Parameter, Rows, Table},
    },
    sandbox::RunState,
};

/// What answers questions.
#[derive(Debug, Clone)]
pub enum Warehouse {
    /// The embedded engine.
    Sqlite(Sqlite),
    /// Google's.
    BigQuery(BigQuery),
}

impl Warehouse {
    async fn query(&self, session: &Arc<Session>, sql: String, parameters: Vec<Parameter>) -> Result<Rows, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.query(session, sql, parameters).await,
            Self::BigQuery(bigquery) => bigquery.query(session, sql, parameters).await,
        }
    }

    /// The columns that a query would answer with; not a row is read.
    async fn shape(
        &self,
        session: &Arc<Session>,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<Column>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.shape(session, sql, parameters).await,
            Self::BigQuery(bigquery) => bigquery.shape(session, sql, parameters).await,
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
            };
            (format!("warehouse {dataset}"), found.map_err(|error| error.message().to_owned()))
        }))
        .await
    }

    async fn tables(&self, session: &Arc<Session>, dataset: &str) -> Result<Vec<Table>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.tables(session, dataset).await,
            Self::BigQuery(bigquery) => bigquery.tables(session, dataset).await,
        }
    }

    /// Ends what still runs elsewhere, when the host goes.
    pub async fn close(&self) {
        if let Self::BigQuery(bigquery) = self {
            bigquery.close().await;
        }
    }
}

impl Host for RunState {}

impl HostWithStore<RunState> for HasSelf<RunState> {
    async fn query(
        accessor: &Accessor<RunState, Self>,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> Result<Rows, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let asked = sql.clone();
        let answer = async {
            let warehouse = configured(&session, "query")?;
            let longest = session.budgets.sql_bytes;
            if sql.len() > longest.0 {
                let what = format!("SQL of {} B, more than {longest}", sql.len());
                return Err(session.exceeded("query", "sql_bytes", &what));
            }
            match &session.rehearsal {
                None => warehouse.query(&session, sql, parameters).await,
                Some(rehearsal) => rehearsal.query(&warehouse, &session, sql, parameters).await,
            }
        };
        session.costly_call("warehouse.query", asked, answer, |rows| rows.bytes_processed).await
    }

    async fn tables(accessor: &Accessor<RunState, Self>, dataset: String) -> Result<Vec<Table>, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let answer = async {
            session.allow("tables", Wish::Dataset(&dataset))?;
            let warehouse = configured(&session, "tables")?;
            let tables = match &session.rehearsal {
                None => warehouse.tables(&session, &dataset).await?,
                Some(rehearsal) => rehearsal.tables(&warehouse, &session, &dataset).await?,
            };
            let size = tables.iter().map(|table| size_of::<Table>() + table.name.len()).sum();
            session.within("tables", tables.len(), size)?;
            Ok(tables)
        };
        session.call("warehouse.tables", dataset.clone(), answer).await
    }
}

/// The datasets that a query reads, if it may be asked at all.
pub fn datasets_of(sql: &str) -> Result<BTreeSet<String>, Error> {
    Ok(guard::read(sql, None)?.datasets)
}

fn configured(session: &Session, call: &str) -> Result<Warehouse, Error> {
    session.backends.warehouse.clone().ok_or_else(|| {
        Error::Unavailable(format!(
            "{call} failed: host.toml has no [warehouse]; add one with kind = \"sqlite\" or \"bigquery\""
        ))
    })
}
