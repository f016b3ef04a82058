//! The files of a host, and whether they have changed.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use jiff::civil::Date;

use crate::{
    check::no_such_check,
    config::{Config, nearest},
    host::{Begin, Host},
    package::{Digest, File, Lock, SCHEME, beside, is_named_like_a_plugin, lock_command, plugins_in},
    plugin,
    record::{Own, Record},
    recorder::Recorder,
    text::{directory_of, quoted_path},
};

/// The usual directory of plugins, beside host.toml.
const PLUGINS: &str = "plugins";
/// The variable with the build number of what a host runs.
const REVISION: &str = "HOST_REVISION";
/// Digits of a configuration's digest.
const SHOWN: usize = 12;
/// The most files that a command names one by one.
const FEW: usize = 3;
/// What to do without a plugin.
const MAKE_ONE: &str =
    "`host new --help` shows how to make one, and `host add --help` how to fetch one from a registry";

/// The files of a host.
#[derive(Debug, Clone)]
pub struct Sources {
    /// host.toml.
    pub config: PathBuf,
    /// plugins.lock.
    pub lock: PathBuf,
    /// Whether the lock file is required.
    pub locked: bool,
    /// Plugins and directories of plugins; if empty, all pinned plugins, or those in `plugins/`.
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
    /// [`Sources::fingerprint`] before they were read.
    pub fingerprint: u64,
}

impl Read {
    /// What a host runs with these files, for the others on its record: host.toml, and the plugins' digests. `HOST_REVISION` is its build
    /// number. Nothing, if no other host can be there.
    pub fn own(&self) -> Result<Own> {
        if self.config.state.url_env.is_none() {
            return Ok(Own::default());
        }
        let mut digests: Vec<(String, Digest)> = match &self.lock {
            Some(lock) => lock.pins().iter().map(|(name, pin)| (name.clone(), pin.digest)).collect(),
            // A plugin that cannot be read is for its own check to say.
            None => {
                let read = |file: &PathBuf| File::read(file).ok().map(|file| (file.name, file.digest));
                self.files.iter().filter_map(read).collect()
            }
        };
        digests.sort_by(|(one, _), (other, _)| one.cmp(other));
        let plugins = digests.iter().map(|(name, digest)| format!(" {name} {digest}")).collect::<String>();
        let whole = Digest::of(format!("{}{plugins}", self.config.digest).as_bytes());
        let revision = match std::env::var(REVISION) {
            Err(_) => None,
            Ok(text) if text.trim().is_empty() => None,
            Ok(text) => match text.trim().parse::<i64>() {
                Ok(revision) if revision > 0 => Some(revision),
                _ => bail!("{REVISION}: `{}` is not a build number; write a whole number above 0", text.escape_debug()),
            },
        };
        Ok(Own { digest: whole.digits().chars().take(SHOWN).collect(), revision })
    }

    /// Makes a host from the files, with the record that `record` opens, which notes what they allow now and did not before. The plugins' files are
    /// read while the record is opened. `step` is called with the number of plugins that are ready.
    pub async fn host(
        self,
        record: impl AsyncFnOnce(&Config) -> Result<Record>,
        begin: Begin<'_>,
        step: impl Fn(usize),
    ) -> Result<Host> {
        let recorder = async { Recorder::new(record(&self.config).await?, &self.config).await };
        let (recorder, files) = tokio::join!(recorder, plugin::read(&self.files));
        let recorder = recorder?;
        let host = Host::new(self.config, files, self.lock.as_ref(), recorder, begin, step).await?;
        host.recorder.audit(&host.config, &self.config_file, self.lock.as_ref()).await;
        Ok(host)
    }
}

impl Sources {
    /// Reads host.toml and plugins.lock, and finds the plugins' files.
    pub fn read(&self) -> Result<Read> {
        let fingerprint = self.fingerprint();
        let config = Config::read(&self.config)?;
        // A lock file that cannot be read is not an empty one.
        let lock = Lock::read(&self.lock)?;
        let files = self.files();
        if self.plugins.is_empty() && files.is_empty() {
            bail!(
                "no plugin to run: none is named, none is pinned in {}, and there is none in {}; {}",
                self.lock.display(),
                self.usual().display(),
                self.nearby(&config)
            );
        }
        if !files.iter().any(|file| file.exists()) {
            if self.plugins.is_empty() {
                let published = lock.iter().flat_map(|lock| lock.pins().values());
                let next = match published.filter(|pin| pin.source.starts_with(SCHEME)).count() {
                    0 => format!("pin them where they are, as in `{} plugins/*.wasm`", lock_command("pin", &self.lock)),
                    _ => format!("`{}` fetches those from registries", lock_command("pull", &self.lock)),
                };
                bail!("none of the plugins pinned in {} is on disk; {next}", self.lock.display());
            }
            if let [named] = self.plugins.as_slice()
                && let Some(absent) = no_file(named, &config).or_else(|| absent(named))
            {
                bail!(absent);
            }
            let named: Vec<String> = self.plugins.iter().map(|file| file.display().to_string()).collect();
            bail!("no plugin found in {}; {MAKE_ONE}", named.join(", "));
        }
        if lock.is_none() && self.locked {
            bail!("{}", self.nothing_pinned());
        }
        Ok(Read { config, config_file: self.config.clone(), lock, files, fingerprint })
    }

    /// Where a plugin may be that nobody named, or how to get one.
    fn nearby(&self, config: &Config) -> String {
        let directory = directory_of(&self.config);
        if plugins_in(directory).is_ok_and(|plugins| !plugins.is_empty()) {
            return format!("name those beside {}", self.config.display());
        }
        // As `host init` and `host new` make it.
        let guide = |check: &String| self.config.with_file_name(check).join("README.md");
        match config.checks.keys().map(guide).find(|guide| guide.is_file()) {
            Some(guide) => format!("{} shows how to build a check; then name its file", guide.display()),
            None => MAKE_ONE.to_owned(),
        }
    }

    /// The message if there is no lock file.
    pub fn nothing_pinned(&self) -> String {
        let pin = lock_command("pin", &self.lock);
        format!("nothing is pinned: there is no {}; `{pin} {}` writes one", self.lock.display(), self.to_pin())
    }

    /// The plugins as arguments of `host pin`.
    fn to_pin(&self) -> String {
        let usual = [self.usual()];
        let named = if self.plugins.is_empty() { &usual[..] } else { &self.plugins };
        let parents: BTreeSet<Option<&Path>> = named.iter().map(|path| path.parent()).collect();
        if let (true, [Some(parent)]) = (named.len() > FEW, parents.into_iter().collect::<Vec<_>>().as_slice()) {
            let parent = quoted_path(&parent.join(""));
            return if parent == "''" { "*.wasm".to_owned() } else { format!("{parent}*.wasm") };
        }
        // `host pin` takes a word without a slash for a plugin's name.
        let shown = |path: &PathBuf| quoted_path(&if path.is_dir() { path.join("") } else { path.clone() });
        named.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    /// The directory of plugins when none is named and none is pinned.
    fn usual(&self) -> PathBuf {
        self.config.with_file_name(PLUGINS)
    }

    /// The plugins' files: the named ones and those in named directories; else the pinned ones; else those in `plugins/`
    /// beside the configuration.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        // The error is reported where it is read.
        if self.plugins.is_empty()
            && let Ok(Some(lock)) = Lock::read(&self.lock)
        {
            files.extend(lock.pins().values().map(|pin| lock.source(pin)));
        }
        if self.plugins.is_empty() && files.is_empty() {
            files.extend(plugins_in(&self.usual()).unwrap_or_default());
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

/// What to say of a check's name or a date in the place of a plugin's file.
fn no_file(named: &Path, config: &Config) -> Option<String> {
    let shown = named.to_str()?;
    if config.checks.contains_key(shown) {
        return Some(format!(
            "{shown} is a check, and not a plugin's file: `host run` and `host validate` take `--check {shown}`"
        ));
    }
    shown.parse::<Date>().is_ok().then(|| format!("{shown} is a date, and not a plugin's file: `host run --once`, `host gate` and `host mutate` take `--date {shown}`"))
}

/// What to say of a named file that does not exist, if another is meant. A pattern that matches nothing is not a name.
fn absent(named: &Path) -> Option<String> {
    let shown = named.display().to_string();
    if named.exists() || shown.contains('*') || !is_named_like_a_plugin(named) {
        return None;
    }
    let beside = plugins_in(directory_of(named));
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = beside.unwrap_or_default().iter().map(|path| name(path)).collect();
    let near = match nearest(&name(named), &names) {
        near if near.is_empty() => format!("; {MAKE_ONE}"),
        near => near,
    };
    Some(format!("{shown} does not exist{near}"))
}

fn hash(path: &Path, hasher: &mut DefaultHasher) {
    if let Ok(found) = fs::metadata(path) {
        (found.ino(), found.len(), found.mtime(), found.mtime_nsec()).hash(hasher);
    }
}
