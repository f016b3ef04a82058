//! `deployments`: what is deployed.

mod cloud_run;
mod file;

use std::sync::Arc;

use tokio::time::Instant;
use wasmtime::component::{Accessor, HasSelf};

use super::{calls::Session, grant::Wish};
use crate::{
    contract::{
        Error,
        deployments::{Deployment, Host, HostWithStore},
    },
    sandbox::RunState,
};

pub use cloud_run::CloudRun;
pub use file::File;

/// What knows what is deployed.
#[derive(Debug, Clone)]
pub enum Deployments {
    /// A file.
    File(File),
    /// A region of Cloud Run.
    CloudRun(CloudRun),
}

impl Deployments {
    /// How many services it knows.
    pub(super) async fn count(&self, deadline: Instant) -> Result<usize, Error> {
        match self {
            Self::File(file) => file.count(),
            Self::CloudRun(cloud_run) => cloud_run.count(deadline).await,
        }
    }

    async fn lookup(&self, session: &Arc<Session>, service: &str) -> Result<Option<Deployment>, Error> {
        match self {
            Self::File(file) => {
                let (file, service) = (file.clone(), service.to_owned());
                session.blocking(move || file.lookup(&service)).await
            }
            Self::CloudRun(cloud_run) => cloud_run.lookup(session, service).await,
        }
    }
}

impl Host for RunState {}

impl HostWithStore<RunState> for HasSelf<RunState> {
    async fn lookup(accessor: &Accessor<RunState, Self>, service: String) -> Result<Option<Deployment>, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let answer = async {
            session.allow("lookup", Wish::Service(&service))?;
            let deployments = session.backends.deployments.as_ref().ok_or_else(|| {
                Error::Unavailable(
                    "lookup failed: host.toml has no [deployments]; add one with kind = \"cloud-run\" or \"file\""
                        .to_owned(),
                )
            })?;
            deployments.lookup(&session, &service).await
        };
        session.call("deployments.lookup", service.clone(), answer).await
    }
}
