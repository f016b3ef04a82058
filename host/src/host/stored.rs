//! The plugins of recorded runs: their bytes are kept beside the record as long as one of those can be run again.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Result;

use super::Host;
use crate::{
    config::Config,
    lanes,
    package::{Digest, Expected, File, Keys, Store},
    plugin::Origin,
};

/// A plugin that ran, by its digest: from the store of the lock file, or from the one beside the record.
pub fn stored(config: &Config, lock: &Path, digest: Digest) -> Option<File> {
    stores(config, lock).iter().find_map(|store| store.find(digest))
}

/// The store of the lock file, and the one in the state directory. Hosts with a record in common have no such directory.
fn stores(config: &Config, lock: &Path) -> Vec<Store> {
    let own = || Store::within(&config.resolve(&config.state.directory));
    std::iter::once(Store::beside(lock)).chain(config.state.url_env.is_none().then(own)).collect()
}

impl Host {
    /// Keeps the bytes of the plugins that run, unless the store of the lock file has them; and removes those of which no run can be
    /// run again.
    pub async fn store_plugins(&self, lock: &Path) -> Result<()> {
        if self.config.record.answers.0.is_none() {
            return Ok(());
        }
        let mut needed = self.recorder.record.taped_plugins().await?;
        let origins: Vec<Origin> = self.loaded.plugins.values().map(|plugin| plugin.file.clone()).collect();
        needed.extend(origins.iter().map(|origin| origin.digest.to_string()));
        let (stores, is_shared) = (stores(&self.config, lock), self.config.state.url_env.is_some());
        // Another thread: the files may be large, and on a network.
        let kept = lanes::own(move || {
            let failed: Vec<String> = origins.iter().filter_map(|origin| keep(origin, &stores).err()).collect();
            if let Some(own) = stores.last().filter(|_| !is_shared) {
                forget(own, &needed);
            }
            failed
        });
        for failed in kept.await.unwrap_or_default() {
            tracing::warn!("{failed}");
        }
        Ok(())
    }
}

fn keep(Origin { name, digest, path, .. }: &Origin, stores: &[Store]) -> Result<(), String> {
    if stores.iter().any(|store| store.path(*digest).exists()) {
        return Ok(());
    }
    let kept = match File::read(path) {
        Ok(file) if file.digest == *digest => {
            let expected = Expected { name, version: &file.version, keys: &Keys::default() };
            stores.last().map_or(Ok(()), |store| store.keep(file.bytes.clone(), None, &expected).map(drop))
        }
        // It changed meanwhile; the next reload keeps the new one.
        Ok(_) => Ok(()),
        Err((_, error)) => Err(error),
    };
    kept.map_err(|error| {
        format!("{name}: `host replay` needs --plugin for its runs, since it cannot be kept: {error:#}")
    })
}

/// Removes the plugins that are not needed any more.
fn forget(store: &Store, needed: &BTreeSet<String>) {
    for digest in store.digests() {
        if !needed.contains(&digest.to_string()) {
            // It stays until the next start.
            let _ = fs::remove_file(store.path(digest));
        }
    }
}
