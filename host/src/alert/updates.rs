//! Updates the first message about an incident to how it stands now. An update is retried, and never delays a message.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    Mentioned, Notification,
    block_kit::{self, Present},
    buttons::{self, Offer},
    exchange::Answer,
    receivers::Receivers,
};
use crate::record::{self, Outdated, Record, Thread, Undelivered};

/// The time between two updates: Slack allows 50 a minute (tier 3).
/// <https://docs.slack.dev/apis/web-api/rate-limits>
const BETWEEN: Duration = Duration::from_millis(1200);
/// The first wait after a failed update; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(5);
/// The longest wait, also if Slack asks for a longer one.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Updates first messages, one after the other.
#[derive(Debug)]
pub(super) struct Updates {
    record: Record,
    /// Replaced when host.toml changes.
    receivers: RwLock<Arc<Receivers>>,
    wake: Notify,
    /// Whether all messages were sent, so that nothing new becomes due.
    last: AtomicBool,
}

impl Updates {
    pub(super) fn new(record: Record, receivers: Arc<Receivers>) -> Arc<Self> {
        let (wake, last) = (Notify::new(), AtomicBool::new(false));
        Arc::new(Self { record, receivers: RwLock::new(receivers), wake, last })
    }

    /// Uses other receivers from now on.
    pub(super) fn send_to(&self, receivers: Arc<Receivers>) {
        *self.receivers.write().unwrap_or_else(PoisonError::into_inner) = receivers;
        self.wake();
    }

    /// Signals that an incident has changed.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ends [`Updates::run`] once each update that is due was tried.
    pub(super) fn finish(&self) {
        self.last.store(true, Ordering::Release);
        self.wake();
    }

    fn receivers(&self) -> Arc<Receivers> {
        self.receivers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Updates until it is told to finish. What failed then is left to the next start.
    pub(super) async fn run(self: Arc<Self>) {
        loop {
            // Read before the record, so that what was written before the end is seen.
            let last = self.last.load(Ordering::Acquire);
            let due = match self.due().await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!("first messages are not updated: {error:#}");
                    Some((None, FIRST))
                }
            };
            match due {
                Some((Some(outdated), wait)) if wait.is_zero() => {
                    let done = self.update(&outdated).await;
                    if let Err(error) = &done {
                        tracing::warn!("the update of a first message is not recorded: {error:#}");
                    }
                    if last && !done.unwrap_or(false) {
                        return;
                    }
                    tokio::time::sleep(BETWEEN).await;
                }
                _ if last => return,
                Some((_, wait)) => {
                    let _ = tokio::time::timeout(wait, self.wake.notified()).await;
                }
                None => self.wake.notified().await,
            }
        }
    }

    /// The next update, and in how long it is due.
    async fn due(&self) -> Result<Option<(Option<Outdated>, Duration)>> {
        if !self.receivers().is_bot() {
            return Ok(None);
        }
        let Some(outdated) = self.record.next_outdated().await? else { return Ok(None) };
        let wait = Duration::try_from(outdated.next_attempt.duration_since(record::now())).unwrap_or_default();
        // The clock may have been set back since it was written.
        let wait = if wait > LONGEST { Duration::ZERO } else { wait };
        Ok(Some((Some(outdated), wait)))
    }

    /// Updates one message; `false` if that failed and is due again.
    async fn update(&self, outdated: &Outdated) -> Result<bool> {
        let Outdated { channel_id, ts, .. } = outdated;
        let threads = self.record.begun_in(channel_id, ts).await?;
        let id = threads.first().map(|thread| thread.message_id.as_str()).unwrap_or_default();
        let Some(message) = self.record.sent_message(id).await? else {
            self.record.forget_thread(channel_id, ts).await?;
            return Ok(true);
        };
        let Ok(notification) = serde_json::from_str::<Notification>(&message.notification) else {
            // A retry would not make it readable.
            self.record.updated(&threads).await?;
            return Ok(true);
        };
        let receivers = self.receivers();
        let present = present(&notification, &threads, receivers.signing_secret().is_some());
        let undelivered = threads.first().map(|thread| thread.undelivered.as_str()).unwrap_or_default();
        let undelivered: Vec<Undelivered> = serde_json::from_str(undelivered).unwrap_or_default();
        let label = block_kit::label(&message.id, &notification);
        let updated = |plain| block_kit::updated(&notification, &label, &undelivered, &present, plain);
        let place = (channel_id.as_str(), ts.as_str());
        let mut answer = receivers.update(place, &message.id, &updated(message.plain)).await;
        if let (Answer::Unreadable(_), false) = (&answer, message.plain) {
            answer = receivers.update(place, &message.id, &updated(true)).await;
        }
        let channel = &message.receiver;
        match answer {
            Answer::Taken(_) => {}
            Answer::Again(said, asked) => {
                tracing::debug!("{channel}: message {} is updated later: {said}", message.id);
                let doubled = FIRST.saturating_mul(1 << outdated.attempts.min(16));
                let wait = asked.unwrap_or_default().max(doubled).min(LONGEST);
                let next = record::now().checked_add(wait).unwrap_or(Timestamp::MAX);
                self.record.not_updated(outdated, next).await?;
                return Ok(false);
            }
            // It was deleted: what follows about its incidents begins a new thread.
            Answer::Threadless(said) => {
                tracing::info!("{channel}: message {} is gone, and its thread with it: {said}", message.id);
                self.record.forget_thread(channel_id, ts).await?;
                return Ok(true);
            }
            Answer::Unreadable(said) | Answer::Refused(said) => {
                tracing::warn!("{channel}: message {} cannot be updated: {said}", message.id);
            }
        }
        self.record.updated(&threads).await?;
        Ok(true)
    }
}

/// How the incidents that a first message began stand; in its own order.
fn present(notification: &Notification, threads: &[Thread], has_buttons: bool) -> Present {
    let state = |thread: &Thread| serde_json::from_str::<Mentioned>(&thread.state).ok();
    let of = |incident: &Mentioned| threads.iter().find(|thread| thread.incident == incident.id).and_then(state);
    let offer = |incident: &Mentioned| {
        let thread = threads.iter().find(|thread| thread.incident == incident.id)?;
        let done = state(thread).is_some_and(|incident| incident.stage.is_over() || incident.acknowledged);
        Some(if done { Offer::Nothing } else { Offer::Acknowledge })
    };
    Present {
        buttons: has_buttons.then(|| buttons::block(notification, offer)).flatten(),
        incidents: notification.incidents.iter().filter_map(of).collect(),
        over: threads.iter().all(|thread| state(thread).is_some_and(|incident| incident.stage.is_over())),
    }
}
