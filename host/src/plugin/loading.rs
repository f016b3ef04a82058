//! Plugins that are being loaded: each becomes ready on its own, without waiting for the others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::{Id, JoinSet};

use super::{Cache, File, Loaded, Plugin, Unusable, one};
use crate::{config::Config, sandbox::Sandboxes};

/// The plugins that are ready, and those still loading. Dropping this stops their compilers.
pub struct Loading {
    /// The plugins so far.
    pub loaded: Loaded,
    all: usize,
    names: HashMap<Id, String>,
    tasks: JoinSet<Result<Plugin>>,
}

impl Loading {
    /// Starts loading plugins from files, in addition to those that are ready.
    pub(super) fn begin(loaded: Loaded, mut files: Vec<File>, sandboxes: &Arc<Sandboxes>, config: &Config) -> Self {
        // Quick ones first, so that they do not wait for slow ones.
        files.sort_by_key(|file| file.bytes.len());
        let cache = Arc::new(Cache::open());
        let mut loading = Self { loaded, all: files.len(), names: HashMap::new(), tasks: JoinSet::new() };
        for file in files {
            let (sandboxes, cache, budgets) = (sandboxes.clone(), cache.clone(), config.budgets(&file.name));
            let name = file.name.clone();
            loading.loaded.compiling.insert(name.clone());
            let task = loading.tasks.spawn(async move { one(file, &sandboxes, cache, &budgets).await });
            loading.names.insert(task.id(), name);
        }
        loading
    }

    /// Waits until everything is loaded. `step` is called with the number of plugins that have loaded or failed.
    pub async fn finish(&mut self, step: impl Fn(usize)) {
        while self.next(&step).await {}
    }

    /// Waits while plugins keep becoming ready, and at least until one is.
    pub async fn most(&mut self, patience: Duration, step: impl Fn(usize)) {
        loop {
            let next = self.next(&step);
            match tokio::time::timeout(patience, next).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if !self.loaded.plugins.is_empty() => return,
                // There is nothing else to run yet.
                Err(_) => drop(self.next(&step).await),
            }
        }
    }

    /// Whether everything is loaded.
    pub fn is_over(&self) -> bool {
        self.names.is_empty()
    }

    /// Waits for one more plugin; `false` if none is left. Cancel-safe.
    async fn next(&mut self, step: &impl Fn(usize)) -> bool {
        let (id, made) = match self.tasks.join_next_with_id().await {
            Some(Ok((id, made))) => (id, made),
            Some(Err(error)) => (error.id(), Err(error.into())),
            None => return false,
        };
        if let Some(name) = self.names.remove(&id) {
            self.loaded.compiling.remove(&name);
            match made {
                Ok(plugin) => drop(self.loaded.plugins.insert(name, Arc::new(plugin))),
                Err(error) => self.loaded.unusable.push(Unusable::new(name, format!("{error:#}"))),
            }
            self.loaded.unusable.sort_by(|one, other| one.name.cmp(&other.name));
        }
        step(self.all - self.names.len());
        true
    }
}
