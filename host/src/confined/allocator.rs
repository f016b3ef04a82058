//! The program's allocator: the system's, with fewer heaps. A confined process exits with a special code when memory runs
//! out, so that this can be told from other crashes.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, Ordering},
};

use super::OUT_OF_MEMORY;

/// Whether this process is confined.
static CONFINED: AtomicBool = AtomicBool::new(false);

/// The system's allocator; in a confined process, it ends the process when memory runs out.
#[derive(Debug)]
pub struct Allocator;

impl Allocator {
    /// Gives threads at most so many heaps: one for each processor. glibc would make eight times as many (M_ARENA_MAX in mallopt(3)),
    /// and lets each but the first grow by a page at a time with a system call (`grow_heap` in its arena.c): about 2,000 calls in
    /// `host run --once`, and half of them with two heaps.
    #[cfg_attr(not(target_env = "gnu"), allow(unused_variables))]
    pub fn limit_heaps(most: usize) {
        #[cfg(target_env = "gnu")]
        {
            let most = libc::c_int::try_from(most).unwrap_or(libc::c_int::MAX);
            // SAFETY: it sets a number, and fails without harm. No other thread sets one.
            #[allow(unsafe_code)]
            unsafe {
                libc::mallopt(libc::M_ARENA_MAX, most);
            }
        }
    }
}

/// Makes this process end when memory runs out.
pub(super) fn end_without_memory() {
    CONFINED.store(true, Ordering::Relaxed);
}

fn or_end(allocated: *mut u8) -> *mut u8 {
    if allocated.is_null() && CONFINED.load(Ordering::Relaxed) {
        // SAFETY: it has no arguments and does not return.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(OUT_OF_MEMORY)
        }
    }
    allocated
}

// SAFETY: each call is passed unchanged to the system's allocator, which fulfils the contract.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's obligations are those of the system's allocator.
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
