//! A host that is ready: the checks of one configuration, and a [`Recorder`] that outlives it. After a reload, the next
//! host reuses every unchanged plugin.

mod slots;
mod stored;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use semver::Version;
use tokio::{sync::Mutex, task::JoinSet};

pub use slots::{Slot, Slots};
pub use stored::stored;

use crate::{
    alert::{self, Receivers},
    capability::Backends,
    check::{Check, Work, checks, no_such_check},
    config::Config,
    package::{Keys, Lock},
    plugin::{self, File, Loaded, Loading, Unusable},
    recorder::Recorder,
    run::{
        Moment, When,
        validation::{Finding, Kind, Validated, Validation, validate},
    },
    sandbox::Sandboxes,
    text::printable,
};

/// How long a starting host waits for the next plugin. Cached plugins take milliseconds, Rust plugins seconds; a slower
/// one does not hold up the others.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a host starts.
#[derive(Clone, Copy)]
pub enum Begin<'h> {
    /// Wait until all plugins are compiled.
    Whole,
    /// Start with the plugins that are ready soon; the checks of the others wait until [`Host::whole`].
    Soon,
    /// Replace this host once all plugins are compiled: unchanged plugins are reused, and the files are rejected if a
    /// plugin or check that could run before cannot run now.
    Instead(&'h Host),
}

/// A host that is ready: its checks, their backends, and the recorder of their results.
pub struct Host {
    /// The configuration.
    pub config: Config,
    /// Sorted by name.
    pub checks: Vec<Arc<Check>>,
    /// The backends.
    pub backends: Arc<Backends>,
    /// The limits on concurrent runs.
    pub slots: Arc<Slots>,
    /// Records and reports the results.
    pub recorder: Arc<Recorder>,
    /// The plugins from the files.
    loaded: Loaded,
    /// The plugins that are still being compiled, until somebody waits for them.
    loading: Option<Mutex<Option<Loading>>>,
    /// Keeps the engines' clocks running.
    sandboxes: Arc<Sandboxes>,
}

impl Host {
    /// Loads the plugins from files that were [read](plugin::read), and everything that the checks need. A plugin that cannot be loaded does not stop the host;
    /// its check reports why when it is due. With a lock, only pinned plugins run. `step` is called with the number of
    /// plugins that are ready.
    pub async fn new(
        config: Config,
        files: Vec<Result<File, Unusable>>,
        lock: Option<&Lock>,
        recorder: Arc<Recorder>,
        begin: Begin<'_>,
        step: impl Fn(usize),
    ) -> Result<Self> {
        let before = match begin {
            Begin::Instead(before) => Some(before),
            Begin::Whole | Begin::Soon => None,
        };
        if let Some(before) = before {
            before.refuse_other_place(&config)?;
        }
        let same_engines = before.filter(|before| before.sandboxes.serve(&config));
        let sandboxes = match same_engines {
            Some(before) => before.sandboxes.clone(),
            None => Arc::new(Sandboxes::new(&config)),
        };
        let known = same_engines.map(|before| before.loaded.clone()).unwrap_or_default();
        // A signature never ends, so an old version with a known fault could come back as a file. With a lock file, the pin
        // decides.
        let ran = match lock.is_none() && !config.trust.keys.is_empty() {
            true => newest(recorder.record.versions().await?),
            false => BTreeMap::new(),
        };
        let mut loading = plugin::begin(files, lock, &sandboxes, &config, &known, &ran);
        match begin {
            Begin::Soon => loading.most(PATIENCE, step).await,
            Begin::Whole | Begin::Instead(_) => loading.finish(step).await,
        }
        let checks = checks(&config, &loading.loaded).await?.into_iter().map(Arc::new).collect();
        let host = Self {
            backends: Arc::new(Backends::new(&config, &recorder.record)),
            slots: Arc::new(Slots::new(&config.scheduler)),
            config,
            checks,
            recorder,
            loaded: loading.loaded.clone(),
            loading: (!loading.is_over()).then(|| Mutex::new(Some(loading))),
            sandboxes,
        };
        if let Some(before) = before {
            host.refuse_worse(before)?;
        }
        host.warn_of_files();
        Ok(host)
    }

    /// The host with all plugins, once they are compiled; `None` if nothing was being compiled, or somebody already
    /// waits for this. The current host keeps running meanwhile.
    pub async fn whole(&self) -> Result<Option<Self>> {
        let Some(loading) = &self.loading else { return Ok(None) };
        let Some(mut loading) = loading.lock().await.take() else { return Ok(None) };
        loading.finish(|_| {}).await;
        let host = self.with(loading.loaded).await?;
        host.warn_of_files();
        Ok(Some(host))
    }

    /// The same host with other plugins.
    async fn with(&self, loaded: Loaded) -> Result<Self> {
        Ok(Self {
            checks: checks(&self.config, &loaded).await?.into_iter().map(Arc::new).collect(),
            config: self.config.clone(),
            backends: self.backends.clone(),
            slots: self.slots.clone(),
            recorder: self.recorder.clone(),
            loaded,
            loading: None,
            sandboxes: self.sandboxes.clone(),
        })
    }

    /// Whether plugins are still being compiled.
    pub fn is_compiling(&self) -> bool {
        !self.loaded.compiling.is_empty()
    }

    /// The host without the plugins that may not run with these keys today, and their names; `None` if all may.
    pub async fn distrusting(&self, keys: &Keys) -> Result<Option<(Self, Vec<String>)>> {
        let mut loaded = self.loaded.clone();
        let names = loaded.distrust(keys);
        match names.is_empty() {
            true => Ok(None),
            false => Ok(Some((self.with(loaded).await?, names))),
        }
    }

    /// Rejects changes that need a restart.
    fn refuse_other_place(&self, config: &Config) -> Result<()> {
        let directory = |config: &Config| config.resolve(&config.state.directory);
        for (key, same) in [
            ("state.directory", directory(config) == directory(&self.config)),
            ("state.url_env", config.state.url_env == self.config.state.url_env),
            ("web", config.web == self.config.web),
        ] {
            if !same {
                bail!("{key} cannot change while the host runs; restart it");
            }
        }
        Ok(())
    }

    /// Rejects files if a plugin or check that could run before cannot run now. A plugin whose key has expired or is
    /// revoked stops nothing: it must not keep running.
    fn refuse_worse(&self, before: &Self) -> Result<()> {
        let known = |name: &str| before.loaded.unusable.iter().any(|one| one.name == name);
        let compiled = |name: &String| !before.loaded.compiling.contains(name);
        let broken = self.loaded.unusable.iter().filter(|one| !one.withdrawn);
        let broken = broken.filter(|one| !known(&one.name) && compiled(&one.name));
        let broken: Vec<&str> = broken.map(|unusable| unusable.reason.as_str()).collect();
        if !broken.is_empty() {
            bail!("{}", broken.join("; "));
        }
        let withdrawn = |name: &str| self.loaded.unusable.iter().any(|one| one.withdrawn && one.name == name);
        let ran = |name: &str| {
            let ready = before.check(name).and_then(|before| before.plugin());
            ready.is_some_and(|ready| !withdrawn(&ready.plugin.file.name))
        };
        let unable = self.checks.iter().filter_map(|check| Some((&check.name, check.unable()?)));
        let worse = unable.filter(|(name, _)| ran(name)).map(|(name, reason)| format!("{name}: {reason}"));
        let worse: Vec<String> = worse.collect();
        if !worse.is_empty() {
            bail!("{}", worse.join("; "));
        }
        Ok(())
    }

    /// A rejected file whose name another file provides has no check to report it, so log it.
    fn warn_of_files(&self) {
        let left_out = self.loaded.unusable.iter().filter(|one| self.loaded.plugins.contains_key(&one.name));
        for unusable in left_out {
            tracing::warn!("left out: {}", printable(&unusable.reason));
        }
    }

    /// The names of the checks.
    pub fn names(&self) -> BTreeSet<String> {
        self.checks.iter().map(|check| check.name.clone()).collect()
    }

    /// Ends the alerts of checks that host.toml and the files no longer have, at a time: all but the `known` ones, which are all
    /// that there were before [`Host::keep`]. `whole` if the files are all that this host ever runs.
    pub async fn close_gone(&self, known: &BTreeSet<String>, whole: bool, at: Timestamp) -> Result<()> {
        self.recorder.close(&self.config, known, whole, at).await
    }

    /// The plugins that serve no check, since they need one of host.toml.
    pub fn unused(&self) -> Vec<&str> {
        let used =
            |name: &String| self.config.checks.iter().any(|(check, own)| own.plugin.as_ref().unwrap_or(check) == name);
        let plugins = self.loaded.plugins.iter().filter(|(name, plugin)| plugin.is_only_named() && !used(name));
        plugins.map(|(name, _)| name.as_str()).collect()
    }

    /// Keeps only the named checks.
    pub fn keep(&mut self, names: &[String]) {
        self.checks.retain(|check| names.contains(&check.name));
    }

    /// The check with a name.
    pub fn check(&self, name: &str) -> Option<&Arc<Check>> {
        let place = self.checks.binary_search_by(|check| check.name.as_str().cmp(name)).ok()?;
        self.checks.get(place)
    }

    /// The check with a name, or an error with a suggestion.
    pub fn find(&self, name: &str) -> Result<&Arc<Check>, String> {
        let names = || self.checks.iter().map(|check| check.name.as_str());
        self.check(name).ok_or_else(|| no_such_check(name, names()))
    }

    /// Finds the webhook of every channel that the checks post to, or the bot, and uses them from now on.
    pub async fn find_receivers(&self) -> Result<()> {
        self.recorder.delivery.send_to(self.receivers().await?, &self.config);
        Ok(())
    }

    /// The webhook of every channel that the checks post to, or the bot.
    pub async fn receivers(&self) -> Result<Receivers> {
        let own = self.checks.iter().filter_map(|check| Some(check.family.as_ref()?.channel.as_str()));
        let granted = self.checks.iter().filter_map(|check| check.plugin());
        let channels: HashSet<&str> =
            own.chain(granted.flat_map(|ready| ready.grants.slack.iter().map(String::as_str))).collect();
        let channels: HashSet<&str> = channels.into_iter().chain(self.config.report.channel.as_deref()).collect();
        Receivers::find(&self.config, channels, &self.recorder.channels_told().await?).await
    }

    /// Validates the checks concurrently, and reports findings as errors of their checks. Returns the findings by
    /// check. Of several hosts on the record one validates.
    pub async fn validate(&self, now: Timestamp) -> Result<Validated> {
        let record = &self.recorder.record;
        if record.member().is_none() {
            return self.validate_all(now).await;
        }
        let Some(lease) = record.take_on("validation").await? else { return Ok(Vec::new()) };
        let found = match self.validation_due(now).await? {
            Some(due) if due <= now => self.validate_all(now).await,
            _ => Ok(Vec::new()),
        };
        record.give_back(&lease, None).await?;
        found
    }

    async fn validate_all(&self, now: Timestamp) -> Result<Validated> {
        let mut tasks = JoinSet::new();
        for check in self.checks.iter().filter(|check| !check.waits && !matches!(check.work, Work::Consultation(_))) {
            let moment = Moment::of(check, &self.config, now, When::default())?;
            let (check, backends, zone) = (check.clone(), self.backends.clone(), self.config.timezone.clone());
            tasks.spawn(async move {
                let findings = validate(&check, &backends, &moment, &zone).await;
                (check, moment, findings)
            });
        }
        let mut found = Vec::new();
        let mut validations = Vec::new();
        while let Some(validated) = tasks.join_next().await {
            let (check, moment, findings) = validated.context("a validation stopped unexpectedly")?;
            // A check that cannot run reports that itself; an inconclusive validation keeps the previous findings.
            let any = |is: fn(Kind) -> bool| findings.iter().any(|finding| is(finding.kind));
            let known = any(Kind::is_wrong) || !any(Kind::is_inconclusive);
            if check.plugin().is_some() && known {
                validations.push(Validation::new(&check, &moment, &findings));
            }
            found.push((check.name.clone(), findings));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        validations.sort_by(|one, other| one.check.cmp(&other.check));
        self.recorder.validated(&self.config, &validations).await?;
        // Retry inconclusive validations at the next occasion.
        if found.iter().flat_map(|(_, findings): &(String, Vec<Finding>)| findings).all(|one| one.kind != Kind::Unknown)
        {
            self.recorder.record.note_validation(&self.fingerprint(), now).await?;
        }
        Ok(found)
    }

    /// When to validate the checks: now, if they were never validated in this form; `None` for never.
    pub async fn validation_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let Some(schedule) = &self.config.validate_schedule.0 else { return Ok(None) };
        let last = self.recorder.record.validated(&self.fingerprint()).await?;
        Ok(match last {
            None => Some(now),
            // A clock that was set back must not prevent it.
            Some(last) => schedule.next(last.min(now), &self.config.timezone.rules()),
        })
    }

    /// A digest of the checks' configuration and code.
    fn fingerprint(&self) -> String {
        let plugins = self.checks.iter().filter_map(|check| check.plugin());
        let digests: Vec<String> = plugins.map(|ready| ready.plugin.file.digest.to_string()).collect();
        alert::id(&format!("{} {digests:?}", self.config.digest))
    }
}

/// The newest version of each plugin.
fn newest(versions: Vec<(String, String)>) -> BTreeMap<String, Version> {
    let mut newest: BTreeMap<String, Version> = BTreeMap::new();
    for (name, version) in versions {
        let Ok(version) = Version::parse(&version) else { continue };
        let known = newest.entry(name).or_insert_with(|| version.clone());
        if *known < version {
            *known = version;
        }
    }
    newest
}
