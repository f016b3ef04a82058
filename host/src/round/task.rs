//! One check's part in a round: waits for its jitter and for room, runs, and retries runs without a verdict.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::{mpsc::UnboundedSender, watch};
use tracing::Instrument;

use crate::{
    capability::Backends,
    check::Check,
    config::Pace,
    host::{Slot, Slots},
    recorder::Recorder,
    run::{Moment, Run, Untold},
    schedule::jitter,
    text::printable,
};

/// The task of a round for one check.
pub(super) struct Task {
    pub(super) check: Arc<Check>,
    pub(super) moment: Moment,
    pub(super) backends: Arc<Backends>,
    /// Where it waits for room; `None` if a caller waits for the result.
    pub(super) slots: Option<Arc<Slots>>,
    /// Whether it waits among the dates that are looked at again.
    pub(super) looks: bool,
    /// Becomes true at shutdown: then it does not start any more.
    pub(super) closing: Option<watch::Receiver<bool>>,
    pub(super) recorder: Arc<Recorder>,
    /// For a scheduled run.
    pub(super) scheduled: Option<Scheduled>,
}

/// The extra parts of a scheduled run.
pub(super) struct Scheduled {
    pub(super) pace: Pace,
    /// Receives the end of the turn.
    pub(super) over: Over,
}

/// Reports the end of a check's turn, in whatever way it ends.
pub(super) struct Over {
    pub(super) check: String,
    pub(super) tell: UnboundedSender<String>,
}

impl Drop for Over {
    fn drop(&mut self) {
        // Nobody listens any more at shutdown.
        let _ = self.tell.send(std::mem::take(&mut self.check));
    }
}

impl Task {
    /// The attempts; the last one counts. Empty if the host shut down before the first.
    pub(super) async fn perform(mut self) -> Vec<Run> {
        let mut closing = self.closing.take();
        let Some(scheduled) = self.scheduled.take() else {
            let _slot = tokio::select! {
                slot = self.room() => slot,
                () = closes(&mut closing) => return Vec::new(),
            };
            return vec![self.run(1).await];
        };
        let begin = self.moment.due + jitter(&self.check.name, self.moment.due, scheduled.pace.jitter);
        let given = Timestamp::now();
        let mut runs = Vec::new();
        for tried in 1.. {
            let wait = match tried {
                1 => Duration::try_from(begin.duration_since(Timestamp::now())).unwrap_or_default(),
                _ => scheduled.pace.retry_wait,
            };
            let room = async {
                tokio::time::sleep(wait).await;
                self.room().await
            };
            let _slot = tokio::select! {
                slot = room => slot,
                // A run that has not started counts as missed, and the next start catches up; a failed attempt stays.
                () = closes(&mut closing) => break,
            };
            if tried == 1 {
                self.recorder.metrics.began(begin, given);
            }
            let run = self.run(tried).await;
            let again = run.report.is_none() && self.check.plugin().is_some() && tried <= scheduled.pace.retries;
            if again {
                let (wait, why) = (scheduled.pace.retry_wait, printable(&run.summary()));
                tracing::warn!(
                    check = self.check.name,
                    "attempt {tried} gave no verdict; the next is in {wait:?}: {why}"
                );
            }
            runs.push(run);
            if !again {
                break;
            }
        }
        // Only the last attempt counts.
        if let Some((_, before)) = runs.split_last_mut() {
            before.iter_mut().for_each(|run| run.untold = Some(Untold::TriedAgain));
        }
        drop(scheduled.over);
        runs
    }

    async fn room(&self) -> Option<Slot> {
        let slots = self.slots.as_ref()?;
        Some(slots.take(self.check.plugin(), self.looks).await)
    }

    async fn run(&self, tried: u32) -> Run {
        let began = Some(self.recorder.next_place());
        let moment = Moment { attempt: self.moment.attempt + tried - 1, began, ..self.moment.clone() };
        let span = tracing::info_span!("run", check = self.check.name, run = moment.id());
        self.check.run(&self.backends, &self.recorder.record, moment).instrument(span).await
    }
}

/// Waits until the host shuts down; for ever without a signal.
async fn closes(closing: &mut Option<watch::Receiver<bool>>) {
    match closing {
        // The sender only goes away with the host.
        Some(closing) => drop(closing.wait_for(|closing| *closing).await),
        None => std::future::pending().await,
    }
}
