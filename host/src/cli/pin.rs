//! `host pin`: the plugin versions that run, in plugins.lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use semver::Version;

use super::flags::LockFlag;
use crate::{
    config::{Config, nearest},
    oci::{self, Place},
    package::{
        Expected, File, Keys, Lock, Pin as Pinned, SCHEME, Store, is_named_like_a_plugin, lock_command, pin_command,
        plugins_in, read_signatures,
    },
    text::{directory_of, note, or_here, quoted_path},
};

/// The exit code of `--verify` when something differs.
const DIFFERS: u8 = 2;
/// Checks that are named in a line.
const NAMED: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host pin plugins/*.wasm            pin these files; other pins stay
  host pin phase2-raw                the newest version in their directories
  host pin phase2-raw@1.2.0          this version, also an older one
  host pin phase2-raw new/*.wasm     the newest version among these files
  host pin --verify                  compare the files that run; change nothing
  host pin --verify plugins/*.wasm   compare these files

Keep plugins.lock in version control, so that each change of a plugin is
reviewed.

Exit codes: 0 done, 2 --verify found a difference, 64 a file cannot be used.")]
pub(super) struct Pin {
    /// Plugin files to pin, or plugins whose version to change
    #[arg(value_name = "PLUGIN.wasm|NAME[@VERSION]")]
    what: Vec<String>,
    /// Compare and change nothing
    // Its former name means something else in other commands.
    #[arg(long, alias = "check")]
    verify: bool,
    /// Remove pins whose file is gone; those from registries stay
    #[arg(long, conflicts_with = "verify")]
    prune: bool,
    #[command(flatten)]
    lock: LockFlag,
}

/// `NAME` or `NAME@VERSION`
struct Wanted {
    name: String,
    version: Option<Version>,
}

impl Pin {
    pub(super) fn execute(self) -> Result<u8> {
        let path = self.lock.path();
        // Two processes that pin at the same moment must not overwrite each other.
        let _claim = if self.verify { None } else { Some(Lock::claim(&path)?) };
        let found = Lock::read(&path)?;
        if found.is_none() && self.verify {
            let pin = lock_command("pin", &path);
            bail!("no plugin is pinned: there is no {}; `{pin} plugins/*.wasm` writes it", path.display());
        }
        let mut lock = found.unwrap_or_else(|| Lock::new(&path));
        let (files, names): (Vec<&String>, Vec<&String>) = self.what.iter().partition(|what| is_file(what, &lock));
        let wanted: Vec<Wanted> = names.iter().map(|name| Wanted::new(name)).collect::<Result<_>>()?;
        if self.what.is_empty() && !self.verify && !self.prune {
            bail!("name plugin files or a plugin, as in `{} plugins/*.wasm`", lock_command("pin", &path));
        }
        let named = !files.is_empty();
        let directories: Vec<&String> = files.iter().copied().filter(|file| Path::new(file).is_dir()).collect();
        let paths = if named { listed_in(&files)? } else { beside(&lock)? };
        let (files, unreadable) = read(&paths);
        if self.verify && self.what.is_empty() {
            return verify_all(&lock, &files, &unreadable);
        }
        // Pruning alone pins nothing: it does not accept other bytes by the way.
        let only_prune = self.prune && self.what.is_empty();
        let chosen = match wanted.is_empty() {
            true if only_prune => Vec::new(),
            true => newest(files, &lock)?,
            false => wanted.iter().map(|wanted| wanted.among(&files, &unreadable)).collect::<Result<_>>()?,
        };
        // Of named files all are pinned, or none; a plugin is pinned whatever other files are like.
        let skips = !wanted.is_empty() || only_prune;
        if skips {
            unreadable.iter().for_each(|file| note!("skipped: {:#}", file.error));
        }
        let refused = || match unreadable.iter().map(|file| format!("{:#}", file.error)).collect::<Vec<_>>() {
            errors if skips || errors.is_empty() => Ok(()),
            errors => bail!("{}", errors.join("\n")),
        };
        if !self.verify {
            refused()?;
            let back: Vec<&String> = wanted.iter().filter(|one| one.version.is_some()).map(|one| &one.name).collect();
            only_forward(&lock, &chosen, &back)?;
            return self.write(&mut lock, &chosen);
        }
        let mut differences: Vec<String> = chosen.iter().filter_map(|file| difference(&lock, file)).collect();
        if !named {
            let pins = chosen.iter().filter_map(|file| Some((&file.name, lock.pin(&file.name)?)));
            differences.extend(pins.filter_map(|(name, pin)| absence(&lock, name, pin, &chosen)));
        }
        differences.extend(
            directories
                .iter()
                .filter_map(|named| whole(Path::new(named)))
                .flat_map(|named| missing(&lock, &named, &chosen)),
        );
        differences.iter().for_each(|difference| note!("{difference}"));
        refused()?;
        verified(&lock, chosen.len(), &differences)
    }

    /// Writes the lock file, and then says what changed in it.
    fn write(&self, lock: &mut Lock, chosen: &[File]) -> Result<u8> {
        let (mut done, mut changed) = (Vec::new(), Vec::new());
        for file in chosen {
            let before = match registry_source(lock, file)? {
                Some(source) => lock.set_from(file, source),
                None => lock.set(file),
            };
            if before.as_ref().is_some_and(|before| before.digest != file.digest) {
                changed.push(file);
            }
            let now = format!("{} {}", file.version, file.digest);
            let news = match before {
                Some(before) if before.digest == file.digest => format!("{now}, unchanged"),
                Some(before) if before.version == file.version => {
                    format!("{now}; same version, different bytes: previously {}", before.digest)
                }
                Some(before) if file.version < before.version => format!("rolled back: {} → {now}", before.version),
                Some(before) => format!("{} → {now}", before.version),
                None => format!("{now}, new"),
            };
            done.push(format!("{}: {news}", file.name));
        }
        // A file that cannot be looked for, as in a directory without rights, is not gone.
        let is_gone = |pin| matches!(lock.source(pin).try_exists(), Ok(false));
        let gone = lock.pins().iter().filter(|(_, pin)| is_gone(pin));
        let gone: Vec<(String, bool)> =
            gone.map(|(name, pin)| (name.clone(), pin.source.starts_with(SCHEME))).collect();
        for (name, published) in gone {
            if published {
                let pull = lock_command("pull", lock.path());
                done.push(format!("{name}: not in plugins.store; `{pull}` fetches it"));
            } else if self.prune {
                lock.remove(&name);
                done.push(format!("{name}: removed"));
            } else {
                let pin = lock_command("pin", lock.path());
                done.push(format!("{name}: its file is gone; `{pin} --prune` removes the pin"));
            }
        }
        lock.write()?;
        done.iter().for_each(|line| note!("{line}"));
        note!("{}: {} pinned", lock.path().display(), counted(lock.pins().len()));
        changed.iter().for_each(|file| note!("{}", would_have_said(file, lock.path())));
        Ok(0)
    }
}

/// How to see what a new version of a plugin would have said of recorded runs of its checks, which host.toml beside the lock file names.
pub(super) fn would_have_said(file: &File, lock: &Path) -> String {
    let config = Config::read(&lock.with_file_name("host.toml")).ok();
    let mut checks = config.map(|config| config.checks_of(&file.name)).unwrap_or_default();
    if checks.is_empty() {
        checks.push(file.name.clone());
    }
    let path = quoted_path(&file.path);
    let first = checks.remove(0);
    let others = match checks.len() {
        0 => String::new(),
        1..=NAMED => format!("; {}, too", checks.join(", ")),
        many => format!("; {many} other checks, too"),
    };
    format!("next: `host replay {first} --plugin {path}` shows what it would have said of recorded runs{others}")
}

/// The place in a registry that a pin keeps: for the same bytes, for another version from the store, and for an older one,
/// which is stored first. Whether the registry has the same bytes is not known here: `host outdated` compares them.
fn registry_source(lock: &Lock, file: &File) -> Result<Option<String>> {
    let Some(pin) = lock.pin(&file.name) else { return Ok(None) };
    let Ok(place) = pin.source.parse::<Place>() else { return Ok(None) };
    if pin.digest == file.digest {
        return Ok(Some(pin.source.clone()));
    }
    let store = Store::beside(lock.path());
    let stored = store.path(file.digest).canonicalize().ok();
    if stored.is_none() || stored != file.path.canonicalize().ok() {
        if file.version >= pin.version {
            return Ok(None);
        }
        let expected = Expected { name: &file.name, version: &file.version, keys: &Keys::default() };
        store.keep(file.bytes.clone(), read_signatures(&file.path)?.as_deref(), &expected)?;
        note!(
            "{}: stored in plugins.store; its place is still {place}, and `{}` compares the bytes",
            file.name,
            lock_command("outdated", lock.path())
        );
    }
    let wanted = match place.wanted {
        oci::Wanted::Exactly(_) => oci::Wanted::Exactly(file.version.clone()),
        wanted => wanted,
    };
    Ok(Some(Place { wanted, ..place }.to_string()))
}

/// Refuses files that are older than their pins, unless their version was named: an old version does not come back because
/// its file does.
fn only_forward(lock: &Lock, chosen: &[File], named: &[&String]) -> Result<()> {
    for file in chosen.iter().filter(|file| !named.contains(&&file.name)) {
        if let Some(pin) = lock.pin(&file.name).filter(|pin| file.version < pin.version) {
            let (name, version, path) = (&file.name, &file.version, file.path.display());
            let back = pin_command(lock.path(), name, version, &file.path);
            bail!("{name}: {path} is {version}, older than the pinned {}; to roll back, run `{back}`", pin.version);
        }
    }
    Ok(())
}

/// Compares the files that the host would run with their pins. Files beside them need a pin, too; those that nobody can
/// read are nobody's plugin.
fn verify_all(lock: &Lock, beside: &[File], unreadable: &[Unreadable]) -> Result<u8> {
    let (mut differences, mut errors, mut sources) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (name, pin) in lock.pins() {
        let source = lock.source(pin);
        sources.extend(source.canonicalize());
        match absence(lock, name, pin, beside) {
            Some(absence) => differences.push(absence),
            None => match File::read(&source) {
                Ok(file) if file.name == *name => differences.extend(difference(lock, &file)),
                Ok(file) => differences.push(format!("{name}: pinned, but {} is {}", source.display(), file.name)),
                Err((_, error)) => errors.push(format!("{error:#}")),
            },
        }
    }
    let is_source = |path: &Path| path.canonicalize().is_ok_and(|path| sources.contains(&path));
    let unpinned = beside.iter().filter(|file| lock.pin(&file.name).is_none() && !is_source(&file.path));
    differences.extend(unpinned.filter_map(|file| difference(lock, file)));
    for file in unreadable.iter().filter(|file| !is_source(&file.path)) {
        note!("skipped: {:#}", file.error);
    }
    differences.iter().for_each(|difference| note!("{difference}"));
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    verified(lock, lock.pins().len(), &differences)
}

/// The exit code.
fn verified(lock: &Lock, count: usize, differences: &[String]) -> Result<u8> {
    if !differences.is_empty() {
        return Ok(DIFFERS);
    }
    note!("{}: {} checked, all as pinned", lock.path().display(), counted(count));
    Ok(0)
}

/// How a file differs from its pin.
fn difference(lock: &Lock, file: &File) -> Option<String> {
    let found = format!("{} is {} {}", file.path.display(), file.version, file.digest);
    match lock.pin(&file.name) {
        Some(pin) if (pin.digest, &pin.version, &pin.api) == (file.digest, &file.version, &file.api) => None,
        Some(pin) => Some(format!("{}: pinned as {} {}, but {found}", file.name, pin.version, pin.digest)),
        None => Some(format!("{}: not pinned, {found}", file.name)),
    }
}

/// What is wrong if a pin's file does not exist. The host opens that file, wherever else the same bytes are.
fn absence(lock: &Lock, name: &str, pin: &Pinned, files: &[File]) -> Option<String> {
    let source = lock.source(pin);
    if source.try_exists().unwrap_or(true) {
        return None;
    }
    let next = match files.iter().find(|file| file.digest == pin.digest) {
        _ if pin.source.starts_with(SCHEME) => format!("`{}` fetches it", lock_command("pull", lock.path())),
        Some(file) => {
            format!("pin it where it is: `{}`", pin_command(lock.path(), name, &file.version, &file.path))
        }
        None => "no other file there has its bytes".to_owned(),
    };
    Some(format!("{name}: pinned as {}, but {} does not exist; {next}", pin.version, source.display()))
}

/// The pins whose files should be in a directory, if none there has their names.
fn missing(lock: &Lock, directory: &Path, chosen: &[File]) -> Vec<String> {
    let there = |pin: &Pinned| lock.source(pin).parent().and_then(whole).is_some_and(|found| found == directory);
    let pins = lock.pins().iter().filter(|(name, pin)| there(pin) && !chosen.iter().any(|file| file.name == **name));
    let shown = |(name, pin): (&String, &Pinned)| {
        format!("{name}: pinned as {}, but {} does not have it", pin.version, lock.source(pin).display())
    };
    pins.map(shown).collect()
}

/// A directory's absolute path without links.
fn whole(directory: &Path) -> Option<PathBuf> {
    or_here(directory).canonicalize().ok()
}

impl Wanted {
    fn new(text: &str) -> Result<Self> {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        let version = version.map(|version| {
            Version::parse(version)
                .with_context(|| format!("`{version}` is not a version; write it as in {name}@1.2.0"))
        });
        Ok(Self { name: name.to_owned(), version: version.transpose()? })
    }

    /// The newest matching file.
    fn among(&self, files: &[File], unreadable: &[Unreadable]) -> Result<File> {
        // It may be the newest.
        if let Some(own) = unreadable.iter().find(|file| file.name == self.name && self.version.is_none()) {
            bail!("{:#}; name the version to pin, as in {}@1.2.0", own.error, self.name);
        }
        let named = || files.iter().filter(|file| file.name == self.name);
        let fits = |file: &&File| self.version.as_ref().is_none_or(|version| *version == file.version);
        if let Some(file) = named().filter(fits).max_by(|one, other| one.version.cmp(&other.version)) {
            let twins: Vec<&File> = named().filter(|twin| twin.version == file.version).collect();
            if let Some(twin) = twins.iter().find(|twin| twin.digest != file.digest) {
                bail!(
                    "{} {} exists twice with different bytes: {} and {}; keep one, or name the file",
                    self.name,
                    file.version,
                    file.path.display(),
                    twin.path.display()
                );
            }
            return Ok(file.clone());
        }
        let there = listed(named());
        match (&self.version, there.is_empty()) {
            (Some(version), false) => {
                bail!("none of the files holds {} {version}; found: {}", self.name, there)
            }
            _ => {
                let names: BTreeSet<&String> = files.iter().map(|file| &file.name).collect();
                let skipped: Vec<String> = unreadable.iter().map(|file| format!("; {:#}", file.error)).collect();
                bail!("no file holds the plugin {}{}{}", self.name, nearest(&self.name, names), skipped.concat())
            }
        }
    }
}

/// `1 plugin`, `2 plugins`
pub(super) fn counted(plugins: usize) -> String {
    crate::text::counted(plugins, "plugin", "plugins")
}

/// `0.1.0 in a.wasm, 0.2.0 in b.wasm`
fn listed<'f>(files: impl Iterator<Item = &'f File>) -> String {
    files.map(|file| format!("{} in {}", file.version, file.path.display())).collect::<Vec<_>>().join(", ")
}

/// Whether files are meant. A directory without a slash is one of files only if no plugin of its name is pinned and it has plugins.
fn is_file(what: &str, lock: &Lock) -> bool {
    let path = Path::new(what);
    let has_plugins = || plugins_in(path).is_ok_and(|plugins| !plugins.is_empty());
    let is_directory = path.is_dir() && (what.contains('/') || (lock.pin(what).is_none() && has_plugins()));
    is_named_like_a_plugin(path) || path.is_file() || is_directory
}

/// The named files, and those in named directories. `plugins/*.wasm` also names directories, `old.wasm/`: those are
/// not meant.
fn listed_in(named: &[&String]) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for path in named.iter().map(Path::new) {
        match (path.is_dir(), is_named_like_a_plugin(path)) {
            (true, true) => note!("skipped: {}: it is a directory", path.display()),
            (true, false) => match plugins_in(path).with_context(|| path.display().to_string())? {
                plugins if plugins.is_empty() => bail!("there is no plugin in {}", path.display()),
                plugins => paths.extend(plugins),
            },
            (false, _) => paths.push(path.to_owned()),
        }
    }
    Ok(paths)
}

/// The plugin files in the directories of the pinned ones.
fn beside(lock: &Lock) -> Result<Vec<PathBuf>> {
    if lock.pins().is_empty() {
        bail!("no plugin is pinned in {} yet; name the plugin's file", lock.path().display());
    }
    let sources = lock.pins().values().map(|pin| lock.source(pin));
    let directories: BTreeSet<PathBuf> = sources.map(|source| directory_of(&source).to_owned()).collect();
    let mut paths = Vec::new();
    for directory in directories {
        paths.extend(plugins_in(&directory).unwrap_or_default());
    }
    paths.sort();
    Ok(paths)
}

/// A file that is not a plugin, or cannot be read.
struct Unreadable {
    /// The plugin's name if its metadata has one, else the file's name.
    name: String,
    path: PathBuf,
    error: anyhow::Error,
}

/// The files that can be read, and the others.
fn read(paths: &[PathBuf]) -> (Vec<File>, Vec<Unreadable>) {
    let (mut files, mut unreadable) = (Vec::new(), Vec::new());
    for path in paths {
        match File::read(path) {
            Ok(file) => files.push(file),
            Err((name, error)) => unreadable.push(Unreadable { name, path: path.clone(), error }),
        }
    }
    (files, unreadable)
}

/// One file for each name: the only one, or else the pinned one.
fn newest(files: Vec<File>, lock: &Lock) -> Result<Vec<File>> {
    let mut named: BTreeMap<String, Vec<File>> = BTreeMap::new();
    for file in files {
        named.entry(file.name.clone()).or_default().push(file);
    }
    let one = |(name, mut files): (String, Vec<File>)| {
        let pinned = lock.pin(&name).and_then(|pin| files.iter().position(|file| file.digest == pin.digest));
        match (files.len(), pinned) {
            (1, _) => Ok(files.swap_remove(0)),
            (_, Some(pinned)) => Ok(files.swap_remove(pinned)),
            _ => {
                let newest = files.iter().max_by_key(|file| &file.version);
                let pin = newest.map(|file| pin_command(lock.path(), &name, &file.version, &file.path));
                bail!(
                    "{} files hold {name}: {}; choose one, as in `{}`",
                    files.len(),
                    listed(files.iter()),
                    pin.unwrap_or_default()
                )
            }
        }
    };
    named.into_iter().map(one).collect()
}
