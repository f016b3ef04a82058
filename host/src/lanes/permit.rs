//! The permit of one piece of work, and what it hands out: threads, a stop signal, bytes.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{
    Computing, FAST, GIVE_WAY, QUICK, SLOW, TURN, WORK_THREADS, account::Account, crowded, guest, plugins, room::Place,
    room::Room, thread_time,
};

/// How often work that waits for its turn looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);
/// Of the time, what is left after the last answer from far away, so that a plugin can still say what went wrong.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a piece of work may use.
#[derive(Debug, Clone, Copy)]
pub struct Allowance {
    /// Wall-clock time, from [`Permit::begin`] on.
    pub timeout: Duration,
    /// Bytes that the host may hold for it at once.
    pub bytes: usize,
}

/// What each piece of work for a plugin needs. When it is dropped, what is still under way is called off.
#[derive(Debug)]
pub struct Permit(Arc<Work>);

#[derive(Debug)]
pub(super) struct Work {
    pub(super) account: Arc<Account>,
    allowance: Allowance,
    deadline: OnceLock<Instant>,
    /// CPU time of the guest, in nanoseconds, until it last paused.
    guest: AtomicU64,
    /// CPU time of threads that work for it, in nanoseconds.
    threads: AtomicU64,
    /// The thread's clock when the guest last went on.
    since: AtomicU64,
    held: AtomicUsize,
    over: AtomicBool,
    room: Arc<Semaphore>,
    reading: Arc<Semaphore>,
}

/// Bytes that the host holds for a piece of work, until this is dropped.
#[derive(Debug)]
pub struct Held {
    work: Arc<Work>,
    bytes: usize,
}

/// The host would hold more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host would hold more than {0} bytes for it")]
pub struct TooMuch(pub usize);

/// Ends a piece of work when it is dropped, also when its future is.
#[derive(Debug)]
pub struct Ending<'p>(&'p Permit);

impl Permit {
    /// For a piece of work on behalf of a plugin.
    pub fn new(plugin: &str, allowance: Allowance) -> Self {
        Self(Arc::new(Work {
            account: Account::of(plugin),
            allowance,
            deadline: OnceLock::new(),
            guest: AtomicU64::new(0),
            threads: AtomicU64::new(0),
            since: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            room: Arc::new(Semaphore::new(WORK_THREADS)),
            reading: Arc::new(Semaphore::new(1)),
        }))
    }

    /// Its time begins, unless it has begun.
    pub fn begin(&self) {
        self.deadline();
    }

    /// Until when a backend may try to answer: a little before the time is up.
    pub fn deadline(&self) -> Instant {
        let whole = self.0.allowance.timeout;
        *self.0.deadline.get_or_init(|| Instant::now() + whole.saturating_sub(LAST_WORDS.min(whole / 4)))
    }

    /// Calls off what is under way.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    /// Calls off what is under way when this is dropped.
    pub fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    /// What tells how much the guest computed.
    pub fn meter(&self) -> Meter {
        Meter(self.0.clone())
    }

    /// What threads computed for this work.
    #[cfg(test)]
    pub(super) fn threads(&self) -> Duration {
        Duration::from_nanos(self.0.threads.load(Ordering::Relaxed))
    }

    /// Charges bytes that the host holds for this work.
    pub fn hold(&self, bytes: usize) -> Result<Held, TooMuch> {
        let mut held = Held { work: self.0.clone(), bytes: 0 };
        held.more(bytes)?;
        Ok(held)
    }

    /// Of what this work reads from far away, one answer arrives at a time: until what this gives is dropped.
    pub async fn alone(&self) -> OwnedSemaphorePermit {
        match self.0.reading.clone().acquire_owned().await {
            Ok(alone) => alone,
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Runs a guest; from the moment on that the work is large, in the slow lane. It ends when this is dropped.
    pub async fn guest<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        guest::run(&self.0, future).await
    }

    /// Runs blocking work on a thread for plugins; none when it panicked. It must look at the signal that it is given, which
    /// comes when the work is over and when this is dropped.
    #[allow(clippy::disallowed_methods)]
    pub async fn blocking<T: Send + 'static>(&self, job: impl FnOnce(&Stop) -> T + Send + 'static) -> Option<T> {
        // Never closed. A job keeps its thread until it ends, also when nobody waits for it.
        let own = self.0.room.clone().acquire_owned().await;
        let plugins_own = self.0.account.threads.clone().acquire_owned().await;
        let stop = Stop::new(&self.0);
        let _dropped = Dropped(stop.0.clone());
        let job = move || {
            let _threads = (own, plugins_own);
            stop.slice().begin(&stop.0.work);
            let done = job(&stop);
            stop.slice().end(&stop.0.work);
            done
        };
        plugins().spawn_blocking(job).await.ok()
    }
}

/// What a guest computed.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Work>);

impl Meter {
    /// CPU time until now; asked while it computes, on its thread.
    pub fn now(&self) -> Duration {
        self.0.guest_now()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Work {
    /// Whether it belongs in the slow lane.
    pub(super) fn is_large(&self) -> bool {
        let nanos = self.guest.load(Ordering::Relaxed) + self.threads.load(Ordering::Relaxed);
        Duration::from_nanos(nanos) > FAST
    }

    fn guest_now(&self) -> Duration {
        let now = thread_time().saturating_sub(self.since.load(Ordering::Relaxed));
        Duration::from_nanos(self.guest.load(Ordering::Relaxed) + now)
    }

    /// Counts what a guest computes in `poll`.
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

impl Held {
    /// Charges more.
    pub fn more(&mut self, bytes: usize) -> Result<(), TooMuch> {
        let most = self.work.allowance.bytes;
        let before = self.work.held.fetch_add(bytes, Ordering::Relaxed);
        self.work.account.held.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        match before + bytes > most {
            true => Err(TooMuch(most)),
            false => Ok(()),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.work.held.fetch_sub(self.bytes, Ordering::Relaxed);
        self.work.account.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// When work on a thread must end. Whoever computes looks at it at least every 10 ms of CPU time.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Job>);

#[derive(Debug)]
struct Job {
    work: Arc<Work>,
    /// Nobody waits for it any more.
    dropped: AtomicBool,
    slice: Mutex<Slice>,
}

/// What a thread computes between two looks, and the turn that it does so in.
#[derive(Debug, Default)]
struct Slice {
    /// The thread's clock when it was last counted.
    counted: u64,
    /// The thread's clock when the turn began.
    began: u64,
    lane: Lane,
}

#[derive(Debug, Default)]
enum Lane {
    #[default]
    Neither,
    Fast(#[allow(dead_code)] Computing),
    Slow(#[allow(dead_code)] Turn),
}

/// A turn in the slow lane.
#[derive(Debug)]
pub(super) struct Turn {
    _place: Place,
    _computing: Computing,
}

impl Turn {
    pub(super) fn new(place: Place) -> Self {
        Self { _place: place, _computing: Computing::new(&SLOW) }
    }
}

impl Stop {
    fn new(work: &Arc<Work>) -> Self {
        let slice = Mutex::default();
        Self(Arc::new(Job { work: work.clone(), dropped: AtomicBool::new(false), slice }))
    }

    /// Whether the work must end now. Counts what this thread computed, and waits for the next turn when there was much of
    /// it; to be asked on the thread that works.
    pub fn reached(&self) -> bool {
        if self.is_over() {
            return true;
        }
        let waits = self.slice().count(&self.0.work);
        if waits {
            self.wait();
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.0.dropped.load(Ordering::Relaxed) || self.0.work.over.load(Ordering::Relaxed)
    }

    /// Waits for a turn, or until the work is over.
    fn wait(&self) {
        let account = &self.0.work.account;
        let mut place = match Room::turns().ask(account) {
            Ok(place) => Some(place),
            Err(mut arriving) => {
                let runtime = plugins();
                loop {
                    match runtime.block_on(tokio::time::timeout(LOOK, &mut arriving)) {
                        Ok(arrived) => break arrived.ok(),
                        Err(_) if self.is_over() => break None,
                        Err(_) => {}
                    }
                }
            }
        };
        if let Some(place) = place.take() {
            let turn = Turn::new(place);
            for _ in 0..GIVE_WAY {
                if !crowded() || self.is_over() {
                    break;
                }
                std::thread::sleep(TURN);
            }
            let mut slice = self.slice();
            slice.began = thread_time();
            slice.lane = Lane::Slow(turn);
        }
    }

    fn slice(&self) -> MutexGuard<'_, Slice> {
        self.0.slice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slice {
    fn begin(&mut self, work: &Work) {
        self.counted = thread_time();
        if !work.is_large() {
            self.lane = Lane::Fast(Computing::new(&QUICK));
        }
    }

    /// Counts what was computed; true when a turn must be waited for.
    fn count(&mut self, work: &Work) -> bool {
        let now = thread_time();
        let used = now.saturating_sub(self.counted);
        self.counted = now;
        work.threads.fetch_add(used, Ordering::Relaxed);
        work.account.count(used);
        let waits = match self.lane {
            Lane::Slow(_) if Duration::from_nanos(now.saturating_sub(self.began)) < TURN => false,
            // Whoever is next anyway keeps its turn, but leaves the core to fast work.
            Lane::Slow(_) => crowded() || Room::turns().outranked(&work.account),
            Lane::Fast(_) | Lane::Neither => work.is_large(),
        };
        if waits {
            self.lane = Lane::Neither;
        }
        waits
    }

    fn end(&mut self, work: &Work) {
        self.count(work);
        self.lane = Lane::Neither;
    }
}

/// Tells a job that nobody waits for it any more.
struct Dropped(Arc<Job>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Relaxed);
    }
}
