//! Memory limits of queries. SQLite counts only for the whole process, so that one large query would make the others
//! fail, and the record too, which is SQLite in the same process. So each thread counts its own memory, and a query
//! runs on one thread from beginning to end.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    sync::{
        OnceLock,
        atomic::{AtomicI64, Ordering},
    },
};

use rusqlite::{
    Connection,
    ffi::{
        SQLITE_CONFIG_GETMALLOC, SQLITE_CONFIG_MALLOC, SQLITE_DBSTATUS_CACHE_USED, SQLITE_DBSTATUS_SCHEMA_USED,
        SQLITE_DBSTATUS_STMT_USED, SQLITE_OK, sqlite3_config, sqlite3_db_status, sqlite3_mem_methods,
    },
};

/// The limit for all of SQLite in this process: fits a small machine, with room for the rest.
pub(super) const HEAP_BYTES: i64 = 2 << 30;
/// The limit of one query: sorting and grouping a few million rows needs less.
pub(super) const QUERY_BYTES: i64 = 256 << 20;
/// Concurrent large queries; others wait for their turn. Large queries are busy computing, so more of them at once
/// would mostly wait for a core instead.
pub(super) const LARGE_QUERIES: usize = 4;
/// The limit of a small query: nearly all checks need less than a tenth.
pub(super) const SMALL_BYTES: i64 = 32 << 20;
/// The limit of all small queries together: 16 of the maximum size, or hundreds of the usual size.
const SMALL_TOTAL: i64 = 512 << 20;
/// Reserved for the record and for idle connections.
const RESERVE: i64 = 512 << 20;
const _: () = assert!(SMALL_TOTAL + LARGE_QUERIES as i64 * QUERY_BYTES + RESERVE <= HEAP_BYTES);

/// The step by which a small query's share of [`SMALL_TOTAL`] grows.
const STEP: i64 = 1 << 20;

/// The total share of the running small queries.
static SMALL_TAKEN: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// The query on this thread; `None` on other threads, such as those of the record.
    static QUERY: Cell<Option<Query>> = const { Cell::new(None) };
}

/// The size class of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Up to [`SMALL_BYTES`], within the total of small queries.
    Small,
    /// Up to [`QUERY_BYTES`]. Only [`LARGE_QUERIES`] at once may be of this size.
    Large,
}

/// Why a query was refused memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It needs more than any query may use.
    Query,
    /// It is small, and needs more than a small query may use, or more than other small queries leave.
    Small,
}

#[derive(Debug, Clone, Copy)]
struct Query {
    size: Size,
    /// Its current memory, in bytes; negative if it freed memory of earlier queries.
    taken: i64,
    /// Its current share.
    granted: i64,
    refused: Option<Refusal>,
}

impl Query {
    fn new(size: Size) -> Self {
        let granted = if size == Size::Large { QUERY_BYTES } else { 0 };
        Self { size, taken: 0, granted, refused: None }
    }

    /// Whether it may allocate more bytes.
    fn may_take(&mut self, more: i64) -> bool {
        let wanted = self.taken + more;
        if wanted <= self.granted {
            return true;
        }
        if self.size == Size::Small && wanted <= SMALL_BYTES && self.grow(wanted) {
            return true;
        }
        self.refused = Some(if self.size == Size::Small { Refusal::Small } else { Refusal::Query });
        false
    }

    /// Grows its share, if the other small queries leave room.
    fn grow(&mut self, wanted: i64) -> bool {
        let further = (wanted - self.granted + STEP - 1) / STEP * STEP;
        let within = |taken: i64| Some(taken + further).filter(|taken| *taken <= SMALL_TOTAL);
        let grown = SMALL_TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok();
        if grown {
            self.granted += further;
        }
        grown
    }
}

/// Ends the query of this thread, also after a panic.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(Query { size: Size::Small, granted, .. }) = QUERY.take() {
            SMALL_TAKEN.fetch_sub(granted, Ordering::Relaxed);
        }
    }
}

/// Runs a query on this thread, and returns whether it was refused memory.
pub(super) fn counted<T>(size: Size, query: impl FnOnce() -> T) -> (T, Option<Refusal>) {
    QUERY.set(Some(Query::new(size)));
    let _ending = Ending;
    let done = query();
    (done, QUERY.get().and_then(|query| query.refused))
}

/// Memory of an idle connection: pages of its files, their schema, and prepared statements.
pub(super) fn held_by(connection: &Connection) -> i64 {
    let held = |what| {
        let (mut now, mut most) = (0, 0);
        // SAFETY: the connection is open as long as it is borrowed, and the pointers are to integers that outlive the call.
        let asked = unsafe { sqlite3_db_status(connection.handle(), what, &raw mut now, &raw mut most, 0) };
        if asked == SQLITE_OK { i64::from(now) } else { 0 }
    };
    held(SQLITE_DBSTATUS_CACHE_USED) + held(SQLITE_DBSTATUS_SCHEMA_USED) + held(SQLITE_DBSTATUS_STMT_USED)
}

/// SQLite's own allocator, wrapped by the counting one.
#[derive(Clone, Copy)]
struct Own {
    allocate: unsafe extern "C" fn(c_int) -> *mut c_void,
    reallocate: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static OWN: OnceLock<Option<Own>> = OnceLock::new();

/// Starts counting. Must be called before the process uses SQLite; later it has no effect.
pub fn count() {
    OWN.get_or_init(|| {
        let mut methods = sqlite3_mem_methods {
            xMalloc: None,
            xFree: None,
            xRealloc: None,
            xSize: None,
            xRoundup: None,
            xInit: None,
            xShutdown: None,
            pAppData: std::ptr::null_mut(),
        };
        // SAFETY: the pointers are to structures of the type that SQLite documents for these two requests, and it copies
        // them: <https://www.sqlite.org/c3ref/c_config_covering_index_scan.html>
        unsafe {
            if sqlite3_config(SQLITE_CONFIG_GETMALLOC, &raw mut methods) != SQLITE_OK {
                return None;
            }
            let own = Own {
                allocate: methods.xMalloc?,
                reallocate: methods.xRealloc?,
                free: methods.xFree?,
                size: methods.xSize?,
            };
            methods.xMalloc = Some(allocate);
            methods.xRealloc = Some(reallocate);
            methods.xFree = Some(free);
            (sqlite3_config(SQLITE_CONFIG_MALLOC, &raw mut methods) == SQLITE_OK).then_some(own)
        }
    });
}

fn own() -> Option<Own> {
    OWN.get().copied().flatten()
}

/// Whether this thread may allocate more bytes.
fn may_take(more: i64) -> bool {
    let Some(mut query) = QUERY.get() else { return true };
    let may = query.may_take(more);
    QUERY.set(Some(query));
    may
}

fn took(bytes: i64) {
    if let Some(query) = QUERY.get() {
        QUERY.set(Some(Query { taken: query.taken + bytes, ..query }));
    }
}

/// The size of an allocation.
///
/// # Safety
/// `pointer` came from SQLite's own allocator, or is null.
unsafe fn size(own: Own, pointer: *mut c_void) -> i64 {
    match pointer.is_null() {
        true => 0,
        // SAFETY: as above.
        false => unsafe { (own.size)(pointer) }.into(),
    }
}

unsafe extern "C" fn allocate(bytes: c_int) -> *mut c_void {
    let Some(own) = own().filter(|_| may_take(bytes.into())) else { return std::ptr::null_mut() };
    // SAFETY: calls SQLite's own allocator as SQLite does, and then asks for the size of that allocation.
    unsafe {
        let pointer = (own.allocate)(bytes);
        took(size(own, pointer));
        pointer
    }
}

unsafe extern "C" fn reallocate(pointer: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(own) = own() else { return std::ptr::null_mut() };
    // SAFETY: SQLite passes a pointer that it got from this allocator.
    unsafe {
        let before = size(own, pointer);
        if !may_take(i64::from(bytes) - before) {
            return std::ptr::null_mut();
        }
        let moved = (own.reallocate)(pointer, bytes);
        if !moved.is_null() {
            took(size(own, moved) - before);
        }
        moved
    }
}

unsafe extern "C" fn free(pointer: *mut c_void) {
    let Some(own) = own() else { return };
    // SAFETY: SQLite passes a pointer that it got from this allocator.
    unsafe {
        took(-size(own, pointer));
        (own.free)(pointer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: i64 = 1 << 20;

    fn take(bytes: i64) -> bool {
        let may = may_take(bytes);
        if may {
            took(bytes);
        }
        may
    }

    /// One test for all, since the count is shared by the process.
    #[test]
    fn limits_add_up_to_what_there_is() {
        // A small query has its own limit, and returns its share.
        let (_, refused) = counted(Size::Small, || {
            assert!(take(SMALL_BYTES - MIB) && take(MIB / 2));
            assert!(!take(MIB), "beyond its size");
            took(-SMALL_BYTES / 2);
            assert!(take(MIB), "freed memory can be used again");
        });
        assert_eq!(refused, Some(Refusal::Small));
        assert_eq!(SMALL_TAKEN.load(Ordering::Relaxed), 0);
        // Small queries share a total; a large one does not use it.
        SMALL_TAKEN.store(SMALL_TOTAL - MIB / 2, Ordering::Relaxed);
        assert_eq!(counted(Size::Small, || assert!(!take(10))).1, Some(Refusal::Small));
        assert_eq!(counted(Size::Large, || assert!(take(QUERY_BYTES - MIB))).1, None);
        SMALL_TAKEN.store(0, Ordering::Relaxed);
        assert_eq!(counted(Size::Large, || assert!(!take(QUERY_BYTES + 1))).1, Some(Refusal::Query));
        // A query that panics returns its share too.
        let panics = std::panic::catch_unwind(|| counted(Size::Small, || assert!(take(MIB) && !take(MIB))));
        assert!(panics.is_err());
        assert_eq!(SMALL_TAKEN.load(Ordering::Relaxed), 0);
        // Memory outside of queries is not counted, such as the record's.
        assert!(may_take(HEAP_BYTES));
    }
}
