//! The counters of a piece of work, shared by all its parts.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{Computing, FAST, SLOW, WORK_THREADS, account::Account, room::Place, thread_time};

/// The limits of a piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Wall-clock time, from [`Permit::begin`] on.
    pub timeout: Duration,
    /// Bytes that the host may hold for it at once.
    pub bytes: usize,
}

/// The pace of a check. If its last work computed long, the next starts in the slow lane, and delays nobody even at first.
#[derive(Debug, Clone, Default)]
pub struct Pace(Arc<AtomicBool>);

#[derive(Debug)]
pub(super) struct Work {
    pub(super) account: Arc<Account>,
    pace: Pace,
    /// Whether it starts in the slow lane.
    slow: bool,
    pub(super) allowance: Allowance,
    pub(super) deadline: OnceLock<Instant>,
    /// CPU time of the guest, in nanoseconds, until it last paused.
    pub(super) guest: AtomicU64,
    /// CPU time of its threads, in nanoseconds.
    pub(super) threads: AtomicU64,
    /// The thread's clock when the guest last resumed.
    pub(super) since: AtomicU64,
    pub(super) held: AtomicUsize,
    pub(super) over: AtomicBool,
    pub(super) room: Arc<Semaphore>,
    pub(super) reading: Arc<Semaphore>,
}

impl Work {
    pub(super) fn new(plugin: &str, allowance: Allowance, pace: &Pace) -> Self {
        Self {
            account: Account::of(plugin),
            pace: pace.clone(),
            slow: pace.0.load(Ordering::Relaxed),
            allowance,
            deadline: OnceLock::new(),
            guest: AtomicU64::new(0),
            threads: AtomicU64::new(0),
            since: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            room: Arc::new(Semaphore::new(WORK_THREADS)),
            reading: Arc::new(Semaphore::new(1)),
        }
    }

    /// Whether it belongs in the slow lane.
    pub(super) fn is_large(&self) -> bool {
        self.slow || self.computed() > FAST
    }

    pub(super) fn computed(&self) -> Duration {
        Duration::from_nanos(self.guest.load(Ordering::Relaxed) + self.threads.load(Ordering::Relaxed))
    }

    pub(super) fn guest_now(&self) -> Duration {
        let now = thread_time().saturating_sub(self.since.load(Ordering::Relaxed));
        Duration::from_nanos(self.guest.load(Ordering::Relaxed) + now)
    }

    /// Counts the CPU time of `poll`.
    pub(super) fn metered<T>(&self, poll: impl FnOnce() -> T) -> T {
        let started = thread_time();
        self.since.store(started, Ordering::Relaxed);
        let polled = poll();
        let used = thread_time().saturating_sub(started);
        self.guest.fetch_add(used, Ordering::Relaxed);
        self.account.count(used);
        polled
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.pace.0.store(self.computed() > FAST, Ordering::Relaxed);
    }
}

/// A turn in the slow lane.
#[derive(Debug)]
pub(super) struct Turn {
    _place: Option<Place>,
    _computing: Computing,
}

impl Turn {
    pub(super) fn new(place: Place) -> Self {
        Self { _place: Some(place), _computing: Computing::new(&SLOW) }
    }

    /// For work that waited too long, since the holder of the turn may be waiting for a disk.
    pub(super) fn overdue() -> Self {
        Self { _place: None, _computing: Computing::new(&SLOW) }
    }
}
