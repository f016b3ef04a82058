//! Work for plugins, and the only way to it. Whoever computes, reads or waits on a plugin's behalf needs a [`Permit`]: it
//! counts the CPU time, says when to stop, charges the bytes held, and bounds the threads of that plugin.
//!
//! Two lanes: work starts in the fast one and continues in the slow one when it has computed for a while. Slow work takes
//! turns of a millisecond: one core is left free of it, work that is new comes first, and among plugins whoever computed
//! least lately is next. So a plugin that computes without end costs the others next to nothing, while to other processes of
//! the machine every thread here is an ordinary one.
//!
//! Threads for plugins are a pool of their own. What the host does for itself (the record, delivery, pages of its own) has
//! the runtime's, which no plugin can use up.
//!
//! Without a permit there is no way in:
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
//! With one there is:
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
pub use work::Allowance;

/// How long a piece of work computes in the fast lane: about twice what a canary of the sample computes (0.5 ms, and 1.4 ms in a
/// development build, by `cargo xtask bench run`).
const FAST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2 } else { 1 });
/// How long a turn in the slow lane lasts: as long as a guest computes between two beats of its engine's clock.
const TURN: Duration = Duration::from_millis(1);
/// How long slow work waits for its turn at most: whoever has one may wait for a disk, and not compute at all.
const OVERDUE: Duration = Duration::from_millis(100);
/// How many times as long as it computed slow work waits at most, at each turn, for fast work to leave it a core: so it gets
/// a sixth of one in any case.
const GIVE_WAY: u32 = 5;
/// Threads for plugins, of all together. Most of them wait for a disk: those that compute take turns.
const THREADS: usize = 32;
/// Threads of one plugin, over all its runs: an eighth of all.
const PLUGIN_THREADS: usize = 4;
/// Threads of one piece of work: enough to answer while another thinks.
const WORK_THREADS: usize = 2;

/// Work in the fast lane that computes at this moment.
static QUICK: AtomicUsize = AtomicUsize::new(0);
/// Turns in the slow lane that are taken at this moment.
static SLOW: AtomicUsize = AtomicUsize::new(0);

/// Something that computes at this moment, until it is dropped.
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

/// Whether fast and slow work want more cores than there are.
fn crowded() -> bool {
    QUICK.load(Ordering::Relaxed) + SLOW.load(Ordering::Relaxed) > cores()
}

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get))
}

/// Where slow guests and all blocking work of plugins run, from its first use on; the runtime of the caller when there can be
/// no other threads.
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

/// One core is left to everything else.
fn slow_workers() -> usize {
    cores().saturating_sub(1).max(1)
}

/// Runs blocking work of the host's own; none when it panicked. Nothing that a plugin brought may be done here.
#[allow(clippy::disallowed_methods)]
pub async fn own<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Starts a thread of the host's own that stays.
#[allow(clippy::disallowed_methods)]
pub fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// CPU time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests;
