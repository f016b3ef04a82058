//! A host among others on one record: it reads what they recorded, and takes over what they left.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Ended, Service};
use crate::schedule::Turn;

/// How often to ask the record what there is to do.
const ASK: Duration = Duration::from_secs(2);
/// How often to tell the others that this host runs.
const PRESENT: Duration = Duration::from_secs(10);

/// Keeps up with the other hosts until shutdown.
pub(super) async fn share(service: Arc<Service>) {
    let began = Timestamp::now();
    let mut told: Option<Instant> = None;
    loop {
        if let Err(error) = service.keep_up(began, &mut told).await {
            tracing::warn!("the record does not answer: {error:#}");
        }
        sleep(ASK).await;
    }
}

impl Service {
    async fn keep_up(&self, began: Timestamp, told: &mut Option<Instant>) -> Result<()> {
        let host = self.host();
        let (recorder, record) = (&host.recorder, &host.recorder.record);
        if told.is_none_or(|told| told.elapsed() >= PRESENT) {
            record.present(began).await?;
            *told = Some(Instant::now());
        }
        let pulse = record.pulse().await?;
        recorder.catch_up(Some(pulse.turn)).await?;
        if pulse.orders {
            recorder.carry_out(&host.config).await?;
        }
        if pulse.messages {
            recorder.delivery.wake();
        }
        if pulse.left {
            let left = record.left().await?;
            let turns = left.into_iter().map(|left| Turn { check: left.check, due: left.due, left_out: None });
            let mut waiting = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            for turn in turns {
                if !waiting.contains(&turn) {
                    waiting.push(turn);
                }
            }
        }
        Ok(())
    }

    /// Starts what other hosts left. It is not this host's own turn, so that its agenda does not hear of the end.
    pub(super) fn take_over(self: &Arc<Self>, rounds: &mut JoinSet<Ended>) {
        let left = std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner));
        if !left.is_empty() {
            let (over, _) = mpsc::unbounded_channel();
            self.begin(left, &over, rounds);
        }
    }
}
