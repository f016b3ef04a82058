//! All work for plugins. Computing, reading or waiting on a plugin's behalf needs a [`Permit`], which counts the CPU
//! time, gives the stop signal, charges memory, and limits the plugin's threads.
//!
//! There are two lanes: work starts in the fast lane and moves to the slow lane when it has computed for a while. Slow
//! work takes turns of a millisecond: it leaves one core free, new work comes first, and among plugins the one with the
//! least recent CPU time is next. So a plugin that computes without end costs the others next to nothing, while to
//! other processes on the machine every thread here is an ordinary one.
//!
//! Plugins have their own thread pool. The host's own work (the record, delivery, its own pages) uses the runtime's
//! threads, which no plugin can exhaust.
//!
//! Without a permit, none of this compiles:
//!
//! ```compile_fail,E0603
//! let threads = host::lanes::plugins();
//! ```
//! ```compile_fail,E0423
//! let never = host::lanes::Stop(std::sync::Arc::new(()));
//! ```
//! ```compile_fail,E0451
//! let nothing = |held: host::lanes::Held| host::lanes::Held { bytes: 0, ..held };
//! ```
//! ```compile_fail,E0603
//! let run = host::confined::run;
//! ```
//!
//! With a permit:
//!
//! ```
//! use host::lanes::{Allowance, Permit};
//! let permit = Permit::new("odds", Allowance { timeout: std::time::Duration::from_secs(1), bytes: 1 << 20 });
//! let counted = async move { permit.blocking(|stop| stop.reached()).await };
//! drop(counted);
//! ```

mod account;
mod guest;
mod permit;
mod room;
mod work;

use std::{
    num::NonZero,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, Runtime};

pub use account::{Usage, usage};
pub use permit::{Ending, Held, Meter, Permit, Stop, TooMuch};
pub use room::{Place, Room};
pub use work::{Allowance, Pace};

/// CPU time of a piece of work in the fast lane. Most checks need less: a canary of the sample 0.5 ms, and 1.4 ms in a
/// development build, by `cargo xtask bench run`.
const FAST: Duration = Duration::from_millis(2);
/// The length of a turn in the slow lane: as long as a guest computes between two ticks of its engine's clock.
const TURN: Duration = Duration::from_millis(1);
/// The longest wait of slow work for its turn, since whoever has the turn may be waiting for a disk.
const OVERDUE: Duration = Duration::from_millis(100);
/// The longest wait of slow work for fast work, at each turn, as a multiple of the time that it computed: so slow work
/// gets at least a sixth of a core.
const GIVE_WAY: u32 = 5;
/// Threads for all plugins together. Most of them wait for a disk; those that compute take turns.
const THREADS: usize = 32;
/// Threads of one plugin, over all its runs: an eighth of all.
const PLUGIN_THREADS: usize = 4;
/// Threads of one piece of work: enough to answer one call while another computes.
const WORK_THREADS: usize = 2;

/// Work in the fast lane that is computing now.
static QUICK: AtomicUsize = AtomicUsize::new(0);
/// Turns in the slow lane that are taken now.
static SLOW: AtomicUsize = AtomicUsize::new(0);

/// Counts a computation until it is dropped.
#[derive(Debug)]
struct Computing(&'static AtomicUsize);

impl Computing {
    fn new(lane: &'static AtomicUsize) -> Self {
        lane.fetch_add(1, Ordering::Relaxed);
        Self(lane)
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether fast and slow work need more cores than there are.
fn crowded() -> bool {
    QUICK.load(Ordering::Relaxed) + SLOW.load(Ordering::Relaxed) > cores()
}

/// The processors that this process may use.
pub(crate) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// The runtime for slow guests and all blocking work of plugins, started on first use; the caller's runtime if no
/// threads can be started.
fn plugins() -> Handle {
    static PLUGINS: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = PLUGINS.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .thread_name("plugins")
            .worker_threads(slow_workers())
            .max_blocking_threads(THREADS)
            .thread_stack_size(crate::STACK)
            .enable_all()
            .build()
            .ok()
    });
    runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone())
}

/// Leave one core to everything else.
fn slow_workers() -> usize {
    cores().saturating_sub(1).max(1)
}

/// Runs blocking work of the host itself; `None` if it panicked. Not for work on a plugin's data.
#[allow(clippy::disallowed_methods)]
pub async fn own<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Does work at once with a stack for deep SQL, whatever stack the caller has; `None` if that failed. Not in a host that serves, since the
/// caller's thread waits.
#[allow(clippy::disallowed_methods)]
pub fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(crate::STACK).spawn_scoped(scope, work).ok()?;
        thread.join().ok()
    })
}

/// Starts a long-lived thread of the host itself.
#[allow(clippy::disallowed_methods)]
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// CPU time of this thread, in nanoseconds.
pub fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests;
