//! Opens datasets: files attached read-only to a connection that sees nothing else. A connection is reused for the next
//! query on the same datasets, with the queries that were prepared on it, as long as none of the files has changed since
//! it was opened.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fs,
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use rusqlite::{
    Connection, OpenFlags,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

use super::{fault::Fault, memory};
use crate::{
    config::nearest,
    contract::Error,
    googlesql::{self, ENGINE, Kind, Select, Translated, VALUE_BYTES, Watch},
};

/// Instructions of the engine between two checks whether the run is over: about 20 microseconds, or 50 milliseconds if
/// each of them copies or compares values of the maximum length.
const INSTRUCTIONS: i32 = 1000;
/// The longest generated SQL.
const SQL_BYTES: i32 = 1 << 20;
/// Memory of an idle connection: the pages of a few small tables. All idle connections together hold 16 MiB.
const HELD_BYTES: i64 = 1 << 20;
/// Idle connections that are kept: the usual number of concurrent queries.
const KEPT: usize = 16;
/// The latest queries that stay prepared on a connection.
const PREPARED: usize = 16;
/// The longest SQL that stays prepared.
const PREPARED_BYTES: usize = 4 << 10;

/// A directory of datasets.
#[derive(Debug)]
pub(super) struct Datasets {
    directory: PathBuf,
    idle: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    datasets: BTreeSet<String>,
    files: Vec<File>,
    connection: Connection,
    /// The stop signal of the current query, for the engine and the functions.
    watch: Watch,
    /// Whether the connection may do more than a query may.
    describes: Arc<AtomicBool>,
    /// The latest translations, the latest first. They hold for these files.
    translated: VecDeque<Kept>,
}

/// The types of a query's parameters, by name in lower case.
pub(super) type Kinds = HashMap<String, Kind>;

/// A query, the types of its parameters, and what they were translated to. The parser keeps the query.
type Kept = (Weak<Select>, Kinds, Arc<Translated>);

/// The identity and version of a file: device, inode, size, and the times of the last change of its content, which can be
/// set back, and of the file, which cannot.
type Version = ([u64; 3], [i64; 4]);

/// The versions of a dataset's file and of the log that a writer in WAL mode keeps beside it.
type File = (Version, Option<Version>);

/// A connection for one query, returned to the pool afterwards.
pub(super) struct Lease<'d> {
    owner: &'d Datasets,
    open: Option<Open>,
}

impl Datasets {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, idle: Mutex::default() }
    }

    /// Opens only these datasets, read-only; queries stop when `stop` says so.
    pub(super) fn open(
        &self,
        datasets: &BTreeSet<String>,
        stop: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Lease<'_>, Fault> {
        let files = datasets.iter().map(|dataset| self.file(dataset)).collect::<Result<Vec<_>, _>>()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.iter().position(|open| open.datasets == *datasets && open.files == files);
        let kept = kept.map(|place| idle.swap_remove(place));
        drop(idle);
        let open = match kept {
            Some(open) => open,
            None => {
                let watch = Watch::default();
                let describes = Arc::new(AtomicBool::new(false));
                let connection = self.connect(datasets, &watch, &describes)?;
                let datasets = datasets.clone();
                Open { datasets, files, connection, watch, describes, translated: VecDeque::new() }
            }
        };
        open.watch.begin(stop);
        Ok(Lease { owner: self, open: Some(open) })
    }

    /// Memory of the idle connections, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> i64 {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().map(|open| memory::held_by(&open.connection)).sum()
    }

    fn connect(
        &self,
        datasets: &BTreeSet<String>,
        watch: &Watch,
        describes: &Arc<AtomicBool>,
    ) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_MEMORY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // SQLite sorts data in memory in one go, which cannot be interrupted: 3 seconds for six million numbers. It
        // sorts data in files in small parts and merges row by row; and files of this VFS are in memory, which is
        // counted.
        let connection = Connection::open_with_flags_and_vfs(":memory:", flags, "memdb")?;
        // Others wrote the files: their schema may not call the host's functions, nothing may change the schema, and
        // damaged pages are found before they are used.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.execute_batch("PRAGMA cell_size_check = ON")?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(VALUE_BYTES).unwrap_or(i32::MAX))?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, SQL_BYTES)?;
        for dataset in datasets {
            let path = self.path(dataset);
            connection
                .execute(&format!("ATTACH ?1 AS \"{dataset}\""), [read_only(&path)])
                .map_err(|error| Fault::unreadable(&format!("dataset {dataset}: {}", path.display()), error))?;
        }
        let heap = memory::HEAP_BYTES;
        connection.execute_batch(&format!("PRAGMA temp_store = FILE; PRAGMA hard_heap_limit = {heap}"))?;
        googlesql::register(&connection, watch)?;
        let watch = watch.clone();
        connection.progress_handler(INSTRUCTIONS, Some(move || watch.is_over()))?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        confine(&connection, datasets.clone(), describes.clone())?;
        Ok(connection)
    }

    fn path(&self, dataset: &str) -> PathBuf {
        self.directory.join(format!("{dataset}.db"))
    }

    fn file(&self, dataset: &str) -> Result<File, Error> {
        if dataset.is_empty() || !dataset.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(Error::Invalid(format!("`{dataset}` is not a dataset name; use letters, digits and _")));
        }
        let path = self.path(dataset);
        match fs::metadata(&path) {
            Ok(file) if file.is_file() => {
                // SQLite keeps the log beside the file that a link leads to.
                let target = if path.is_symlink() { fs::canonicalize(&path).unwrap_or(path) } else { path };
                let mut log = target.into_os_string();
                log.push("-wal");
                Ok((version(&file), fs::metadata(log).ok().as_ref().map(version)))
            }
            _ => Err(self.no_dataset(dataset)),
        }
    }

    fn no_dataset(&self, dataset: &str) -> Error {
        let names: Vec<String> = fs::read_dir(&self.directory)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".db")?.to_owned()))
            .collect();
        Error::NotFound(format!(
            "there is no dataset {dataset}: no file {dataset}.db in {}{}",
            self.directory.display(),
            nearest(dataset, &names)
        ))
    }
}

impl Lease<'_> {
    /// Lets the host itself read the schema, which a query may not. No statement with another's SQL may run in it.
    pub(super) fn describing<T>(&self, read: impl FnOnce(&Connection) -> T) -> T {
        let open = self.open();
        open.describes.store(true, Ordering::Relaxed);
        let _confined = Confined(&open.describes);
        read(&open.connection)
    }

    /// What a query was translated to on these files.
    pub(super) fn translated(&mut self, select: &Arc<Select>, kinds: &Kinds) -> Option<Arc<Translated>> {
        let kept = &mut self.open.as_mut()?.translated;
        let same = |other: &Weak<Select>| std::ptr::eq(other.as_ptr(), Arc::as_ptr(select));
        let place = kept.iter().position(|(other, those, _)| same(other) && those == kinds)?;
        let known = kept.remove(place)?;
        let translated = known.2.clone();
        kept.push_front(known);
        Some(translated)
    }

    /// Keeps a translation for the next time.
    pub(super) fn keep(&mut self, select: &Arc<Select>, kinds: Kinds, translated: &Arc<Translated>) {
        if let Some(open) = self.open.as_mut().filter(|_| translated.sql.len() <= PREPARED_BYTES) {
            open.translated.retain(|(kept, ..)| kept.strong_count() > 0);
            open.translated.push_front((Arc::downgrade(select), kinds, translated.clone()));
            open.translated.truncate(PREPARED);
        }
    }

    fn open(&self) -> &Open {
        // Present until the lease is dropped.
        #[allow(clippy::expect_used)]
        self.open.as_ref().expect("a connection")
    }
}

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.open().connection
    }
}

/// Confines a connection again when it is dropped.
struct Confined<'o>(&'o AtomicBool);

impl Drop for Confined<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// SQLite's authorizer: a statement may only read tables of the datasets, and compute. It is set once for a connection,
/// because SQLite prepares every statement again when it is set.
fn confine(connection: &Connection, datasets: BTreeSet<String>, describes: Arc<AtomicBool>) -> Result<(), Fault> {
    let decide = move |context: AuthContext<'_>| match context.action {
        _ if describes.load(Ordering::Relaxed) => Authorization::Allow,
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Read { .. } => match context.database_name {
            // Subqueries and WITH are read without a database.
            None => Authorization::Allow,
            Some(name) if datasets.contains(name) => Authorization::Allow,
            Some(_) => Authorization::Deny,
        },
        // Functions registered for GoogleSQL and known safe ones; SQLite has many more.
        AuthAction::Function { function_name } if is_allowed(function_name) => Authorization::Allow,
        _ => Authorization::Deny,
    };
    Ok(connection.authorizer(Some(decide))?)
}

fn is_allowed(function: &str) -> bool {
    function.starts_with("g_") || ENGINE.contains(&function.to_ascii_lowercase().as_str())
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.watch.end();
        if memory::held_by(&open.connection) > HELD_BYTES {
            open.connection.flush_prepared_statement_cache();
            // The rest is schema: if it is this large, drop the connection.
            if open.connection.release_memory().is_err() || memory::held_by(&open.connection) > HELD_BYTES {
                return;
            }
        }
        let mut idle = self.owner.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // Evict the connection that has been idle longest; its files are the most likely to have changed.
        let longest = (idle.len() >= KEPT).then(|| idle.remove(0));
        idle.push(open);
        drop((idle, longest));
    }
}

fn version(file: &fs::Metadata) -> Version {
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()];
    ([file.dev(), file.ino(), file.size()], times)
}

/// A read-only URI.
fn read_only(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.to_string_lossy().bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(byte.into()),
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    // Not the connection's own VFS, whose files are memory.
    uri + "?mode=ro&vfs=unix"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever could run any SQL on a connection still could not change a schema behind the engine's back.
    #[test]
    fn a_schema_cannot_be_changed_behind_the_engine() {
        let change = "CREATE TABLE main.own (id INTEGER); PRAGMA writable_schema = ON;
                      UPDATE main.sqlite_schema SET sql = 'CREATE TABLE own (other INTEGER)'";
        // The twin: SQLite allows it by itself.
        Connection::open_in_memory().unwrap().execute_batch(change).unwrap();
        let directory = tempfile::tempdir().unwrap();
        Connection::open(directory.path().join("d.db")).unwrap().execute_batch("CREATE TABLE t (id INTEGER)").unwrap();
        let datasets = Datasets::new(directory.path().to_owned());
        let lease = datasets.open(&BTreeSet::from(["d".to_owned()]), || false).unwrap();
        let refused = lease.describing(|connection| connection.execute_batch(change)).unwrap_err().to_string();
        assert!(refused.contains("may not be modified"), "{refused}");
    }
}
