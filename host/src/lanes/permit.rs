//! The permit of one piece of work, and what it hands out: threads, a stop signal, bytes.

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
    work::{Allowance, Turn, Work},
};

/// How often work that waits for its turn looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);
/// Of the time, what is left after the last answer from far away, so that a plugin can still say what went wrong.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What each piece of work for a plugin needs. When it is dropped, what is still under way is called off.
#[derive(Debug)]
pub struct Permit(Arc<Work>);

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
        Self(Arc::new(Work::new(plugin, allowance)))
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

    /// CPU time that was used so far, by the guest until it last paused and by threads.
    pub fn computed(&self) -> Duration {
        self.0.computed()
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
        if let Some(computed) = waits {
            self.wait(computed);
        }
        self.is_over()
    }

    fn is_over(&self) -> bool {
        self.0.dropped.load(Ordering::Relaxed) || self.0.work.over.load(Ordering::Relaxed)
    }

    /// Waits for a turn, or until the work is over, after having computed for so long.
    fn wait(&self, computed: Duration) {
        while let Some(turn) = self.turn() {
            let given = Instant::now() + computed * GIVE_WAY;
            let mut wanted = false;
            while crowded() && Instant::now() < given && !self.is_over() && !wanted {
                std::thread::sleep(TURN);
                // Whoever waits for fast work keeps no turn from others.
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

    /// The next turn; none when the work is over before.
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

    /// Counts what was computed. When a turn must be waited for: how long this computed since the last one.
    fn count(&mut self, work: &Work) -> Option<Duration> {
        let now = thread_time();
        let used = now.saturating_sub(self.counted);
        self.counted = now;
        work.threads.fetch_add(used, Ordering::Relaxed);
        work.account.count(used);
        let turn = Duration::from_nanos(now.saturating_sub(self.began));
        let waits = match self.lane {
            Lane::Slow(_) if turn < TURN => false,
            // Whoever is next anyway keeps its turn, but leaves the core to fast work.
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

/// Tells a job that nobody waits for it any more.
struct Dropped(Arc<Job>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.dropped.store(true, Ordering::Relaxed);
    }
}
