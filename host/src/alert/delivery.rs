//! Sends messages from the outbox to the receivers: in order for each receiver, retried until accepted or refused for
//! good, with an alarm when a message is late or set aside.

mod alarm;
mod joined;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::{sync::Notify, task::JoinSet};

pub use alarm::unrecorded;

use super::{
    Notification, block_kit, buttons, console,
    exchange::Answer,
    proof::{Accepted, Proof},
    receivers::{FALLBACK, Receivers},
    threads::Route,
    updates::Updates,
};
use crate::{
    config::{self, Config},
    metrics::Metrics,
    record::{self, Attempt, Lease, Message, NewMessage, Outcome, Record, Threading, Undelivered},
};

/// The time between two messages, by Slack's rate limit for a webhook, and for a channel of a bot:
/// <https://docs.slack.dev/apis/web-api/rate-limits>
const BETWEEN: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, unless the receiver asks for a longer one.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// The first wait after the record could not be read; it doubles, so that a short lock does not cost a message its turn.
const UNREADABLE: Duration = Duration::from_millis(200);
/// The longest wait after that.
const LONG_UNREADABLE: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Sends messages from the outbox to their receivers.
#[derive(Debug)]
pub struct Delivery {
    record: Record,
    /// Replaced when host.toml changes.
    terms: RwLock<Arc<Terms>>,
    updates: Arc<Updates>,
    /// The requests that came from Slack.
    accepted: Accepted,
    metrics: Arc<Metrics>,
    wake: Notify,
    closing: AtomicBool,
    set_aside: AtomicUsize,
    /// The last try by receiver. It outlives the worker, since the next message may come just after one has ended.
    tried: Mutex<HashMap<String, Tried>>,
}

/// The receivers, and the settings of `[delivery]`.
#[derive(Debug)]
struct Terms {
    receivers: Arc<Receivers>,
    config: config::Delivery,
    /// How long a message waits for what other hosts find in the same round.
    group_wait: Duration,
}

/// The machine's clock, by which requests from Slack are judged: that of a database may be minutes off.
#[allow(clippy::disallowed_methods)]
fn clock() -> Timestamp {
    Timestamp::now()
}

/// Whether a receiver's messages are looked at again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rests {
    Not,
    /// Another host sends them, or this one cannot: the next time that somebody says that messages wait.
    UntilWoken,
}

/// A message that was tried.
#[derive(Debug, Clone)]
struct Tried {
    id: String,
    /// How often it was tried with this.
    attempts: u32,
    /// When the receiver's next request is allowed, on the monotonic clock.
    allowed: Instant,
}

/// The result of sending a message.
struct Sent {
    answer: Answer,
    /// The undelivered messages that it reports.
    told: Vec<Undelivered>,
    threading: Threading,
}

impl Sent {
    /// One that no thread has to do with.
    fn answered(answer: Answer) -> Self {
        Self { answer, told: Vec::new(), threading: Threading::default() }
    }
}

impl Delivery {
    /// Starts without sending anything.
    pub fn new(record: Record, receivers: Receivers, config: config::Delivery, metrics: Arc<Metrics>) -> Arc<Self> {
        let receivers = Arc::new(receivers);
        Arc::new(Self {
            updates: Updates::new(record.clone(), receivers.clone()),
            accepted: Accepted::since(clock()),
            record,
            terms: RwLock::new(Arc::new(Terms { receivers, config, group_wait: Duration::ZERO })),
            metrics,
            wake: Notify::new(),
            closing: AtomicBool::new(false),
            set_aside: AtomicUsize::new(0),
            tried: Mutex::default(),
        })
    }

    /// Uses other receivers or settings from now on.
    pub fn send_to(&self, receivers: Receivers, config: &Config) {
        let receivers = Arc::new(receivers);
        let (group_wait, config) = (config.alerts.group_wait.0, config.delivery.clone());
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Terms { receivers: receivers.clone(), config, group_wait });
        self.updates.send_to(receivers);
        self.wake();
    }

    fn terms(&self) -> Arc<Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Signals new messages in the outbox, and incidents that stand otherwise.
    pub fn wake(&self) {
        self.wake.notify_one();
        self.updates.wake();
    }

    /// Whether messages have buttons.
    pub fn has_buttons(&self) -> bool {
        self.terms().receivers.signing_secret().is_some()
    }

    /// Accepts a request from Slack, once. An error says why it is not from Slack, or not accepted.
    pub fn accept(&self, proof: Proof<'_>) -> Result<(), &'static str> {
        let secret = self.terms().receivers.signing_secret().ok_or("messages have no buttons here")?;
        self.accepted.accept(&secret, proof, clock())
    }

    /// Tells one user of a channel in Slack something that nobody else sees, if Slack takes it.
    pub async fn whisper(&self, channel: &str, user: &str, text: &str) {
        let answer = self.terms().receivers.whisper((channel, user), text).await;
        if !matches!(answer, Answer::Taken(_)) {
            tracing::info!("{user} in Slack was not told so: {answer:?}");
        }
    }

    /// The number of messages that this process has set aside.
    pub fn set_aside(&self) -> usize {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// Closes the outbox: [`Delivery::run`] ends once it is empty.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// Delivers messages until the outbox is closed and empty. A message for a channel without a webhook waits for a start
    /// that has it, and is set aside when it is late. Meanwhile first messages are updated; at the end once more.
    pub async fn run(self: Arc<Self>) {
        let mut updates = JoinSet::new();
        updates.spawn(self.updates.clone().run());
        self.deliver().await;
        self.updates.finish();
        updates.join_all().await;
    }

    async fn deliver(self: &Arc<Self>) {
        let mut workers: JoinSet<(String, Rests)> = JoinSet::new();
        let (mut busy, mut resting) = (BTreeSet::new(), BTreeSet::new());
        let mut pause = UNREADABLE;
        loop {
            // Check this before reading the outbox, so that messages from before the closing are seen.
            let closing = self.closing.load(Ordering::Acquire);
            match self.record.receivers_waiting().await {
                Ok(receivers) => {
                    pause = UNREADABLE;
                    let terms = self.terms();
                    let may = |receiver: &String| receiver != FALLBACK || terms.receivers.know(receiver);
                    for receiver in receivers.into_iter().filter(may).filter(|one| !resting.contains(one)) {
                        if busy.insert(receiver.clone()) {
                            let delivery = self.clone();
                            workers.spawn(async move { delivery.work(receiver).await });
                        }
                    }
                }
                Err(error) => {
                    tracing::error!("messages cannot be delivered: {error:#}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONG_UNREADABLE);
                    continue;
                }
            }
            if closing && busy.is_empty() {
                return;
            }
            tokio::select! {
                () = self.wake.notified() => resting.clear(),
                // A message without a receiver may be late by now.
                () = tokio::time::sleep(LONGEST), if !closing => resting.clear(),
                Some(ended) = workers.join_next() => match ended {
                    Ok((receiver, rests)) => {
                        busy.remove(&receiver);
                        if rests == Rests::UntilWoken {
                            resting.insert(receiver);
                        }
                    }
                    // A bug in the host: the worker of that receiver starts again.
                    Err(_) => {
                        workers.shutdown().await;
                        busy.clear();
                    }
                },
            }
        }
    }

    /// Sends one receiver's messages in order.
    async fn work(&self, receiver: String) -> (String, Rests) {
        let lease = match self.record.member() {
            None => None,
            // Another host sends them, or the record does not answer: the next time that messages are seen to wait.
            Some(_) => match self.record.take_on(&format!("channel {receiver}")).await {
                Ok(Some(lease)) => Some(lease),
                Ok(None) => return (receiver, Rests::UntilWoken),
                Err(error) => {
                    tracing::warn!("{receiver}: messages wait, since the record does not answer: {error:#}");
                    tokio::time::sleep(UNREADABLE).await;
                    return (receiver, Rests::Not);
                }
            },
        };
        let rests = self.work_under(&receiver, lease.as_ref()).await;
        if let Some(lease) = &lease
            && let Err(error) = self.record.give_back(lease, None).await
        {
            tracing::warn!("{receiver}: another host sends its messages once the lease of this one ends: {error:#}");
        }
        (receiver, rests)
    }

    /// The same, under a claim if several hosts share the record: until it is lost.
    async fn work_under(&self, receiver: &str, lease: Option<&Lease>) -> Rests {
        let mut pause = UNREADABLE;
        loop {
            if lease.is_some_and(|lease| !lease.is_fresh()) {
                return Rests::Not;
            }
            match self.step(receiver, lease).await {
                Ok(true) => pause = UNREADABLE,
                // Of one that this host has no way to, the messages wait for that, or until they are late.
                Ok(false) if !self.terms().receivers.know(receiver) => return Rests::UntilWoken,
                Ok(false) => return Rests::Not,
                Err(error) => {
                    tracing::error!("{receiver}: a message cannot be delivered: {error:#}");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONG_UNREADABLE);
                }
            }
        }
    }

    /// Tries the next message when its time has come. Returns whether there was one.
    async fn step(&self, receiver: &str, lease: Option<&Lease>) -> Result<bool> {
        let Some(mut message) = self.record.next_message(receiver).await? else { return Ok(false) };
        if let Some(lease) = lease
            && !message.composed
            && message.attempts == 0
            && receiver != FALLBACK
        {
            self.join(receiver, &message, lease).await?;
            let Some(joined) = self.record.next_message(receiver).await? else { return Ok(false) };
            message = joined;
        }
        let now = record::now();
        if !self.terms().receivers.know(receiver) {
            let late = self.left(&message, now).is_zero();
            if late {
                self.attempt(&message, lease).await?;
            }
            return Ok(late);
        }
        let tried = self.tried().get(receiver).cloned();
        let start = match tried {
            // Unless another host has tried it since, and was told to wait.
            Some(tried) if tried.id == message.id && tried.attempts == message.attempts => tried.allowed,
            _ => {
                // Written before a restart, and the clock may have been set since.
                let waits = Duration::try_from(message.next_attempt.duration_since(now)).unwrap_or_default();
                let left = if waits > LONGEST_ASKED { Duration::ZERO } else { waits };
                let allowed = Instant::now() + left;
                tried.map_or(allowed, |tried| allowed.max(tried.allowed))
            }
        };
        // Messages that wait behind this one may be late too.
        let oldest = self.record.next_late(receiver).await?;
        let late_in = oldest.as_ref().and_then(|oldest| self.late_in(oldest, now));
        if let Some((oldest, late_in)) = oldest.as_ref().zip(late_in.filter(|left| Instant::now() + *left < start)) {
            tokio::time::sleep(late_in).await;
            let behind = format!("it is waiting behind message {}", message.id);
            let untried = if oldest.id == message.id { "not tried yet" } else { behind.as_str() };
            let alarm = self.raise(oldest, oldest.problem.as_deref().unwrap_or(untried), true);
            self.record.alarm(&oldest.id, alarm.as_ref()).await?;
            self.wake();
            return Ok(true);
        }
        tokio::time::sleep_until(start.into()).await;
        // The wait may have been long.
        if lease.is_some_and(|lease| !lease.is_fresh()) {
            return Ok(false);
        }
        let allowed = self.attempt(&message, lease).await?;
        let tried = Tried { id: message.id, attempts: message.attempts + 1, allowed };
        self.tried().insert(receiver.to_owned(), tried);
        Ok(true)
    }

    fn tried(&self) -> MutexGuard<'_, HashMap<String, Tried>> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until a message is late; `None` if that was already reported.
    fn late_in(&self, message: &Message, now: Timestamp) -> Option<Duration> {
        (!message.alarmed).then(|| self.left(message, now))
    }

    /// The time until a message is late, whether or not that was reported.
    fn left(&self, message: &Message, now: Timestamp) -> Duration {
        let age = Duration::try_from(now.duration_since(message.created)).unwrap_or_default();
        self.terms().config.late.0.saturating_sub(age)
    }

    /// Sends a message, records the answer, and returns when the next request is allowed.
    async fn attempt(&self, message: &Message, lease: Option<&Lease>) -> Result<Instant> {
        let at = record::now();
        let sent = self.send(message, at);
        let Sent { answer, told, threading } = match lease {
            None => sent.await?,
            // By then another host may send it.
            Some(lease) => match tokio::time::timeout(lease.left(), sent).await {
                Ok(sent) => sent?,
                Err(_) => {
                    Sent::answered(Answer::Again("no answer before the claim of the channel ended".to_owned(), None))
                }
            },
        };
        let next = |after| Outcome::Again { after, plain: message.plain };
        let outcome = match &answer {
            Answer::Taken(_) => Outcome::Delivered,
            Answer::Again(_, asked) => next(self.backoff(message.attempts, *asked)),
            Answer::Unreadable(_) if !message.plain && message.receiver != FALLBACK => {
                Outcome::Again { after: BETWEEN, plain: true }
            }
            // Without that thread, it goes to another one or to the channel.
            Answer::Threadless(_) if threading.gone.is_some() => next(BETWEEN),
            Answer::Unreadable(_) | Answer::Threadless(_) | Answer::Refused(_) => Outcome::SetAside,
        };
        self.metrics.sent(
            &message.receiver,
            match outcome {
                Outcome::Delivered => "taken",
                Outcome::Again { .. } => "again",
                Outcome::SetAside => "set_aside",
            },
        );
        let said = match answer {
            Answer::Taken(_) => "taken".to_owned(),
            Answer::Again(said, _) | Answer::Unreadable(said) | Answer::Threadless(said) | Answer::Refused(said) => {
                said
            }
        };
        let now = record::now();
        let late = self.late_in(message, now).is_some_and(|left| left.is_zero());
        let (alarmed, alarm) = match outcome {
            Outcome::SetAside => {
                self.set_aside.fetch_add(1, Ordering::Relaxed);
                (true, self.raise(message, &said, false))
            }
            Outcome::Again { .. } if late => (true, self.raise(message, &said, true)),
            _ => (false, None),
        };
        let attempt = Attempt { at, answer: said, outcome, threading };
        self.record(message, &attempt, alarmed, alarm.as_ref()).await;
        if alarm.is_some() {
            self.wake();
        }
        if outcome == Outcome::Delivered {
            // Otherwise the next message would report them again.
            let _ = self.record.told(&told).await;
            self.updates.wake();
        }
        let pause = if self.terms().receivers.is_console() { Duration::ZERO } else { BETWEEN };
        Ok(Instant::now()
            + match outcome {
                Outcome::Again { after, .. } => after.max(pause),
                _ => pause,
            })
    }

    /// Writes the receipt, retrying without end: an accepted message must not be sent again because the disk is full.
    async fn record(&self, message: &Message, attempt: &Attempt, alarmed: bool, alarm: Option<&NewMessage>) {
        let mut pause = self.terms().config.backoff.0;
        while let Err(error) = self.record.receipt(&message.id, attempt, alarmed, alarm).await {
            tracing::error!(
                "{}: the receipt of message {} cannot be recorded: {error:#}",
                message.receiver,
                message.id
            );
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    async fn send(&self, message: &Message, at: Timestamp) -> Result<Sent> {
        let terms = self.terms();
        if message.receiver == FALLBACK {
            let payload: Value = serde_json::from_str(&message.notification).unwrap_or_default();
            return Ok(Sent::answered(terms.receivers.alarm(&message.id, &payload).await));
        }
        let notification: Notification = match serde_json::from_str(&message.notification) {
            Ok(notification) => notification,
            // A retry would not make it readable.
            Err(error) => {
                return Ok(Sent::answered(Answer::Refused(format!("its record cannot be read: {error}"))));
            }
        };
        let before = at.checked_sub(SignedDuration::try_from(terms.config.late.0)?)?;
        let undelivered = self.record.undelivered(before, true).await?;
        let others: Vec<Undelivered> =
            undelivered.into_iter().filter(|other| other.id != message.id && other.receiver != FALLBACK).collect();
        if terms.receivers.is_console() {
            crate::log::show(&console::shown(&notification, &others));
            return Ok(Sent { told: others, ..Sent::answered(Answer::Taken(None)) });
        }
        let (route, label) = match terms.receivers.is_bot() {
            true => {
                let route = Route::find(&self.record, &message.receiver, &notification).await?;
                (route, block_kit::label(&message.id, &notification))
            }
            false => (Route::default(), message.id.clone()),
        };
        let payload = match message.plain {
            false => {
                let has_buttons = terms.receivers.signing_secret().is_some();
                let buttons = has_buttons.then(|| buttons::block(&notification, |one| route.offer(one))).flatten();
                block_kit::payload(&notification, &label, &others, buttons)
            }
            true => block_kit::plain(&notification, &label, &others),
        };
        let answer = terms.receivers.send(route.target(&message.receiver), &message.id, &payload).await;
        let threading = match &answer {
            Answer::Taken(posted) => route.after(message, &notification, posted.as_ref(), &others),
            Answer::Threadless(_) => route.without_thread().unwrap_or_default(),
            Answer::Again(..) | Answer::Unreadable(_) | Answer::Refused(_) => Threading::default(),
        };
        Ok(Sent { answer, told: others, threading })
    }

    /// The wait before a retry: doubles with each attempt, with jitter so that several hosts do not retry at once.
    fn backoff(&self, attempts: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.terms().config.backoff.0.saturating_mul(1 << attempts.min(16)).min(LONGEST);
        let jittered = doubled.mul_f64(fastrand::f64().mul_add(0.5, 0.75));
        asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered))
    }
}
