//! `deployments`: lookups of deployed services.

mod cloud_run;
mod file;
mod rehearsal;

use std::sync::Arc;

use tokio::time::Instant;

use super::{calls::Calls, rehearsal::Rehearsal};
use crate::contract::{Error, deployments::Deployment};

pub use cloud_run::CloudRun;
pub use file::File;

/// A source of deployments.
#[derive(Debug, Clone)]
pub enum Deployments {
    /// A file.
    File(File),
    /// Cloud Run.
    CloudRun(CloudRun),
    /// Simulated states of the services of another source.
    Rehearsed {
        /// Makes up the states.
        rehearsal: Arc<Rehearsal>,
        /// The source that knows the services.
        of: Box<Deployments>,
    },
}

impl Deployments {
    /// The number of services in it.
    pub(super) async fn count(&self, deadline: Instant) -> Result<usize, Error> {
        match self {
            Self::File(file) => file.count(),
            Self::CloudRun(cloud_run) => cloud_run.count(deadline).await,
            Self::Rehearsed { of, .. } => Box::pin(of.count(deadline)).await,
        }
    }

    /// Looks up a granted service; `None` if it is not deployed.
    pub(super) async fn lookup(&self, calls: &Arc<Calls>, service: &str) -> Result<Option<Deployment>, Error> {
        match self {
            Self::File(file) => {
                let (file, service) = (file.clone(), service.to_owned());
                calls.blocking(move |_| file.lookup(&service)).await
            }
            Self::CloudRun(cloud_run) => cloud_run.lookup(calls, service).await,
            Self::Rehearsed { rehearsal, of } => Box::pin(rehearsal.lookup(of, calls, service)).await,
        }
    }
}
