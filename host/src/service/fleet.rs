//! A host among others on one record: it reads what they recorded, and takes over what they left.

use std::{
    collections::BTreeSet,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
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
    record::{self, Holding, Left, Own},
    schedule::Turn,
};

/// How often to ask the record what there is to do.
const ASK: Duration = Duration::from_secs(2);
/// How long after the end of a claim to ask whether it is free.
const JUST_AFTER: Duration = Duration::from_millis(50);
/// How often to tell the others that this host runs.
const PRESENT: Duration = Duration::from_secs(10);
/// After how long without an answer of the record the fallback hears of it: a failover takes less.
const OUTAGE: Duration = Duration::from_secs(60);

/// What other hosts left.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    /// What this one takes over next.
    waiting: Vec<Turn>,
    /// The checks of which it has begun to.
    under_way: BTreeSet<String>,
}

/// What to say of a configuration that does not hold.
pub(crate) fn takes_no_part(own: &Own, holding: &Holding) -> String {
    let Holding { digest, revision } = holding;
    format!(
        "takes no part: this host runs {}, and the hosts of this record run {digest} (the highest revision seen is {revision}). If this one is newer, set \
         HOST_REVISION to a number above {revision}; to go back to it, run `host fleet adopt {}`; else give it the same host.toml and plugins",
        own.digest, own.digest
    )
}

/// Keeps up with the other hosts until shutdown.
pub(super) async fn share(service: Arc<Service>) {
    let began = record::now();
    if let Some(member) = service.host().recorder.record.member() {
        tracing::info!("this host is {} on its record", member.id);
    }
    let mut told: Option<Instant> = None;
    // Since when the record does not answer, and whether the fallback knows.
    let mut silent: Option<(Instant, bool)> = None;
    loop {
        let mut next = ASK;
        let kept_up = service.keep_up(began, &mut told).await;
        service.keeps_up.store(kept_up.is_ok(), Ordering::Relaxed);
        let metrics = service.host().recorder.metrics.clone();
        match kept_up {
            Ok((hosts, ends)) => {
                metrics.shares(service.host().recorder.record.takes_part(), hosts);
                next = ends.map_or(ASK, |ends| (ends + JUST_AFTER).min(ASK));
                if let Some((_, true)) = silent.take() {
                    service.host().recorder.delivery.unrecorded("the record answers again").await;
                }
            }
            Err(error) => {
                metrics.shares(false, 0);
                tracing::warn!("the record does not answer: {error:#}");
                let (since, is_told) = silent.get_or_insert_with(|| (Instant::now(), false));
                if since.elapsed() >= OUTAGE && !*is_told {
                    *is_told = true;
                    let text = format!("the record does not answer, so this host runs and sends nothing: {error:#}");
                    service.host().recorder.delivery.unrecorded(&text).await;
                }
            }
        }
        sleep(next).await;
    }
}

impl Service {
    /// Takes part if the configuration of this host holds; says when that changes.
    async fn stand(&self, own: &Own, began: Timestamp) -> Result<()> {
        let record = &self.host().recorder.record;
        let took_part = record.takes_part();
        let holding = record.stand(own, began).await?;
        match (took_part, holding.digest == own.digest) {
            (true, false) => tracing::error!("{}", takes_no_part(own, &holding)),
            (false, true) => {
                tracing::info!("takes part again: the hosts of this record run {}", own.digest);
                self.is_behind.store(true, Ordering::Relaxed);
            }
            (true, true) | (false, false) => {}
        }
        Ok(())
    }

    /// Does what the others left; returns how many hosts there are, and when a claim ends that is not renewed.
    async fn keep_up(&self, began: Timestamp, told: &mut Option<Instant>) -> Result<(i64, Option<Duration>)> {
        let host = self.host();
        let (recorder, record) = (&host.recorder, &host.recorder.record);
        let pulse = record.pulse().await?;
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner).clone();
        let holds = pulse.digest.as_ref() == Some(&own.digest);
        if holds != record.takes_part() || told.is_none_or(|told| told.elapsed() >= PRESENT) {
            self.stand(&own, began).await?;
            *told = Some(Instant::now());
        }
        recorder.try_to_write().await;
        recorder.catch_up(Some(&pulse.known)).await?;
        // The hosts of another configuration do the rest.
        if !record.takes_part() {
            return Ok((pulse.hosts, None));
        }
        // What nobody ran meanwhile is caught up with, as at a start; again and again until the record answers.
        if self.is_behind.load(Ordering::Relaxed) {
            self.start_agenda().await?;
            self.is_behind.store(false, Ordering::Relaxed);
        }
        if pulse.orders {
            recorder.carry_out(&host.config).await?;
        }
        if pulse.messages {
            recorder.delivery.wake();
        }
        if pulse.left {
            let left = record.left().await?;
            let mut taken = self.left();
            let left = left.into_iter().filter(|left| host.check(&left.check).is_some());
            for Left { check, due } in left {
                // The task that is there takes over whatever is left of the check.
                if !taken.under_way.contains(&check) && taken.waiting.iter().all(|turn| turn.check != check) {
                    taken.waiting.push(Turn { check, due, left_out: None, overlaps: None });
                    self.found.notify_one();
                }
            }
        }
        Ok((pulse.hosts, pulse.ends))
    }

    /// Starts what other hosts left. It is not this host's own turn, so that its agenda does not hear of the end.
    pub(super) fn take_over(self: &Arc<Self>, rounds: &mut JoinSet<Ended>) {
        let turns = {
            let mut left = self.left();
            let turns = std::mem::take(&mut left.waiting);
            left.under_way.extend(turns.iter().map(|turn| turn.check.clone()));
            turns
        };
        if turns.is_empty() {
            return;
        }
        let (over, mut ended) = mpsc::unbounded_channel();
        self.begin(turns, &over, rounds);
        drop(over);
        let service = self.clone();
        tokio::spawn(async move {
            while let Some(check) = ended.recv().await {
                service.left().under_way.remove(&check);
            }
        });
    }

    fn left(&self) -> MutexGuard<'_, Leftovers> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
