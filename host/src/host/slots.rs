//! Limits on concurrent runs: in all, and for each backend, so that a hanging backend holds up only the checks that
//! need it.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    check::Ready,
    config::{Count, Grants, Scheduler},
    lanes::{Place, Room},
};

/// Room for runs.
#[derive(Debug)]
pub struct Slots {
    all: Arc<Room>,
    warehouse: Arc<Room>,
    git: Arc<Room>,
    deployments: Arc<Room>,
    /// Half of the scarcest room, for dates that are looked at again.
    looks: Arc<Semaphore>,
}

/// The room of one run, until it is dropped.
#[derive(Debug)]
#[allow(dead_code)] // held, not read
pub struct Slot(Vec<Place>, Option<OwnedSemaphorePermit>);

impl Slots {
    /// The limits from host.toml.
    pub fn new(config: &Scheduler) -> Self {
        let room = |count: Count| Room::new(count.0 as usize);
        let all = [config.runs, config.warehouse_runs, config.git_runs, config.deployments_runs];
        let least = all.iter().map(|count| count.0).min().unwrap_or_default();
        Self {
            all: room(config.runs),
            warehouse: room(config.warehouse_runs),
            git: room(config.git_runs),
            deployments: room(config.deployments_runs),
            looks: Arc::new(Semaphore::new((least / 2).max(1) as usize)),
        }
    }

    /// Waits for room for a run of this plugin; the host's own checks need none. Takes the scarcest room first, always
    /// in the same order, to avoid deadlocks.
    ///
    /// Looks at dates take turns for a part of it first, so that few of them are ever before a run that is due.
    pub async fn take(&self, ready: Option<&Ready>, looks: bool) -> Slot {
        let Some(Ready { plugin, grants, .. }) = ready else { return Slot(Vec::new(), None) };
        // It is never closed.
        let permit = if looks { self.looks.clone().acquire_owned().await.ok() } else { None };
        let asks = |granted: fn(&Grants) -> &Vec<String>| !granted(grants).is_empty();
        let wanted = [
            asks(|grants| &grants.deployments).then_some(&self.deployments),
            asks(|grants| &grants.git).then_some(&self.git),
            asks(|grants| &grants.warehouse).then_some(&self.warehouse),
            Some(&self.all),
        ];
        let mut taken = Vec::new();
        for room in wanted.into_iter().flatten() {
            taken.push(room.take(&plugin.file.name).await);
        }
        Slot(taken, permit)
    }
}
