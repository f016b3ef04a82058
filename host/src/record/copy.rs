//! Copies a record to another place: from a file to a server, and back. All of it arrives in one transaction, or nothing does.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Row, Transaction, any::AnyRow};
use tempfile::TempDir;

use super::{
    Claim, FILE, LEASE, Place, Record, directory,
    engine::{PATIENT, server},
    sql::{self, places},
    tables::{TABLES, Table},
};

/// Rows of one statement.
const ROWS: usize = 500;
/// About how many bytes of text one statement has: a run may leave some 100 KiB.
const BYTES: usize = 1 << 20;
/// How an environment variable is named instead of an address.
const VARIABLE: &str = "env:";

/// Where a record is copied from, or to.
pub enum Spot {
    /// A database file.
    File(PathBuf),
    /// A Postgres database: its address, with the password.
    Server(String),
}

/// What was copied, or would be.
#[derive(Debug)]
pub struct Copied {
    /// The rows of each table.
    pub tables: Vec<(&'static str, u64)>,
    /// How many texts had a NUL character, which Postgres cannot keep.
    pub mended: u64,
    /// Where the record was, and is now, without passwords.
    pub places: (Place, Place),
}

/// The rights to both records, and the files that are removed if the copy does not come to its end.
struct Source {
    record: Record,
    /// The host that would use the directory waits for the end of this.
    _claim: Option<Claim>,
    /// An older record is migrated here.
    _migrated: Option<TempDir>,
}

impl Spot {
    /// A directory, a file, an address, or a variable that holds one: `env:HOST_STATE_URL`.
    pub fn named(name: &str) -> Result<Self> {
        if let Some(variable) = name.strip_prefix(VARIABLE) {
            return match std::env::var(variable) {
                Ok(text) if text.starts_with(VARIABLE) => bail!("{variable} names another variable; write the address"),
                // The value may be a secret.
                Ok(text) if !text.trim().is_empty() => Self::named(text.trim()).with_context(|| variable.to_owned()),
                _ => bail!(
                    "{variable} is not set: set it to the address of the database, such as postgres://USER@HOST/DATABASE"
                ),
            };
        }
        if name.contains("://") {
            server(name)?;
            return Ok(Self::Server(name.to_owned()));
        }
        let path = PathBuf::from(name);
        // A directory that is not there yet has no dot in its name; a file has.
        let is_file = path.is_file() || !path.is_dir() && path.extension().is_some();
        Ok(Self::File(if is_file { path } else { path.join(FILE) }))
    }

    /// Opens it read-only; `None` if there is nothing.
    async fn look(&self) -> Result<Option<Record>> {
        match self {
            Self::File(path) if !path.exists() => Ok(None),
            Self::File(path) => Record::file(path.clone(), true).await.map(Some),
            Self::Server(url) => Record::look_at_server(url).await.map(Some),
        }
    }

    /// Opens it as the source, which stays as it is.
    async fn source(&self) -> Result<Source> {
        let Some(record) = self.look().await? else {
            bail!("{}: there is no record", self.place()?);
        };
        record.unused().await?;
        let claim = match self {
            Self::File(path) if is_used(path) => Claim::lock(&parent(path), Duration::ZERO).await?,
            Self::File(_) | Self::Server(_) => None,
        };
        let newest = record.newest();
        let whole = |record| Source { record, _claim: None, _migrated: None };
        let source = match record.schema().await? {
            None => bail!("{}: there is no record of a host in it", record.place),
            Some(version) if version > newest => bail!(record.is_newer(version)),
            Some(version) if version == newest => whole(record),
            Some(version) => match self {
                Self::Server(_) => bail!(
                    "{}: it was written by an older host (schema {version}); `host history` with a host.toml that names it brings it up to date",
                    record.place
                ),
                Self::File(_) => {
                    let directory = tempfile::tempdir()?;
                    let path = directory.path().join(FILE);
                    let copied = sql::query("VACUUM INTO $1").bind(path.to_string_lossy().into_owned());
                    copied.execute(&mut *record.read().await?).await.map_err(|error| record.explain(error))?;
                    record.close().await;
                    let migrated = Record::file(path, false).await?.migrated().await?;
                    Source { _migrated: Some(directory), ..whole(migrated) }
                }
            },
        };
        Ok(Source { _claim: claim, ..source })
    }

    /// Refuses to write where something is recorded, or runs.
    async fn free(&self) -> Result<()> {
        let Some(record) = self.look().await? else { return Ok(()) };
        record.unused().await?;
        if let Some(version) = record.schema().await? {
            if version > record.newest() {
                bail!(record.is_newer(version));
            }
            empty(&record, &mut *record.read().await?).await?;
        }
        record.close().await;
        Ok(())
    }

    fn place(&self) -> Result<Place> {
        match self {
            Self::File(path) => Ok(Place::File(path.clone())),
            Self::Server(url) => server(url).map(|(_, place)| place),
        }
    }
}

impl Record {
    /// Refuses a record that a host uses.
    async fn unused(&self) -> Result<()> {
        match &self.place {
            Place::Memory => Ok(()),
            Place::File(path) if is_used(path) && Claim::is_held(&parent(path)) => {
                bail!("{}: a host is running on it; stop it first", self.place)
            }
            Place::File(_) => Ok(()),
            Place::Server(_) => {
                if self.schema().await?.is_none() {
                    return Ok(());
                }
                let sql = "SELECT (SELECT COUNT(*) FROM hosts WHERE seen > clock_timestamp() - make_interval(secs => $1)) + \
                    (SELECT COUNT(*) FROM claims WHERE holder IS NOT NULL AND expires > clock_timestamp())";
                let count: i64 = sql::query_scalar(sql)
                    .bind(LEASE.as_secs_f64())
                    .fetch_one(&mut *self.read().await?)
                    .await
                    .map_err(|error| self.explain(error))?;
                if count > 0 {
                    bail!(
                        "{}: a host is running on it; stop every host first (one that was killed counts for {} s)",
                        self.place,
                        LEASE.as_secs()
                    );
                }
                Ok(())
            }
        }
    }
}

/// Copies a record; a dry run only counts. `step` hears how many rows of all are copied.
pub async fn copy(from: &Spot, to: &Spot, is_dry: bool, step: impl Fn(u64, u64)) -> Result<Copied> {
    let places = (from.place()?, to.place()?);
    if is_same(&places) {
        bail!("{}: is both --from and --to", places.0);
    }
    let source = from.source().await.context("--from")?;
    to.free().await.context("--to")?;
    let mut read = snapshot(&source.record).await?;
    let mut tables = Vec::new();
    for table in TABLES {
        // However long that takes.
        let counted = sql::query(AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", table.name))).bare();
        let row = counted.fetch_one(&mut *read).await.map_err(|error| source.record.explain(error))?;
        let rows: i64 = row.try_get(0)?;
        tables.push((table.name, rows.unsigned_abs()));
    }
    let mut copied = Copied { tables, mended: 0, places };
    if !is_dry {
        write(&source.record, &mut read, to, &mut copied, step).await?;
    }
    Ok(copied)
}

/// Writes all that a record has to another place, or nothing.
async fn write(
    source: &Record,
    read: &mut AnyConnection,
    to: &Spot,
    copied: &mut Copied,
    step: impl Fn(u64, u64),
) -> Result<()> {
    let (_claim, mut fresh) = (claimed(to).await.context("--to")?, Fresh::at(to));
    let target = match to {
        Spot::File(path) => {
            directory::private_file(path);
            Record::file(path.clone(), false).await?.migrated().await
        }
        Spot::Server(url) => Record::server(url).await,
    };
    let target = target.context("--to")?;
    let explain = |error| target.explain(error);
    let is_shared = matches!(target.place, Place::Server(_));
    let mut write = target.write().await?;
    let mut turn = 0;
    if is_shared {
        sqlx::raw_sql(PATIENT).execute(&mut *write).await.map_err(explain)?;
        // A host that starts meanwhile waits before it decides anything.
        let last: i64 =
            sql::query_scalar("SELECT turn FROM turns FOR UPDATE").fetch_one(&mut write).await.map_err(explain)?;
        turn = last + 1;
    }
    empty(&target, &mut write).await?;
    let (mut done, all) = (0, copied.tables.iter().map(|(_, rows)| rows).sum());
    for (table, (_, expected)) in TABLES.iter().zip(&copied.tables) {
        let (mut batch, mut bytes, mut rows) = (Vec::new(), 0, 0);
        let sql = AssertSqlSafe(format!("SELECT {} FROM {}", read_as(table), table.name));
        let mut found = sql::query(sql).bare().fetch(&mut *read);
        while let Some(row) = found.try_next().await.map_err(|error| source.explain(error))? {
            let row = Line::read(table, &row, is_shared).map_err(|error| source.explain(error))?;
            copied.mended += row.mended;
            bytes += row.texts.iter().flatten().map(String::len).sum::<usize>();
            bytes += row.blobs.iter().flatten().map(Vec::len).sum::<usize>();
            batch.push(row);
            if batch.len() == ROWS || bytes > BYTES {
                rows += insert(table, &batch, &mut write).await.map_err(explain)?;
                (bytes, done) = (0, done + batch.len() as u64);
                batch.clear();
                step(done, all);
            }
        }
        rows += insert(table, &batch, &mut write).await.map_err(explain)?;
        done += batch.len() as u64;
        step(done, all);
        if rows != *expected {
            bail!("{}: {rows} of {expected} rows of `{}` arrived; nothing was copied", target.place, table.name);
        }
    }
    if is_shared {
        settle(&mut write, turn).await.map_err(explain)?;
    }
    if matches!(source.place, Place::Server(_)) {
        // No lock keeps hosts from starting on it.
        source.unused().await.context("nothing was copied")?;
    }
    sql::commit(write).await.map_err(explain)?;
    target.close().await;
    fresh.keep();
    Ok(())
}

/// What a server needs besides the rows: the next numbers, and that every check has changed for every host.
async fn settle(write: &mut AnyConnection, turn: i64) -> sqlx::Result<()> {
    for table in TABLES {
        let (Some(column), name) = (table.numbered, table.name) else { continue };
        // Constants.
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{name}', '{column}'), MAX({column})) FROM {name} HAVING COUNT(*) > 0"
        );
        sql::query(AssertSqlSafe(sql)).execute(&mut *write).await?;
    }
    let changed = "INSERT INTO changes (check_name, turn) SELECT check_name, CAST($1 AS BIGINT) FROM \
        (SELECT check_name FROM standings UNION SELECT check_name FROM dates) AS checks \
        ON CONFLICT (check_name) DO UPDATE SET turn = excluded.turn";
    sql::query(changed).bind(turn).execute(&mut *write).await?;
    sql::query("UPDATE turns SET turn = $1").bind(turn).execute(&mut *write).await.map(drop)
}

/// A transaction that sees one moment of a record.
async fn snapshot(record: &Record) -> Result<Transaction<'static, Any>> {
    let begun = async {
        match record.place {
            Place::File(_) | Place::Memory => record.pool.begin().await,
            Place::Server(_) => {
                let mut read = record.begin().await?;
                sql::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut read).await?;
                sqlx::raw_sql(PATIENT).execute(&mut *read).await?;
                Ok(read)
            }
        }
    };
    begun.await.map_err(|error| record.explain(error))
}

/// Refuses a record with rows.
async fn empty(record: &Record, connection: &mut AnyConnection) -> Result<()> {
    let shared: &[&str] = if matches!(record.place, Place::Server(_)) { &["claims", "batches"] } else { &[] };
    for table in TABLES.iter().map(|table| table.name).chain(shared.iter().copied()) {
        // A file of an older host does not have all of them.
        let is_there = match record.place {
            Place::Server(_) => "SELECT CASE WHEN to_regclass($1) IS NULL THEN 0 ELSE 1 END",
            Place::File(_) | Place::Memory => "SELECT COUNT(*) FROM sqlite_master WHERE name = $1",
        };
        let counted = async {
            let is_there: i64 = sql::query_scalar(is_there).bind(table).fetch_one(&mut *connection).await?;
            if is_there == 0 {
                return Ok(0);
            }
            let sql = AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            sql::query_scalar::<i64>(sql).fetch_one(&mut *connection).await
        };
        if counted.await.map_err(|error| record.explain(error))? > 0 {
            bail!(
                "{}: something is recorded there already (`{table}`), and two records cannot be joined; name {}",
                record.place,
                match record.place {
                    Place::Server(_) => "an empty database",
                    Place::File(_) | Place::Memory => "another directory, or move the file away",
                }
            );
        }
    }
    Ok(())
}

async fn claimed(to: &Spot) -> Result<Option<Claim>> {
    match to {
        Spot::File(path) if is_used(path) => Claim::take(&parent(path), Duration::ZERO).await.map(Some),
        Spot::File(path) if !parent(path).is_dir() => {
            bail!("{}: the directory is not there; make it", parent(path).display())
        }
        Spot::File(_) | Spot::Server(_) => Ok(None),
    }
}

/// Whether hosts use the file: only the one with the usual name.
fn is_used(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == FILE)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn is_same(places: &(Place, Place)) -> bool {
    match places {
        (Place::File(one), Place::File(other)) => {
            one == other || one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
        }
        (one, other) => one == other,
    }
}

/// A file that this copy makes, and that goes if the copy does not end well.
struct Fresh(Option<PathBuf>);

impl Fresh {
    fn at(to: &Spot) -> Self {
        match to {
            Spot::File(path) if !path.exists() => Self(Some(path.clone())),
            Spot::File(_) | Spot::Server(_) => Self(None),
        }
    }

    fn keep(&mut self) {
        self.0 = None;
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        for end in ["", "-wal", "-shm"] {
            if let Some(path) = &self.0 {
                let mut name = path.clone().into_os_string();
                name.push(end);
                // It may not have come that far.
                let _ = fs::remove_file(name);
            }
        }
    }
}

/// A row.
struct Line {
    numbers: Vec<Option<i64>>,
    texts: Vec<Option<String>>,
    reals: Vec<f64>,
    blobs: Vec<Option<Vec<u8>>>,
    flags: Vec<bool>,
    mended: u64,
}

impl Line {
    fn read(table: &Table, row: &AnyRow, is_shared: bool) -> sqlx::Result<Self> {
        let mut mended = 0;
        let text = |name: &&str| {
            let text: Option<String> = row.try_get(*name)?;
            match text {
                Some(text) if is_shared && text.contains('\0') => {
                    mended += 1;
                    Ok(Some(sql::storable(&text)))
                }
                text => Ok(text),
            }
        };
        Ok(Self {
            texts: table.texts.iter().map(text).collect::<sqlx::Result<_>>()?,
            numbers: table.numbers.iter().map(|name| row.try_get(*name)).collect::<sqlx::Result<_>>()?,
            reals: table.reals.iter().map(|name| row.try_get(*name)).collect::<sqlx::Result<_>>()?,
            blobs: table.blobs.iter().map(|name| row.try_get(*name)).collect::<sqlx::Result<_>>()?,
            flags: table.flags.iter().map(|name| super::yes(row, name)).collect::<sqlx::Result<_>>()?,
            mended,
        })
    }
}

/// The columns of a table for reading: the two engines have no type in common for yes and no.
fn read_as(table: &Table) -> String {
    let plain = [table.numbers, table.texts, table.reals, table.blobs].concat();
    let flag = |name: &&str| format!("CASE WHEN {name} THEN 1 ELSE 0 END AS {name}");
    plain.iter().map(|name| (*name).to_owned()).chain(table.flags.iter().map(flag)).collect::<Vec<_>>().join(", ")
}

async fn insert(table: &Table, rows: &[Line], write: &mut AnyConnection) -> sqlx::Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    let columns = table.columns();
    let places = places(rows.len(), columns.len());
    // Constants and places.
    let sql = AssertSqlSafe(format!("INSERT INTO {} ({}) VALUES {places}", table.name, columns.join(", ")));
    let bound = rows.iter().fold(sql::query(sql), bind);
    Ok(bound.execute(write).await?.rows_affected())
}

fn bind<'q>(insert: sql::Change<'q>, row: &'q Line) -> sql::Change<'q> {
    let insert = row.numbers.iter().fold(insert, |insert, number| insert.bind(*number));
    let insert = row.texts.iter().fold(insert, |insert, text| insert.bind(text));
    let insert = row.reals.iter().fold(insert, |insert, real| insert.bind(*real));
    let insert = row.blobs.iter().fold(insert, |insert, blob| insert.bind(blob.as_deref()));
    row.flags.iter().fold(insert, |insert, flag| insert.bind(*flag))
}
