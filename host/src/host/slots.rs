//! Limits on concurrent runs: in all, and for each backend, so that a hanging backend holds up only the checks that
//! need it.

use std::sync::Arc;

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
}

/// The room of one run, until it is dropped.
#[derive(Debug)]
pub struct Slot(#[allow(dead_code)] Vec<Place>);

impl Slots {
    /// The limits from host.toml.
    pub fn new(config: &Scheduler) -> Self {
        let room = |count: Count| Room::new(count.0 as usize);
        Self {
            all: room(config.runs),
            warehouse: room(config.warehouse_runs),
            git: room(config.git_runs),
            deployments: room(config.deployments_runs),
        }
    }

    /// Waits for room for a run of this plugin; the host's own checks need none. Takes the scarcest room first, always
    /// in the same order, to avoid deadlocks.
    pub async fn take(&self, ready: Option<&Ready>) -> Slot {
        let Some(Ready { plugin, grants, .. }) = ready else { return Slot(Vec::new()) };
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
        Slot(taken)
    }
}
