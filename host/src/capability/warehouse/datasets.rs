//! Opening datasets: files attached read-only to a connection that can see nothing else. A connection is kept for the
//! next question on the same datasets, as long as none of the files was touched since it was opened.

use std::{
    collections::BTreeSet,
    fs,
    ops::Deref,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use rusqlite::{
    Connection, OpenFlags,
    hooks::{AuthContext, Authorization},
    limits::Limit,
};

use super::{fault::Fault, memory};
use crate::{
    config::nearest,
    contract::Error,
    googlesql::{self, VALUE_BYTES, Watch},
};

/// How many of the engine's instructions run between two looks at whether the run is over: some 20 microseconds, or 50
/// milliseconds if each of them copies or compares the longest of values.
const INSTRUCTIONS: i32 = 1000;
/// The longest SQL, as written for the engine.
const SQL_BYTES: i32 = 1 << 20;
/// What a connection may hold while nobody asks: the pages of a few small tables. All that are kept hold 16 MiB.
const HELD_BYTES: i64 = 1 << 20;
/// Connections that are kept: as many as checks usually ask at once.
const KEPT: usize = 16;

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
    /// The stop signal of the question under way, for the engine and the functions.
    watch: Watch,
}

/// Which file it is and when it was written: device, inode, size, modification in nanoseconds.
type File = (u64, u64, u64, i64, i64);

/// A connection for one question, given back afterwards.
pub(super) struct Lease<'d> {
    owner: &'d Datasets,
    open: Option<Open>,
}

impl Datasets {
    pub(super) fn new(directory: PathBuf) -> Self {
        Self { directory, idle: Mutex::default() }
    }

    /// Opens datasets, read-only, and nothing else; what is asked ends when `stop` says so.
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
                Open { datasets: datasets.clone(), files, connection: self.connect(datasets, &watch)?, watch }
            }
        };
        open.watch.begin(stop);
        Ok(Lease { owner: self, open: Some(open) })
    }

    /// What the connections hold that nobody uses, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> i64 {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().map(|open| memory::held_by(&open.connection)).sum()
    }

    fn connect(&self, datasets: &BTreeSet<String>, watch: &Watch) -> Result<Connection, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_MEMORY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // SQLite sorts what it keeps in memory in one go, which nothing can interrupt: 3 seconds for six million numbers. What it
        // keeps in files it sorts in small parts and merges row by row; and files of this VFS are memory, which is counted.
        let connection = Connection::open_with_flags_and_vfs(":memory:", flags, "memdb")?;
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
        Ok(connection)
    }

    fn path(&self, dataset: &str) -> PathBuf {
        self.directory.join(format!("{dataset}.db"))
    }

    fn file(&self, dataset: &str) -> Result<File, Error> {
        if dataset.is_empty() || !dataset.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(Error::Invalid(format!("`{dataset}` is not a dataset name; use letters, digits and _")));
        }
        match fs::metadata(self.path(dataset)) {
            Ok(file) if file.is_file() => Ok((file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec())),
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

impl Deref for Lease<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        // It is there until the lease is dropped.
        #[allow(clippy::expect_used)]
        &self.open.as_ref().expect("a connection").connection
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        open.watch.end();
        if memory::held_by(&open.connection) > HELD_BYTES && open.connection.release_memory().is_err() {
            return;
        }
        let unconfined = open.connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
        // What is left then is what it knows of tables: of so many that it is better read again.
        if unconfined.is_err() || memory::held_by(&open.connection) > HELD_BYTES {
            return;
        }
        let mut idle = self.owner.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that waited longest makes room: its files may have changed long ago.
        let longest = (idle.len() >= KEPT).then(|| idle.remove(0));
        idle.push(open);
        drop((idle, longest));
    }
}

/// As an URI that can only be read.
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
