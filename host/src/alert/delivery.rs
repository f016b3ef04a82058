//! From the outbox to the receivers: in order for each, again until it is taken or never will be, and an alarm when it
//! is late or was not.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::{sync::Notify, task::JoinSet};

use super::{
    Notification, block_kit, console, id,
    receivers::{Answer, FALLBACK, Receivers},
};
use crate::{
    config,
    metrics::Metrics,
    record::{Attempt, Message, NewMessage, Outcome, Record, Undelivered},
};

/// What Slack takes from one webhook: <https://docs.slack.dev/apis/web-api/rate-limits#incoming_webhooks>
const BETWEEN: Duration = Duration::from_secs(1);
/// The longest wait between two attempts, unless the receiver asks for a longer one.
const LONGEST: Duration = Duration::from_secs(5 * 60);
/// How long to wait when the record cannot be read.
const UNREADABLE: Duration = Duration::from_secs(30);
/// The longest wait that a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Gets messages from the outbox to their receivers.
#[derive(Debug)]
pub struct Delivery {
    record: Record,
    /// Changed when host.toml is.
    terms: RwLock<Arc<Terms>>,
    metrics: Arc<Metrics>,
    wake: Notify,
    closing: AtomicBool,
    set_aside: AtomicUsize,
}

/// Where messages go, and how.
#[derive(Debug)]
struct Terms {
    receivers: Receivers,
    config: config::Delivery,
}

impl Delivery {
    /// Sends nothing yet.
    pub fn new(record: Record, receivers: Receivers, config: config::Delivery, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            record,
            terms: RwLock::new(Arc::new(Terms { receivers, config })),
            metrics,
            wake: Notify::new(),
            closing: AtomicBool::new(false),
            set_aside: AtomicUsize::new(0),
        })
    }

    /// Sends elsewhere, or in another way, from now on.
    pub fn send_to(&self, receivers: Receivers, config: config::Delivery) {
        *self.terms.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Terms { receivers, config });
        self.wake();
    }

    fn terms(&self) -> Arc<Terms> {
        self.terms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is something new in the outbox.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// How many messages were set aside so far, by this process.
    pub fn set_aside(&self) -> usize {
        self.set_aside.load(Ordering::Relaxed)
    }

    /// Nothing more comes into the outbox: [`Delivery::run`] ends when nothing waits there.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.wake();
    }

    /// Delivers what is in the outbox and what comes into it, until it is closed and empty. A message whose receiver is
    /// not known to this start waits for one that knows it.
    pub async fn run(self: Arc<Self>) {
        let mut workers: JoinSet<String> = JoinSet::new();
        let mut busy = BTreeSet::new();
        loop {
            // Before the outbox is read: what came into it until it was closed is seen then.
            let closing = self.closing.load(Ordering::Acquire);
            match self.record.receivers_waiting().await {
                Ok(receivers) => {
                    let terms = self.terms();
                    for receiver in receivers.into_iter().filter(|receiver| terms.receivers.know(receiver)) {
                        if busy.insert(receiver.clone()) {
                            let delivery = self.clone();
                            workers.spawn(async move { delivery.work(receiver).await });
                        }
                    }
                }
                Err(error) => {
                    tracing::error!("messages cannot be delivered: {error:#}");
                    tokio::time::sleep(UNREADABLE).await;
                    continue;
                }
            }
            if closing && busy.is_empty() {
                return;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                Some(ended) = workers.join_next() => match ended {
                    Ok(receiver) => drop(busy.remove(&receiver)),
                    // A panic of the host's own. Whoever it was starts again, and alone.
                    Err(_) => {
                        workers.shutdown().await;
                        busy.clear();
                    }
                },
            }
        }
    }

    /// Sends one receiver's messages, one after the other.
    async fn work(&self, receiver: String) -> String {
        let mut tried = None;
        loop {
            match self.step(&receiver, &mut tried).await {
                Ok(true) => {}
                Ok(false) => return receiver,
                Err(error) => {
                    tracing::error!("{receiver}: a message cannot be delivered: {error:#}");
                    tokio::time::sleep(UNREADABLE).await;
                }
            }
        }
    }

    /// Tries the message that is next, at its time; false when there is none. `tried` is the message that was tried
    /// last, and when the next attempt is allowed: on this process's own clock, which nobody can set.
    async fn step(&self, receiver: &str, tried: &mut Option<(String, Instant)>) -> Result<bool> {
        let Some(message) = self.record.next_message(receiver).await? else { return Ok(false) };
        let now = Timestamp::now();
        let start = match tried {
            Some((id, allowed)) if *id == message.id => *allowed,
            _ => {
                // Written before a restart, by a clock that may have been set since.
                let waits = Duration::try_from(message.next_attempt.duration_since(now)).unwrap_or_default();
                let left = if waits > LONGEST_ASKED { Duration::ZERO } else { waits };
                let allowed = Instant::now() + left;
                tried.as_ref().map_or(allowed, |(_, earliest)| allowed.max(*earliest))
            }
        };
        // Others may be late while they wait behind this one.
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
        let earliest = self.attempt(&message).await?;
        *tried = Some((message.id, earliest));
        Ok(true)
    }

    /// How long until a message is late; none when that was said.
    fn late_in(&self, message: &Message, now: Timestamp) -> Option<Duration> {
        let age = Duration::try_from(now.duration_since(message.created)).unwrap_or_default();
        (!message.alarmed).then(|| self.terms().config.late.0.saturating_sub(age))
    }

    /// Sends a message, records what was answered, and gives the moment of the next request that is allowed.
    async fn attempt(&self, message: &Message) -> Result<Instant> {
        let at = Timestamp::now();
        let (answer, told) = self.send(message, at).await?;
        let next = |after| Outcome::Again { after, plain: message.plain };
        let outcome = match &answer {
            Answer::Taken => Outcome::Delivered,
            Answer::Again(_, asked) => next(self.backoff(message.attempts, *asked)),
            Answer::Unreadable(_) if !message.plain && message.receiver != FALLBACK => {
                Outcome::Again { after: BETWEEN, plain: true }
            }
            Answer::Unreadable(_) | Answer::Refused(_) => Outcome::SetAside,
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
            Answer::Taken => "taken".to_owned(),
            Answer::Again(said, _) | Answer::Unreadable(said) | Answer::Refused(said) => said,
        };
        let now = Timestamp::now();
        let late = self.late_in(message, now).is_some_and(|left| left.is_zero());
        let (alarmed, alarm) = match outcome {
            Outcome::SetAside => {
                self.set_aside.fetch_add(1, Ordering::Relaxed);
                (true, self.raise(message, &said, false))
            }
            Outcome::Again { .. } if late => (true, self.raise(message, &said, true)),
            _ => (false, None),
        };
        let attempt = Attempt { at, answer: said, outcome };
        self.record(message, &attempt, alarmed, alarm.as_ref()).await;
        if alarm.is_some() {
            self.wake();
        }
        if outcome == Outcome::Delivered {
            // Were it not noted, the next message would tell of them again.
            let _ = self.record.told(&told).await;
        }
        let pause = if self.terms().receivers.is_console() { Duration::ZERO } else { BETWEEN };
        Ok(Instant::now()
            + match outcome {
                Outcome::Again { after, .. } => after.max(pause),
                _ => pause,
            })
    }

    /// Writes the receipt, for as long as it takes: a message that was taken must not be sent again because the disk is
    /// full.
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

    /// The answer, and the undelivered messages that this one tells of.
    async fn send(&self, message: &Message, at: Timestamp) -> Result<(Answer, Vec<Undelivered>)> {
        if message.receiver == FALLBACK {
            let payload: Value = serde_json::from_str(&message.notification).unwrap_or_default();
            return Ok((self.terms().receivers.alarm(&message.id, &payload).await, Vec::new()));
        }
        let notification: Notification = match serde_json::from_str(&message.notification) {
            Ok(notification) => notification,
            // Sending it again would not make it readable.
            Err(error) => return Ok((Answer::Refused(format!("its record cannot be read: {error}")), Vec::new())),
        };
        let before = at.checked_sub(SignedDuration::try_from(self.terms().config.late.0)?)?;
        let undelivered = self.record.undelivered(before, true).await?;
        let others: Vec<Undelivered> =
            undelivered.into_iter().filter(|other| other.id != message.id && other.receiver != FALLBACK).collect();
        if self.terms().receivers.is_console() {
            crate::log::show(&console::shown(&notification, &others));
            return Ok((Answer::Taken, others));
        }
        let payload = match message.plain {
            false => block_kit::payload(&notification, &message.id, &others),
            true => block_kit::plain(&notification, &message.id, &others),
        };
        Ok((self.terms().receivers.send(&message.receiver, &message.id, &payload).await, others))
    }

    /// Doubles with each attempt, and differs between hosts that failed at the same moment.
    fn backoff(&self, attempts: u32, asked: Option<Duration>) -> Duration {
        let doubled = self.terms().config.backoff.0.saturating_mul(1 << attempts.min(16)).min(LONGEST);
        let jittered = doubled.mul_f64(fastrand::f64().mul_add(0.5, 0.75));
        asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered))
    }

    /// Says aloud that a message does not get through, and gives the message that says so to the fallback.
    fn raise(&self, message: &Message, problem: &str, waiting: bool) -> Option<NewMessage> {
        let Message { id, receiver, title, created, .. } = message;
        let next = if waiting { "will be retried" } else { "will not be retried" };
        tracing::error!("{receiver}: message {id} ({title}) was NOT delivered and {next}: {problem}");
        if receiver == FALLBACK || !self.terms().receivers.has_fallback() {
            return None;
        }
        let payload = json!({
            "event": "undelivered",
            "id": id,
            "channel": receiver,
            "title": title,
            "decided": created,
            "problem": problem,
            "tried_again": waiting,
            "text": format!("host could not deliver a message to {receiver}: {title} ({problem})"),
        });
        let alarm = format!("{id}-{}", if waiting { "late" } else { "set-aside" });
        Some(NewMessage {
            id: alarm,
            receiver: FALLBACK.to_owned(),
            title: format!("undelivered: {title}"),
            notification: payload.to_string(),
            created: Timestamp::now(),
            checks: BTreeSet::new(),
        })
    }

    /// See [`unrecorded`].
    pub async fn unrecorded(&self, text: &str) {
        unrecorded(&self.terms().receivers, text).await;
    }
}

/// Tells the fallback at once, past the outbox, that this cannot be written.
pub async fn unrecorded(receivers: &Receivers, text: &str) {
    if receivers.has_fallback() {
        let payload = json!({ "event": "unrecorded", "text": format!("host: {text}") });
        let answer = receivers.alarm(&id(text), &payload).await;
        if answer != Answer::Taken {
            tracing::error!("the fallback was not notified: {answer:?}");
        }
    }
}
