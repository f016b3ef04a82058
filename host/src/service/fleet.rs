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
use crate::{
    record::{self, Holding, Own},
    schedule::Turn,
};

/// How often to ask the record what there is to do.
const ASK: Duration = Duration::from_secs(2);
/// How often to tell the others that this host runs.
const PRESENT: Duration = Duration::from_secs(10);

/// What to say of a configuration that does not hold.
pub(crate) fn takes_no_part(own: &Own, holding: &Holding) -> String {
    let Holding { digest, revision } = holding;
    format!(
        "takes no part: this host runs {}, and the hosts of this record run {digest} (revision {revision}). If this one is newer, set \
         HOST_REVISION to a number above {revision}; to go back to it, run `host fleet adopt {}`; else give it the same host.toml and plugins",
        own.digest, own.digest
    )
}

/// Keeps up with the other hosts until shutdown.
pub(super) async fn share(service: Arc<Service>) {
    let began = record::now();
    let mut told: Option<Instant> = None;
    loop {
        if let Err(error) = service.keep_up(began, &mut told).await {
            tracing::warn!("the record does not answer: {error:#}");
        }
        sleep(ASK).await;
    }
}

impl Service {
    /// Takes part if the configuration of this host holds; says when that changes.
    async fn stand(&self, own: &Own, began: Timestamp) -> Result<()> {
        let record = &self.host().recorder.record;
        let took_part = record.member().is_some_and(|member| member.takes_part());
        let holding = record.stand(own, began).await?;
        match (took_part, holding.digest == own.digest) {
            (true, false) => tracing::error!("{}", takes_no_part(own, &holding)),
            (false, true) => tracing::info!("takes part again: the hosts of this record run {}", own.digest),
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    async fn keep_up(&self, began: Timestamp, told: &mut Option<Instant>) -> Result<()> {
        let host = self.host();
        let (recorder, record) = (&host.recorder, &host.recorder.record);
        let pulse = record.pulse().await?;
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        let holds = pulse.digest.as_ref() == Some(&own.digest);
        let stands = record.member().is_some_and(|member| member.takes_part());
        if holds != stands || told.is_none_or(|told| told.elapsed() >= PRESENT) {
            self.stand(&own, began).await?;
            *told = Some(Instant::now());
        }
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
