//! A running host: runs checks on their schedules, reloads changed files, and shuts down cleanly without losing a
//! message.

mod fleet;
mod heartbeat;
mod reload;
mod report;
mod sources;
mod validation;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    check::Check,
    gate::Gates,
    host::Host,
    record::{self, Own},
    round::{Occasion, Round, listed},
    schedule::{Agenda, Plan, Turn},
    text::printable,
};
pub(crate) use fleet::takes_no_part;
pub use heartbeat::Addresses;
use heartbeat::Heartbeat;
pub use reload::Refused;
pub use sources::{Read, Sources};
pub(crate) use validation::complain;
use validation::stay_valid;

/// The longest sleep, so that a set clock is noticed.
const NAP: Duration = Duration::from_secs(1);
/// How often old entries are removed from the record.
const FORGET: Duration = Duration::from_secs(60 * 60);
/// How often to see whether a date is to be looked at again.
const NEXT_LOOK: SignedDuration = SignedDuration::from_secs(10);
/// A loop that has not turned for this long is stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The longest part of the grace time that is reserved for messages after runs are cancelled.
const FOR_MESSAGES: Duration = Duration::from_secs(3);

/// A running host.
pub struct Service {
    current: RwLock<Arc<Host>>,
    agenda: Mutex<Agenda>,
    sources: Sources,
    /// Held while the current host is being replaced.
    replacing: tokio::sync::Mutex<()>,
    /// Why the files on disk are not in use, if so.
    refused: RwLock<Option<Refused>>,
    /// When the loop last turned, in seconds since the Unix epoch.
    seen: AtomicI64,
    /// Until it runs.
    watching: Mutex<Option<reload::Watch>>,
    /// When to see next which dates are to be looked at again.
    look_at: Mutex<Timestamp>,
    closing: watch::Sender<bool>,
    deadline: watch::Sender<bool>,
    heartbeat: RwLock<Option<Heartbeat>>,
    /// What this host runs, for the others on its record.
    own: RwLock<Own>,
    /// Due times that other hosts left.
    left: Mutex<fleet::Leftovers>,
    /// Says that there are some.
    found: Notify,
    /// Whether the record answered the last time.
    keeps_up: AtomicBool,
    /// Whether the schedules are to be continued from the record, since other hosts ran the checks meanwhile.
    is_behind: AtomicBool,
    /// Commands to the loop, between rounds.
    pub gates: Gates,
}

impl Service {
    /// Continues the schedules from the record. `taken` is the fingerprint of the sources before they were read.
    pub async fn new(host: Host, sources: Sources, own: Own, taken: u64) -> Result<Arc<Self>> {
        let agenda = continued(&host).await?;
        host.count_dates().await;
        host.recorder.look_again();
        let heartbeat = Heartbeat::new(&host.config.heartbeat, host.recorder.metrics.clone())?;
        Ok(Arc::new(Self {
            agenda: Mutex::new(agenda),
            sources,
            replacing: tokio::sync::Mutex::default(),
            watching: Mutex::new(Some(reload::Watch::new(taken)?)),
            refused: RwLock::default(),
            seen: AtomicI64::new(record::now().as_second()),
            look_at: Mutex::new(record::now()),
            closing: watch::Sender::new(false),
            deadline: watch::Sender::new(false),
            heartbeat: RwLock::new(heartbeat),
            own: RwLock::new(own),
            left: Mutex::default(),
            found: Notify::new(),
            keeps_up: AtomicBool::new(true),
            is_behind: AtomicBool::new(false),
            gates: Gates::default(),
            current: RwLock::new(Arc::new(host)),
        }))
    }

    /// Continues the schedules from the record.
    async fn start_agenda(&self) -> Result<()> {
        let agenda = continued(&self.host()).await?;
        *self.agenda() = agenda;
        Ok(())
    }

    /// The current host.
    pub fn host(&self) -> Arc<Host> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For each check of the current host, the due time that its next finished run is for: past while it runs or is late.
    pub fn owed(&self) -> Vec<(String, Timestamp)> {
        let host = self.host();
        let agenda = self.agenda();
        let owed = |check: &Arc<Check>| Some((check.name.clone(), agenda.owed(&check.name)?));
        host.checks.iter().filter_map(owed).collect()
    }

    /// When a check is due next.
    pub fn next(&self, check: &str) -> Option<Timestamp> {
        self.agenda().next_of(check)
    }

    /// Whether the scheduler loop is alive.
    pub fn is_alive(&self) -> bool {
        let seen = Duration::from_secs(self.seen.load(Ordering::Relaxed).try_into().unwrap_or_default());
        let now = Duration::from_secs(record::now().as_second().try_into().unwrap_or_default());
        now.saturating_sub(seen) < STUCK
    }

    /// Whether the record answered when it was last asked what there is to do. Of a record in a file nobody asks that.
    pub fn keeps_up(&self) -> bool {
        self.keeps_up.load(Ordering::Relaxed)
    }

    /// Becomes true at shutdown.
    pub fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heartbeat(&self) -> Option<Heartbeat> {
        self.heartbeat.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs the checks on their schedules until `stop` resolves. Then running checks finish or are cancelled within the
    /// grace time, and messages are sent; the rest stays in the outbox for the next start. `shown` is called with each
    /// finished round.
    pub async fn run(self: &Arc<Self>, mut stop: impl AsyncFnMut(), shown: impl AsyncFn(&Host, &Round)) -> Result<()> {
        let mut background = JoinSet::new();
        let delivery = self.host().recorder.delivery.clone();
        let mut sending = JoinSet::new();
        sending.spawn(delivery.clone().run());
        background.spawn(stay_valid(self.clone()));
        let watching = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(watching) = watching {
            background.spawn(reload::watch(self.clone(), watching));
        }
        background.spawn(reload::complete(self.clone()));
        background.spawn(forget(self.clone()));
        background.spawn(report::send(self.clone()));
        match self.host().recorder.record.member() {
            None => background.spawn(carry_out_orders(self.clone())),
            Some(_) => background.spawn(fleet::share(self.clone())),
        };
        for check in &self.host().checks {
            if check.waits {
                tracing::info!(check = check.name, "waits: its plugin is still being compiled");
            } else if let Some(reason) = check.unable() {
                tracing::error!(
                    check = check.name,
                    "cannot run, and will report an error when due: {}",
                    printable(reason)
                );
            }
        }
        let mut rounds: JoinSet<Ended> = JoinSet::new();
        let (over, mut ended) = mpsc::unbounded_channel();
        let mut announced = None;
        loop {
            self.seen.store(record::now().as_second(), Ordering::Relaxed);
            let (turns, set_back) = self.agenda().take(record::now());
            if let Some(back) = set_back {
                tracing::warn!("the clock was set back by {back:#}; due times are counted from now");
            }
            // What is due comes before what is looked at again.
            if turns.is_empty() && self.keeps_up() {
                self.look_again(&over, &mut rounds);
            }
            self.begin(turns, &over, &mut rounds);
            self.take_over(&mut rounds);
            let next = self.agenda().next();
            if next != announced {
                announced = next;
                self.announce(next);
            }
            let left =
                next.map_or(NAP, |next| Duration::try_from(next.duration_since(record::now())).unwrap_or_default());
            tokio::select! {
                () = tokio::time::sleep(left.min(NAP)) => {}
                () = self.found.notified() => {}
                Some(check) = ended.recv() => {
                    let turn = self.agenda().ended(&check);
                    self.begin(turn.into_iter().collect(), &over, &mut rounds);
                }
                Some(round) = rounds.join_next() => finished(round, &shown).await,
                () = stop() => break,
            }
        }
        background.shutdown().await;
        self.go(rounds, sending, stop, shown).await
    }

    /// Starts a round for each due time.
    fn begin(self: &Arc<Self>, turns: Vec<Turn>, over: &mpsc::UnboundedSender<String>, rounds: &mut JoinSet<Ended>) {
        let mut by_due: BTreeMap<Timestamp, Vec<Turn>> = BTreeMap::new();
        for turn in turns {
            by_due.entry(turn.due).or_default().push(turn);
        }
        for turns in by_due.into_values() {
            let (closing, deadline) = (self.closing.subscribe(), self.deadline.subscribe());
            let occasion = Occasion { closing, deadline, over: over.clone() };
            let (host, heartbeat) = (self.host(), self.heartbeat());
            rounds.spawn(async move {
                let names = turns.iter().map(|turn| turn.check.clone()).collect();
                let runs = turns.iter().any(|turn| turn.left_out.is_none());
                // One that takes no part says nothing of those that do.
                let beat = heartbeat.filter(|_| runs && host.recorder.record.takes_part());
                // The heartbeat neither waits nor delays anything.
                let began = beat.clone().map(|beat| tokio::spawn(async move { beat.start().await }));
                let is_shared = host.recorder.record.member().is_some();
                let round = host.scheduled(turns, occasion).await;
                // One that ran nothing, since other hosts did, knows nothing of how they fared.
                let is_known = !is_shared || round.as_ref().map_or(true, |round| !round.is_empty());
                if let (Some(beat), Some(began), true) = (beat, began, is_known) {
                    let well = round.as_ref().is_ok_and(|round| round.unrecorded.is_none());
                    tokio::spawn(async move {
                        if let Ok(id) = began.await {
                            if well { beat.success(&id).await } else { beat.fail(&id).await }
                        }
                    });
                }
                Ended { host, names, round }
            });
        }
    }

    /// Starts looking at the dates that somebody asked for, and at those that are due for it.
    fn look_again(self: &Arc<Self>, over: &mpsc::UnboundedSender<String>, rounds: &mut JoinSet<Ended>) {
        let occasion = || {
            let (closing, deadline) = (self.closing.subscribe(), self.deadline.subscribe());
            Occasion { closing, deadline, over: over.clone() }
        };
        let names = || vec!["dates that were looked at again".to_owned()];
        let asked = self.host().recorder.asked();
        if !asked.is_empty() {
            let (host, occasion) = (self.host(), occasion());
            rounds.spawn(async move {
                let round = host.look_now(asked, occasion).await;
                Ended { host, names: names(), round }
            });
        }
        let now = record::now();
        let mut look_at = self.look_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back does not put it off.
        if *look_at > now && look_at.duration_since(now) <= NEXT_LOOK {
            return;
        }
        *look_at = now.saturating_add(NEXT_LOOK).unwrap_or(now);
        drop(look_at);
        let (host, occasion) = (self.host(), occasion());
        rounds.spawn(async move {
            let all: Vec<usize> = (0..host.checks.len()).collect();
            let round = host.look_again(&all, None, Some(occasion)).await;
            Ended { host, names: names(), round }
        });
    }

    fn announce(&self, next: Option<Timestamp>) {
        let Some(due) = next else {
            tracing::warn!("no check is ever due");
            return;
        };
        let host = self.host();
        let agenda = self.agenda();
        let names: Vec<&str> = host.checks.iter().map(|check| check.name.as_str()).collect();
        let names: Vec<&str> = names.into_iter().filter(|name| agenda.next_of(name) == Some(due)).collect();
        tracing::info!("next: {} at {due} ({})", listed(&names), wait(due));
    }

    /// Shuts down cleanly.
    async fn go(
        &self,
        mut rounds: JoinSet<Ended>,
        mut sending: JoinSet<()>,
        mut stop: impl AsyncFnMut(),
        shown: impl AsyncFn(&Host, &Round),
    ) -> Result<()> {
        let host = self.host();
        let grace = host.config.scheduler.grace.0;
        let end = Instant::now() + grace;
        let drop_at = end - FOR_MESSAGES.min(grace / 3);
        // No receivers if nothing is running.
        self.closing.send_replace(true);
        match rounds.len() {
            0 => tracing::info!("stopping: nothing is running"),
            1 => tracing::info!("stopping: 1 round is running and has {grace:?} to finish"),
            running => tracing::info!("stopping: {running} rounds are running and have {grace:?} to finish"),
        }
        let orderly = async {
            while !rounds.is_empty() {
                tokio::select! {
                    Some(round) = rounds.join_next() => finished(round, &shown).await,
                    () = tokio::time::sleep_until(drop_at), if !*self.deadline.borrow() => {
                        self.deadline.send_replace(true);
                    }
                }
            }
            host.recorder.delivery.close();
            let _ = tokio::time::timeout_at(end, async { while sending.join_next().await.is_some() {} }).await;
        };
        tokio::select! {
            () = orderly => {}
            // A second signal means now.
            () = stop() => tracing::warn!("stopping at once"),
        }
        // What did not end is another host's at once.
        sending.shutdown().await;
        if let Err(error) = host.recorder.record.give_all_back().await {
            tracing::warn!("other hosts take over what this one did once its leases end: {error:#}");
            return Ok(());
        }
        match host.recorder.record.waiting().await {
            Ok(waiting) => {
                for message in &waiting {
                    let (receiver, what) = message.told();
                    tracing::warn!("{receiver}: NOT delivered yet, the next start retries: {what}");
                }
            }
            Err(error) => tracing::warn!("whether messages wait is not known: {error:#}"),
        }
        Ok(())
    }
}

/// A finished round: its host and its checks.
struct Ended {
    host: Arc<Host>,
    names: Vec<String>,
    round: Result<Round>,
}

async fn finished(round: Result<Ended, tokio::task::JoinError>, shown: &impl AsyncFn(&Host, &Round)) {
    // A failed round must not prevent the next.
    match round {
        Ok(Ended { host, round: Ok(round), .. }) => shown(&host, &round).await,
        Ok(Ended { names, round: Err(error), .. }) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            tracing::error!("the round of {} failed: {error:#}", listed(&names));
        }
        Err(error) => tracing::error!("a round stopped unexpectedly: {error}"),
    }
}

/// Carries out what people order of dates. The scheduler never waits for the record.
async fn carry_out_orders(service: Arc<Service>) {
    loop {
        let host = service.host();
        host.recorder.try_to_write().await;
        if let Err(error) = host.recorder.carry_out(&host.config).await {
            tracing::warn!("orders cannot be carried out yet: {error:#}");
        }
        tokio::time::sleep(NAP).await;
    }
}

/// Removes old entries from the record, at intervals.
async fn forget(service: Arc<Service>) {
    loop {
        tokio::time::sleep(FORGET).await;
        let host = service.host();
        let forgotten = async {
            host.recorder.forget(&host.config).await?;
            host.recorder.forget_dates(&host.config).await
        };
        if let Err(error) = forgotten.await {
            tracing::error!("old entries cannot be removed from the record: {error:#}");
        }
    }
}

/// The schedules, from where the record is.
async fn continued(host: &Host) -> Result<Agenda> {
    let names: Vec<&str> = host.checks.iter().map(|check| check.name.as_str()).collect();
    let newest = host.recorder.show(&names).await?;
    Ok(Agenda::new(plans(host), |check| newest.get(check).copied(), record::now()))
}

/// When each check runs.
fn plans(host: &Host) -> BTreeMap<String, Plan> {
    let plan = |check: &Arc<Check>| {
        let pace = host.config.pace(&check.name);
        let (schedule, zone) = (check.schedule.clone(), check.zone.clone());
        (check.name.clone(), Plan { schedule, zone, overlap: pace.overlap, missed: pace.missed })
    };
    host.checks.iter().filter(|check| !check.waits).map(plan).collect()
}

/// `in 12 min`
fn wait(due: Timestamp) -> String {
    match due.duration_since(record::now()).as_secs() {
        seconds @ ..=90 => format!("in {} s", seconds.max(0)),
        seconds => format!("in {} min", seconds / 60),
    }
}
