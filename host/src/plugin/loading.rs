//! Plugins that are being made of their files: each is ready when it is, and none has to be waited for.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::task::{Id, JoinSet};

use super::{Cache, File, Loaded, Plugin, Unusable, one};
use crate::{config::Config, sandbox::Sandboxes};

/// What is ready, and what is still being made. That ends with this: nobody waits for a compiler after that.
pub struct Loading {
    /// What the files gave until now.
    pub loaded: Loaded,
    all: usize,
    names: HashMap<Id, String>,
    tasks: JoinSet<Result<Plugin>>,
}

impl Loading {
    /// Begins to make plugins of files, beside those that are there already.
    pub(super) fn begin(loaded: Loaded, mut files: Vec<File>, sandboxes: &Arc<Sandboxes>, config: &Config) -> Self {
        // What compiles quickly is not to wait for what takes long.
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

    /// Waits until nothing is left to be made. `step` is called with the number of plugins that are ready or are not.
    pub async fn finish(&mut self, step: impl Fn(usize)) {
        while self.next(&step).await {}
    }

    /// Waits as long as something becomes ready every now and then, and until something is.
    pub async fn most(&mut self, patience: Duration, step: impl Fn(usize)) {
        loop {
            let next = self.next(&step);
            match tokio::time::timeout(patience, next).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if !self.loaded.plugins.is_empty() => return,
                // Others have nothing to run either.
                Err(_) => drop(self.next(&step).await),
            }
        }
    }

    /// Whether nothing is left to be made.
    pub fn is_over(&self) -> bool {
        self.names.is_empty()
    }

    /// Waits for one more; false when nothing is left. Nothing is lost when this is dropped.
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
                Err(error) => self.loaded.unusable.push(Unusable { name, reason: format!("{error:#}") }),
            }
            self.loaded.unusable.sort_by(|one, other| one.name.cmp(&other.name));
        }
        step(self.all - self.names.len());
        true
    }
}
