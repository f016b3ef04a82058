//! `host push`, `add`, `pull`, `update` and `outdated`: plugins in registries.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use semver::Version;

use super::table::Table;
use crate::{
    config::{Config, PublicKey, nearest},
    package::{Digest, Expected, File, LOCK, Lock, Pin, SCHEME, Store, read_signatures},
    registry::{Place, Pushed, Registry, Wanted},
};

/// The exit code of `host outdated` when something is.
const OUTDATED: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host push phase2-raw.wasm oci://ghcr.io/data/phase2-raw         under its own version
  host push phase2-raw.wasm oci://ghcr.io/data/phase2-raw:1.2.0   the same, when that is its version

A version is published once: other bytes under it are refused. What `host sign` wrote beside the file, PLUGIN.wasm.sig, is
pushed beside it. Credentials are those of `docker login`. On this machine, localhost:5000, plain HTTP will do.")]
pub(super) struct Push {
    /// The plugin component.
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// Where it goes; the last part is the plugin's name.
    #[arg(value_name = "oci://REGISTRY/NAME[:VERSION]")]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host add oci://ghcr.io/data/phase2-raw          the newest version
  host add oci://ghcr.io/data/phase2-raw@^1.2     the newest that 1.2 can be replaced by; `host update` moves within that
  host add oci://ghcr.io/data/phase2-raw:1.2.0    this one

It is fetched into plugins.store/ and pinned in plugins.lock by its digest: a tag that is moved later changes nothing.
Then `host run --once` runs what is pinned; `host inspect` says what to grant.")]
pub(super) struct Add {
    /// The plugin, and which versions of it.
    #[arg(value_name = "oci://REGISTRY/NAME[:VERSION|@RANGE]")]
    place: Place,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host pull                             before the first run on a new machine
  host pull --lock deploy/plugins.lock

It fetches exactly the bytes that plugins.lock names, as many as are not in plugins.store/ yet, and nothing else: what a
registry says today does not matter.")]
pub(super) struct Pull {
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host update phase2-raw   to the newest version within what `host add` was given
  host update --all        every plugin that came from a registry")]
pub(super) struct Update {
    /// The plugins to move.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Every plugin that came from a registry.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host outdated

Exit codes: 0 everything is the newest that is wanted, 2 something is not.")]
pub(super) struct Outdated {
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
struct Files {
    /// The lock file.
    #[arg(long, value_name = "FILE", default_value = LOCK)]
    lock: PathBuf,
    /// The configuration, for the keys under [trust] when there is one.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
}

impl Files {
    /// Whose signature is needed.
    fn keys(&self) -> Result<Vec<PublicKey>> {
        match self.config.exists() {
            true => Ok(Config::load(&self.config)?.trust.keys),
            false => Ok(Vec::new()),
        }
    }

    fn read(&self) -> Result<Lock> {
        let found = Lock::read(&self.lock)?;
        found.with_context(|| format!("there is no {}: `host add oci://REGISTRY/NAME` begins one", self.lock.display()))
    }

    fn store(&self) -> Store {
        Store::beside(&self.lock)
    }
}

impl Push {
    pub(super) fn execute(self) -> Result<u8> {
        let file = File::read(&self.plugin).map_err(|(_, error)| error)?;
        if self.place.name() != file.name {
            bail!("{}: the plugin's name is {}, and the place must end in it", self.place, file.name);
        }
        match &self.place.wanted {
            Wanted::Any => {}
            Wanted::Exactly(version) if *version == file.version => {}
            Wanted::Exactly(version) => {
                bail!(
                    "{}: the plugin's version is {}, not {version}; build it with that version",
                    self.place,
                    file.version
                )
            }
            Wanted::Within(_) => bail!("{}: a plugin is pushed under its own version, not under a range", self.place),
        }
        let signatures = read_signatures(&self.plugin)?;
        let signed = if signatures.is_some() { ", with its signatures" } else { "" };
        let pushed = super::runtime()?.block_on(async { Registry::new(&self.place)?.push(&file, signatures).await })?;
        let place = Place { wanted: Wanted::Exactly(file.version.clone()), ..self.place };
        let news = if pushed == Pushed::New { "" } else { ", as before" };
        super::print(&format!("{place} is {}{news}{signed}\n", file.digest))?;
        Ok(0)
    }
}

impl Add {
    pub(super) fn execute(self) -> Result<u8> {
        let _claim = Lock::claim(&self.files.lock)?;
        let mut lock = Lock::read(&self.files.lock)?.unwrap_or_else(|| Lock::new(&self.files.lock));
        let keys = self.files.keys()?;
        let file = super::runtime()?.block_on(async {
            let (version, digest) = newest(&self.place).await?;
            let expected = Expected { name: self.place.name(), version: &version, keys: &keys };
            fetch(&self.place, &self.files.store(), digest, &expected).await
        })?;
        pin(&mut lock, &file, &self.place)?;
        eprintln!("see what it asks for with `host inspect {}`", file.path.display());
        Ok(0)
    }
}

impl Pull {
    pub(super) fn execute(self) -> Result<u8> {
        let lock = self.files.read()?;
        let (store, keys) = (self.files.store(), self.files.keys()?);
        let pins = published(&lock)?;
        let runtime = super::runtime()?;
        for (name, pin, place) in &pins {
            let word = match store.find(pin.digest) {
                Some(_) => "is there",
                None => {
                    let expected = Expected { name, version: &pin.version, keys: &keys };
                    runtime.block_on(fetch(place, &store, pin.digest, &expected))?;
                    "fetched"
                }
            };
            eprintln!("{name}: {} {} {word}", pin.version, pin.digest);
        }
        eprintln!("{}: {} plugins from registries are there", self.files.lock.display(), pins.len());
        Ok(0)
    }
}

impl Update {
    pub(super) fn execute(self) -> Result<u8> {
        let _claim = Lock::claim(&self.files.lock)?;
        let mut lock = self.files.read()?;
        let (store, keys) = (self.files.store(), self.files.keys()?);
        let pins = published(&lock)?;
        for name in &self.names {
            if !pins.iter().any(|(known, ..)| known == name) {
                let near = nearest(name, pins.iter().map(|(known, ..)| known));
                bail!("no plugin {name} came from a registry{near}; `host add oci://REGISTRY/{name}` adds one");
            }
        }
        let runtime = super::runtime()?;
        for (name, pinned, place) in pins.iter().filter(|(name, ..)| self.all || self.names.contains(name)) {
            let (version, digest) = runtime.block_on(newest(place))?;
            // Whoever takes newer versions away, or changes one, must not bring back what was mended.
            if version < pinned.version {
                eprintln!("{name}: {} stays; the newest that {place} has is {version}", pinned.version);
                continue;
            }
            if version == pinned.version && digest != pinned.digest {
                bail!(
                    "{name}: {place} has other bytes for {version} now, {digest}; what is pinned stays. Ask who publishes it for a new version; `host add` takes these all the same"
                );
            }
            let expected = Expected { name, version: &version, keys: &keys };
            let file = runtime.block_on(fetch(place, &store, digest, &expected))?;
            pin(&mut lock, &file, place)?;
        }
        Ok(0)
    }
}

impl Outdated {
    pub(super) fn execute(self) -> Result<u8> {
        let lock = self.files.read()?;
        let runtime = super::runtime()?;
        let mut table = Table::new(&["PLUGIN", "PINNED", "WANTED", "NEWEST", "FROM"]);
        let mut behind = false;
        for (name, pin, place) in published(&lock)? {
            let versions = runtime.block_on(async { Registry::new(&place)?.versions().await })?;
            let shown = |version: Option<&Version>| version.map_or("none".to_owned(), Version::to_string);
            let wanted = versions.iter().rev().find(|version| place.wanted.fits(version));
            let newest = versions.iter().rev().find(|version| version.pre.is_empty());
            behind |= wanted.is_some_and(|wanted| *wanted > pin.version);
            table.row(vec![name, pin.version.to_string(), shown(wanted), shown(newest), place.to_string()]);
        }
        super::print(&table.text())?;
        Ok(if behind { OUTDATED } else { 0 })
    }
}

/// The pins that came from a registry.
fn published(lock: &Lock) -> Result<Vec<(String, Pin, Place)>> {
    let pins = lock.pins().iter().filter(|(_, pin)| pin.source.starts_with(SCHEME));
    pins.map(|(name, pin)| {
        let place = pin.source.parse().with_context(|| format!("{}: plugin.{name}.source", lock.path().display()))?;
        Ok((name.clone(), pin.clone(), place))
    })
    .collect()
}

/// The newest version that is wanted, and its bytes' digest.
async fn newest(place: &Place) -> Result<(Version, Digest)> {
    let registry = Registry::new(place)?;
    let version = registry.newest().await?;
    let digest = registry.digest(&version).await?;
    Ok((version, digest))
}

/// Exactly these bytes, in the store.
async fn fetch(place: &Place, store: &Store, digest: Digest, expected: &Expected<'_>) -> Result<File> {
    let registry = Registry::new(place)?;
    let bytes = registry.component(digest).await?;
    let signatures = registry.signatures(digest).await?;
    store.keep(bytes, signatures.as_deref(), expected).with_context(|| place.to_string())
}

/// Writes down what is pinned now.
fn pin(lock: &mut Lock, file: &File, place: &Place) -> Result<()> {
    let before = lock.set_from(file, place.to_string());
    lock.write()?;
    let was = match before {
        Some(before) if before.digest == file.digest => ", as before".to_owned(),
        Some(before) => format!(", before {}", before.version),
        None => ", new".to_owned(),
    };
    eprintln!("{}: {} {} is pinned in {}{was}", file.name, file.version, file.digest, lock.path().display());
    Ok(())
}
