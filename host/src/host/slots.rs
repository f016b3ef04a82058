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
    all: Limited,
    warehouse: Limited,
    git: Limited,
    deployments: Limited,
}

/// A room, and how much of it dates may take that are looked at again: half, so that few of them are ever before a run that
/// is due.
#[derive(Debug)]
struct Limited {
    room: Arc<Room>,
    looks: Arc<Semaphore>,
}

/// The room of one run, until it is dropped.
#[derive(Debug, Default)]
#[allow(dead_code)] // held, not read
pub struct Slot(Vec<Place>, Vec<OwnedSemaphorePermit>);

impl Limited {
    fn new(count: Count) -> Self {
        let count = count.0 as usize;
        Self { room: Room::new(count), looks: Arc::new(Semaphore::new((count / 2).max(1))) }
    }
}

impl Slots {
    /// The limits from host.toml.
    pub fn new(config: &Scheduler) -> Self {
        Self {
            all: Limited::new(config.runs),
            warehouse: Limited::new(config.warehouse_runs),
            git: Limited::new(config.git_runs),
            deployments: Limited::new(config.deployments_runs),
        }
    }

    /// Waits for room for a run of this plugin; the host's own checks need none. Takes the scarcest room first, always
    /// in the same order, to avoid deadlocks. `looks`: for a date that is looked at again.
    pub async fn take(&self, ready: Option<&Ready>, looks: bool) -> Slot {
        let mut slot = Slot::default();
        let Some(Ready { plugin, grants, .. }) = ready else { return slot };
        let asks = |granted: fn(&Grants) -> &Vec<String>| !granted(grants).is_empty();
        let wanted = [
            asks(|grants| &grants.deployments).then_some(&self.deployments),
            asks(|grants| &grants.git).then_some(&self.git),
            asks(|grants| &grants.warehouse).then_some(&self.warehouse),
            Some(&self.all),
        ];
        let wanted: Vec<&Limited> = wanted.into_iter().flatten().collect();
        // First, so that a look never holds room while it waits for its turn.
        for limited in wanted.iter().filter(|_| looks) {
            // It is never closed.
            slot.1.extend(limited.looks.clone().acquire_owned().await.ok());
        }
        for limited in wanted {
            slot.0.push(limited.room.take(&plugin.file.name).await);
        }
        slot
    }
}
