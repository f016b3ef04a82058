//! `host pin`: which bytes run under which name.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use semver::Version;

use crate::{
    config::nearest,
    package::{File, LOCK, Lock},
};

/// The exit code of `--check` when something differs.
const DIFFERS: u8 = 2;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host pin plugins/*.wasm             pin what these files hold; other pins stay
  host pin phase2-raw                 move one plugin to the newest version beside the files that are pinned
  host pin phase2-raw@1.2.0           to that version
  host pin phase2-raw new/*.wasm      to the newest version among these files
  host pin --check plugins/*.wasm     compare and change nothing; exit code 2 when something differs

plugins.lock belongs into version control: a change of it is what a team agrees to.")]
pub(super) struct Pin {
    /// Plugin components to pin, or the name of one plugin to move, also as NAME@VERSION.
    #[arg(value_name = "PLUGIN.wasm|NAME[@VERSION]")]
    what: Vec<String>,
    /// Compare and change nothing.
    #[arg(long)]
    check: bool,
    /// Pins whose file is gone are removed.
    #[arg(long, conflicts_with = "check")]
    prune: bool,
    /// The lock file.
    #[arg(long, value_name = "FILE", default_value = LOCK)]
    lock: PathBuf,
}

/// `NAME` or `NAME@VERSION`
struct Wanted {
    name: String,
    version: Option<Version>,
}

impl Pin {
    pub(super) fn execute(self) -> Result<u8> {
        let (files, names): (Vec<&String>, Vec<&String>) = self.what.iter().partition(|what| is_file(what));
        let wanted: Vec<Wanted> = names.iter().map(|name| Wanted::new(name)).collect::<Result<_>>()?;
        // Another process that pins at the same moment would lose what this one pins.
        let _claim = if self.check { None } else { Some(Lock::claim(&self.lock)?) };
        let found = Lock::read(&self.lock)?;
        if found.is_none() && self.check {
            bail!("there is no {}: nothing is pinned; pin with `host pin plugins/*.wasm`", self.lock.display());
        }
        let mut lock = found.unwrap_or_else(|| Lock::new(&self.lock));
        if self.what.is_empty() && !self.check && !self.prune {
            bail!("name plugin files, or one plugin; `host pin --help` has examples");
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
        match self.check {
            true => Ok(compare(&lock, &chosen, self.what.is_empty())),
            false => self.write(&mut lock, &chosen),
        }
    }

    fn write(&self, lock: &mut Lock, chosen: &[File]) -> Result<u8> {
        for file in chosen {
            let before = lock.set(file);
            let now = format!("{} {}", file.version, file.digest);
            match before {
                Some(before) if before.digest == file.digest => eprintln!("{}: {now}, as before", file.name),
                Some(before) if before.version == file.version => {
                    eprintln!("{}: {now}; other bytes under the same version: before {}", file.name, before.digest);
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
        eprintln!("{}: {} plugins are pinned", lock.path().display(), lock.pins().len());
        Ok(0)
    }
}

/// Says what differs. `all`: every pin should have its file.
fn compare(lock: &Lock, files: &[File], all: bool) -> u8 {
    let mut differences = Vec::new();
    for file in files {
        let found = format!("{} is {} {}", file.path.display(), file.version, file.digest);
        match lock.pin(&file.name) {
            Some(pin) if (pin.digest, &pin.version, &pin.api) == (file.digest, &file.version, &file.api) => {}
            Some(pin) => {
                differences.push(format!("{}: pinned is {} {}, {found}", file.name, pin.version, pin.digest));
            }
            None => differences.push(format!("{}: not pinned, {found}", file.name)),
        }
    }
    let held: BTreeSet<&String> = files.iter().map(|file| &file.name).collect();
    for (name, pin) in lock.pins().iter().filter(|(name, _)| all && !held.contains(name)) {
        differences.push(format!("{name}: pinned is {}, and no file holds it", pin.version));
    }
    for difference in &differences {
        eprintln!("{difference}");
    }
    match differences.is_empty() {
        true => {
            eprintln!("{}: {} plugins are as pinned", lock.path().display(), files.len());
            0
        }
        false => DIFFERS,
    }
}

impl Wanted {
    fn new(text: &str) -> Result<Self> {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, version)| (name, Some(version)));
        let version = version.map(|version| {
            Version::parse(version).with_context(|| format!("`{version}` is no version; write it like {name}@1.2.0"))
        });
        Ok(Self { name: name.to_owned(), version: version.transpose()? })
    }

    /// The newest file that fits.
    fn among(&self, files: &[File]) -> Result<File> {
        let named = || files.iter().filter(|file| file.name == self.name);
        let fits = |file: &&File| self.version.as_ref().is_none_or(|version| *version == file.version);
        if let Some(file) = named().filter(fits).max_by(|one, other| one.version.cmp(&other.version)) {
            let twins: Vec<&File> = named().filter(|twin| twin.version == file.version).collect();
            if let Some(twin) = twins.iter().find(|twin| twin.digest != file.digest) {
                bail!(
                    "{} {} is there twice, with different bytes: {} and {}; keep one, or name the file",
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
                bail!("{} {version} is in none of the files; there is {}", self.name, there)
            }
            _ => {
                let names: BTreeSet<&String> = files.iter().map(|file| &file.name).collect();
                bail!("no file holds the plugin {}{}", self.name, nearest(&self.name, names))
            }
        }
    }
}

/// `0.1.0 in a.wasm, 0.2.0 in b.wasm`
fn listed<'f>(files: impl Iterator<Item = &'f File>) -> String {
    files.map(|file| format!("{} in {}", file.version, file.path.display())).collect::<Vec<_>>().join(", ")
}

fn is_file(what: &str) -> bool {
    let path = Path::new(what);
    path.extension().is_some_and(|extension| extension == "wasm") || path.is_file()
}

/// The components beside those that are pinned.
fn beside(lock: &Lock) -> Result<Vec<PathBuf>> {
    if lock.pins().is_empty() {
        bail!("nothing is pinned in {} yet; name the plugin's file", lock.path().display());
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

/// Nothing is pinned unless everything can be.
fn read(paths: &[PathBuf]) -> Result<Vec<File>> {
    paths.iter().map(|path| File::read(path).map_err(|(_, error)| error)).collect()
}

/// One file a name: the only one, else the one that is pinned.
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
                    "{name} is there {} times: {}; say which, as in `host pin {name}@{version}`",
                    files.len(),
                    listed(files.iter())
                )
            }
        }
    };
    named.into_iter().map(one).collect()
}
