//! The record, kept between rounds: runs, the standing of each check, queued messages, silences. One SQLite file in WAL
//! mode, or a Postgres database: see `engine`.

mod address;
mod advice;
mod answers;
mod audit;
mod backtests;
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
mod forget;
mod good_dates;
mod hearing;
mod history;
mod identity;
mod labels;
mod orders;
mod outbox;
mod owner;
mod place;
mod pulse;
mod reports;
mod scores;
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
    time::Duration,
};

use anyhow::Result;
use jiff::Timestamp;
use sqlx::{
    AnyPool, Row,
    any::{AnyConnectOptions, AnyRow},
};

pub use address::Address;
pub use answers::{NewAnswer, NewTape, PastTape, Purge, Purged, unpack};
pub use audit::Audited;
pub use backtests::{Backtested, BacktestsOf};
pub use batch::{Batch, Episode, NewMessage, NewRun, PluginKey};
pub use clock::now;
pub use configuration::{Holding, Own, Peer};
pub use consultations::Consultation;
pub use copy::{Copied, Spot, copy};
pub use costs::Cost;
pub use dates::DateRow;
pub use directory::{Claim, Taken};
pub use fleet::{Asked, LEASE, Lease, Member, Taken as Claimed, turn_of};
pub use history::{Included, LastRuns, Line, PastAlert, PastMessage, PastRun, Receipt, metrics};
pub use identity::run_id;
pub use labels::{LONGEST_WHY, Label};
pub use orders::Order;
pub use outbox::{Attempt, Message, Outcome, Undelivered};
pub use place::Place;
pub use pulse::{Left, Pulse};
pub use reports::{Heard, Lived, Noticed, Tally};
pub use scores::MutationScore;
pub use silences::Silence;
pub use threads::{Outdated, Thread, Threading};
pub use turn::{Changes, Known, Turn};

/// How long the end of a process waits for the record.
const FAREWELL: Duration = Duration::from_secs(3);

/// The database's name in the state directory.
const FILE: &str = "host.db";

/// The record of a host, or of several.
#[derive(Debug, Clone)]
pub struct Record {
    pool: AnyPool,
    /// How to connect.
    options: Arc<AnyConnectOptions>,
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
        // A connection that is lost may not end.
        let _ = tokio::time::timeout(FAREWELL, self.pool.close()).await;
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
