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

use super::{functions, sqlite::failed};
use crate::{config::nearest, contract::Error};

/// How many of the engine's instructions run between two looks at whether the run is over: well under a millisecond.
const INSTRUCTIONS: i32 = 10_000;
/// The longest text or blob that a query may make or meet: beyond what a check looks at, and so short that no function
/// or comparison of two of them takes long, since SQLite can be interrupted only between them.
const VALUE_BYTES: i32 = 256 << 10;
/// The longest pattern of LIKE, for the same reason.
const PATTERN_BYTES: i32 = 1000;
/// What everything that uses SQLite in this process may take together; one query may take less.
const HEAP_BYTES: i64 = 2 << 30;
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
    ) -> Result<Lease<'_>, Error> {
        let files = datasets.iter().map(|dataset| self.file(dataset)).collect::<Result<Vec<_>, _>>()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.iter().position(|open| open.datasets == *datasets && open.files == files);
        let kept = kept.map(|place| idle.swap_remove(place));
        drop(idle);
        let open = match kept {
            Some(open) => open,
            None => Open { datasets: datasets.clone(), files, connection: self.connect(datasets)? },
        };
        open.connection.progress_handler(INSTRUCTIONS, Some(stop)).map_err(|error| failed(&error))?;
        Ok(Lease { owner: self, open: Some(open) })
    }

    fn connect(&self, datasets: &BTreeSet<String>) -> Result<Connection, Error> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_MEMORY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(":memory:", flags).map_err(|error| failed(&error))?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES).map_err(|error| failed(&error))?;
        let limit = Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH;
        connection.set_limit(limit, PATTERN_BYTES).map_err(|error| failed(&error))?;
        for dataset in datasets {
            let path = self.path(dataset);
            connection
                .execute(&format!("ATTACH ?1 AS \"{dataset}\""), [read_only(&path)])
                .map_err(|error| Error::Unavailable(format!("dataset {dataset}: {}: {error}", path.display())))?;
        }
        connection
            .execute_batch(&format!(
                "PRAGMA case_sensitive_like = ON; PRAGMA temp_store = MEMORY; PRAGMA hard_heap_limit = {HEAP_BYTES}"
            ))
            .map_err(|error| failed(&error))?;
        functions::register(&connection).map_err(|error| failed(&error))?;
        Ok(connection)
    }

    fn path(&self, dataset: &str) -> PathBuf {
        self.directory.join(format!("{dataset}.db"))
    }

    fn file(&self, dataset: &str) -> Result<File, Error> {
        if dataset.is_empty() || !dataset.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(Error::Invalid(format!("`{dataset}` is no dataset: letters, digits and _ make its name")));
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
        let unconfined = open.connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>);
        let unwatched = open.connection.progress_handler(0, None::<fn() -> bool>);
        let mut idle = self.owner.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if unconfined.is_ok() && unwatched.is_ok() {
            // The one that waited longest makes room: its files may have changed long ago.
            if idle.len() >= KEPT {
                idle.remove(0);
            }
            idle.push(open);
        }
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
    uri + "?mode=ro"
}
