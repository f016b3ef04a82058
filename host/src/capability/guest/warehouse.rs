//! `warehouse`: one SELECT at a time, on granted datasets.

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::{grant::Wish, warehouse::value_size},
    contract::{
        Error,
        warehouse::{Host, HostWithStore, Parameter, Rows, Table},
    },
};

impl Host for Reach {}

impl<T: Send> HostWithStore<T> for Imports {
    async fn query(accessor: &Accessor<T, Self>, sql: String, parameters: Vec<Parameter>) -> Result<Rows, Error> {
        let (calls, backends) = reach(accessor)?;
        let asked = sql.clone();
        let handed = sql.len() + parameters.iter().map(size).sum::<usize>();
        let answer = async { backends.warehouse("query")?.query(&calls, sql, parameters).await };
        calls.costly_call("warehouse.query", asked, handed, answer, |rows| rows.bytes_processed).await
    }

    async fn tables(accessor: &Accessor<T, Self>, dataset: String) -> Result<Vec<Table>, Error> {
        let (calls, backends) = reach(accessor)?;
        let answer = async {
            calls.allow("tables", Wish::Dataset(&dataset))?;
            backends.warehouse("tables")?.tables(&calls, &dataset).await
        };
        calls.call("warehouse.tables", dataset.clone(), answer).await
    }
}

/// Memory of a parameter, in bytes; its value is copied once.
fn size(parameter: &Parameter) -> usize {
    size_of::<Parameter>() + parameter.name.len() + 2 * value_size(&parameter.value)
}
