//! The state that outlives a reload: the record, the standing of each check, the delivery, the metrics, and the latest
//! results in memory. Every result passes through here: notices are decided, and everything is recorded together.

mod audit;
mod board;
mod dates;
mod forget;
mod kept;
mod looks;
mod orders;
mod presses;
mod seen;
mod shared;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::Instant,
};

pub use audit::user;
pub use board::{Board, Dot, Latest, Recent};
pub use dates::days;
use kept::kept;
pub use looks::{Expected, Looking, Looks};
pub use orders::{Done, answered};
pub use presses::Press;
pub use seen::Seen;
use shared::Deciding;

use crate::{
    alert::{self, Delivery, News, Notification, Receivers, Standing, Standings, Subject},
    config::{Bytes, Config},
    lanes,
    metrics::Metrics,
    record::{self, Batch, NewMessage, NewRun, Record, Undelivered},
    run::{Keeper, Run, Status, Untold, validation::Validation},
};

/// The first wait before the record is written again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Milliseconds by which the clock of looks may be ahead of the time.
const CLOSE: i64 = 1000;
/// When the last run began, if that is further ahead than this, in milliseconds, a clock was set back.
const FAR_AHEAD: u64 = 60_000;

/// Records results, and queues their messages. One for each record; it decides one batch at a time.
#[derive(Debug)]
pub struct Recorder {
    /// The record.
    pub record: Record,
    /// The delivery of messages.
    pub delivery: Arc<Delivery>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The latest results of the checks.
    pub board: Board,
    standings: Mutex<Standings>,
    /// What this process knows of the other hosts on the record.
    shared: shared::Shared,
    /// The checks, once a reload may have removed some.
    checks: std::sync::Mutex<Option<BTreeSet<String>>>,
    /// The dates that somebody ordered to look at.
    asked: std::sync::Mutex<Vec<(String, Subject)>>,
    /// The dates that are being looked at.
    looking: std::sync::Mutex<BTreeSet<(String, Subject)>>,
    /// The clock of the last looks, in milliseconds since the Unix epoch: what the record keeps of it.
    looked: std::sync::Mutex<i64>,
    /// Keeps what runs were answered.
    keeper: Arc<Keeper>,
    /// How many runs have begun.
    begun: AtomicU64,
    /// Whether this process serves the page.
    serves: AtomicBool,
    /// Whether this process looks at dates again after a round.
    looks: AtomicBool,
    /// Whether the last results could be recorded.
    writes: AtomicBool,
    /// How many batches are tried again.
    waiting: AtomicUsize,
    /// Held while the dates to look at are chosen.
    choosing: Mutex<()>,
}

/// The result of recording a batch of runs.
#[derive(Debug, Default)]
pub struct Settled {
    /// The runs that count for alerts, sorted by check.
    pub runs: Vec<Run>,
    /// The messages to send, each with its id.
    pub messages: Vec<(String, Notification)>,
    /// The error if the runs were not recorded; then no messages are sent.
    pub unrecorded: Option<String>,
}

impl Recorder {
    /// Reads the standings. Messages are shown on the console until receivers are configured.
    pub async fn new(record: Record, config: &Config) -> Result<Arc<Self>> {
        let metrics = Arc::<Metrics>::default();
        let (standings, shared) = shared::load(&record, config).await?;
        let receivers = Receivers::console();
        let keeper = Arc::new(Keeper::new(&record.answer_key().await?));
        Ok(Arc::new(Self {
            delivery: Delivery::new(record.clone(), receivers, config.delivery.clone(), metrics.clone()),
            board: Board::default(),
            standings: Mutex::new(standings),
            shared,
            checks: std::sync::Mutex::default(),
            asked: std::sync::Mutex::default(),
            looking: std::sync::Mutex::default(),
            looked: std::sync::Mutex::default(),
            keeper,
            begun: AtomicU64::new(0),
            serves: AtomicBool::new(false),
            looks: AtomicBool::new(false),
            writes: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            choosing: Mutex::default(),
            record,
            metrics,
        }))
    }

    /// From now on messages link to the page that this process serves.
    pub fn serve(&self) {
        self.serves.store(true, Ordering::Relaxed);
    }

    /// From now on dates are looked at again after each round: what is said of them may wait for that.
    pub fn look_again(&self) {
        self.looks.store(true, Ordering::Relaxed);
    }

    /// Whether the last results could be recorded, and none wait for it.
    pub fn writes(&self) -> bool {
        self.writes.load(Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Looks whether the record can be written again, if it could not. Results that wait try it themselves.
    pub async fn try_to_write(&self) {
        if !self.writes.load(Ordering::Relaxed) && self.record.try_to_write().await.is_ok() {
            self.writes.store(true, Ordering::Relaxed);
        }
    }

    /// Held by whoever chooses dates to look at; `None` if somebody else does.
    pub fn choose(&self) -> Option<MutexGuard<'_, ()>> {
        self.choosing.try_lock().ok()
    }

    /// When a run begins that begins now, in milliseconds since the Unix epoch by the record's clock; later than that of any before.
    pub fn begins(&self) -> u64 {
        let now = u64::try_from(record::now().as_millisecond()).unwrap_or_default();
        // A clock that was set back begins anew.
        let next = |last: u64| if last > now + FAR_AHEAD { now } else { now.max(last + 1) };
        let before = self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
        before.map_or(now, next)
    }

    /// The clock of looks that begin now: later than that of all looks before, so that no two runs of a date have one.
    pub fn look_clock(&self) -> Timestamp {
        let now = record::now();
        let mut last = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins anew.
        let is_ahead = *last >= now.as_millisecond() && *last - now.as_millisecond() < CLOSE;
        *last = if is_ahead { *last + 1 } else { now.as_millisecond() };
        Timestamp::from_millisecond(*last).unwrap_or(now)
    }

    /// The address to which messages link, if there is one.
    fn page(&self, config: &Config) -> Option<String> {
        config.web.address(self.serves.load(Ordering::Relaxed))
    }

    /// Loads the latest results of checks, also into the metrics. Returns the newest due time of each.
    pub async fn show(&self, names: &[&str]) -> Result<BTreeMap<String, Timestamp>> {
        let newest = self.board.load(&self.record, names, &self.standings).await?;
        for name in names {
            if let Some(last) = &self.board.of(name).last {
                self.metrics.stands(name, last.status);
                self.metrics.recall(name, &self.record.last_runs(name).await?);
            }
        }
        Ok(newest)
    }

    /// Records a batch of runs and their messages.
    pub async fn settle(&self, config: &Config, mut batch: Vec<Run>) -> Settled {
        if batch.is_empty() {
            return Settled::default();
        }
        self.leave_out_removed(&mut batch);
        for run in &mut batch {
            if run.given.is_some() && !run.alerts.is_empty() {
                run.said = Some(run.alerts.clone());
            }
            run.alerts.iter_mut().for_each(|alert| alert::suit(alert, config));
        }
        let (mut runs, untold): (Vec<Run>, Vec<Run>) = batch.into_iter().partition(|run| run.untold.is_none());
        runs.sort_by(|a, b| a.check.cmp(&b.check));
        // Serializing large reports takes a while; nothing else must wait for it.
        let most: Vec<Bytes> = untold.iter().chain(&runs).map(|run| record_bytes(config, run)).collect();
        let (keeper, keeping, warehouse) = (self.keeper.clone(), config.record.clone(), config.warehouse.clone());
        let written = move || {
            let keeping = |source: &str| keeping.keeping(source, warehouse.as_ref());
            let all = untold.iter().chain(&runs).zip(most);
            let kept = all.map(|(run, most)| {
                let tape = keeper.tape(run, keeping)?.map(Arc::new);
                Ok(NewRun { tape, ..kept(run, most)? })
            });
            let kept: Result<Vec<NewRun>> = kept.collect();
            (runs, untold, kept)
        };
        let Some((mut runs, mut untold, kept)) = lanes::own(written).await else {
            let problem = "runs are NOT recorded: writing them failed; the log says why".to_owned();
            tracing::error!("{problem}");
            self.delivery.unrecorded(&problem).await;
            return Settled { unrecorded: Some(problem), ..Settled::default() };
        };
        let kept = match kept {
            Ok(kept) => self.record_runs(config, &mut runs, &mut untold, kept).await,
            Err(error) => Err(error),
        };
        match kept {
            Ok(messages) => Settled { runs, messages, unrecorded: None },
            Err(error) => {
                let all = || runs.iter().chain(&untold);
                let names: BTreeSet<&str> = all().map(|run| run.check.as_str()).collect();
                let names = names.into_iter().collect::<Vec<_>>().join(", ");
                let problem = format!("the runs of {names} are NOT recorded: {error:#}");
                all().filter_map(|run| run.lease.as_ref()).for_each(|lease| self.record.let_go(lease));
                tracing::error!("{problem}");
                let worst = all().map(Run::status).max().unwrap_or(Status::Skip).name();
                self.delivery.unrecorded(&format!("{problem}; the worst of them: {worst}")).await;
                Settled { runs, messages: Vec::new(), unrecorded: Some(problem) }
            }
        }
    }

    /// Decides and records, as soon as the batch before is recorded. What another host recorded, since this one lost its claim, is
    /// taken out. Tried again for as long as messages may take: a full disk may be cleared, a lock released, a server come back.
    async fn record_runs(
        &self,
        config: &Config,
        runs: &mut Vec<Run>,
        untold: &mut Vec<Run>,
        mut kept: Vec<NewRun>,
    ) -> Result<Vec<(String, Notification)>> {
        let id = format!("{:016x}", fastrand::u64(..));
        let deadline = Instant::now() + config.delivery.wait.0;
        let mut pause = FIRST_PAUSE;
        let mut waiting = None;
        loop {
            let tried = async {
                let mut deciding = self.decide().await?;
                if deciding.turn.is_written(&id).await? {
                    self.note(runs, untold, &deciding.standings);
                    self.delivery.wake();
                    return Ok(Vec::new());
                }
                self.take_out_lost(&mut deciding, runs, untold, &mut kept).await?;
                if kept.is_empty() {
                    return Ok(Vec::new());
                }
                deciding.turn.number_attempts(&mut kept).await?;
                let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
                let answers_per_day = config.record.answers_per_day.0 as u64;
                let batch = Batch { id: id.clone(), runs: kept.clone(), answers_per_day, ..Batch::default() };
                let (messages, standings) = self.keep(config, &news, runs, batch, deciding).await?;
                self.note(runs, untold, &standings);
                Ok(messages)
            };
            let tried = tried.await;
            self.writes.store(tried.is_ok(), Ordering::Relaxed);
            match tried {
                Err(error) if Instant::now() + pause < deadline => {
                    waiting.get_or_insert_with(|| Counted::new(&self.waiting));
                    tracing::warn!("the record cannot be written yet, trying again: {error:#}");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
    }

    /// From now on these are the checks; a run of another one, which was under way when its check was removed, tells nothing.
    pub fn only(&self, checks: BTreeSet<String>) {
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = Some(checks);
    }

    fn leave_out_removed(&self, batch: &mut [Run]) {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = |run: &&mut Run| checks.as_ref().is_some_and(|checks| !checks.contains(&run.check));
        for run in batch.iter_mut().filter(removed) {
            run.untold = Some(Untold::Removed);
        }
    }

    /// Records the findings of validations, and reports them as errors of their checks.
    pub async fn validated(&self, config: &Config, found: &[Validation]) -> Result<()> {
        let deciding = self.decide().await?;
        let news: Vec<News<'_>> = found.iter().map(News::Validation).collect();
        let (_, standings) = self
            .keep(config, &news, &[], Batch::new(), deciding)
            .await
            .context("the findings of a validation are NOT recorded")?;
        for validation in found {
            self.board.stands(&validation.check, &standings);
        }
        Ok(())
    }

    /// Sends a report that goes until a moment, unless another host has sent it: one decides at a time.
    pub async fn report(&self, config: &Config, mut message: Notification, until: Timestamp) -> Result<()> {
        let deciding = self.decide().await?;
        let now = record::now();
        if self.record.reported().await?.is_some_and(|last| last <= now && last >= until) {
            return Ok(());
        }
        message.page = self.page(config);
        let batch = Batch { recorded: now, reported: Some(until), ..Batch::new() };
        self.write(config, batch, vec![message], deciding).await.map(drop).context("the report is NOT recorded")
    }

    /// Decides, and writes everything in one transaction; if that fails, the standings stay unchanged, so that the next
    /// attempt decides the same. Returns the messages.
    async fn keep<'r>(
        &'r self,
        config: &Config,
        news: &[News<'_>],
        runs: &[Run],
        mut batch: Batch,
        mut deciding: Deciding<'r>,
    ) -> Result<(Vec<(String, Notification)>, MutexGuard<'r, Standings>)> {
        let created = record::now();
        let silences = deciding.turn.silences(created).await?;
        let mut next = deciding.standings.clone();
        let decided = alert::decide(
            news,
            &mut next,
            alert::Rules { config, silences: &silences, looks: self.looks.load(Ordering::Relaxed), now: created },
        );
        let reasons: Vec<(String, &str)> =
            decided.notices.iter().map(|notice| (notice.channel.clone(), notice.say.name())).collect();
        let page = self.page(config);
        let mut notifications = alert::compose(&decided, runs, &config.timezone.rules(), page.as_deref());
        notifications.extend(alert::remarks(&decided.remarks, page.as_deref()));
        (batch.episodes, batch.recorded) = (decided.episodes, created);
        for check in decided.touched {
            if let Some(standing) = next.get(&check) {
                dates::changes(&mut batch, &check, deciding.standings.get(&check), standing)?;
            }
        }
        let (messages, mut standings) = self.write(config, batch, notifications, deciding).await?;
        *standings = next;
        for (channel, reason) in reasons {
            self.metrics.said(&channel, reason);
        }
        Ok((messages, standings))
    }

    /// Ends the alerts of checks that are gone, at a time, and forgets them: see [`alert::close`].
    pub async fn close(&self, config: &Config, known: &BTreeSet<String>, whole: bool, at: Timestamp) -> Result<()> {
        // Another configuration may have them.
        if !self.record.takes_part() {
            return Ok(());
        }
        let deciding = self.decide().await?;
        let mut next = deciding.standings.clone();
        let mut closed = alert::close(&mut next, known, config, whole, at);
        if closed.checks.is_empty() {
            return Ok(());
        }
        closed.messages.iter_mut().for_each(|message| message.page = self.page(config));
        let channels: Vec<String> = closed.messages.iter().map(|message| message.channel.clone()).collect();
        let gone = closed.checks.clone();
        let batch = Batch { gone: closed.checks, episodes: closed.episodes, recorded: record::now(), ..Batch::new() };
        let written = self.write(config, batch, closed.messages, deciding).await;
        let (_, mut standings) = written.context("the end of removed checks is NOT recorded")?;
        *standings = next;
        gone.iter().for_each(|check| self.board.stands(check, &standings));
        for channel in channels {
            self.metrics.said(&channel, "closed");
        }
        Ok(())
    }

    /// Writes a batch with its messages, and wakes the delivery. Returns the messages with their ids.
    async fn write<'r>(
        &'r self,
        config: &Config,
        mut batch: Batch,
        notifications: Vec<Notification>,
        deciding: Deciding<'r>,
    ) -> Result<(Vec<(String, Notification)>, MutexGuard<'r, Standings>)> {
        let created = batch.recorded;
        let mut messages = Vec::new();
        for mut notification in notifications {
            notification.history = Some(config.command("host history"));
            let json = serde_json::to_string(&notification)?;
            let id = alert::id(&format!("{created} {} {json}", notification.channel));
            batch.messages.push(NewMessage {
                id: id.clone(),
                receiver: notification.channel.clone(),
                title: notification.title.clone(),
                notification: json,
                created,
                checks: notification.checks(),
            });
            messages.push((id, notification));
        }
        let standings = self.commit(&batch, deciding, config.delivery.wait.0).await?;
        if !messages.is_empty() {
            self.delivery.wake();
        }
        Ok((messages, standings))
    }

    /// Updates the board, counts recorded runs, and logs them.
    fn note(&self, batch: &[Run], untold: &[Run], standings: &Standings) {
        let known = || untold.iter().filter(|run| run.untold != Some(Untold::Removed)).chain(batch);
        self.board.add(known(), standings);
        for run in known() {
            self.metrics.ran(run);
            if let Some(last) = &self.board.of(&run.check).last {
                self.metrics.stands(&run.check, last.status);
            }
            let span = tracing::info_span!("run", check = run.check, run = run.id());
            let _entered = span.enter();
            for line in run.log.lines().filter(|line| !line.trim().is_empty()) {
                // Marked in the text too, so that no line of a plugin reads like one of the host.
                tracing::info!(source = "plugin", "plugin: {line}");
            }
            let (status, seconds) = (run.status().name(), run.duration.as_secs_f64());
            if !run.is_left_out() {
                tracing::info!(status, seconds, "{status}: {}", run.summary());
            }
        }
        for run in batch {
            self.metrics
                .dates_open(&run.check, standings.get(&run.check).map_or(0, |standing| standing.open().count()));
        }
    }

    /// The undelivered ones of some messages, by their ids.
    pub async fn undelivered(&self, messages: &[(String, Notification)]) -> Result<BTreeMap<String, Undelivered>> {
        let mut undelivered = BTreeMap::new();
        for (id, _) in messages {
            if let Some(message) = self.record.undelivered_message(id).await? {
                undelivered.insert(id.clone(), message);
            }
        }
        Ok(undelivered)
    }

    /// The channels that know of an alert which is not over, and those with waiting messages.
    pub async fn channels_told(&self) -> Result<BTreeSet<String>> {
        let mut channels: BTreeSet<String> = self.record.receivers_waiting().await?.into_iter().collect();
        channels.extend(self.standings.lock().await.values().flat_map(Standing::channels).cloned());
        Ok(channels)
    }

    /// Whether messages are waiting, or this process has set any aside.
    pub async fn owes_messages(&self) -> Result<bool> {
        Ok(self.delivery.set_aside() > 0 || !self.record.receivers_waiting().await?.is_empty())
    }
}

/// Counts a batch as waiting until it is dropped.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The budget of a run in the record.
fn record_bytes(config: &Config, run: &Run) -> Bytes {
    let plugin = run.plugin.as_ref().map_or(run.check.as_str(), |plugin| plugin.name.as_str());
    config.budgets(plugin).record_bytes
}
