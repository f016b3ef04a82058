//! The permit of one piece of work, which provides threads, a stop signal and memory.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    Computing, GIVE_WAY, OVERDUE, QUICK, TURN, crowded, guest, plugins,
    room::Room,
    thread_time,
    work::{Allowance, Pace, Turn, Work},
};

/// How often work that waits for its turn checks whether it is over.
const LOOK: Duration = Duration::from_millis(5);
/// Time reserved at the end of a run, so that the plugin can still report an error.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The permit of a piece of work for a plugin. Dropping it cancels the rest of the work.
#[derive(Debug)]
pub struct Permit(Arc<Work>);

/// Bytes that the host holds for a piece of work, until this is dropped.
#[derive(Debug)]
pub struct Held {
    work: Arc<Work>,
    bytes: usize,
}

/// The limit on held memory would be exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host would hold more than {0} bytes for it")]
pub struct TooMuch(pub usize);

/// Ends a piece of work when it is dropped, also with its future.
#[derive(Debug)]
pub struct Ending<'p>(&'p Permit);

impl Permit {
    /// A permit for a piece of work on behalf of a plugin.
    pub fn new(plugin: &str, allowance: Allowance) -> Self {
        Self::paced(plugin, allowance, &Pace::default())
    }

    /// A permit for work of a check, at the check's pace.
    pub fn paced(plugin: &str, allowance: Allowance, pace: &Pace) -> Self {
        Self(Arc::new(Work::new(plugin, allowance, pace)))
    }

    /// Starts its time, unless it has started.
    pub fn begin(&self) {
        self.deadline();
    }

    /// The deadline for backends: a little before the time is up.
    pub fn deadline(&self) -> Instant {
        let whole = self.0.allowance.timeout;
        *self.0.deadline.get_or_init(|| Instant::now() + whole.saturating_sub(LAST_WORDS.min(whole / 4)))
    }

    /// Cancels the work.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::Relaxed);
    }

    /// Cancels the work when the returned guard is dropped.
    pub fn ending(&self) -> Ending<'_> {
        Ending(self)
    }

    /// Reads the guest's CPU time.
    pub fn meter(&self) -> Meter {
        Meter(self.0.clone())
    }

    /// CPU time so far, of the guest until it last paused and of the threads.
    pub fn computed(&self) -> Duration {
        self.0.computed()
    }

    /// Charges bytes that the host holds for this work.
    pub fn hold(&self, bytes: usize) -> Result<Held, TooMuch> {
        let mut held = Held { work: self.0.clone(), bytes: 0 };
        held.more(bytes)?;
        Ok(held)
    }

    /// Lets one remote answer arrive at a time, until the returned permit is dropped.
    pub async fn alone(&self) -> OwnedSemaphorePermit {
        match self.0.reading.clone().acquire_owned().await {
            Ok(alone) => alone,
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Runs a guest; once the work is large, in the slow lane. Dropping this ends the guest.
    pub async fn guest<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        guest::run(&self.0, future).await
    }

    /// Runs blocking work on a thread for plugins; `None` if it panicked. The work must check its stop signal, which is
    /// set when the work is over or this is dropped.
    #[allow(clippy::disallowed_methods)]
    pub async fn blocking<T: Send + 'static>(&self, job: impl FnOnce(&Stop) -> T + Send + 'static) -> Option<T> {
        // The semaphore is never closed. A job keeps its thread until it ends, even if nobody waits for it.
        let own = self.0.room.clone().acquire_owned().await;
        let plugins_own = self.0.account.threads.clone().acquire_owned().await;
        let stop = Stop::new(&self.0);
        let _dropped = Dropped(stop.0.clone());
        let job = move || {
            let _threads = (own, plugins_own);
            stop.begin();
            let done = job(&stop);
            stop.slice().end(&stop.0.work);
            done
        };
        plugins().spawn_blocking(job).await.ok()
    }
}

/// The CPU time of a guest.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Work>);

impl Meter {
    /// CPU time until now; must be called on the guest's thread while it computes.
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

/// The stop signal of work on a thread. Work must check it at least every 10 ms of CPU time.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Job>);

#[derive(Debug)]
struct Job {
    work: Arc<Work>,
    /// Nobody waits for it any more.
    dropped: AtomicBool,
    slice: Mutex<Slice>,
}

/// The thread's progress since the last check, and its turn.
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

impl Stop {
    fn new(work: &Arc<Work>) -> Self {
        let slice = Mutex::default();
        Self(Arc::new(Job { work: work.clone(), dropped: AtomicBool::new(false), slice }))
    }

    /// Whether the work must end now. Counts this thread's CPU time, and waits for the next turn if needed; must be
    /// called on the working thread.
    pub fn reached(&self) -> bool {
        if self.is_over() {
            return true;
        }
        let waits = self.slice().count(&self.0.work);
        if let Some(computed) = waits {
            self.wait(computed);
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.0.dropped.load(Ordering::Relaxed) || self.0.work.over.load(Ordering::Relaxed)
    }

    /// Begins a job on this thread; a job of large work waits for its first turn.
    fn begin(&self) {
        self.slice().begin(&self.0.work);
        if self.0.work.is_large() {
            self.wait(TURN);
        }
    }

    /// Waits for a turn, or until the work is over, after some CPU time.
    fn wait(&self, computed: Duration) {
        while let Some(turn) = self.turn() {
            let given = Instant::now() + computed * GIVE_WAY;
            let mut wanted = false;
            while crowded() && Instant::now() < given && !self.is_over() && !wanted {
                std::thread::sleep(TURN);
                // Do not hold a turn while waiting for fast work.
                wanted = Room::turns().wanted(&self.0.work.account);
            }
            if !wanted {
                let mut slice = self.slice();
                slice.began = thread_time();
                slice.lane = Lane::Slow(turn);
                return;
            }
        }
    }

    /// The next turn; `None` if the work is over first.
    fn turn(&self) -> Option<Turn> {
        let mut arriving = match Room::turns().ask(&self.0.work.account) {
            Ok(place) => return Some(Turn::new(place)),
            Err(arriving) => arriving,
        };
        let (runtime, overdue) = (plugins(), Instant::now() + OVERDUE);
        loop {
            match runtime.block_on(tokio::time::timeout(LOOK, &mut arriving)) {
                Ok(arrived) => return arrived.ok().map(Turn::new),
                Err(_) if self.is_over() => return None,
                Err(_) if Instant::now() >= overdue => return Some(Turn::overdue()),
                Err(_) => {}
            }
        }
    }

    fn slice(&self) -> MutexGuard<'_, Slice> {
        self.0.slice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slice {
    fn begin(&mut self, work: &Work) {
        self.counted = thread_time();
        self.began = self.counted;
        if !work.is_large() {
            self.lane = Lane::Fast(Computing::new(&QUICK));
        }
    }

    /// Counts CPU time. If the thread must wait for a turn, returns the CPU time since the last one.
    fn count(&mut self, work: &Work) -> Option<Duration> {
        let now = thread_time();
        let used = now.saturating_sub(self.counted);
        self.counted = now;
        work.threads.fetch_add(used, Ordering::Relaxed);
        work.account.count(used);
        let turn = Duration::from_nanos(now.saturating_sub(self.began));
        let waits = match self.lane {
            Lane::Slow(_) if turn < TURN => false,
            // If it would be next anyway, keep the turn, but leave the core to fast work.
            Lane::Slow(_) => crowded() || Room::turns().outranked(&work.account),
            Lane::Fast(_) | Lane::Neither => work.is_large(),
        };
        waits.then(|| {
            self.lane = Lane::Neither;
            turn
        })
    }

    fn end(&mut self, work: &Work) {
        self.count(work);
        self.lane = Lane::Neither;
    }
}

/// Signals a job that nobody waits for it any more.
struct Dropped(Arc<Job>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Relaxed);
    }
}
