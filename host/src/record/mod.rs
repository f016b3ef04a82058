//! The record, kept between rounds: runs, the standing of each check, queued messages, silences. One SQLite file in WAL
//! mode, with queries that Postgres understands too.

mod audit;
mod batch;
mod consultations;
mod costs;
mod dates;
mod directory;
mod good_dates;
mod history;
mod identity;
mod orders;
mod outbox;
mod owner;
mod silences;
mod skips;
mod threads;
mod validations;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use sqlx::{
    Connection, Sqlite, SqlitePool,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub use audit::Audited;
pub use batch::{Batch, Episode, NewMessage, NewRun, PluginKey};
pub use consultations::Consultation;
pub use costs::Cost;
pub use dates::DateRow;
pub use directory::{Claim, Taken};
pub use history::{Included, LastRuns, Line, PastAlert, PastMessage, PastRun, Receipt, metrics};
pub use identity::run_id;
pub use orders::Order;
pub use outbox::{Attempt, Message, Outcome, Undelivered};
pub use silences::Silence;
pub use threads::{Outdated, Thread, Threading};

/// The database's name in the state directory.
const FILE: &str = "host.db";
/// How long to wait for another process's lock on the database.
const BUSY: Duration = Duration::from_secs(5);
/// Connections: one writes, the others read concurrently.
const CONNECTIONS: u32 = 4;

/// The record of a host.
#[derive(Debug, Clone)]
pub struct Record {
    pool: SqlitePool,
    path: PathBuf,
    /// The ids of plugins that ran.
    plugins: Arc<Mutex<HashMap<PluginKey, i64>>>,
}

impl Record {
    /// Opens the database in a directory, and migrates it; creates it if it does not exist.
    pub async fn open(directory: &Path) -> Result<Self> {
        directory::make(directory)?;
        let path = directory.join(FILE);
        directory::private_file(&path);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit must be on disk when it returns: with NORMAL the last commits can be lost in a power failure.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY);
        Self::connect(options, path, CONNECTIONS).await?.migrated().await
    }

    /// Opens the database in a directory read-only, without migrating it.
    pub async fn look(directory: &Path) -> Result<Self> {
        let path = directory.join(FILE);
        let options = SqliteConnectOptions::new().filename(&path).read_only(true).busy_timeout(BUSY);
        Self::connect(options, path, 1).await
    }

    /// Whether there is a database in a directory.
    pub fn exists(directory: &Path) -> bool {
        directory.join(FILE).exists()
    }

    /// A record in memory.
    pub async fn memory() -> Result<Self> {
        let options = SqliteConnectOptions::new().in_memory(true);
        Self::connect(options, PathBuf::from("memory"), 1).await?.migrated().await
    }

    async fn connect(options: SqliteConnectOptions, path: PathBuf, connections: u32) -> Result<Self> {
        let pool = SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(BUSY * 2)
            // Open connections only when needed: two that create a new file's WAL at once conflict. An in-memory
            // database needs its connection to stay open.
            .min_connections(0)
            .idle_timeout(None)
            .max_lifetime(None)
            // Do not reuse a connection with an uncommitted transaction: SQLite itself ends the transaction when the
            // disk is full, which sqlx does not notice, and then every further transaction fails.
            .after_release(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            .connect_with(options)
            .await
            .map_err(|error| explained(&path, error))?;
        Ok(Self { pool, path, plugins: Arc::default() })
    }

    /// Closes the database, and leaves a single file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn migrated(self) -> Result<Self> {
        let steps = [
            (1, "start", include_str!("migrations/0001_start.sql")),
            (2, "costs", include_str!("migrations/0002_costs.sql")),
            (3, "service", include_str!("migrations/0003_service.sql")),
            (4, "identity", include_str!("migrations/0004_identity.sql")),
            (5, "audit", include_str!("migrations/0005_audit.sql")),
            (6, "owner", include_str!("migrations/0006_owner.sql")),
            (7, "dates", include_str!("migrations/0007_dates.sql")),
            (8, "evidence", include_str!("migrations/0008_evidence.sql")),
            (9, "threads", include_str!("migrations/0009_threads.sql")),
        ];
        let newest = steps.last().map_or(0, |(version, ..)| *version);
        let migrations = steps.map(|(version, name, sql)| {
            let sql = sqlx::SqlSafeStr::into_sql_str(sql);
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        });
        match Migrator::with_migrations(migrations.into()).run(&self.pool).await {
            Ok(()) => Ok(self),
            Err(MigrateError::VersionMissing(version)) => bail!(
                "{}: it was written by a newer host (schema {version}, this host knows {newest}); use that host, or name another state.directory",
                self.path.display(),
            ),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(self.explain(error)),
            Err(error) => Err(error).with_context(|| self.path.display().to_string()),
        }
    }

    /// A write transaction, which waits for its turn instead of failing halfway.
    async fn write(&self) -> Result<sqlx::Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: sqlx::Error) -> anyhow::Error {
        explained(&self.path, error)
    }

    /// Removes old entries that are over: runs, alerts, messages, silences.
    pub async fn forget(&self, before: Timestamp) -> Result<()> {
        // A day has ended in every time zone a day later.
        let day = before.to_zoned(jiff::tz::TimeZone::UTC).date().yesterday()?;
        let before = before.as_millisecond();
        let mut write = self.write().await?;
        let days = sqlx::query("DELETE FROM costs WHERE day < $1").bind(day.to_string());
        days.execute(&mut *write).await.map_err(|error| self.explain(error))?;
        let over =
            "DELETE FROM dates WHERE data_date < $1 AND data_date <> '' AND state IN ('good', 'skipped', 'given_up')";
        let dates = sqlx::query(over).bind(day.to_string());
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
            sqlx::query(sql).bind(before).execute(&mut *write).await.map_err(|error| self.explain(error))?;
        }
        write.commit().await.map_err(|error| self.explain(error))
    }
}

/// SQLITE_IOERR_SHMSIZE: no room for the file that readers and writers share.
const DISK_FULL_AT_START: u32 = 10 | 19 << 8;

/// An error with the path and the fix. The numbers are SQLite's result codes: <https://www.sqlite.org/rescode.html>
fn explained(path: &Path, error: sqlx::Error) -> anyhow::Error {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<u32>().ok());
    let advice = match code.map(|code| (code & 0xff, code)) {
        Some((13, _) | (_, DISK_FULL_AT_START)) => "the disk is full; make room, or lower state.keep",
        Some((5 | 6, _)) => "another process has locked it; find it with `fuser` and end it",
        Some((8, _)) => {
            "it cannot be written; make the file and its directory writable, or name another state.directory"
        }
        Some((10, _)) => "the disk cannot be read or written",
        Some((11 | 26, _)) => {
            "it is damaged, or not a database of this host; move it away to start with an empty one, or restore a copy"
        }
        Some((14, _)) => "it cannot be opened; make the directory writable, or name another state.directory",
        _ => "it cannot be used",
    };
    anyhow::anyhow!("{}: {advice} ({error})", path.display())
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}
