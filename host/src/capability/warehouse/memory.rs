//! What one query may take of memory. SQLite itself counts for the whole process only, where one that takes much would
//! make the others fail; so each thread counts what it takes, and a query runs on one thread from beginning to end.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    ffi::{c_int, c_void},
    sync::OnceLock,
};

use rusqlite::ffi::{SQLITE_CONFIG_GETMALLOC, SQLITE_CONFIG_MALLOC, SQLITE_OK, sqlite3_config, sqlite3_mem_methods};

/// The most that one query takes: grouping a few million rows needs less.
pub(super) const QUERY_BYTES: i64 = 256 << 20;

thread_local! {
    /// What the query on this thread has taken and not given back, in bytes; none when there is no query.
    static TAKEN: Cell<Option<i64>> = const { Cell::new(None) };
    /// Whether it was refused more.
    static REFUSED: Cell<bool> = const { Cell::new(false) };
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

/// Runs a query on this thread; true when it was refused memory.
pub(super) fn counted<T>(query: impl FnOnce() -> T) -> (T, bool) {
    REFUSED.set(false);
    TAKEN.set(Some(0));
    let done = query();
    TAKEN.set(None);
    (done, REFUSED.get())
}

fn own() -> Option<Own> {
    OWN.get().copied().flatten()
}

/// Whether so many bytes more are too many.
fn refused(more: i64) -> bool {
    let refused = TAKEN.get().is_some_and(|taken| taken + more > QUERY_BYTES);
    if refused {
        REFUSED.set(true);
    }
    refused
}

fn took(bytes: i64) {
    TAKEN.set(TAKEN.get().map(|taken| taken + bytes));
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
    let Some(own) = own().filter(|_| !refused(bytes.into())) else { return std::ptr::null_mut() };
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
        if refused(i64::from(bytes) - before) {
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
