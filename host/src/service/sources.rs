//! The files of a host, and whether they have changed.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

use crate::{
    check::no_such_check,
    config::{Config, nearest},
    host::{Begin, Host},
    package::{Lock, SCHEME, beside, is_named_like_a_plugin, pin_command, plugins_in},
    record::Record,
    recorder::Recorder,
};

/// The files of a host.
#[derive(Debug, Clone)]
pub struct Sources {
    /// host.toml.
    pub config: PathBuf,
    /// plugins.lock.
    pub lock: PathBuf,
    /// Whether the lock file is required.
    pub locked: bool,
    /// Plugins and directories of plugins; if empty, all pinned plugins.
    pub plugins: Vec<PathBuf>,
    /// The only checks to run; if empty, all.
    pub checks: Vec<String>,
}

/// The contents of the files.
#[derive(Debug)]
pub struct Read {
    /// host.toml.
    pub config: Config,
    /// Where host.toml is.
    pub config_file: PathBuf,
    /// plugins.lock.
    pub lock: Option<Lock>,
    /// The plugins' files.
    pub files: Vec<PathBuf>,
}

impl Read {
    /// Makes a host from the files, with a record, which notes what they allow now and did not before. `step` is called with
    /// the number of plugins that are ready.
    pub async fn host(self, record: Record, begin: Begin<'_>, step: impl Fn(usize)) -> Result<Host> {
        let recorder = Recorder::new(record, &self.config).await?;
        let host = Host::new(self.config, &self.files, self.lock.as_ref(), recorder, begin, step).await?;
        host.recorder.audit(&host.config, &self.config_file, self.lock.as_ref()).await;
        Ok(host)
    }
}

impl Sources {
    /// Reads host.toml and plugins.lock, and finds the plugins' files.
    pub fn read(&self) -> Result<Read> {
        let config = Config::read(&self.config)?;
        // A lock file that cannot be read is not an empty one.
        let lock = Lock::read(&self.lock)?;
        let files = self.files();
        if self.plugins.is_empty() && files.is_empty() {
            bail!(
                "no plugin to run: none is named, and none is pinned in {}; name files or a directory, as in `host run --once plugins/`, or fetch one with `host add oci://REGISTRY/NAME`",
                self.lock.display()
            );
        }
        if !files.iter().any(|file| file.exists()) {
            if self.plugins.is_empty() {
                let published = lock.iter().flat_map(|lock| lock.pins().values());
                let next = match published.filter(|pin| pin.source.starts_with(SCHEME)).count() {
                    0 => format!("pin them where they are, as in `{}`", pin_command(&self.lock, "plugins/*.wasm")),
                    _ => "`host pull` fetches those from registries".to_owned(),
                };
                bail!("none of the plugins pinned in {} is on disk; {next}", self.lock.display());
            }
            if let [named] = self.plugins.as_slice()
                && let Some(absent) = absent(named)
            {
                bail!(absent);
            }
            let named: Vec<String> = self.plugins.iter().map(|file| file.display().to_string()).collect();
            bail!(
                "no plugin found in {}; make one with `host new NAME`, or fetch one with `host add oci://REGISTRY/NAME`",
                named.join(", ")
            );
        }
        if lock.is_none() && self.locked {
            bail!("{}", self.nothing_pinned());
        }
        Ok(Read { config, config_file: self.config.clone(), lock, files })
    }

    /// The message if there is no lock file.
    pub fn nothing_pinned(&self) -> String {
        let one = match self.plugins.as_slice() {
            [file] if file.is_file() => file.display().to_string(),
            _ => "plugins/*.wasm".to_owned(),
        };
        let pin = pin_command(&self.lock, &one);
        format!("nothing is pinned: there is no {}; `{pin}` writes one", self.lock.display())
    }

    /// The plugins' files: the named ones and those in named directories; else the pinned ones.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        // The error is reported where it is read.
        if self.plugins.is_empty()
            && let Ok(Some(lock)) = Lock::read(&self.lock)
        {
            files.extend(lock.pins().values().map(|pin| lock.source(pin)));
        }
        // `plugins/*.wasm` also names directories, `old.wasm/`: their plugins are not meant.
        for named in self.plugins.iter().filter(|named| !(is_named_like_a_plugin(named) && named.is_dir())) {
            match plugins_in(named) {
                Ok(found) => files.extend(found),
                Err(_) => files.push(named.clone()),
            }
        }
        files
    }

    /// Keeps only the selected checks.
    pub fn choose(&self, host: &mut Host) -> Result<()> {
        for wanted in &self.checks {
            let names: Vec<&str> = host.checks.iter().map(|check| check.name.as_str()).collect();
            if !names.contains(&wanted.as_str()) {
                let unknown = no_such_check(wanted, names.iter().copied());
                bail!("{unknown}\nthere are: {}", names.join(", "));
            }
        }
        if !self.checks.is_empty() {
            host.keep(&self.checks);
        }
        Ok(())
    }

    /// A hash of the files' names, sizes, times and inodes, which changes when a file is written, replaced, added or
    /// removed.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let files = self.files();
        for path in [&self.config, &self.lock].into_iter().chain(&files) {
            path.hash(&mut hasher);
            hash(path, &mut hasher);
        }
        // A new signature may be what a plugin waits for.
        for path in &files {
            hash(&beside(path), &mut hasher);
        }
        hasher.finish()
    }
}

/// What to say of a named file that does not exist, if another is meant. A pattern that matches nothing is not a name.
fn absent(named: &Path) -> Option<String> {
    let shown = named.display().to_string();
    if named.exists() || shown.contains('*') || !is_named_like_a_plugin(named) {
        return None;
    }
    let beside = plugins_in(named.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = beside.unwrap_or_default().iter().map(|path| name(path)).collect();
    let near = match nearest(&name(named), &names) {
        near if near.is_empty() => {
            "; make a plugin with `host new NAME`, or fetch one with `host add oci://REGISTRY/NAME`".to_owned()
        }
        near => near,
    };
    Some(format!("{shown} does not exist{near}"))
}

fn hash(path: &Path, hasher: &mut DefaultHasher) {
    if let Ok(found) = fs::metadata(path) {
        (found.ino(), found.len(), found.mtime(), found.mtime_nsec()).hash(hasher);
    }
}
