//! From bytes to something that can run: read once, hash, read the metadata, hold the API version against what the
//! host offers, compile (or take from the cache), and ask the plugin who it is.

mod cache;
mod metadata;
mod settings;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use wasmtime::component::Component;

pub use cache::Cache;
use metadata::Metadata;
pub use settings::check_settings;

use crate::{
    capability::{Backends, Session},
    config::{Budgets, Config, Grants},
    contract::Descriptor,
    sandbox::{Guest, Sandbox},
};

/// A plugin that is ready to run.
pub struct Plugin {
    /// From the component's metadata.
    pub name: String,
    /// From the component's metadata.
    pub version: String,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The file it came from.
    pub path: PathBuf,
    /// What it says about itself.
    pub descriptor: Descriptor,
    /// What runs.
    pub guest: Guest,
}

/// A file that gave no plugin.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// The plugin's name when the file says so, else the file's name without its extension.
    pub name: String,
    /// Why, with the file's path and what to do.
    pub reason: String,
}

/// What the files gave.
#[derive(Default)]
pub struct Loaded {
    /// By name.
    pub plugins: BTreeMap<String, Arc<Plugin>>,
    /// In the order of the files.
    pub unusable: Vec<Unusable>,
}

/// Loads files side by side. One that gives no plugin stops none of the others.
pub async fn load(paths: &[PathBuf], sandbox: &Arc<Sandbox>, config: &Config) -> Loaded {
    let cache = Arc::new(Cache::open());
    let tasks: Vec<_> = paths
        .iter()
        .map(|path| {
            let (path, sandbox, cache) = (path.clone(), sandbox.clone(), cache.clone());
            let budgets = config.budgets.clone();
            tokio::spawn(async move { one(path, sandbox, cache, budgets).await })
        })
        .collect();
    let mut loaded = Loaded::default();
    let mut named: BTreeMap<String, Vec<Plugin>> = BTreeMap::new();
    for (task, path) in tasks.into_iter().zip(paths) {
        match task.await {
            Ok(Ok(plugin)) => named.entry(plugin.name.clone()).or_default().push(plugin),
            Ok(Err(unusable)) => loaded.unusable.push(unusable),
            Err(error) => {
                loaded.unusable.push(Unusable { name: stem(path), reason: format!("{}: {error}", path.display()) });
            }
        }
    }
    for (name, mut plugins) in named {
        match (plugins.pop(), plugins.is_empty()) {
            (Some(plugin), true) => drop(loaded.plugins.insert(name, Arc::new(plugin))),
            (last, _) => {
                let files: Vec<String> =
                    plugins.iter().chain(&last).map(|plugin| plugin.path.display().to_string()).collect();
                let reason = format!(
                    "{} plugins are named {name}: {}; name only one of the files",
                    files.len(),
                    files.join(", ")
                );
                loaded.unusable.push(Unusable { name, reason });
            }
        }
    }
    loaded
}

async fn one(path: PathBuf, sandbox: Arc<Sandbox>, cache: Arc<Cache>, budgets: Budgets) -> Result<Plugin, Unusable> {
    let mut name = stem(&path);
    let result = async {
        let bytes = tokio::fs::read(&path).await.context("cannot be read")?;
        let metadata = Metadata::read(&bytes)?;
        name = metadata.name.clone().unwrap_or(name.clone());
        metadata.check_api()?;
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let compiling = sandbox.clone();
        let component = tokio::task::spawn_blocking(move || compile(compiling.engine(), &cache, &digest, &bytes))
            .await
            .context("the compiler stopped")??;
        ready(&path, metadata, digest, component, &sandbox, &budgets).await
    }
    .await;
    result.map_err(|error: anyhow::Error| Unusable { name, reason: format!("{}: {error:#}", path.display()) })
}

fn compile(engine: &wasmtime::Engine, cache: &Cache, digest: &[u8; 32], bytes: &[u8]) -> Result<Component> {
    if let Some(component) = cache.find(engine, digest) {
        return Ok(component);
    }
    let component = Component::from_binary(engine, bytes)
        .map_err(anyhow::Error::from)
        .context("is no valid WebAssembly component")?;
    cache.keep(engine, digest, &component);
    Ok(component)
}

async fn ready(
    path: &Path,
    metadata: Metadata,
    digest: [u8; 32],
    component: Component,
    sandbox: &Sandbox,
    budgets: &Budgets,
) -> Result<Plugin> {
    let guest = sandbox.link(&component).context("does not fit the contract")?;
    // It may ask for nothing while it says who it is.
    let session = Session::new("", Grants::default(), budgets.clone(), Arc::new(Backends::default()));
    let described = guest.describe(Arc::new(session), budgets).await;
    let descriptor = described.result.map_err(|stopped| {
        let log = described.log.trim();
        match log.is_empty() {
            true => anyhow::anyhow!("describe {stopped}"),
            false => anyhow::anyhow!("describe {stopped}; its log says: {log}"),
        }
    })?;
    for (what, described, found) in
        [("name", &descriptor.name, &metadata.name), ("version", &descriptor.version, &metadata.version)]
    {
        if let Some(found) = found.as_ref().filter(|found| *found != described) {
            bail!("describes itself with the {what} {described}, but its metadata says {found}; build it again");
        }
    }
    if !is_plugin_name(&descriptor.name) {
        bail!("`{}` is no plugin name: use lower-case letters, digits and -", descriptor.name.escape_debug());
    }
    semver::Version::parse(&descriptor.version)
        .with_context(|| format!("`{}` is no version; write it like 1.2.0", descriptor.version.escape_debug()))?;
    check_settings(&descriptor.settings, &serde_json::json!({}))?;
    Ok(Plugin {
        name: descriptor.name.clone(),
        version: descriptor.version.clone(),
        digest: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        path: path.to_owned(),
        descriptor,
        guest,
    })
}

fn is_plugin_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
