//! A host that is ready: the checks of one configuration, and what outlives it. When files change, the next host takes
//! over what was recorded and remembered, and every plugin that is still the same.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, civil::Date};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    alert::{self, Delivery, Receivers, Standings},
    board::Board,
    capability::Backends,
    check::{Check, Work, checks},
    config::{Config, Effect},
    metrics::Metrics,
    plugin::{self, Loaded, Loading, Lock},
    record::{Record, Undelivered},
    round::{Round, Slots},
    run::Moment,
    sandbox::Sandboxes,
    text::printable,
    validate::{Finding, Kind, Validated, validate},
};

/// How long a host that begins waits for the next plugin to be ready. Those that are kept compiled take milliseconds, those in
/// Rust seconds; one that takes longer does not hold the others up.
const PATIENCE: Duration = Duration::from_secs(10);

/// A host that is ready: its checks, what they may ask, and where what they find is recorded and told.
pub struct Host {
    /// From host.toml.
    pub config: Config,
    /// Sorted by name.
    pub checks: Vec<Arc<Check>>,
    /// What the checks may ask.
    pub backends: Arc<Backends>,
    /// How many runs there may be at once.
    pub slots: Arc<Slots>,
    /// What was recorded.
    pub record: Record,
    /// Messages on their way.
    pub delivery: Arc<Delivery>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What the checks found lately.
    pub board: Arc<Board>,
    /// What is remembered of each check. One batch at a time is decided and recorded.
    pub(crate) standings: Arc<Mutex<Standings>>,
    /// What the files gave.
    loaded: Loaded,
    /// What they will give, until somebody waits for it.
    loading: Option<Mutex<Option<Loading>>>,
    /// Keeps the engines' clocks running.
    sandboxes: Arc<Sandboxes>,
}

/// The clock and date of a round, when they are not the usual ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct When {
    /// The runs' clock.
    pub at: Option<Timestamp>,
    /// The date whose data is asked about.
    pub date: Option<Date>,
}

impl Host {
    /// Loads the plugins, waits for all of them, and finds everything that the checks need. A plugin that cannot be loaded stops nothing;
    /// its check says why when it is due.
    /// With a lock, only what is pinned runs. `step` is called with the number of plugins that are ready.
    /// Messages go to the console until [`Host::find_receivers`].
    pub async fn start(
        config: Config,
        files: &[PathBuf],
        lock: Option<&Lock>,
        record: Record,
        step: impl Fn(usize),
    ) -> Result<Self> {
        let sandboxes = Arc::new(Sandboxes::new(&config));
        let mut loading = plugin::begin(files, lock, &sandboxes, &config, &Loaded::default()).await;
        loading.finish(step).await;
        Self::with(config, record, sandboxes, loading).await
    }

    /// The same, but it waits only for what is ready soon: checks whose plugins are still being compiled then are there and
    /// wait, until [`Host::whole`].
    pub async fn start_soon(
        config: Config,
        files: &[PathBuf],
        lock: Option<&Lock>,
        record: Record,
        step: impl Fn(usize),
    ) -> Result<Self> {
        let sandboxes = Arc::new(Sandboxes::new(&config));
        let mut loading = plugin::begin(files, lock, &sandboxes, &config, &Loaded::default()).await;
        loading.most(PATIENCE, step).await;
        Self::with(config, record, sandboxes, loading).await
    }

    async fn with(config: Config, record: Record, sandboxes: Arc<Sandboxes>, loading: Loading) -> Result<Self> {
        let checks = checks(&config, &loading.loaded).await?.into_iter().map(Arc::new).collect();
        let metrics = Arc::<Metrics>::default();
        let mut standings = Standings::new();
        for (check, standing) in record.standings().await? {
            let standing = serde_json::from_str(&standing).with_context(|| format!("what is remembered of {check}"))?;
            standings.insert(check, standing);
        }
        let host = Self {
            backends: Arc::new(Backends::new(&config, &record)),
            slots: Arc::new(Slots::new(&config.scheduler)),
            delivery: Delivery::new(record.clone(), Receivers::console(), config.delivery.clone(), metrics.clone()),
            board: Arc::default(),
            standings: Arc::new(Mutex::new(standings)),
            config,
            checks,
            record,
            metrics,
            loaded: loading.loaded.clone(),
            loading: (!loading.is_over()).then(|| Mutex::new(Some(loading))),
            sandboxes,
        };
        host.warn_of_files();
        Ok(host)
    }

    /// The host with the checks that waited for their plugins, when those are compiled; none when there are none, or when
    /// somebody waits for it already. This one goes on meanwhile.
    pub async fn whole(&self) -> Result<Option<Self>> {
        let Some(loading) = &self.loading else { return Ok(None) };
        let Some(mut loading) = loading.lock().await.take() else { return Ok(None) };
        loading.finish(|_| {}).await;
        let checks = checks(&self.config, &loading.loaded).await?.into_iter().map(Arc::new).collect();
        let host = Self {
            config: self.config.clone(),
            checks,
            backends: self.backends.clone(),
            slots: self.slots.clone(),
            record: self.record.clone(),
            delivery: self.delivery.clone(),
            metrics: self.metrics.clone(),
            board: self.board.clone(),
            standings: self.standings.clone(),
            loaded: loading.loaded,
            loading: None,
            sandboxes: self.sandboxes.clone(),
        };
        host.warn_of_files();
        Ok(Some(host))
    }

    /// The host that the files make now. It takes over what this one recorded and remembers, and the plugins that are
    /// the same. Refused when anything is worse than it was: then this one goes on as it is.
    pub async fn renewed(&self, config: Config, files: &[PathBuf], lock: Option<&Lock>) -> Result<Self> {
        for (key, same) in [
            (
                "state.directory",
                config.resolve(&config.state.directory) == self.config.resolve(&self.config.state.directory),
            ),
            ("web", config.web == self.config.web),
        ] {
            if !same {
                bail!("{key} cannot change while the host runs; start it again");
            }
        }
        let same_engines = self.sandboxes.serve(&config);
        let sandboxes = if same_engines { self.sandboxes.clone() } else { Arc::new(Sandboxes::new(&config)) };
        let known = if same_engines { self.loaded.clone() } else { Loaded::default() };
        let loaded = plugin::load(files, lock, &sandboxes, &config, &known, |_| {}).await;
        let broken: Vec<&str> = loaded
            .unusable
            .iter()
            .filter(|unusable| !self.loaded.unusable.iter().any(|before| before.name == unusable.name))
            .filter(|unusable| !self.loaded.compiling.contains(&unusable.name))
            .map(|unusable| unusable.reason.as_str())
            .collect();
        if !broken.is_empty() {
            bail!("{}", broken.join("; "));
        }
        let checks: Vec<Arc<Check>> = checks(&config, &loaded).await?.into_iter().map(Arc::new).collect();
        let worse: Vec<String> = checks
            .iter()
            .filter_map(|check| Some((check, check.unable()?)))
            .filter(|(check, _)| self.check(&check.name).is_some_and(|before| before.plugin().is_some()))
            .map(|(check, reason)| format!("{}: {reason}", check.name))
            .collect();
        if !worse.is_empty() {
            bail!("{}", worse.join("; "));
        }
        let host = Self {
            backends: Arc::new(Backends::new(&config, &self.record)),
            slots: Arc::new(Slots::new(&config.scheduler)),
            config,
            checks,
            record: self.record.clone(),
            delivery: self.delivery.clone(),
            metrics: self.metrics.clone(),
            board: self.board.clone(),
            standings: self.standings.clone(),
            loaded,
            loading: None,
            sandboxes,
        };
        host.warn_of_files();
        Ok(host)
    }

    /// One that another file stands in for has no check that would say so.
    fn warn_of_files(&self) {
        let left_out = self.loaded.unusable.iter().filter(|one| self.loaded.plugins.contains_key(&one.name));
        for unusable in left_out {
            tracing::warn!("left out: {}", printable(&unusable.reason));
        }
    }

    /// Keeps only the checks that are named.
    pub fn keep(&mut self, names: &[String]) {
        self.checks.retain(|check| names.contains(&check.name));
    }

    /// The check with a name.
    pub fn check(&self, name: &str) -> Option<&Arc<Check>> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// Finds the webhook of every channel that the checks post to, and sends there from now on.
    pub async fn find_receivers(&self) -> Result<()> {
        self.delivery.send_to(self.receivers().await?, self.config.delivery.clone());
        Ok(())
    }

    /// The webhook of every channel that the checks post to.
    pub async fn receivers(&self) -> Result<Receivers> {
        let own = self.checks.iter().filter_map(|check| Some(check.family.as_ref()?.channel.as_str()));
        let granted = self.checks.iter().filter_map(|check| check.plugin());
        let channels: HashSet<&str> =
            own.chain(granted.flat_map(|ready| ready.grants.slack.iter().map(String::as_str))).collect();
        Receivers::find(&self.config, channels).await
    }

    /// Validates the checks side by side, and tells of what is wrong with one as of an error of it. Gives what was found,
    /// by check.
    pub async fn validate(&self, now: Timestamp) -> Result<Validated> {
        let mut tasks = JoinSet::new();
        for check in self.checks.iter().filter(|check| !check.waits && !matches!(check.work, Work::Consultation(_))) {
            let moment = self.moment(check, now, When::default())?;
            let (check, backends) = (check.clone(), self.backends.clone());
            tasks.spawn(async move {
                let findings = validate(&check, &backends, &moment).await;
                (check, moment, findings)
            });
        }
        let mut found = Vec::new();
        let mut runs = Vec::new();
        while let Some(validated) = tasks.join_next().await {
            let (check, moment, findings) = validated.context("a validation broke off")?;
            // What could not be found out is no news of the check; its runs say it too.
            let wrong = findings.iter().filter(|finding| finding.kind != Kind::Unknown).map(Finding::shown).collect();
            // One that cannot run says so itself, each time.
            if check.plugin().is_some() {
                runs.push(check.validated(&moment, wrong));
            }
            found.push((check.name.clone(), findings));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.settle(runs, &mut Round::default()).await;
        // What could not be found out is tried again at the next occasion.
        if found.iter().flat_map(|(_, findings)| findings).all(|finding| finding.kind != Kind::Unknown) {
            self.record.note_validation(&self.fingerprint(), now).await?;
        }
        Ok(found)
    }

    /// When the checks are to be validated: now, if they never were as they are; none when never.
    pub async fn validation_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let Some(schedule) = &self.config.validate_schedule.0 else { return Ok(None) };
        let last = self.record.validated(&self.fingerprint()).await?;
        Ok(match last {
            None => Some(now),
            // A clock that was set back must not keep it away.
            Some(last) => schedule.next(last.min(now), &self.config.timezone.rules()),
        })
    }

    /// What the checks are: their configuration and code.
    fn fingerprint(&self) -> String {
        let plugins = self.checks.iter().filter_map(|check| check.plugin());
        let digests: Vec<String> = plugins.map(|ready| ready.plugin.file.digest.to_string()).collect();
        alert::id(&format!("{} {digests:?}", self.config.digest))
    }

    /// A date of the past is asked about as if it were then: at the check's first due time after that date.
    pub(crate) fn moment(&self, check: &Check, now: Timestamp, when: When) -> Result<Moment> {
        let zone = &self.config.timezone;
        let usual = Moment::yesterday(when.at.unwrap_or(now), zone)?;
        let moment = match when.date.filter(|date| *date != usual.data_date) {
            None => usual,
            Some(date) => {
                let moment = Moment::new(when.at.unwrap_or(now), date, zone)?;
                let just_before = moment.day_end.checked_sub(jiff::SignedDuration::from_nanos(1))?;
                let due = check.schedule.next(just_before, &check.zone.rules());
                let due = due.filter(|due| when.at.is_none() && *due < now).unwrap_or(moment.due);
                Moment { due, replay: true, ..moment }
            }
        };
        let left_out = self.config.calendars.iter().find(|(_, calendar)| {
            calendar.effect == Effect::Skip && calendar.covers(&check.name, moment.due, moment.data_date, zone)
        });
        let skip = left_out.map(|(name, calendar)| format!("{} (calendars.{name})", calendar.why));
        Ok(Moment { skip, ..moment })
    }

    /// Removes from the record what is older than `state.keep`.
    pub async fn forget(&self) -> Result<()> {
        let keep = jiff::SignedDuration::try_from(self.config.state.keep.0)?;
        match Timestamp::now().checked_sub(keep) {
            Ok(before) => self.record.forget(before).await,
            // Since before there was time: everything is kept.
            Err(_) => Ok(()),
        }
    }

    /// What of a round's messages did not get through.
    pub async fn undelivered(&self, round: &Round) -> Result<BTreeMap<String, Undelivered>> {
        let mut undelivered = BTreeMap::new();
        for (id, _) in &round.messages {
            if let Some(message) = self.record.undelivered_message(id).await? {
                undelivered.insert(id.clone(), message);
            }
        }
        Ok(undelivered)
    }

    /// Whether messages wait, or were set aside by this process.
    pub async fn owes_messages(&self) -> Result<bool> {
        Ok(self.delivery.set_aside() > 0 || !self.record.receivers_waiting().await?.is_empty())
    }
}
