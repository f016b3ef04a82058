//! The time that hosts on one record agree on: the server's. The clock of a machine may be minutes off, and a check would run before its
//! data is there. Without a server it is the machine's own.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

use super::{Record, sql::query_scalar};
use crate::text::span;

/// By how much the server's clock is ahead of this machine's, in milliseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// A difference below this is how long an answer takes, in milliseconds.
const CLOSE: i64 = 250;
/// A difference that is worth a line in the log, in milliseconds.
const FAR: i64 = 2000;

/// The present, by the clock of the record.
pub fn now() -> Timestamp {
    let ahead = SignedDuration::from_millis(AHEAD.load(Ordering::Relaxed));
    Timestamp::now().checked_add(ahead).unwrap_or_else(|_| Timestamp::now())
}

/// Takes over the server's clock, in milliseconds since the Unix epoch, as it was between asking and now.
pub(super) fn set(server: i64, asked: Timestamp) {
    let heard = Timestamp::now().as_millisecond();
    let ahead = server - (asked.as_millisecond() + heard) / 2;
    let before = AHEAD.load(Ordering::Relaxed);
    if (ahead - before).abs() < CLOSE {
        return;
    }
    AHEAD.store(ahead, Ordering::Relaxed);
    if (ahead - before).abs() >= FAR {
        let side = if ahead > 0 { "behind" } else { "ahead of" };
        tracing::warn!(
            "the clock of this machine is {} {side} that of the record, which counts; set it, for example with chrony",
            span(ahead.abs() / 1000)
        );
    }
}

impl Record {
    /// Asks a server for its time.
    pub(super) async fn set_clock(&self) -> anyhow::Result<()> {
        let asked = Timestamp::now();
        let sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
        let server: i64 =
            query_scalar(sql).fetch_one(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        set(server, asked);
        Ok(())
    }
}
