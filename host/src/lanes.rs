//! Two lanes for work that computes: a run starts in the fast one and moves to the slow one when it has computed for a
//! while. Threads of the slow lane give way to all others, so that a run that computes without end costs the rest
//! next to nothing, on however few cores.

use std::{
    cell::Cell,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tokio::{
    runtime::{Handle, Runtime},
    task::JoinSet,
};

/// What a run computes in the fast lane. Most checks need less; for one that needs more the slow lane is as fast, unless
/// others want the cores too.
const FAST: Duration = Duration::from_millis(2);
/// CPU time that one run has used.
#[derive(Debug, Default)]
pub struct Effort {
    /// Of the guest's own, in nanoseconds.
    guest: AtomicU64,
    /// Of threads that work for it, in nanoseconds.
    threads: AtomicU64,
    /// The thread's clock when the guest last went on.
    since: AtomicU64,
}

impl Effort {
    /// What the guest computed before it last paused.
    pub fn guest(&self) -> Duration {
        Duration::from_nanos(self.guest.load(Ordering::Relaxed))
    }

    /// What the guest computed until now; asked while it computes, on its thread.
    pub fn guest_now(&self) -> Duration {
        self.guest() + Duration::from_nanos(thread_time().saturating_sub(self.since.load(Ordering::Relaxed)))
    }

    /// Whether the run belongs in the slow lane.
    pub fn is_large(&self) -> bool {
        self.guest() + Duration::from_nanos(self.threads.load(Ordering::Relaxed)) > FAST
    }

    /// For work that a thread begins now in the fast lane: whether it should stop there, and begin again in the slow one.
    /// Never true in the slow lane.
    pub fn patience(self: &Arc<Self>) -> impl Fn() -> bool + Send + use<> {
        let (effort, hurried) = (self.clone(), !self.is_large());
        move || {
            effort.count();
            hurried && effort.is_large()
        }
    }

    /// Counts what this thread computed for the run since it was last counted.
    fn count(&self) {
        let now = thread_time();
        let last = COUNTED.replace(now);
        self.threads.fetch_add(now.saturating_sub(last), Ordering::Relaxed);
    }
}

thread_local! {
    /// This thread's clock when its work was last counted.
    static COUNTED: Cell<u64> = const { Cell::new(0) };
}

/// Runs a guest; from the moment on that its run's effort is large, in the slow lane. It ends when this is dropped.
pub async fn guest<F>(effort: &Arc<Effort>, future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut metered = Metered { future: Box::pin(future), effort: effort.clone() };
    let quick = std::future::poll_fn(|context| match Pin::new(&mut metered).poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => match slow().filter(|_| effort.is_large()) {
            Some(lane) => Poll::Ready(Err(lane)),
            None => Poll::Pending,
        },
    });
    let lane = match quick.await {
        Ok(output) => return output,
        Err(lane) => lane,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn_on(metered, lane);
    match tasks.join_next().await {
        Some(Ok(output)) => output,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Nothing else ends it: the lane lives as long as the process.
        _ => std::future::pending().await,
    }
}

/// Runs blocking work on a thread of the lane that the run belongs in; none when it panicked.
pub async fn blocking<T: Send + 'static>(effort: &Arc<Effort>, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let counted = effort.clone();
    let work = move || {
        COUNTED.set(thread_time());
        let done = work();
        counted.count();
        done
    };
    let lane = slow().filter(|_| effort.is_large()).cloned();
    lane.unwrap_or_else(Handle::current).spawn_blocking(work).await.ok()
}

/// Counts the time that each poll takes on its thread.
struct Metered<F> {
    future: Pin<Box<F>>,
    effort: Arc<Effort>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let started = thread_time();
        self.effort.since.store(started, Ordering::Relaxed);
        let polled = self.future.as_mut().poll(context);
        self.effort.guest.fetch_add(thread_time().saturating_sub(started), Ordering::Relaxed);
        polled
    }
}

/// The slow lane, from its first use on; none when there can be no threads for it, and then the fast one has to do.
fn slow() -> Option<&'static Handle> {
    static SLOW: OnceLock<Option<Runtime>> = OnceLock::new();
    let runtime = SLOW.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .thread_name("slow lane")
            .thread_stack_size(crate::STACK)
            .on_thread_start(|| give_way(0))
            .enable_all()
            .build()
            .ok()
    });
    runtime.as_ref().map(Runtime::handle)
}

/// Makes a thread one that runs when no other wants to (`SCHED_IDLE`), and that one who wakes up need not wait for; 0 is
/// this thread. Were it refused, it would be as fast as the others.
pub fn give_way(thread: i32) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a thread that is gone is refused, and the parameter is a valid one that outlives the call.
        #[allow(unsafe_code)]
        let _ = unsafe {
            let parameter: libc::sched_param = std::mem::zeroed();
            libc::sched_setscheduler(thread, libc::SCHED_IDLE, &raw const parameter)
        };
    }
}

/// CPU time of this thread, in nanoseconds.
fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec).unwrap_or_default() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn compute(time: Duration) {
        let started = Instant::now();
        while started.elapsed() < time {
            std::hint::spin_loop();
        }
    }

    fn lane() -> String {
        std::thread::current().name().unwrap_or_default().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_guest_that_computes_moves_over_and_one_that_waits_stays() {
        let effort = Arc::<Effort>::default();
        let waits = guest(&effort, async {
            tokio::time::sleep(10 * FAST).await;
            lane()
        });
        assert_ne!(waits.await, "slow lane");
        let computes = guest(&effort, async {
            for _ in 0..10 {
                compute(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
            lane()
        });
        assert_eq!(computes.await, "slow lane");
        assert!(effort.guest() >= FAST && effort.is_large());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn blocking_work_counts_and_goes_to_the_slow_lane_when_there_was_much_of_it() {
        let effort = Arc::<Effort>::default();
        assert_ne!(blocking(&effort, lane).await.as_deref(), Some("slow lane"));
        let patience = blocking(&effort, {
            let effort = effort.clone();
            move || {
                let impatient = effort.patience();
                let at_first = impatient();
                compute(5 * FAST);
                (at_first, impatient())
            }
        });
        assert_eq!(patience.await, Some((false, true)));
        assert_eq!(blocking(&effort, lane).await.as_deref(), Some("slow lane"));
        assert!(!effort.patience()(), "there is no slower lane");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_dropped_ends() {
        let effort = Arc::<Effort>::default();
        let running = Arc::new(());
        let held = running.clone();
        let endless = guest(&effort, async move {
            let _held = held;
            loop {
                compute(Duration::from_millis(1));
                tokio::task::yield_now().await;
            }
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());
        for _ in 0..200 {
            if Arc::strong_count(&running) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it still runs");
    }
}
