//! One check's part in a round: waits for its jitter and for room, runs, and retries runs without a verdict.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::{mpsc::UnboundedSender, watch};
use tracing::Instrument;

use crate::{
    capability::Backends,
    check::Check,
    config::Pace,
    host::{Slot, Slots},
    record::{self, Claimed, Lease},
    recorder::Recorder,
    run::{Moment, Run, Untold},
    schedule::jitter,
    text::printable,
};

/// How often in a row a check may be begun without a result; then the run is an error.
const MOST_BEGUN: u32 = 3;
/// How long to wait before the record is asked again for a turn that was not free.
const NOT_YET: Duration = Duration::from_secs(2);

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
    /// The claim of its turn, once it has it.
    pub(super) lease: Arc<OnceLock<Lease>>,
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
        let given = record::now();
        let mut runs = Vec::new();
        let claim = self.lease.clone();
        for tried in 1.. {
            let wait = match tried {
                1 => Duration::try_from(begin.duration_since(record::now())).unwrap_or_default(),
                _ => scheduled.pace.retry_wait,
            };
            let room = async {
                tokio::time::sleep(wait).await;
                self.turn().await
            };
            let turn = tokio::select! {
                turn = room => turn,
                // A run that has not started counts as missed, and the next start catches up; a failed attempt stays.
                () = closes(&mut closing) => break,
            };
            // It is another host's.
            let Some(_slot) = turn else { break };
            let lease = claim.get();
            if tried == 1 {
                let lag = self.recorder.metrics.began(begin, given);
                if let Some(member) = self.recorder.record.member() {
                    member.began(lag);
                }
                runs.extend(lease.and_then(|lease| self.not_finished(lease)));
            }
            if let Some(lease) = lease {
                // It lost it while it waited: whoever has it now runs the check.
                if !lease.is_fresh() {
                    break;
                }
                self.moment.attempt = self.moment.attempt.max(lease.attempt);
                self.moment.lease = Some(lease.clone());
                if lease.attempt > MOST_BEGUN {
                    let begun = lease.attempt - 1;
                    let why = format!(
                        "begun {begun} times in a row without a result: its hosts ended, or did not renew their claims in time"
                    );
                    runs.push(self.check.broken(&self.moment, why));
                    break;
                }
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
        if let (true, Some(lease)) = (runs.iter().all(|run| run.untold.is_some()), claim.get()) {
            runs.clear();
            if let Err(error) = self.recorder.record.give_back(lease, None).await {
                tracing::warn!(check = self.check.name, "another host takes it over once its lease ends: {error:#}");
            }
        }
        // Only the last attempt counts.
        if let Some((_, before)) = runs.split_last_mut() {
            before.iter_mut().for_each(|run| run.untold = run.untold.or(Some(Untold::TriedAgain)));
        }
        drop(scheduled.over);
        runs
    }

    /// Waits for room, and claims the turn, if several hosts share the record. `None` if it is another host's. Nothing runs without a
    /// claim: a record that does not answer is asked again.
    async fn turn(&self) -> Option<Option<Slot>> {
        loop {
            let slot = self.room().await;
            if self.lease.get().is_some() {
                return Some(slot);
            }
            let record = &self.recorder.record;
            match record.take_turn(&self.check.name, self.moment.due, self.moment.data_date).await {
                Ok(Claimed::Alone) => return Some(slot),
                Ok(Claimed::Mine(mine)) => {
                    // It is empty: see above.
                    let _ = self.lease.set(mine);
                    return Some(slot);
                }
                Ok(Claimed::Over | Claimed::Apart) => return None,
                Ok(Claimed::Busy) => {}
                Err(error) => {
                    tracing::warn!(check = self.check.name, "waits, since the record does not answer: {error:#}");
                }
            }
            drop(slot);
            tokio::time::sleep(NOT_YET).await;
        }
    }

    /// The line about an older due time that its host did not finish.
    fn not_finished(&self, lease: &Lease) -> Option<Run> {
        let due = lease.instead_of?;
        let moment = Moment { due, clock: due, lease: Some(lease.clone()), ..self.moment.clone() };
        let why = "missed: the host that ran it ended, and the next run was due".to_owned();
        Some(self.check.left_out(&moment, why, None))
    }

    async fn room(&self) -> Option<Slot> {
        let slots = self.slots.as_ref()?;
        Some(slots.take(self.check.plugin(), self.looks).await)
    }

    async fn run(&self, tried: u32) -> Run {
        let began = Some(self.recorder.begins());
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
