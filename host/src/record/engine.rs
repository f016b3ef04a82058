//! The two engines of the record: one SQLite file for a host on its own, a Postgres database for several hosts. The queries
//! of this room are the same for both; what differs is here.

use std::{
    collections::BTreeSet,
    ops::{Deref, DerefMut},
    path::PathBuf,
    sync::{Arc, Once},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use reqwest::Url;
use sqlx::{
    Any, AnyConnection, Connection, Executor, Transaction,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    pool::PoolConnection,
};

use super::{
    Member, Place, Record,
    advice::explained,
    sql::{self, Change, commit, on_server, query, query_scalar},
};
use crate::text::nearest;

/// How long to wait for another process's lock on the database.
const BUSY: Duration = Duration::from_secs(5);
/// Connections to a file: one writes, the others read concurrently.
const CONNECTIONS: u32 = 4;
/// Connections of one host to Postgres.
const SERVER_CONNECTIONS: u32 = 5;
/// Held by the host that migrates a Postgres database, until its transaction ends: two that start at once migrate once.
const MIGRATING: i64 = 0x686f_7374;
/// How a transaction on a server begins: with the longest waits for a lock, for a statement, for its own next statement, and for a client
/// that takes in no answer. So a host that was stopped holds up no other for longer. They are set for the transaction, since a pooler hands the session to others.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '20s'; \
    SET LOCAL idle_in_transaction_session_timeout = '5s'; SET LOCAL tcp_user_timeout = '15s'";
/// For a migration or a copy, which may take long, since it is one transaction; one that was stopped holds up others for five minutes.
pub(super) const PATIENT: &str =
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = '5min'";
/// The mode of a file; it stays with it. A commit is on disk when it returns, which is SQLite's default and is not lowered to NORMAL: the
/// last commits could be lost in a power failure.
const FILE_MODE: &str = "PRAGMA journal_mode = WAL";
/// What is removed from a file is overwritten with zeros: purged answers are not to be found in it.
const FILE_WIPES: &str = "PRAGMA secure_delete = ON";

/// The migrations of a file.
const FILE_STEPS: &[(i64, &str, &str)] = &[
    (1, "start", include_str!("migrations/0001_start.sql")),
    (2, "costs", include_str!("migrations/0002_costs.sql")),
    (3, "service", include_str!("migrations/0003_service.sql")),
    (4, "identity", include_str!("migrations/0004_identity.sql")),
    (5, "audit", include_str!("migrations/0005_audit.sql")),
    (6, "owner", include_str!("migrations/0006_owner.sql")),
    (7, "dates", include_str!("migrations/0007_dates.sql")),
    (8, "evidence", include_str!("migrations/0008_evidence.sql")),
    (9, "threads", include_str!("migrations/0009_threads.sql")),
    (10, "fleet", include_str!("migrations/0010_fleet.sql")),
    (11, "answers", include_str!("migrations/0011_answers.sql")),
    (12, "proof", include_str!("migrations/0012_proof.sql")),
    (13, "asked", include_str!("migrations/0013_asked.sql")),
];
/// The migrations of a server, which begin where several hosts became possible.
const SERVER_STEPS: &[(i64, &str)] = &[
    (9, include_str!("migrations/postgres/0009_start.sql")),
    (10, include_str!("migrations/postgres/0010_fleet.sql")),
    (11, include_str!("migrations/postgres/0011_answers.sql")),
    (12, include_str!("migrations/postgres/0012_proof.sql")),
    (13, include_str!("migrations/postgres/0013_asked.sql")),
];

/// The parameters of an address: <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS>
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
];

/// The values of `sslmode`.
const MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// A connection for reading. On a server it is in a transaction, since behind a pooler two statements outside of one may go
/// to two connections, also the two halves of a prepared one.
pub(super) enum Reading {
    Plain(PoolConnection<Any>),
    Whole(Transaction<'static, Any>),
}

impl Deref for Reading {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Plain(connection) => connection,
            Self::Whole(transaction) => transaction,
        }
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Plain(connection) => connection,
            Self::Whole(transaction) => transaction,
        }
    }
}

impl Record {
    /// Connects to a database file.
    pub(super) async fn file(path: PathBuf, read_only: bool) -> Result<Self> {
        let whole = std::path::absolute(&path).with_context(|| path.display().to_string())?;
        let mut url = match Url::from_file_path(&whole) {
            // SQLite's form of the same address.
            Ok(file) => format!("sqlite://{}", file.path()),
            Err(()) => bail!("{}: is not a path that a database can have", path.display()),
        };
        url += if read_only { "?mode=ro" } else { "?mode=rwc" };
        let connections = if read_only { 1 } else { CONNECTIONS };
        let record = Self::connect(&url, Place::File(path), connections).await?;
        if !read_only {
            record.pool.execute(FILE_MODE).await.map_err(|error| record.explain(error))?;
        }
        Ok(record)
    }

    /// A record in memory.
    pub async fn memory() -> Result<Self> {
        Self::connect("sqlite::memory:", Place::Memory, 1).await?.migrated().await
    }

    /// Connects to a Postgres database, and migrates it.
    pub async fn server(url: &str) -> Result<Self> {
        let (url, place) = server(url)?;
        on_server();
        let record = Self::connect(&url, place, SERVER_CONNECTIONS).await?.migrated().await?;
        record.set_clock().await?;
        Ok(record)
    }

    /// Connects to a Postgres database without migrating it.
    pub(super) async fn look_at_server(url: &str) -> Result<Self> {
        let (url, place) = server(url)?;
        on_server();
        // One may be in a transaction for long.
        Self::connect(&url, place, 2).await
    }

    async fn connect(url: &str, place: Place, connections: u32) -> Result<Self> {
        static DRIVERS: Once = Once::new();
        DRIVERS.call_once(sqlx::any::install_default_drivers);
        let options: AnyConnectOptions = url.parse().map_err(|error| explained(&place, error))?;
        let is_server = matches!(place, Place::Server(_));
        let pool = AnyPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(BUSY * 2)
            // Open connections only when needed: two that create a new file's WAL at once conflict. An in-memory
            // database needs its connection to stay open.
            .min_connections(0)
            .idle_timeout(None)
            .max_lifetime(None)
            // Do not reuse a connection with an uncommitted transaction: SQLite itself ends the transaction when the
            // disk is full, which sqlx does not notice, and then every further transaction fails.
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if !is_server {
                        connection.execute(FILE_WIPES).await?;
                    }
                    Ok(())
                })
            })
            .after_release(move |connection, _| {
                Box::pin(async move {
                    // One that was given up in the middle may wait for an answer for ever, and its place in the pool with it.
                    if is_server && !connection.is_in_transaction() {
                        tokio::time::timeout(BUSY, connection.ping()).await.map_err(|_| sql::silent())??;
                    }
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options.clone())
            .await;
        let pool = match pool {
            Err(sqlx::Error::PoolTimedOut) => return Err(explained(&place, why(&options).await)),
            done => done.map_err(|error| explained(&place, error))?,
        };
        let member = is_server.then(Member::new);
        Ok(Self { pool, options: Arc::new(options), place, plugins: Arc::default(), member })
    }

    /// Writes the journal of a file into it and empties it, unless somebody reads just then: it has what was removed.
    pub(super) async fn empty_journal(&self) -> sqlx::Result<()> {
        if let Place::File(_) = self.place {
            self.pool.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
        }
        Ok(())
    }

    /// Brings the tables to what this host knows.
    pub(super) async fn migrated(self) -> Result<Self> {
        match self.place {
            Place::File(_) | Place::Memory => self.migrate_file().await?,
            Place::Server(_) => self.migrate_server().await?,
        }
        Ok(self)
    }

    async fn migrate_file(&self) -> Result<()> {
        let migrations = FILE_STEPS.iter().map(|(version, name, sql)| {
            let sql = sqlx::SqlSafeStr::into_sql_str(*sql);
            Migration::new(*version, (*name).into(), MigrationType::Simple, sql, false)
        });
        match Migrator::with_migrations(migrations.collect()).run(&self.pool).await {
            Ok(()) => Ok(()),
            Err(MigrateError::VersionMissing(version)) => bail!(self.is_newer(version)),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) => Err(self.explain(error)),
            Err(error) => Err(error).with_context(|| self.place.to_string()),
        }
    }

    /// Not by sqlx's migrator: that holds a lock of the session and prepares statements by name, both of which a pooler hands to others.
    /// A database whose tables are there needs no right to make any.
    async fn migrate_server(&self) -> Result<()> {
        let newest = self.newest();
        let found = self.schema().await?;
        if found == Some(newest) {
            return Ok(());
        }
        let migrated = async {
            let mut whole = self.begin().await?;
            (&mut *whole).execute(PATIENT).await?;
            query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATING).execute(&mut whole).await?;
            // Another host may have done it meanwhile.
            let mut found = schema(&mut whole).await?;
            if found.is_none() {
                (&mut *whole).execute("CREATE TABLE schema_versions (version BIGINT PRIMARY KEY)").await?;
            }
            for (version, sql) in SERVER_STEPS.iter().filter(|(version, _)| found.is_none_or(|found| found < *version))
            {
                (&mut *whole).execute(*sql).await?;
                query("INSERT INTO schema_versions (version) VALUES ($1)").bind(*version).execute(&mut whole).await?;
            }
            found = schema(&mut whole).await?;
            commit(whole).await?;
            Ok(found)
        };
        match migrated.await.map_err(|error| self.explain(error))? {
            Some(found) if found > newest => bail!(self.is_newer(found)),
            _ => Ok(()),
        }
    }

    /// The newest version of the tables that this host knows.
    pub(super) fn newest(&self) -> i64 {
        match self.place {
            Place::File(_) | Place::Memory => FILE_STEPS.last().map_or(0, |(version, ..)| *version),
            Place::Server(_) => SERVER_STEPS.last().map_or(0, |(version, _)| *version),
        }
    }

    pub(super) fn is_newer(&self, version: i64) -> String {
        let other = match self.place {
            Place::Server(_) => "database",
            Place::File(_) | Place::Memory => "state.directory",
        };
        format!(
            "{}: it was written by a newer host (schema {version}, this host knows {}); use that host, or name another {other}",
            self.place,
            self.newest()
        )
    }

    /// The version of the tables; `None` without any.
    pub async fn schema(&self) -> Result<Option<i64>> {
        let mut from = self.read().await?;
        let found = match self.place {
            Place::Server(_) => schema(&mut from).await,
            Place::File(_) | Place::Memory => schema_of_file(&mut from).await,
        };
        found.map_err(|error| self.explain(error))
    }

    /// Why a host cannot use the database of a server as it is now, though it can read it.
    pub async fn unusable(&self) -> Result<Option<&'static str>> {
        let has_tables = self.schema().await?.is_some();
        let mut read = self.read().await?;
        let explain = |error| self.explain(error);
        let only_reads = "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END";
        if query_scalar::<i64>(only_reads).fetch_one(&mut read).await.map_err(explain)? == 1 {
            return Ok(Some("the server is a standby and only reads; name the primary one in its address"));
        }
        if has_tables {
            let may_write = "SELECT CASE WHEN has_table_privilege('runs', 'INSERT, UPDATE, DELETE') THEN 1 ELSE 0 END";
            let may_write: i64 = query_scalar(may_write).fetch_one(&mut read).await.map_err(explain)?;
            return Ok((may_write == 0).then_some("this user may only read it; make it the owner of the database"));
        }
        // Without a schema to make them in, the answer is NULL.
        let may_begin = "SELECT CASE WHEN has_schema_privilege(current_schema(), 'CREATE') THEN 1 ELSE 0 END";
        if query_scalar::<Option<i64>>(may_begin).fetch_one(&mut read).await.map_err(explain)? != Some(1) {
            return Ok(Some("it is empty, and this user may not make tables there; make it the owner of the database"));
        }
        let others = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()";
        let others: i64 = query_scalar(others).fetch_one(&mut read).await.map_err(explain)?;
        Ok((others > 0).then_some("it has tables that are not of a host; name an empty database"))
    }

    /// A connection for reading.
    pub(super) async fn read(&self) -> Result<Reading> {
        let reading = match self.place {
            Place::File(_) | Place::Memory => self.pool.acquire().await.map(Reading::Plain),
            Place::Server(_) => self.begin().await.map(Reading::Whole),
        };
        reading.map_err(|error| self.explain(error))
    }

    /// A write transaction, which waits for its turn instead of failing halfway.
    pub(super) async fn write(&self) -> Result<Transaction<'static, Any>> {
        self.begin().await.map_err(|error| self.explain(error))
    }

    /// The same, with the error as it came.
    pub(super) async fn begin(&self) -> sqlx::Result<Transaction<'static, Any>> {
        match self.place {
            Place::File(_) | Place::Memory => self.pool.begin_with("BEGIN IMMEDIATE").await,
            Place::Server(_) => match sql::answered(self.pool.begin_with(BEGIN)).await {
                // Unless this process has all of its own connections.
                Err(sqlx::Error::PoolTimedOut) if self.pool.size() < SERVER_CONNECTIONS => {
                    Err(why(&self.options).await)
                }
                done => done,
            },
        }
    }

    /// Executes one statement in a transaction of its own. Returns how many rows it changed.
    pub(super) async fn execute(&self, query: Change<'_>) -> Result<u64> {
        let mut write = self.write().await?;
        let done = query.execute(&mut write).await.map_err(|error| self.explain(error))?;
        commit(write).await.map_err(|error| self.explain(error))?;
        Ok(done.rows_affected())
    }

    pub(super) fn explain(&self, error: sqlx::Error) -> anyhow::Error {
        explained(&self.place, error)
    }
}

/// Why no connection could be made: the pool tries again until its time is over, and does not say.
async fn why(options: &AnyConnectOptions) -> sqlx::Error {
    // One at a time, or many that wait would be many connections.
    static ASKING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let Ok(_asking) = ASKING.try_lock() else { return sqlx::Error::PoolTimedOut };
    match tokio::time::timeout(BUSY, AnyConnection::connect_with(options)).await {
        Ok(Err(error)) => error,
        Ok(Ok(connection)) => {
            // It is there again.
            let _ = connection.close().await;
            sqlx::Error::PoolTimedOut
        }
        Err(_) => sql::silent(),
    }
}

async fn schema(from: &mut AnyConnection) -> sqlx::Result<Option<i64>> {
    let there = query_scalar("SELECT CAST(to_regclass('schema_versions') AS TEXT)");
    let there: Option<String> = there.fetch_one(&mut *from).await?;
    match there {
        None => Ok(None),
        Some(_) => query_scalar("SELECT MAX(version) FROM schema_versions").fetch_one(from).await,
    }
}

async fn schema_of_file(from: &mut AnyConnection) -> sqlx::Result<Option<i64>> {
    let there: i64 = query_scalar("SELECT COUNT(*) FROM sqlite_master WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *from)
        .await?;
    match there {
        0 => Ok(None),
        _ => query_scalar("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(from).await,
    }
}

/// The address for the driver, and the place without its password.
pub(super) fn server(url: &str) -> Result<(String, Place)> {
    let example = "write it as postgres://USER@HOST/DATABASE?sslmode=verify-full";
    // The error of a parser may quote the secret.
    let Ok(mut url) = url.trim().parse::<Url>() else {
        bail!(
            "is not an address; {example}, with `#`, `/`, `?`, `@` and `%` of a password as %23, %2F, %3F, %40 and %25"
        )
    };
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        bail!("is not the address of a Postgres database; {example}");
    }
    let mut seen = BTreeSet::new();
    for (name, value) in url.query_pairs() {
        let Some(known) = PARAMETERS.iter().find(|known| **known == name) else {
            bail!("has no parameter `{name}`{}; {example}", nearest(&name, PARAMETERS));
        };
        if !seen.insert(known) {
            bail!("has `{name}` twice; keep one");
        }
        if *known == "sslmode" && !MODES.contains(&value.as_ref()) {
            bail!("has no sslmode `{value}`{}; the modes are {}", nearest(&value, MODES), MODES.join(", "));
        }
    }
    let mut shown = url.clone();
    let _ = shown.set_password(None);
    shown.set_query(None);
    // See `sql`: without this, the statements that it does not name would be named all the same.
    url.query_pairs_mut().append_pair("statement-cache-capacity", "0").append_pair("application_name", "host");
    Ok((url.into(), Place::Server(shown.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        let (url, place) = server("postgres://host:s3cret@db.example:5433/watch?password=x").expect("an address");
        assert_eq!(place.to_string(), "postgres://host@db.example:5433/watch");
        assert!(url.contains("s3cret") && url.contains("statement-cache-capacity=0"), "{url}");
        for wrong in ["s3cret", "mysql://host:s3cret@db/watch", ""] {
            let error = server(wrong).expect_err("no address").to_string();
            assert!(error.contains("postgres://USER@HOST/DATABASE") && !error.contains("s3cret"), "{error}");
        }
        // A misspelt parameter would be no protection.
        for (wrong, says) in [
            ("sslmod=verify-full", "no parameter `sslmod`; did you mean `sslmode`?"),
            ("sslmode=verify-full&sslmode=disable", "`sslmode` twice"),
            ("sslmode=verifyfull", "no sslmode `verifyfull`; did you mean `verify-full`?"),
        ] {
            let error = server(&format!("postgres://db/watch?{wrong}")).expect_err("a mistake").to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
