//! A round: checks that are due together, run side by side, recorded and told of together.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::{Timestamp, civil::Date};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    alert::{self, Delivery, Notification, Receivers, Standings},
    capability::Backends,
    check::{Check, checks},
    config::{Config, Effect},
    contract::Report,
    plugin::{self, Lock},
    run::{Moment, Run, Status, verdict_name},
    sandbox::Sandboxes,
    state::{Batch, NewMessage, NewRun, PluginKey, State, Undelivered},
    text::printable,
    validate::{Finding, Kind, Validated, validate},
};

/// A host that is ready: its checks, what they may ask, and where what they find is recorded and told.
pub struct Host {
    /// From host.toml.
    pub config: Config,
    /// Sorted by name.
    pub checks: Vec<Arc<Check>>,
    /// What was recorded.
    pub state: State,
    /// Messages on their way.
    pub delivery: Arc<Delivery>,
    /// What the checks may ask.
    pub backends: Arc<Backends>,
    /// What is remembered of each check. One batch at a time is decided and recorded.
    standings: Mutex<Standings>,
    /// Keeps the engines' clocks running.
    _sandboxes: Arc<Sandboxes>,
}

/// What a round came to.
#[derive(Default)]
pub struct Round {
    /// In the order of the checks.
    pub runs: Vec<Run>,
    /// What is to be said: the message's id, and the message.
    pub messages: Vec<(String, Notification)>,
    /// Why runs were not recorded, when they were not; then nothing is said of them.
    pub unrecorded: Option<String>,
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
    /// Loads the plugins and finds everything that the checks need. A plugin that cannot be loaded stops nothing;
    /// its check says why when it is due.
    /// With a lock, only what is pinned runs. `step` is called with the number of plugins that are ready.
    /// Messages go to the console until [`Host::find_receivers`].
    pub async fn start(
        config: Config,
        files: &[PathBuf],
        lock: Option<&Lock>,
        state: State,
        step: impl Fn(usize),
    ) -> Result<Self> {
        let sandboxes = Arc::new(Sandboxes::new(&config));
        let loaded = plugin::load(files, lock, &sandboxes, &config, step).await;
        // One that another file stands in for has no check that would say so.
        for unusable in loaded.unusable.iter().filter(|unusable| loaded.plugins.contains_key(&unusable.name)) {
            eprintln!("warning: left out: {}", printable(&unusable.reason));
        }
        let checks = checks(&config, &loaded)?.into_iter().map(Arc::new).collect();
        let backends = Arc::new(Backends::new(&config, &state));
        let mut standings = Standings::new();
        for (check, standing) in state.standings().await? {
            let standing = serde_json::from_str(&standing).with_context(|| format!("what is remembered of {check}"))?;
            standings.insert(check, standing);
        }
        let delivery = Delivery::new(state.clone(), Receivers::console(), config.delivery.clone());
        let standings = Mutex::new(standings);
        Ok(Self { config, checks, state, delivery, backends, standings, _sandboxes: sandboxes })
    }

    /// Keeps only the checks that are named.
    pub fn keep(&mut self, names: &[String]) {
        self.checks.retain(|check| names.contains(&check.name));
    }

    /// Finds the webhook of every channel that the checks post to.
    pub async fn find_receivers(&mut self) -> Result<()> {
        let own = self.checks.iter().filter_map(|check| Some(check.family.as_ref()?.channel.as_str()));
        let granted = self.checks.iter().filter_map(|check| check.ready.as_ref().ok());
        let channels = own.chain(granted.flat_map(|ready| ready.grants.slack.iter().map(String::as_str)));
        let receivers = Receivers::find(&self.config, channels).await?;
        self.delivery = Delivery::new(self.state.clone(), receivers, self.config.delivery.clone());
        Ok(())
    }

    /// Runs checks side by side, each in the order of `which`, records them, and puts what there is to say into the
    /// outbox: once when all have ended, or, when some take long, of those that ended within `group_wait` first.
    pub async fn round(&self, which: &[usize], now: Timestamp, when: When) -> Result<Round> {
        // A task each, so that a guest that computes takes no time from the others. All end with this round.
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        let mut due = Vec::new();
        for check in which.iter().filter_map(|at| self.checks.get(*at)) {
            due.push((check, self.moment(check, now, when)?));
        }
        let moments: BTreeSet<Timestamp> = due.iter().map(|(_, moment)| moment.due).collect();
        let earlier = self.state.attempts(&moments).await?;
        for (check, mut moment) in due {
            moment.attempt += earlier.get(&(check.name.clone(), moment.due)).copied().unwrap_or_default();
            let (task, backends, at) = (check.clone(), self.backends.clone(), moment.clone());
            let id = tasks.spawn(async move { task.run(&backends, at).await }).id();
            running.insert(id, (check, moment));
        }
        let mut round = Round::default();
        let mut ended = Vec::new();
        let mut first_ended = None;
        while !running.is_empty() || !ended.is_empty() {
            let wait = first_ended.map(|first| first + self.config.alerts.group_wait.0);
            let run = tokio::select! {
                run = tasks.join_next_with_id(), if !running.is_empty() => run,
                () = sleep_until(wait.unwrap_or_else(Instant::now)), if wait.is_some() && !running.is_empty() => None,
                else => None,
            };
            match run {
                Some(Ok((id, run))) => drop(running.remove(&id).map(|_| ended.push(run))),
                // A panic of the host's own is an error of that check, as everything else is.
                Some(Err(error)) => {
                    let broken = running.remove(&error.id());
                    ended.extend(broken.map(|(check, moment)| check.broken(&moment, error.to_string())));
                }
                None => {}
            }
            first_ended = first_ended.or_else(|| Some(Instant::now()));
            let waited = first_ended.is_some_and(|first| first.elapsed() >= self.config.alerts.group_wait.0);
            if running.is_empty() || waited {
                let awaited: BTreeSet<&str> = running.values().map(|(check, _)| check.name.as_str()).collect();
                let (batch, later) = ended.into_iter().partition(|run: &Run| !self.awaits(&run.check, &awaited));
                ended = later;
                first_ended = None;
                self.settle(batch, &mut round).await;
            }
        }
        let order: HashMap<&str, usize> =
            self.checks.iter().enumerate().map(|(at, check)| (check.name.as_str(), at)).collect();
        round.runs.sort_by_key(|run| order.get(run.check.as_str()).copied());
        Ok(round)
    }

    /// Whether a check depends on one of these, also at several removes: what is wrong there is said first.
    fn awaits(&self, check: &str, running: &BTreeSet<&str>) -> bool {
        let upstream = self.config.checks.get(check).map(|check| check.depends_on.as_slice()).unwrap_or_default();
        upstream.iter().any(|name| running.contains(name.as_str()) || self.awaits(name, running))
    }

    /// Records a batch of runs and what is to be said of them.
    async fn settle(&self, mut batch: Vec<Run>, round: &mut Round) {
        if batch.is_empty() {
            return;
        }
        batch.sort_by(|a, b| a.check.cmp(&b.check));
        // Waits until the batch before is recorded.
        let mut standings = self.standings.lock().await;
        for run in batch.iter_mut().filter(|run| !run.validation) {
            run.invalid = standings.get(&run.check).map(|standing| standing.invalid.clone()).unwrap_or_default();
        }
        match self.record(&batch, &mut standings).await {
            Ok(messages) => {
                if !messages.is_empty() {
                    self.delivery.wake();
                }
                round.messages.extend(messages);
            }
            Err(error) => {
                let names = batch.iter().map(|run| run.check.as_str()).collect::<Vec<_>>().join(", ");
                let problem = format!("the runs of {names} are NOT recorded: {error:#}");
                eprintln!("error: {problem}");
                let worst = batch.iter().map(Run::status).max().unwrap_or(Status::Pass).name();
                self.delivery.unrecorded(&format!("{problem}; the worst of them: {worst}")).await;
                round.unrecorded = Some(problem);
            }
        }
        round.runs.extend(batch);
    }

    /// Decides, and writes everything at once; when that fails, nothing is remembered, so that the next round decides
    /// the same.
    async fn record(&self, batch: &[Run], standings: &mut Standings) -> Result<Vec<(String, Notification)>> {
        let created = Timestamp::now();
        let silences = self.state.silences(Some(created)).await?;
        let mut next = standings.clone();
        let rules = alert::Rules { config: &self.config, silences: &silences, now: created };
        let decided = alert::decide(batch, &mut next, rules);
        let mut messages = Vec::new();
        let mut written = Batch {
            runs: Vec::new(),
            standings: BTreeMap::new(),
            episodes: decided.episodes,
            messages: Vec::new(),
            recorded: created,
        };
        for notification in alert::compose(&decided.notices, batch, &self.config.timezone.rules()) {
            let json = serde_json::to_string(&notification)?;
            let id = alert::id(&format!("{created} {} {json}", notification.channel));
            written.messages.push(NewMessage {
                id: id.clone(),
                receiver: notification.channel.clone(),
                title: notification.title.clone(),
                notification: json,
                created,
            });
            messages.push((id, notification));
        }
        for run in batch.iter().filter(|run| !run.validation) {
            written.runs.push(recorded(run)?);
        }
        for check in decided.touched {
            if let Some(standing) = next.get(&check).filter(|standing| standings.get(&check) != Some(*standing)) {
                written.standings.insert(check, serde_json::to_string(standing)?);
            }
        }
        self.insist(&written).await?;
        *standings = next;
        Ok(messages)
    }

    /// Tries to write for as long as messages may take: a full disk is cleared, a lock is given up.
    async fn insist(&self, batch: &Batch) -> Result<()> {
        let deadline = Instant::now() + self.config.delivery.wait.0;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.state.record(batch).await {
                Err(error) if Instant::now() + pause < deadline => {
                    eprintln!("warning: the record cannot be written yet, trying again: {error:#}");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
    }

    /// Validates the checks side by side, and tells of what is wrong with one as of an error of it. Gives what was found,
    /// by check.
    pub async fn validate(&self, now: Timestamp) -> Result<Validated> {
        let mut tasks = JoinSet::new();
        for check in &self.checks {
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
            if check.ready.is_ok() {
                runs.push(check.validated(&moment, wrong));
            }
            found.push((check.name.clone(), findings));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        self.settle(runs, &mut Round::default()).await;
        // What could not be found out is tried again at the next occasion.
        if found.iter().flat_map(|(_, findings)| findings).all(|finding| finding.kind != Kind::Unknown) {
            self.state.note_validation(&self.fingerprint(), now).await?;
        }
        Ok(found)
    }

    /// When the checks are to be validated: now, if they never were as they are; none when never.
    pub async fn validation_due(&self, now: Timestamp) -> Result<Option<Timestamp>> {
        let Some(schedule) = &self.config.validate_schedule.0 else { return Ok(None) };
        let last = self.state.validated(&self.fingerprint()).await?;
        Ok(match last {
            None => Some(now),
            // A clock that was set back must not keep it away.
            Some(last) => schedule.next(last.min(now), &self.config.timezone.rules()),
        })
    }

    /// What the checks are: their configuration and code.
    fn fingerprint(&self) -> String {
        let plugins = self.checks.iter().filter_map(|check| check.ready.as_ref().ok());
        let digests: Vec<String> = plugins.map(|ready| ready.plugin.file.digest.to_string()).collect();
        alert::id(&format!("{:?} {digests:?}", self.config))
    }

    /// A date of the past is asked about as if it were then: at the check's first due time after that date.
    fn moment(&self, check: &Check, now: Timestamp, when: When) -> Result<Moment> {
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
            Ok(before) => self.state.forget(before).await,
            // Since before there was time: everything is kept.
            Err(_) => Ok(()),
        }
    }

    /// What of a round's messages did not get through.
    pub async fn undelivered(&self, round: &Round) -> Result<BTreeMap<String, Undelivered>> {
        let mut undelivered = BTreeMap::new();
        for (id, _) in &round.messages {
            if let Some(message) = self.state.undelivered_message(id).await? {
                undelivered.insert(id.clone(), message);
            }
        }
        Ok(undelivered)
    }

    /// Whether messages wait, or were set aside by this process.
    pub async fn owes_messages(&self) -> Result<bool> {
        Ok(self.delivery.set_aside() > 0 || !self.state.receivers_waiting().await?.is_empty())
    }
}

fn recorded(run: &Run) -> Result<NewRun> {
    Ok(NewRun {
        check: run.check.clone(),
        plugin: run.plugin.as_ref().map(|plugin| PluginKey {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            digest: plugin.digest.to_string(),
        }),
        due: run.due,
        data_date: run.data_date,
        attempt: run.attempt,
        replay: run.replay,
        status: run.status().name(),
        summary: run.summary(),
        report: run.report.as_ref().map(report).transpose()?,
        error: run.error.clone(),
        seconds: run.duration.as_secs_f64(),
        calls: serde_json::to_string(&run.calls)?,
    })
}

fn report(report: &Report) -> Result<String> {
    let mut json = serde_json::to_value(report)?;
    if let Some(verdict) = json.get_mut("verdict") {
        *verdict = verdict_name(&report.verdict).into();
    }
    Ok(json.to_string())
}

impl Round {
    /// The worst of the runs; 3 too when they were not recorded.
    pub fn exit_code(&self) -> u8 {
        let worst = self.runs.iter().map(Run::exit_code).max().unwrap_or_default();
        if self.unrecorded.is_some() { 3 } else { worst }
    }
}
