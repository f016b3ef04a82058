//! The program's allocator. It is the system's; only a confined process has it say that memory ran out, which is otherwise
//! not to be told from any other end.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
};

use super::OUT_OF_MEMORY;

/// Whether this process is a confined one.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// The system's allocator, which a confined process does not survive when it has nothing left.
#[derive(Debug)]
pub struct Allocator;

/// From now on this process ends when memory runs out.
pub(super) fn end_without_memory() {
    CONFINED.store(true, Ordering::Relaxed);
}

fn or_end(allocated: *mut u8) -> *mut u8 {
    if allocated.is_null() && CONFINED.load(Ordering::Relaxed) {
        // SAFETY: it takes nothing and does not return.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(OUT_OF_MEMORY)
        }
    }
    allocated
}

// SAFETY: each call is handed on as it is to the system's allocator, which keeps the promises.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's allocator's.
        or_end(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, allocated: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.realloc(allocated, layout, size) })
    }

    unsafe fn dealloc(&self, allocated: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(allocated, layout) }
    }
}
