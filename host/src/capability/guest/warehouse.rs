//! `warehouse`: one SELECT at a time, on granted datasets.

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::{grant::Wish, tape::Question, warehouse::Argument},
    contract::{
        Error,
        warehouse::{Host, HostWithStore, Parameter, Rows, Table, TypedParameter},
    },
};

impl Host for Reach {}

impl<T: Send> HostWithStore<T> for Imports {
    async fn query(accessor: &Accessor<T, Self>, sql: String, parameters: Vec<Parameter>) -> Result<Rows, Error> {
        ask(accessor, sql, parameters.into_iter().map(|parameter| Ok(Argument::from(parameter))).collect()).await
    }

    async fn query_typed(
        accessor: &Accessor<T, Self>,
        sql: String,
        parameters: Vec<TypedParameter>,
    ) -> Result<Rows, Error> {
        ask(accessor, sql, parameters.into_iter().map(Argument::try_from).collect()).await
    }

    async fn tables(accessor: &Accessor<T, Self>, dataset: String) -> Result<Vec<Table>, Error> {
        let (calls, backends) = reach(accessor)?;
        let permitted = calls.allow("tables", Wish::Dataset(&dataset));
        let answer = async {
            permitted.clone()?;
            backends.warehouse("tables")?.tables(&calls, &dataset).await
        };
        let question = Question::words(dataset.clone(), dataset.clone());
        calls.ask("warehouse.tables", dataset.clone(), question, permitted.clone(), answer).await
    }
}

/// Runs a query; wrong parameters are its error.
async fn ask<T: Send>(
    accessor: &Accessor<T, Imports>,
    sql: String,
    parameters: Result<Vec<Argument>, Error>,
) -> Result<Rows, Error> {
    let (calls, backends) = reach(accessor)?;
    backends.ask(&calls, sql, parameters).await
}
