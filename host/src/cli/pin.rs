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
    config::nearest,
    package::{File, Lock},
};

/// The exit code of `--verify` when something differs.
const DIFFERS: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host pin plugins/*.wasm            pin these files; other pins stay
  host pin phase2-raw                the newest version in their directories
  host pin phase2-raw@1.2.0          this version
  host pin phase2-raw new/*.wasm     the newest version among these files
  host pin --verify plugins/*.wasm   compare and change nothing

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
    /// Remove pins whose file is gone
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
        let (files, names): (Vec<&String>, Vec<&String>) = self.what.iter().partition(|what| is_file(what));
        let wanted: Vec<Wanted> = names.iter().map(|name| Wanted::new(name)).collect::<Result<_>>()?;
        // Two processes that pin at the same moment must not overwrite each other.
        let _claim = if self.verify { None } else { Some(Lock::claim(&path)?) };
        let found = Lock::read(&path)?;
        if found.is_none() && self.verify {
            bail!("no plugin is pinned: there is no {}; `host pin plugins/*.wasm` writes it", path.display());
        }
        let mut lock = found.unwrap_or_else(|| Lock::new(&path));
        if self.what.is_empty() && !self.verify && !self.prune {
            bail!("name plugin files or a plugin, as in `host pin plugins/*.wasm`");
        }
        let paths = match files.is_empty() {
            false => files.iter().map(PathBuf::from).collect(),
            true => beside(&lock)?,
        };
        let files = read(&paths)?;
        let chosen = match wanted.is_empty() {
            true => newest(files, &lock)?,
            false => wanted.iter().map(|wanted| wanted.among(&files)).collect::<Result<_>>()?,
        };
        match self.verify {
            true => Ok(compare(&lock, &chosen, self.what.is_empty())),
            false => self.write(&mut lock, &chosen),
        }
    }

    fn write(&self, lock: &mut Lock, chosen: &[File]) -> Result<u8> {
        for file in chosen {
            let before = lock.set(file);
            let now = format!("{} {}", file.version, file.digest);
            match before {
                Some(before) if before.digest == file.digest => eprintln!("{}: {now}, unchanged", file.name),
                Some(before) if before.version == file.version => {
                    eprintln!("{}: {now}; same version, different bytes: previously {}", file.name, before.digest);
                }
                Some(before) => eprintln!("{}: {} → {now}", file.name, before.version),
                None => eprintln!("{}: {now}, new", file.name),
            }
        }
        let gone: Vec<String> =
            lock.pins().iter().filter(|(_, pin)| !lock.source(pin).exists()).map(|(name, _)| name.clone()).collect();
        for name in gone {
            match self.prune {
                true => {
                    lock.remove(&name);
                    eprintln!("{name}: removed");
                }
                false => eprintln!("{name}: its file is gone; `host pin --prune` removes the pin"),
            }
        }
        lock.write()?;
        eprintln!("{}: {} pinned", lock.path().display(), counted(lock.pins().len()));
        Ok(0)
    }
}

/// Tells each difference. With `all`, every pin must have its file.
fn compare(lock: &Lock, files: &[File], all: bool) -> u8 {
    let mut differences = Vec::new();
    for file in files {
        let found = format!("{} is {} {}", file.path.display(), file.version, file.digest);
        match lock.pin(&file.name) {
            Some(pin) if (pin.digest, &pin.version, &pin.api) == (file.digest, &file.version, &file.api) => {}
            Some(pin) => {
                differences.push(format!("{}: pinned as {} {}, but {found}", file.name, pin.version, pin.digest));
            }
            None => differences.push(format!("{}: not pinned, {found}", file.name)),
        }
    }
    let held: BTreeSet<&String> = files.iter().map(|file| &file.name).collect();
    for (name, pin) in lock.pins().iter().filter(|(name, _)| all && !held.contains(name)) {
        differences.push(format!("{name}: pinned as {}, but no file holds it", pin.version));
    }
    for difference in &differences {
        eprintln!("{difference}");
    }
    match differences.is_empty() {
        true => {
            eprintln!("{}: {} checked, all as pinned", lock.path().display(), counted(files.len()));
            0
        }
        false => DIFFERS,
    }
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
    fn among(&self, files: &[File]) -> Result<File> {
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
                bail!("no file holds the plugin {}{}", self.name, nearest(&self.name, names))
            }
        }
    }
}

/// `1 plugin`, `2 plugins`
pub(super) fn counted(plugins: usize) -> String {
    if plugins == 1 { "1 plugin".to_owned() } else { format!("{plugins} plugins") }
}

/// `0.1.0 in a.wasm, 0.2.0 in b.wasm`
fn listed<'f>(files: impl Iterator<Item = &'f File>) -> String {
    files.map(|file| format!("{} in {}", file.version, file.path.display())).collect::<Vec<_>>().join(", ")
}

fn is_file(what: &str) -> bool {
    let path = Path::new(what);
    path.extension().is_some_and(|extension| extension == "wasm") || path.is_file()
}

/// The plugin files in the directories of the pinned ones.
fn beside(lock: &Lock) -> Result<Vec<PathBuf>> {
    if lock.pins().is_empty() {
        bail!("no plugin is pinned in {} yet; name the plugin's file", lock.path().display());
    }
    let sources = lock.pins().values().map(|pin| lock.source(pin));
    let directories: BTreeSet<PathBuf> = sources.filter_map(|source| Some(source.parent()?.to_owned())).collect();
    let mut paths = Vec::new();
    for directory in directories {
        let directory = if directory.as_os_str().is_empty() { PathBuf::from(".") } else { directory };
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten().map(|entry| entry.path());
        paths.extend(entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")));
    }
    paths.sort();
    Ok(paths)
}

/// All files, or the first error: a part of them is never pinned.
fn read(paths: &[PathBuf]) -> Result<Vec<File>> {
    paths.iter().map(|path| File::read(path).map_err(|(_, error)| error)).collect()
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
                let version = files.iter().map(|file| &file.version).max().map(ToString::to_string).unwrap_or_default();
                bail!(
                    "{} files hold {name}: {}; choose one, as in `host pin {name}@{version}`",
                    files.len(),
                    listed(files.iter())
                )
            }
        }
    };
    named.into_iter().map(one).collect()
}
