//! Removes old entries that are over.

use anyhow::Result;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use sqlx::AssertSqlSafe;

use super::{Record, answers::old, now, sql::commit, sql::query};

/// What is removed of a table: the value is a day, or a moment.
const BY_DAY: [(&str, &str); 2] = [
    ("costs", "day < $1"),
    ("dates", "data_date < $1 AND data_date <> '' AND state IN ('good', 'skipped', 'given_up')"),
];
const BY_MOMENT: [(&str, &str); 11] = [
    ("runs", "recorded < $1"),
    ("alerts", "recorded < $1 AND ended IS NOT NULL"),
    ("receipts", "at < $1 AND message_id NOT IN (SELECT id FROM outbox WHERE state = 'waiting')"),
    ("threads", "used < $1"),
    // First messages are rendered again when their incident goes on.
    ("outbox", "created < $1 AND state <> 'waiting' AND id NOT IN (SELECT message_id FROM threads)"),
    ("silences", "ends < $1"),
    ("consultations", "at < $1"),
    ("orders", "at < $1"),
    ("backtests", "asked < $1"),
    // After their alerts: in a file a later alert may get the number of one that is gone.
    ("labels", "alert_id NOT IN (SELECT id FROM alerts) AND at <> $1"),
    ("scores", "at < $1"),
];
/// The same of what only several hosts have, after a day: a batch is tried for minutes, and a host that ended without a word is gone by
/// then. The last batch stays: see [`super::Known`].
const OF_HOSTS: [(&str, &str); 3] = [
    ("batches", "recorded < $1 AND turn IS DISTINCT FROM (SELECT turn FROM turns)"),
    ("claims", "key LIKE 'gate %' AND expires < to_timestamp($1 / 1000.0)"),
    ("hosts", "seen < to_timestamp($1 / 1000.0)"),
];
/// How many rows of a server's table are removed at a time, so that none of the statements takes long.
const AT_ONCE: u64 = 5000;

impl Record {
    /// Removes old entries that are over: runs, alerts, messages, silences. Of several hosts one does it at a time.
    /// Of answers what runs got before another moment.
    pub async fn forget(&self, before: Timestamp, answers_before: Timestamp) -> Result<()> {
        let answers_before = answers_before.max(before);
        // A day has ended in every time zone a day later.
        let day = before.to_zoned(TimeZone::UTC).date().yesterday()?.to_string();
        if self.member.is_none() {
            let mut write = self.write().await?;
            for (table, over) in BY_DAY {
                let gone = query(AssertSqlSafe(format!("DELETE FROM {table} WHERE {over}"))).bind(&day);
                gone.execute(&mut write).await.map_err(|error| self.explain(error))?;
            }
            let moments = BY_MOMENT.map(|of| (of, before)).into_iter().chain(old(answers_before));
            for ((table, over), before) in moments {
                let gone = query(AssertSqlSafe(format!("DELETE FROM {table} WHERE {over}")));
                let gone = gone.bind(before.as_millisecond());
                gone.execute(&mut write).await.map_err(|error| self.explain(error))?;
            }
            return commit(write).await.map_err(|error| self.explain(error));
        }
        let Some(lease) = self.take_on("forget").await? else { return Ok(()) };
        let yesterday = now().checked_sub(SignedDuration::from_hours(24))?;
        let forgotten = async {
            for (table, over) in BY_DAY {
                while lease.is_fresh() && self.execute(query(some(table, over)).bind(&day)).await? == AT_ONCE {}
            }
            let moments = BY_MOMENT.map(|of| (of, before)).into_iter().chain(OF_HOSTS.map(|of| (of, yesterday)));
            let moments = moments.chain(old(answers_before));
            for ((table, over), before) in moments {
                let gone = || query(some(table, over)).bind(before.as_millisecond());
                while lease.is_fresh() && self.execute(gone()).await? == AT_ONCE {}
            }
            Ok(())
        };
        let forgotten = forgotten.await;
        self.give_back(&lease, None).await?;
        forgotten
    }
}

/// Removes some rows. Constants.
fn some(table: &str, over: &str) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!("DELETE FROM {table} WHERE ctid IN (SELECT ctid FROM {table} WHERE {over} LIMIT {AT_ONCE})"))
}
