//! `deployments`: lookups of deployed services.

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::{grant::Wish, tape::Question},
    contract::{
        Error,
        deployments::{Deployment, Host, HostWithStore},
    },
};

impl Host for Reach {}

impl<T: Send> HostWithStore<T> for Imports {
    async fn lookup(accessor: &Accessor<T, Self>, service: String) -> Result<Option<Deployment>, Error> {
        let (calls, backends) = reach(accessor)?;
        let permitted = calls.allow("lookup", Wish::Service(&service));
        let answer = async {
            permitted.clone()?;
            backends.deployments()?.lookup(&calls, &service).await
        };
        let question = Question::words(service.clone(), "deployments");
        calls.ask("deployments.lookup", service.clone(), question, permitted.clone(), answer).await
    }
}
