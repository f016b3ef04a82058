//! The time that hosts on one record agree on: the server's. The clock of a machine may be minutes off, and a check would run before its
//! data is there. Without a server it is the machine's own.
#![allow(clippy::disallowed_methods)]

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    time::Duration,
};

use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

use super::{Record, sql::query_scalar};
use crate::text::span;

/// Whether there is a server.
static SHARED: AtomicBool = AtomicBool::new(false);
/// The server's clock when this machine started, in milliseconds since the Unix epoch: so the present does not depend on this machine's
/// clock, which somebody may set.
static STARTED: AtomicI64 = AtomicI64::new(0);
/// The difference of this machine's clock that the log has last told of, in milliseconds.
static TOLD: AtomicI64 = AtomicI64::new(0);
/// Smaller differences are not taken over, in milliseconds.
const CLOSE: i64 = 250;
/// A difference that is worth a line in the log, in milliseconds.
const FAR: i64 = 2000;

/// The present, by the clock of the record, in whole milliseconds: what is recorded has no more.
pub fn now() -> Timestamp {
    if !SHARED.load(Ordering::Relaxed) {
        let now = Timestamp::now();
        return Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    }
    Timestamp::from_millisecond(STARTED.load(Ordering::Relaxed) + booted()).unwrap_or_else(|_| Timestamp::now())
}

/// Milliseconds since this machine started.
fn booted() -> i64 {
    i64::try_from(boot_time().as_millis()).unwrap_or(i64::MAX)
}

/// The time since the machine started, with the time that it slept.
pub(super) fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// A question to a server for its time, which begins now.
pub(super) struct Question(i64);

impl Question {
    pub(super) fn now() -> Self {
        Self(booted())
    }

    /// Takes over the server's clock, in milliseconds since the Unix epoch, as it was between asking and now.
    pub(super) fn heard(self, server: i64) {
        let Self(asked) = self;
        let heard = booted();
        let started = server - (asked + heard) / 2;
        // The server's clock may have been read at any moment of the wait.
        let unsure = (heard - asked) / 2;
        let is_first = !SHARED.swap(true, Ordering::Relaxed);
        if is_first || (started - STARTED.load(Ordering::Relaxed)).abs() >= CLOSE + unsure {
            STARTED.store(started, Ordering::Relaxed);
        }
        let ahead = server + (heard - asked) / 2 - Timestamp::now().as_millisecond();
        let told = TOLD.load(Ordering::Relaxed);
        let is_far = ahead.abs() >= FAR + unsure;
        if is_far && (ahead - told).abs() >= FAR + unsure {
            TOLD.store(ahead, Ordering::Relaxed);
            let side = if ahead > 0 { "behind" } else { "ahead of" };
            tracing::warn!(
                "the clock of this machine is {} {side} that of the record, which counts; set it, for example with chrony",
                span(ahead.abs() / 1000)
            );
        } else if told != 0 && ahead.abs() + unsure < FAR {
            TOLD.store(0, Ordering::Relaxed);
            tracing::info!("the clock of this machine agrees with that of the record again");
        }
    }
}

impl Record {
    /// Asks a server for its time.
    pub(super) async fn set_clock(&self) -> anyhow::Result<()> {
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let mut read = self.read().await?;
        let asked = Question::now();
        let server: i64 = query_scalar(sql).fetch_one(&mut read).await.map_err(|error| self.explain(error))?;
        asked.heard(server);
        Ok(())
    }
}
