//! What queries may take of memory. SQLite itself counts for the whole process only, where one that takes much would make
//! the others fail, and the record too, which is SQLite in the same process; so each thread counts what it takes, and a
//! query runs on one thread from beginning to end.
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
        SQLITE_OK, sqlite3_config, sqlite3_db_status, sqlite3_mem_methods,
    },
};

/// What everything that uses SQLite in this process may take together: what a small machine has, with room for the rest.
pub(super) const HEAP_BYTES: i64 = 2 << 30;
/// The most that one query takes: sorting and grouping a few million rows needs less.
pub(super) const QUERY_BYTES: i64 = 256 << 20;
/// Queries that may take so much at once; others wait for their turn. They compute as long as they take memory, so that
/// more of them at once would mostly wait for a core instead.
pub(super) const LARGE_QUERIES: usize = 4;
/// What a query takes without being one of those: nearly all checks need less than a tenth.
pub(super) const SMALL_BYTES: i64 = 32 << 20;
/// What all small ones take together: 16 that take all they may, or hundreds that take what is usual.
const SMALL_TOTAL: i64 = 512 << 20;
/// What queries never take: it is the record's, and that of connections that are kept.
const RESERVE: i64 = 512 << 20;
const _: () = assert!(SMALL_TOTAL + LARGE_QUERIES as i64 * QUERY_BYTES + RESERVE <= HEAP_BYTES);

/// A small query's part of [`SMALL_TOTAL`] grows by so much at once.
const STEP: i64 = 1 << 20;

/// What the small queries under way have set aside.
static SMALL_TAKEN: AtomicI64 = AtomicI64::new(0);

thread_local! {
    /// The query on this thread; none when there is none, as on a thread that works for the record.
    static QUERY: Cell<Option<Query>> = const { Cell::new(None) };
}

/// What a query may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Up to [`SMALL_BYTES`], of what small ones have together.
    Small,
    /// Up to [`QUERY_BYTES`]. Only [`LARGE_QUERIES`] at once may be of this size.
    Large,
}

/// Why a query was refused memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It asked for more than any query may take.
    Query,
    /// It is small, and asked for more than such a one may take, or than other small ones leave.
    Small,
}

#[derive(Debug, Clone, Copy)]
struct Query {
    size: Size,
    /// What it has taken and not given back, in bytes; less than nothing when it freed what others left.
    taken: i64,
    /// What it may take as it is.
    granted: i64,
    refused: Option<Refusal>,
}

impl Query {
    fn new(size: Size) -> Self {
        let granted = if size == Size::Large { QUERY_BYTES } else { 0 };
        Self { size, taken: 0, granted, refused: None }
    }

    /// Whether it may take so many bytes more.
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

    /// Sets more aside, if the others leave so much.
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

/// Ends the query of this thread, also when it panics.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(Query { size: Size::Small, granted, .. }) = QUERY.take() {
            SMALL_TAKEN.fetch_sub(granted, Ordering::Relaxed);
        }
    }
}

/// Runs a query on this thread, and says whether it was refused memory.
pub(super) fn counted<T>(size: Size, query: impl FnOnce() -> T) -> (T, Option<Refusal>) {
    QUERY.set(Some(Query::new(size)));
    let _ending = Ending;
    let done = query();
    (done, QUERY.get().and_then(|query| query.refused))
}

/// What a connection holds between two questions: pages of its files, and what it knows of their tables.
pub(super) fn held_by(connection: &Connection) -> i64 {
    let held = |what| {
        let (mut now, mut most) = (0, 0);
        // SAFETY: the connection is open as long as it is borrowed, and the pointers are to integers that outlive the call.
        let asked = unsafe { sqlite3_db_status(connection.handle(), what, &raw mut now, &raw mut most, 0) };
        if asked == SQLITE_OK { i64::from(now) } else { 0 }
    };
    held(SQLITE_DBSTATUS_CACHE_USED) + held(SQLITE_DBSTATUS_SCHEMA_USED)
}

/// SQLite's own allocator, when the counting one stands before it.
#[derive(Clone, Copy)]
struct Own {
    allocate: unsafe extern "C" fn(c_int) -> *mut c_void,
    reallocate: unsafe extern "C" fn(*mut c_void, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    size: unsafe extern "C" fn(*mut c_void) -> c_int,
}

static OWN: OnceLock<Option<Own>> = OnceLock::new();

/// Counts from now on. To be called before anything of SQLite is used in the process; later it has no effect.
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

/// Whether this thread may take so many bytes more.
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
    // SAFETY: SQLite's own allocator, asked as SQLite asks it, and then for the size of what it gave.
    unsafe {
        let pointer = (own.allocate)(bytes);
        took(size(own, pointer));
        pointer
    }
}

unsafe extern "C" fn reallocate(pointer: *mut c_void, bytes: c_int) -> *mut c_void {
    let Some(own) = own() else { return std::ptr::null_mut() };
    // SAFETY: SQLite gives back what it was given.
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
    // SAFETY: SQLite gives back what it was given.
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

    /// One after the other, since they share what is counted for the process.
    #[test]
    fn limits_add_up_to_what_there_is() {
        // A small query has its own limit, and gives back what it set aside.
        let (_, refused) = counted(Size::Small, || {
            assert!(take(SMALL_BYTES - MIB) && take(MIB / 2));
            assert!(!take(MIB), "beyond its size");
            took(-SMALL_BYTES / 2);
            assert!(take(MIB), "freed memory can be used again");
        });
        assert_eq!(refused, Some(Refusal::Small));
        assert_eq!(SMALL_TAKEN.load(Ordering::Relaxed), 0);
        // All of them have one together; a large one needs nothing of it.
        SMALL_TAKEN.store(SMALL_TOTAL - MIB / 2, Ordering::Relaxed);
        assert_eq!(counted(Size::Small, || assert!(!take(10))).1, Some(Refusal::Small));
        assert_eq!(counted(Size::Large, || assert!(take(QUERY_BYTES - MIB))).1, None);
        SMALL_TAKEN.store(0, Ordering::Relaxed);
        assert_eq!(counted(Size::Large, || assert!(!take(QUERY_BYTES + 1))).1, Some(Refusal::Query));
        // One that panics gives back as well.
        let panics = std::panic::catch_unwind(|| counted(Size::Small, || assert!(take(MIB) && !take(MIB))));
        assert!(panics.is_err());
        assert_eq!(SMALL_TAKEN.load(Ordering::Relaxed), 0);
        // What is no query's is not counted: the record's.
        assert!(may_take(HEAP_BYTES));
    }
}
