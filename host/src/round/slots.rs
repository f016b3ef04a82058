//! How many runs there are at once: over all, and of those that may ask one backend. So a backend that hangs holds up the
//! checks that need it, and no others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::{Count, Grants, Scheduler};

/// Room for runs.
#[derive(Debug)]
pub struct Slots {
    all: Arc<Semaphore>,
    warehouse: Arc<Semaphore>,
    git: Arc<Semaphore>,
    deployments: Arc<Semaphore>,
}

/// The room that one run takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot(#[allow(dead_code)] Vec<OwnedSemaphorePermit>);

impl Slots {
    /// As many as host.toml says.
    pub fn new(config: &Scheduler) -> Self {
        let room = |count: Count| Arc::new(Semaphore::new(count.0 as usize));
        Self {
            all: room(config.runs),
            warehouse: room(config.warehouse_runs),
            git: room(config.git_runs),
            deployments: room(config.deployments_runs),
        }
    }

    /// Waits for room for a run that may do this. What is scarce is waited for first, and always in the same order, so
    /// that nothing is held that others wait for in a circle.
    pub(super) async fn take(&self, grants: Option<&Grants>) -> Slot {
        let asks = |granted: fn(&Grants) -> &Vec<String>| grants.is_some_and(|grants| !granted(grants).is_empty());
        let wanted = [
            asks(|grants| &grants.deployments).then_some(&self.deployments),
            asks(|grants| &grants.git).then_some(&self.git),
            asks(|grants| &grants.warehouse).then_some(&self.warehouse),
            Some(&self.all),
        ];
        let mut taken = Vec::new();
        for room in wanted.into_iter().flatten() {
            // Closed never; were it, the run would go ahead.
            taken.extend(room.clone().acquire_owned().await);
        }
        Slot(taken)
    }
}
