//! `warehouse`: one SELECT at a time, on granted datasets.

mod builtin;
mod datasets;
mod dates;
mod dialect;
mod expression;
mod functions;
mod guard;
mod kind;
pub mod memory;
mod scope;
mod sqlite;
#[cfg(test)]
mod tests;

pub use sqlite::Sqlite;

use std::collections::BTreeSet;

use wasmtime::component::{Accessor, HasSelf};

use super::{calls::Session, grant::Wish};
use crate::{
    contract::{
        Error,
        warehouse::{Host, HostWithStore, Parameter, Rows, Table},
    },
    sandbox::RunState,
};

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
            warehouse.query(&session, sql, parameters).await
        };
        session.costly_call("warehouse.query", asked, answer, |rows| rows.bytes_processed).await
    }

    async fn tables(accessor: &Accessor<RunState, Self>, dataset: String) -> Result<Vec<Table>, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let answer = async {
            session.allow("tables", Wish::Dataset(&dataset))?;
            let tables = configured(&session, "tables")?.tables(&session, &dataset).await?;
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

fn configured(session: &Session, call: &str) -> Result<Sqlite, Error> {
    session.backends.warehouse.clone().ok_or_else(|| {
        Error::Unavailable(format!("{call} failed: host.toml has no [warehouse]; add one with kind = \"sqlite\""))
    })
}
