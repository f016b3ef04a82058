//! `deployments`: lookups of deployed services.

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::grant::Wish,
    contract::{
        Error,
        deployments::{Deployment, Host, HostWithStore},
    },
};

impl Host for Reach {}

impl<T: Send> HostWithStore<T> for Imports {
    async fn lookup(accessor: &Accessor<T, Self>, service: String) -> Result<Option<Deployment>, Error> {
        let (calls, backends) = reach(accessor)?;
        let answer = async {
            calls.allow("lookup", Wish::Service(&service))?;
            backends.deployments()?.lookup(&calls, &service).await
        };
        calls.call("deployments.lookup", service.clone(), answer).await
    }
}
