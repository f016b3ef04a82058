//! Loads plugins: reads and hashes a file once, checks its metadata against the pin and the trusted keys, compiles it
//! (or takes it from the cache), and calls `describe`.

mod cache;
mod compiler;
mod dates;
mod loading;
mod mistakes;
mod settings;
mod warn_limits;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use host_package::{Keys, LOCK, PublicKey, name_of, pin_command, signers, today};
use semver::Version;
use serde::Serialize;

pub use cache::Cache;
pub use dates::Unsaid;
pub use host_package::{Digest, File, Lock};
pub use loading::Loading;
pub use settings::{advice_when_empty, set};
pub use warn_limits::WarnLimits;

use crate::{
    config::{Budgets, Bytes, Config},
    confined::{self, Task},
    contract::Descriptor,
    lanes,
    sandbox::{Guest, Sandboxes, Stopped, exception},
};

/// The keyword of a settings schema for [`Plugin::is_only_named`].
const ONLY_NAMED: &str = "x-only-named";

/// A plugin that is ready to run.
pub struct Plugin {
    /// The file that it came from.
    pub file: Origin,
    /// Its description of itself.
    pub descriptor: Descriptor,
    /// The linked component.
    pub guest: Guest,
    /// The stack size of its engine.
    stack: Bytes,
    /// The schema of its settings.
    schema: settings::Schema,
    /// What checks with some settings are about.
    dates: dates::Answers,
}

impl Plugin {
    /// Whether it is a check only where host.toml names it, by `"x-only-named": true` in the schema of its settings: a plugin
    /// that has nothing to check without settings.
    pub fn is_only_named(&self) -> bool {
        let schema: Option<serde_json::Value> = serde_json::from_str(&self.descriptor.settings).ok();
        schema.is_some_and(|schema| schema.get(ONLY_NAMED).is_some_and(|named| named == true))
    }

    /// The mistakes in a check's settings: the key, the reason and the nearest valid name. A schema that is invalid, or
    /// takes too much, is an error.
    pub async fn mistakes(&self, settings: &serde_json::Value) -> Result<Vec<String>> {
        self.schema.mistakes(&self.file.name, &self.descriptor.settings, settings).await
    }
}

/// A plugin's file, without its bytes.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// The plugin's name.
    pub name: String,
    /// The plugin's version.
    pub version: String,
    /// The digest of the file.
    pub digest: Digest,
    /// The path that it was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

/// A file that could not be loaded.
#[derive(Debug, Clone)]
pub struct Unusable {
    /// The plugin's name if the metadata has one, else the file's name without its extension.
    pub name: String,
    /// Why, with the file's path and what to do.
    pub reason: String,
    /// Whether the same bytes were loaded before, and whoever runs the host no longer trusts them: their key has expired or
    /// is revoked.
    pub withdrawn: bool,
}

impl Unusable {
    fn new(name: String, reason: String) -> Self {
        Self { name, reason, withdrawn: false }
    }
}

/// The plugins from the files.
#[derive(Clone, Default)]
pub struct Loaded {
    /// By name.
    pub plugins: BTreeMap<String, Arc<Plugin>>,
    /// Who signed each of them, as the files beside them say.
    signers: BTreeMap<String, Vec<PublicKey>>,
    /// By name.
    pub unusable: Vec<Unusable>,
    /// The plugins that are not ready yet.
    pub compiling: BTreeSet<String>,
}

/// Does the work of a confined process if the arguments ask for it, and returns its exit code.
pub fn serve_confined() -> Option<ExitCode> {
    confined::serve(|task, input| match task {
        Task::Compile => compiler::answer(input),
        Task::Settings => settings::answer(input),
    })
}

/// Reads files concurrently; returns, in order, each plugin's file or the error.
pub async fn read(paths: &[PathBuf]) -> Vec<Result<File, Unusable>> {
    let reading = paths.iter().map(|path| {
        let path = path.clone();
        lanes::own(move || File::read(&path).map_err(|(name, error)| Unusable::new(name, format!("{error:#}"))))
    });
    let read = futures_util::future::join_all(reading).await;
    read.into_iter()
        .zip(paths)
        .map(|(read, path)| {
            read.unwrap_or_else(|| {
                let reason = format!("{}: reading it stopped unexpectedly", path.display());
                Err(Unusable::new(name_of(path), reason))
            })
        })
        .collect()
}

/// Reads and loads files concurrently, and waits for all of them; `step` is called after each plugin.
pub async fn load(
    paths: &[PathBuf],
    lock: Option<&Lock>,
    sandboxes: &Arc<Sandboxes>,
    config: &Config,
    known: &Loaded,
    step: impl Fn(usize),
) -> Loaded {
    let mut loading = begin(read(paths).await, lock, sandboxes, config, known, &BTreeMap::new());
    loading.finish(step).await;
    loading.loaded
}

/// Starts loading files that were [`read`], concurrently. A file that cannot be loaded does not stop the others. With a lock,
/// only pinned plugins are loaded. A `known` plugin with the same bytes is reused. `ran` has versions that ran: an older
/// file is refused.
pub fn begin(
    files: Vec<Result<File, Unusable>>,
    lock: Option<&Lock>,
    sandboxes: &Arc<Sandboxes>,
    config: &Config,
    known: &Loaded,
    ran: &BTreeMap<String, Version>,
) -> Loading {
    let mut loaded = Loaded::default();
    let mut named: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for file in files {
        match file {
            Ok(file) => named.entry(file.name.clone()).or_default().push(file),
            Err(unusable) => loaded.unusable.push(unusable),
        }
    }
    let mut wanted = Vec::new();
    for (name, files) in named {
        let running = known.plugins.get(&name).map(|plugin| plugin.file.digest);
        let same = running.is_some_and(|running| files.iter().any(|file| file.digest == running));
        let trusted = trusted(files, config);
        let withdrawn = trusted.is_err() && same;
        let chosen = trusted.and_then(|(files, signers)| Ok((choose(&name, files, lock)?, signers)));
        let chosen = chosen.and_then(|(file, mut signers)| {
            let file = not_older(file, ran)?;
            loaded.signers.insert(name.clone(), signers.remove(&file.path).unwrap_or_default());
            Ok(file)
        });
        match chosen {
            Ok(file) if known.serves(&file, config) => {
                loaded
                    .plugins
                    .extend(known.plugins.get_key_value(&name).map(|(name, one)| (name.clone(), one.clone())));
            }
            Ok(file) => wanted.push(file),
            Err(error) => loaded.unusable.push(Unusable { withdrawn, ..Unusable::new(name, format!("{error:#}")) }),
        }
    }
    Loading::begin(loaded, wanted, sandboxes, config)
}

impl Loaded {
    /// Removes the plugins that may not run with these keys today. Returns their names.
    pub fn distrust(&mut self, keys: &Keys) -> Vec<String> {
        let none = Vec::new();
        let reason = |plugin: &Origin| {
            let why = keys.distrust(self.signers.get(&plugin.name).unwrap_or(&none), today())?;
            Some(format!("{} {} was stopped: {why}", plugin.name, plugin.version))
        };
        let distrusted: Vec<(String, String)> =
            self.plugins.iter().filter_map(|(name, plugin)| Some((name.clone(), reason(&plugin.file)?))).collect();
        for (name, reason) in &distrusted {
            self.plugins.remove(name);
            self.unusable.retain(|one| one.name != *name);
            self.unusable.push(Unusable { withdrawn: true, ..Unusable::new(name.clone(), reason.clone()) });
        }
        distrusted.into_iter().map(|(name, _)| name).collect()
    }

    /// The known plugin of a file, if its engine has the right stack size.
    fn serves(&self, file: &File, config: &Config) -> bool {
        let known = self.plugins.get(&file.name);
        known.is_some_and(|known| known.file.digest == file.digest && known.stack == config.budgets(&file.name).stack)
    }
}

/// Who signed each file.
type Signers = BTreeMap<PathBuf, Vec<PublicKey>>;

/// Of the files with one name, those signed by a trusted key, or all of them if there are no keys; and who signed each.
fn trusted(files: Vec<File>, config: &Config) -> Result<(Vec<File>, Signers)> {
    let keys = config.trust.keys();
    let (mut trusted, mut signed, mut refused) = (Vec::new(), Signers::new(), None);
    for file in files {
        match signers(&file, &keys) {
            Ok(signers) => {
                signed.insert(file.path.clone(), signers);
                trusted.push(file);
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if trusted.is_empty() => Err(error),
        _ => Ok((trusted, signed)),
    }
}

/// Of the files with one name, the pinned one; without a lock, the only one.
fn choose(name: &str, mut files: Vec<File>, lock: Option<&Lock>) -> Result<File> {
    let listed =
        |files: &[File]| files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>().join(", ");
    let Some(lock) = lock else {
        return match (files.pop(), files.is_empty()) {
            (Some(file), true) => Ok(file),
            (last, _) => {
                files.extend(last);
                let newest = files.iter().max_by_key(|file| &file.version);
                let pin = newest.map(|file| pin_command(Path::new(LOCK), name, &file.version, &file.path));
                bail!(
                    "{} plugins are named {name}: {}; pass only one of the files, or pin one, as with `{}`",
                    files.len(),
                    listed(&files),
                    pin.unwrap_or_default()
                )
            }
        };
    };
    let place = lock.path().display();
    let accept =
        |file: &File| format!("accept it with `{}`", pin_command(lock.path(), name, &file.version, &file.path));
    let found = |file: &File| format!("{} {}", file.version, file.digest);
    let Some(pin) = lock.pin(name) else {
        let Some(file) = files.first() else { bail!("there is no file with it") };
        bail!("{name} {} is not pinned in {place}; {}", found(file), accept(file));
    };
    if let Some(pinned) = files.iter().position(|file| file.digest == pin.digest && file.version == pin.version) {
        return Ok(files.swap_remove(pinned));
    }
    let others = files.iter().map(|file| format!("{} is {}", file.path.display(), found(file)));
    let others = others.collect::<Vec<_>>().join(", ");
    let accept = files.first().map(accept).unwrap_or_default();
    bail!("{name} is pinned to {} {} in {place}, but {others}; {accept}", pin.version, pin.digest)
}

/// Refuses a file that is older than the version that ran before.
fn not_older(file: File, ran: &BTreeMap<String, Version>) -> Result<File> {
    match ran.get(&file.name).filter(|ran| file.version < **ran) {
        Some(ran) => bail!(
            "{} {} in {} is older than {ran}, which ran before; to roll back, pin it: `{}`",
            file.name,
            file.version,
            file.path.display(),
            pin_command(Path::new(LOCK), &file.name, &file.version, &file.path)
        ),
        None => Ok(file),
    }
}

/// Compiles one file and calls `describe`.
pub async fn one(file: File, sandboxes: &Sandboxes, cache: Arc<Cache>, budgets: &Budgets) -> Result<Plugin> {
    let place = file.path.display().to_string();
    let ready = async {
        let sandbox = sandboxes.of(budgets, file.parts)?;
        let engine = sandbox.engine().clone();
        let origin = Origin {
            name: file.name.clone(),
            version: file.version.to_string(),
            digest: file.digest,
            path: file.path.clone(),
        };
        let component = compiler::compiled(&engine, &cache, &file, budgets).await?;
        let guest = sandbox.link(&component).context("does not fit the contract")?;
        ready(origin, guest, budgets).await
    };
    ready.await.context(place)
}

async fn ready(file: Origin, guest: Guest, budgets: &Budgets) -> Result<Plugin> {
    let described = guest.describe(&file.name, budgets).await;
    let descriptor = described.result.map_err(|stopped| {
        let trapped = matches!(stopped, Stopped::Trap(_));
        let stopped = stopped.explained(&file.name);
        match (described.log.trim(), exception(&described.log).filter(|_| trapped)) {
            (_, Some(exception)) => anyhow::anyhow!("describe failed: {exception}"),
            ("", None) => anyhow::anyhow!("describe {stopped}"),
            (log, None) => anyhow::anyhow!("describe {stopped}; its log says: {log}"),
        }
    })?;
    for (what, described, found) in
        [("name", &descriptor.name, &file.name), ("version", &descriptor.version, &file.version)]
    {
        if described != found {
            let described = described.escape_debug();
            bail!("describes itself with the {what} {described}, but its metadata says {found}; rebuild it");
        }
    }
    let (schema, dates) = (settings::Schema::default(), dates::Answers::default());
    Ok(Plugin { file, descriptor, guest, stack: budgets.stack, schema, dates })
}
