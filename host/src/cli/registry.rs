//! `host push`, `add`, `pull`, `update` and `outdated`: plugins in registries.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use futures_util::{StreamExt, stream};
use semver::Version;
use serde_json::json;

use super::{
    flags::{FileFlags, Format, OutputFlag},
    pin::{counted, would_have_said},
    table::Table,
};
use crate::{
    config::{Config, nearest},
    oci::{Place, Wanted},
    package::{Digest, Expected, File, Keys, Lock, Pin, SCHEME, Store, lock_command, read_signatures},
    registry::{Pushed, Registry},
    text::{note, printable, quoted, quoted_path},
};

/// The exit code of `host outdated` when a plugin has a newer version.
const OUTDATED: u8 = 2;
/// The exit code when something could not be done for a plugin.
const FAILED: u8 = 64;
/// How many plugins are looked up at the same time.
const AT_ONCE: usize = 8;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host push raw.wasm oci://ghcr.io/data/raw         as the version in the file
  host push raw.wasm oci://ghcr.io/data/raw:1.2.0   fails if the file differs

A version is published once: different bytes with the same version are
refused. A signature beside the file, PLUGIN.wasm.sig, is pushed too. `docker
login` sets the credentials. Registries on this machine, as localhost:5000,
need no TLS.")]
pub(super) struct Push {
    /// The plugin file
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// The place in the registry; its last part is the plugin's name
    #[arg(value_name = "oci://REGISTRY/NAME[:VERSION]")]
    place: Place,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host add oci://ghcr.io/data/raw         the newest version
  host add oci://ghcr.io/data/raw@^1.2    the newest 1.x from 1.2 on, also for
                                          `host update`
  host add oci://ghcr.io/data/raw:1.2.0   this version

The plugin is stored in plugins.store/ and pinned in plugins.lock by its
digest, so that a tag that moves later changes nothing. `host init` writes a
host.toml that grants what it asks for, and `host run --once` runs it.")]
pub(super) struct Add {
    /// The plugin in the registry, and its versions
    #[arg(value_name = "oci://REGISTRY/NAME[:VERSION|@RANGE]")]
    place: Place,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host pull                             before the first run on a new machine
  host pull --lock deploy/plugins.lock

It fetches exactly the bytes that plugins.lock names, unless plugins.store/
has them already. Newer versions and moved tags in the registry do not
matter.")]
pub(super) struct Pull {
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host update phase2-raw   to the newest version that `host add` allowed
  host update --all        every plugin from a registry")]
pub(super) struct Update {
    /// The plugins to update
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,
    /// Update every plugin from a registry
    #[arg(long, conflicts_with = "names")]
    all: bool,
    #[command(flatten)]
    files: Files,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host outdated

Exit codes: 0 every plugin is up to date, 2 `host update` has a newer one, 64 a
registry gave no answer, or has other bytes for a pinned version; the other
plugins are shown.")]
pub(super) struct Outdated {
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    output: OutputFlag,
}

/// The lock file, and host.toml for its keys under [trust].
#[derive(Debug, Args)]
struct Files {
    #[command(flatten)]
    flags: FileFlags,
}

impl Files {
    /// The keys that a plugin's signature must come from.
    fn keys(&self) -> Result<Keys> {
        let config = self.flags.config();
        match config.exists() || self.flags.config_is_named() {
            true => Ok(Config::load(config)?.trust.keys()),
            false => Ok(Keys::default()),
        }
    }

    fn read(&self) -> Result<Lock> {
        let path = self.path();
        let found = Lock::read(&path)?;
        found.with_context(|| format!("there is no {}; `host add --help` shows how to write one", path.display()))
    }

    fn store(&self) -> Store {
        Store::beside(&self.path())
    }

    fn path(&self) -> PathBuf {
        self.flags.lock()
    }
}

impl Push {
    pub(super) fn execute(self) -> Result<u8> {
        let file = File::read(&self.plugin).map_err(|(_, error)| error)?;
        if self.place.name() != file.name {
            bail!("{}: the place must end in the plugin's name, {}", self.place, file.name);
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
            Wanted::Within(_) => bail!("{}: a plugin is pushed with its own version, not with a range", self.place),
        }
        let signatures = read_signatures(&self.plugin)?;
        let signed = if signatures.is_some() { ", with its signatures" } else { "" };
        let pushed = super::runtime()?.block_on(async { Registry::new(&self.place)?.push(&file, signatures).await })?;
        let place = Place { wanted: Wanted::Exactly(file.version.clone()), ..self.place };
        let news = if pushed == Pushed::New { "" } else { ", already published" };
        super::print(&format!("{place} is {}{news}{signed}\n", file.digest))?;
        Ok(0)
    }
}

impl Add {
    pub(super) fn execute(self) -> Result<u8> {
        let path = self.files.path();
        // A lock file that cannot be used is told before anything is fetched.
        Lock::read(&path)?;
        let (store, keys) = (self.files.store(), self.files.keys()?);
        let Obtained { file, .. } = super::runtime()?.block_on(async {
            let registry = Registry::new(&self.place)?;
            let (version, digest) = registry.newest().await?;
            let expected = Expected { name: self.place.name(), version: &version, keys: &keys };
            obtain(&registry, &self.place, &store, digest, &expected).await
        })?;
        // Not before: a registry may be slow, and others pin meanwhile.
        let _claim = Lock::claim(&path)?;
        let mut lock = Lock::read(&path)?.unwrap_or_else(|| Lock::new(&path));
        pin(&mut lock, &file, &self.place)?;
        note!("next: `host inspect {}` shows what it asks for", quoted_path(&file.path));
        Ok(0)
    }
}

impl Pull {
    pub(super) fn execute(self) -> Result<u8> {
        let lock = self.files.read()?;
        let (store, keys) = (self.files.store(), self.files.keys()?);
        let pins = published(&lock)?;
        let pulled = each(&pins, async |(name, pin, place)| {
            let expected = Expected { name, version: &pin.version, keys: &keys };
            obtain(&Registry::new(place)?, place, &store, pin.digest, &expected).await
        })?;
        let mut failures = Failures::default();
        for ((name, pin, _), pulled) in pins.iter().zip(pulled) {
            if let Some(Obtained { how, .. }) = failures.keep(name, pulled) {
                note!("{name}: {} {} {how}", pin.version, pin.digest);
            }
        }
        let failed = failures.tell();
        if failed == 0 {
            note!("{}: {} from registries, all present", self.files.path().display(), counted(pins.len()));
        }
        Ok(failed)
    }
}

impl Update {
    pub(super) fn execute(self) -> Result<u8> {
        let (store, keys) = (self.files.store(), self.files.keys()?);
        let mut pins = published(&self.files.read()?)?;
        for name in &self.names {
            if !pins.iter().any(|(known, ..)| known == name) {
                let near = nearest(name, pins.iter().map(|(known, ..)| known));
                bail!("plugin {name} is not from a registry{near}; `host add --help` shows how to add it from one");
            }
        }
        pins.retain(|(name, ..)| self.all || self.names.contains(name));
        let updated = each(&pins, async |pinned| update(pinned, &self.files, &store, &keys).await)?;
        // Not before: registries may be slow, and others pin meanwhile.
        let _claim = Lock::claim(&self.files.path())?;
        let mut lock = self.files.read()?;
        let mut failures = Failures::default();
        for ((name, before, place), updated) in pins.iter().zip(updated) {
            let pinned = match updated {
                Ok(Some(_)) if lock.pin(name) != Some(before) => {
                    let update = lock_command("update", &self.files.path());
                    Err(anyhow!("another process changed its pin meanwhile; run `{update} {name}` again"))
                }
                Ok(Some(file)) => pin(&mut lock, &file, place),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            failures.keep(name, pinned);
        }
        Ok(failures.tell())
    }
}

impl Outdated {
    pub(super) fn execute(self) -> Result<u8> {
        let lock = self.files.read()?;
        let pins = published(&lock)?;
        let listed = each(&pins, async |(_, pin, place)| look_up(pin, place).await)?;
        let mut failures = Failures::default();
        let mut rows = Vec::new();
        let mut behind = false;
        for ((name, pin, place), listed) in pins.iter().zip(listed) {
            let Some(Listed { published, versions }) = failures.keep(name, listed) else { continue };
            match published {
                Some(digest) if digest == pin.digest => {}
                Some(digest) => {
                    failures.keep::<()>(name, Err(changed(place, &pin.version, digest, &self.files.path())));
                }
                None => note!("{name}: the pinned {} is not published in {place}", pin.version),
            }
            let versions = versions.map_err(|error| {
                note!("{name}: no list of versions: {}", printable(&format!("{error:#}")));
            });
            let (wanted, newest) = match &versions {
                Ok(versions) => (
                    versions.iter().rev().find(|version| place.wanted.fits(version)),
                    versions.iter().rev().find(|version| version.pre.is_empty()),
                ),
                Err(()) => (Some(&pin.version), None),
            };
            behind |= wanted.is_some_and(|wanted| *wanted > pin.version);
            let unknown = if versions.is_ok() { "none" } else { "unknown" };
            rows.push((name, &pin.version, wanted.cloned(), newest.cloned(), unknown, place.to_string()));
        }
        super::print(&match self.output.output {
            Format::Json => {
                let plugins = rows.iter().map(|(name, pinned, wanted, newest, _, place)| {
                    json!({ "plugin": name, "pinned": pinned, "wanted": wanted, "newest": newest, "from": place })
                });
                format!("{:#}\n", json!({ "plugins": plugins.collect::<Vec<_>>() }))
            }
            Format::Table => {
                let shown =
                    |version: Option<Version>, none: &str| version.map_or(none.to_owned(), |one| one.to_string());
                let mut table = Table::new(["PLUGIN", "PINNED", "WANTED", "NEWEST", "FROM"]);
                for (name, pinned, wanted, newest, unknown, place) in rows {
                    let (wanted, newest) = (shown(wanted, "none"), shown(newest, unknown));
                    table.row(vec![name.clone(), pinned.to_string(), wanted, newest, place]);
                }
                table.text()
            }
        })?;
        match failures.tell() {
            0 if behind => Ok(OUTDATED),
            code => Ok(code),
        }
    }
}

/// The failures of some plugins, told after the others are done.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn keep<T>(&mut self, name: &str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(printable(&format!("error: {name}: {error:#}")))).ok()
    }

    /// Prints them; gives the exit code.
    fn tell(self) -> u8 {
        self.0.iter().for_each(|failure| note!("{failure}"));
        if self.0.is_empty() { 0 } else { FAILED }
    }
}

/// A pinned plugin from a registry.
type Published = (String, Pin, Place);

/// Does something for several plugins at the same time; the results are in their order. A registry that does not answer
/// keeps nobody else waiting.
fn each<T>(pins: &[Published], work: impl AsyncFn(&Published) -> Result<T>) -> Result<Vec<Result<T>>> {
    Ok(super::runtime()?.block_on(stream::iter(pins).map(|pin| work(pin)).buffered(AT_ONCE).collect()))
}

/// The pinned plugins from registries.
fn published(lock: &Lock) -> Result<Vec<Published>> {
    let pins = lock.pins().iter().filter(|(_, pin)| pin.source.starts_with(SCHEME));
    pins.map(|(name, pin)| {
        let place = pin.source.parse().with_context(|| format!("{}: plugin.{name}.source", lock.path().display()))?;
        Ok((name.clone(), pin.clone(), place))
    })
    .collect()
}

/// Fetches a newer version, if there is one.
async fn update(pinned: &Published, files: &Files, store: &Store, keys: &Keys) -> Result<Option<File>> {
    let (name, pinned, place) = pinned;
    let registry = Registry::new(place)?;
    let (version, digest) = registry.newest().await?;
    // A registry that drops or changes versions must not bring back a fixed bug.
    if version < pinned.version {
        note!("{name}: keeping {}; the newest version in {place} is {version}", pinned.version);
        return Ok(None);
    }
    if version == pinned.version && digest != pinned.digest {
        return Err(changed(place, &version, digest, &files.path()));
    }
    let expected = Expected { name, version: &version, keys };
    obtain(&registry, place, store, digest, &expected).await.map(|obtained| Some(obtained.file))
}

/// The error for a published version that has other bytes now.
fn changed(place: &Place, version: &Version, digest: Digest, lock: &Path) -> anyhow::Error {
    let add = format!("{} {}", lock_command("add", lock), quoted(&place.to_string()));
    anyhow!(
        "{place} has different bytes for {version} now, {digest}; the pin stays. Ask the publisher for a new version, or accept these bytes with `{add}`"
    )
}

/// A registry's answer about a pinned plugin.
struct Listed {
    /// The digest that the pinned version has there.
    published: Option<Digest>,
    /// All versions; an error if the registry does not list them, and the pin needs no list.
    versions: Result<Vec<Version>>,
}

async fn look_up(pin: &Pin, place: &Place) -> Result<Listed> {
    let registry = Registry::new(place)?;
    let published = registry.published(&pin.version).await?;
    let versions = registry.versions().await;
    // One version stays, whatever others there are.
    let fixed = published.is_some() && place.wanted == Wanted::Exactly(pin.version.clone());
    match versions {
        Err(error) if !fixed => Err(error),
        versions => Ok(Listed { published, versions }),
    }
}

/// A component in the store.
struct Obtained {
    file: File,
    /// `fetched`
    how: &'static str,
}

/// Sees to it that exactly these bytes and their signatures are in the store. A component that is there is not fetched
/// again.
async fn obtain(
    registry: &Registry,
    place: &Place,
    store: &Store,
    digest: Digest,
    expected: &Expected<'_>,
) -> Result<Obtained> {
    let Some(file) = store.find(digest) else {
        let bytes = registry.component(digest).await?;
        let signatures = registry.signatures(digest).await?;
        let file = store.keep(bytes, signatures.as_deref(), expected).with_context(|| place.to_string())?;
        return Ok(Obtained { file, how: "fetched" });
    };
    expected.must_be(&file).with_context(|| place.to_string())?;
    let added = registry
        .signatures(digest)
        .await
        .and_then(|signatures| store.sign(&file, signatures.as_deref(), expected).with_context(|| place.to_string()));
    match added {
        Ok(()) => {}
        // The registry is not needed, if the signatures in the store suffice.
        Err(error) if store.sign(&file, None, expected).is_ok() => {
            note!("{}: no newer signatures: {}", expected.name, printable(&format!("{error:#}")));
        }
        Err(error) => return Err(error.context("its signatures cannot be verified")),
    }
    Ok(Obtained { file, how: "is present" })
}

/// Pins the file. An old version does not come back because a registry offers it; whoever names it wants it.
fn pin(lock: &mut Lock, file: &File, place: &Place) -> Result<()> {
    if let Some(pin) = lock.pin(&file.name).filter(|pin| file.version < pin.version)
        && !matches!(place.wanted, Wanted::Exactly(_))
    {
        let back = Place { wanted: Wanted::Exactly(file.version.clone()), ..place.clone() };
        bail!(
            "{}: {place} offers {}, older than the pinned {}; to roll back, run `{} {back}`",
            file.name,
            file.version,
            pin.version,
            lock_command("add", lock.path())
        );
    }
    let before = lock.set_from(file, place.to_string());
    lock.write()?;
    let is_changed = before.as_ref().is_some_and(|before| before.digest != file.digest);
    let was = match before {
        Some(before) if before.digest == file.digest => ", unchanged".to_owned(),
        Some(before) if before.version == file.version => {
            format!("; same version, different bytes: previously {}", before.digest)
        }
        Some(before) if file.version < before.version => format!(", rolled back from {}", before.version),
        Some(before) => format!(", previously {}", before.version),
        None => ", new".to_owned(),
    };
    note!("{}: {} {} is pinned in {}{was}", file.name, file.version, file.digest, lock.path().display());
    if is_changed {
        note!("{}", would_have_said(file, lock.path()));
    }
    Ok(())
}
