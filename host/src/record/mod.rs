//! The record, kept between rounds: runs, the standing of each check, queued messages, silences. One SQLite file in WAL
//! mode, or a Postgres database: see `engine`.

mod address;
mod audit;
mod batch;
mod clock;
mod configuration;
mod consultations;
mod copy;
mod costs;
mod dates;
mod directory;
mod engine;
mod fleet;
mod good_dates;
mod history;
mod identity;
mod orders;
mod outbox;
mod owner;
mod silences;
mod skips;
mod sql;
mod tables;
mod threads;
mod turn;
mod validations;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use jiff::Timestamp;
use sql::query;
use sqlx::{AnyPool, Row, any::AnyRow};

pub use address::Address;
pub use audit::Audited;
pub use batch::{Batch, Episode, NewMessage, NewRun, PluginKey};
pub use clock::now;
pub use configuration::{Holding, Own, Peer};
pub use consultations::Consultation;
pub use copy::{Copied, Spot, copy};
pub use costs::Cost;
pub use dates::DateRow;
pub use directory::{Claim, Taken};
pub use engine::Place;
pub use fleet::{Asked, LEASE, Lease, Left, Member, Pulse, Taken as Claimed, turn_of};
pub use history::{Included, LastRuns, Line, PastAlert, PastMessage, PastRun, Receipt, metrics};
pub use identity::run_id;
pub use orders::Order;
pub use outbox::{Attempt, Message, Outcome, Undelivered};
pub use silences::Silence;
pub use threads::{Outdated, Thread, Threading};
pub use turn::{BEFORE_ALL, Changes, Turn};

/// The database's name in the state directory.
const FILE: &str = "host.db";

/// The record of a host, or of several.
#[derive(Debug, Clone)]
pub struct Record {
    pool: AnyPool,
    /// Where it is.
    pub place: Place,
    /// The ids of plugins that ran.
    plugins: Arc<Mutex<HashMap<PluginKey, i64>>>,
    /// This process among the hosts on a server.
    member: Option<Arc<Member>>,
}

impl Record {
    /// Opens the database in a directory, and migrates it; creates it if it does not exist.
    pub async fn open(directory: &Path) -> Result<Self> {
        directory::make(directory)?;
        let path = directory.join(FILE);
        directory::private_file(&path);
        Self::file(path, false).await?.migrated().await
    }

    /// Opens the database in a directory read-only, without migrating it.
    pub async fn look(directory: &Path) -> Result<Self> {
        Self::file(directory.join(FILE), true).await
    }

    /// Whether there is a database in a directory.
    pub fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// Closes the database; of one in a directory a single file is left. What this process claims is free for other hosts.
    pub async fn close(&self) {
        if let Err(error) = self.give_all_back().await {
            tracing::warn!("other hosts take over what this one did once its leases end: {error:#}");
        }
        self.pool.close().await;
    }

    /// Removes old entries that are over: runs, alerts, messages, silences.
    pub async fn forget(&self, before: Timestamp) -> Result<()> {
        // A day has ended in every time zone a day later.
        let day = before.to_zoned(jiff::tz::TimeZone::UTC).date().yesterday()?;
        let before = before.as_millisecond();
        let mut write = self.write().await?;
        let days = query("DELETE FROM costs WHERE day < $1").bind(day.to_string());
        days.execute(&mut *write).await.map_err(|error| self.explain(error))?;
        let over =
            "DELETE FROM dates WHERE data_date < $1 AND data_date <> '' AND state IN ('good', 'skipped', 'given_up')";
        let dates = query(over).bind(day.to_string());
        dates.execute(&mut *write).await.map_err(|error| self.explain(error))?;
        for sql in [
            "DELETE FROM runs WHERE recorded < $1",
            "DELETE FROM alerts WHERE recorded < $1 AND ended IS NOT NULL",
            "DELETE FROM receipts WHERE at < $1 AND message_id IN (SELECT id FROM outbox WHERE state <> 'waiting')",
            "DELETE FROM threads WHERE used < $1",
            // First messages are rendered again when their incident goes on.
            "DELETE FROM outbox WHERE created < $1 AND state <> 'waiting' AND id NOT IN (SELECT message_id FROM threads)",
            "DELETE FROM silences WHERE ends < $1",
            "DELETE FROM consultations WHERE at < $1",
            "DELETE FROM orders WHERE at < $1",
        ] {
            query(sql).bind(before).execute(&mut *write).await.map_err(|error| self.explain(error))?;
        }
        if self.member.is_some() {
            // A batch is tried for minutes, and a host that ended without a word is gone by then.
            for sql in [
                "DELETE FROM batches WHERE recorded < $1",
                "DELETE FROM claims WHERE key LIKE 'gate %' AND expires < clock_timestamp() - make_interval(days => 1)",
                "DELETE FROM hosts WHERE seen < clock_timestamp() - make_interval(days => 1)",
            ] {
                let over = query(sql);
                let over = if sql.contains("$1") { over.bind(before) } else { over };
                over.execute(&mut *write).await.map_err(|error| self.explain(error))?;
            }
        }
        write.commit().await.map_err(|error| self.explain(error))
    }
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A whole number of a row.
fn number(row: &AnyRow, column: &str) -> sqlx::Result<u32> {
    let number: i64 = row.try_get(column)?;
    u32::try_from(number).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Whether a column, read as 1 or 0, is set: the two engines have no type for it in common.
fn yes(row: &AnyRow, column: &str) -> sqlx::Result<bool> {
    Ok(row.try_get::<i64, _>(column)? != 0)
}
