//! Runs a guest in its lane: in its own task while it has computed little, and in turns afterwards.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, Sleep, sleep},
};

use super::{
    Computing, GIVE_WAY, OVERDUE, QUICK, TURN, crowded, plugins,
    room::{Place, Room},
    work::{Turn, Work},
};

/// Runs a guest to its end, which is also when this is dropped.
#[allow(clippy::disallowed_methods)]
pub(super) async fn run<F>(work: &Arc<Work>, future: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut future = Box::pin(future);
    let quick = poll_fn(|context| {
        if work.is_large() {
            return Poll::Ready(None);
        }
        let polled = {
            let _computing = Computing::new(&QUICK);
            work.metered(|| future.as_mut().poll(context))
        };
        match polled {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if work.is_large() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    if let Some(output) = quick.await {
        return output;
    }
    let mut tasks = JoinSet::new();
    tasks.spawn_on(Slow { future, work: work.clone(), turn: Next::Ask }, &plugins());
    match tasks.join_next().await {
        Some(Ok(output)) => output,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Only this ends it: the lane exists as long as the process.
        _ => std::future::pending().await,
    }
}

/// A guest in the slow lane: each poll is a turn.
struct Slow<F> {
    future: Pin<Box<F>>,
    work: Arc<Work>,
    turn: Next,
}

/// The state before the next poll.
enum Next {
    Ask,
    Wait { arriving: oneshot::Receiver<Place>, overdue: Pin<Box<Sleep>> },
    GiveWay { turn: Turn, until: Instant, pause: Pin<Box<Sleep>> },
    Go(Turn),
}

/// Wakes a task, and records that.
struct Woken {
    task: Waker,
    woken: AtomicBool,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}

impl Next {
    fn arrived(turn: Turn) -> Self {
        Self::leave(turn, Instant::now() + GIVE_WAY * TURN)
    }

    /// Leaves the core to waiting fast work for a moment.
    fn leave(turn: Turn, until: Instant) -> Self {
        match crowded() && Instant::now() < until {
            true => Self::GiveWay { turn, until, pause: Box::pin(sleep(TURN)) },
            false => Self::Go(turn),
        }
    }
}

impl<F: Future> Future for Slow<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        loop {
            this.turn = match std::mem::replace(&mut this.turn, Next::Ask) {
                Next::Ask => match Room::turns().ask(&this.work.account) {
                    Ok(place) => Next::arrived(Turn::new(place)),
                    Err(arriving) => Next::Wait { arriving, overdue: Box::pin(sleep(OVERDUE)) },
                },
                Next::Wait { mut arriving, mut overdue } => match Pin::new(&mut arriving).poll(context) {
                    Poll::Ready(Ok(place)) => Next::arrived(Turn::new(place)),
                    Poll::Ready(Err(_)) => Next::Ask,
                    Poll::Pending if overdue.as_mut().poll(context).is_ready() => Next::arrived(Turn::overdue()),
                    Poll::Pending => {
                        this.turn = Next::Wait { arriving, overdue };
                        return Poll::Pending;
                    }
                },
                Next::GiveWay { turn, until, mut pause } => match pause.as_mut().poll(context) {
                    // Do not hold a turn while waiting for fast work.
                    Poll::Ready(()) if Room::turns().wanted(&this.work.account) => Next::Ask,
                    Poll::Ready(()) => Next::leave(turn, until),
                    Poll::Pending => {
                        this.turn = Next::GiveWay { turn, until, pause };
                        return Poll::Pending;
                    }
                },
                Next::Go(turn) => {
                    let woken = Arc::new(Woken { task: context.waker().clone(), woken: AtomicBool::new(false) });
                    let waker = Waker::from(woken.clone());
                    let polled = this.work.metered(|| this.future.as_mut().poll(&mut Context::from_waker(&waker)));
                    // If it only paused and would be next anyway, keep the turn.
                    let paused = polled.is_pending() && woken.woken.load(Ordering::Relaxed);
                    if paused && !Room::turns().outranked(&this.work.account) {
                        this.turn = Next::leave(turn, Instant::now() + GIVE_WAY * TURN);
                        if let Next::GiveWay { pause, .. } = &mut this.turn {
                            // Wakes the task when the pause is over.
                            let _ = pause.as_mut().poll(context);
                        }
                    }
                    return polled;
                }
            };
        }
    }
}
