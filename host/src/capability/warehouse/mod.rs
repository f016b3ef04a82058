//! `warehouse`: one SELECT at a time, on granted datasets.

mod builtin;
mod datasets;
mod dates;
mod dialect;
mod expression;
mod functions;
mod guard;
mod kind;
mod scope;
mod sqlite;
#[cfg(test)]
mod tests;

use sqlite::Most;
pub use sqlite::Sqlite;

use wasmtime::component::{Accessor, HasSelf};

use super::{
    calls::{Session, blocking},
    grant::Wish,
};
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
            // On a thread with the stack that deep SQL needs.
            let reading = warehouse.clone();
            let select = blocking(move || guard::read(&sql, reading.project())).await?;
            for dataset in &select.datasets {
                session.allow("query", Wish::Dataset(dataset))?;
            }
            let most = Most { rows: session.budgets.rows as usize, bytes: session.budgets.memory };
            let answer = warehouse.query(select, parameters, most, session.over()).await;
            answer.map_err(|error| match error {
                Error::OverBudget(what) if what.ends_with("rows") => {
                    Error::OverBudget(format!("{what}; {}", session.raise("rows")))
                }
                Error::OverBudget(what) => Error::OverBudget(format!("{what}; {}", session.raise("memory"))),
                other => other,
            })
        };
        session.call("warehouse.query", asked, answer).await
    }

    async fn tables(accessor: &Accessor<RunState, Self>, dataset: String) -> Result<Vec<Table>, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let answer = async {
            session.allow("tables", Wish::Dataset(&dataset))?;
            configured(&session, "tables")?.tables(&dataset, session.over()).await
        };
        session.call("warehouse.tables", dataset.clone(), answer).await
    }
}

fn configured(session: &Session, call: &str) -> Result<Sqlite, Error> {
    session.backends.warehouse.clone().ok_or_else(|| {
        Error::Unavailable(format!("{call} failed: host.toml has no [warehouse]; add one with kind = \"sqlite\""))
    })
}
