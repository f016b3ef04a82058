//! Hands answers over to a guest: one at a time, and the next only when the guest waits. So of all the timing of the backends a
//! guest sees only an order, and that can be recorded and repeated.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{future::poll_fn, task::AtomicWaker};

use crate::lanes::thread_time;

/// How much CPU time a guest may use before it gets an answer all the same. Not the time on the clock: on a busy machine a guest is
/// held up in the middle of its work.
const BUSY: Duration = Duration::from_millis(50);

/// Which of the answers that have come a guest gets next.
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Whether a guest takes the answers; without one nothing waits.
    has_guest: bool,
    /// The answers that have come.
    ready: BTreeMap<Rank, Waker>,
    /// The one to hand over now.
    next: Option<Rank>,
    /// How many have come, and how many were handed over.
    come: u32,
    handed: u32,
    /// How many a backend still owes in a replay.
    owed: usize,
    /// How many were handed over since the guest last waited.
    early: u32,
    /// Whether the guest got several answers without waiting for them, so that their order may not be all that it saw.
    is_pressed: bool,
}

/// The order of answers that have come: the least is handed over first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// In the order in which they come, or came when they were recorded.
    Answer(u32),
    /// An answer that was not recorded.
    Anew(u32),
    /// A timer that did not end when it was recorded, by its length: when there is nothing else.
    Timer(Duration, u32),
}

/// Nothing is left that could be handed over, and the guest waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stuck;

impl Handover {
    /// Waits until an answer is handed over: in its turn, or by default after those that came before it. Returns how many were
    /// handed over by then.
    pub(super) async fn pass(&self, rank: Option<Rank>) -> u32 {
        let mut place = Place { of: self, rank };
        poll_fn(|context| {
            let mut waiting = self.waiting();
            if !waiting.has_guest {
                return Poll::Ready(waiting.hand());
            }
            let rank = match place.rank {
                Some(rank) => rank,
                None => Rank::Answer(waiting.comes()),
            };
            place.rank = Some(rank);
            if waiting.next == Some(rank) {
                return Poll::Ready(waiting.hand());
            }
            waiting.ready.insert(rank, context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// The rank of an answer that was not recorded.
    pub(super) fn anew(&self) -> Rank {
        Rank::Anew(self.waiting().comes())
    }

    /// The rank of a timer without a turn of its own.
    pub(super) fn timer(&self, length: Duration) -> Rank {
        Rank::Timer(length, self.waiting().comes())
    }

    /// Says that a backend owes an answer in a replay, until the returned guard is dropped.
    pub(super) fn owe(&self) -> Owed<'_> {
        self.waiting().owed += 1;
        Owed(self)
    }

    /// Runs a guest, and hands it an answer whenever it waits. In a replay it is [`Stuck`] when it waits for nothing that will come.
    pub(super) async fn conduct<F: Future>(&self, guest: F, is_replay: bool) -> Result<F::Output, Stuck> {
        let mut guest = pin!(guest);
        self.waiting().has_guest = true;
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut busy = 0;
        poll_fn(|context| {
            woken.outer.register(context.waker());
            loop {
                woken.woken.store(false, Ordering::Release);
                let began = thread_time();
                let polled = guest.as_mut().poll(&mut Context::from_waker(&waker));
                busy += thread_time().saturating_sub(began);
                if let Poll::Ready(output) = polled {
                    return Poll::Ready(Ok(output));
                }
                // It goes on by itself: it only yielded, or an answer came meanwhile. One that asks again and again whether an answer
                // is there never waits, and gets it after a while.
                let goes_on = woken.woken.load(Ordering::Acquire);
                if goes_on && Duration::from_nanos(busy) < BUSY {
                    return Poll::Pending;
                }
                busy = 0;
                let mut waiting = self.waiting();
                // One that goes on in a replay gets only the answer that was the next then: others are still to be asked for.
                let next = Rank::Answer(waiting.handed + 1);
                let is_next = waiting.ready.first_key_value().is_some_and(|(rank, _)| *rank == next);
                if is_replay && goes_on && !is_next {
                    return Poll::Pending;
                }
                match waiting.ready.pop_first() {
                    Some((rank, waker)) => {
                        waiting.next = Some(rank);
                        waiting.early = if goes_on { waiting.early + 1 } else { 0 };
                        waiting.is_pressed |= waiting.early > 1;
                        drop(waiting);
                        waker.wake();
                    }
                    None if goes_on => return Poll::Pending,
                    None if is_replay && waiting.owed == 0 => return Poll::Ready(Err(Stuck)),
                    None => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Whether the guest got several answers without waiting for them.
    pub(super) fn is_pressed(&self) -> bool {
        self.waiting().is_pressed
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn comes(&mut self) -> u32 {
        self.come += 1;
        self.come
    }

    fn hand(&mut self) -> u32 {
        self.next = None;
        self.handed += 1;
        self.handed
    }
}

/// An answer's place among those that wait, until it is handed over or nobody wants it any more.
struct Place<'h> {
    of: &'h Handover,
    rank: Option<Rank>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(rank) = self.rank {
            let mut waiting = self.of.waiting();
            waiting.ready.remove(&rank);
            waiting.next = waiting.next.filter(|next| *next != rank);
        }
    }
}

/// See [`Handover::owe`].
pub(super) struct Owed<'h>(&'h Handover);

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.owed -= 1;
    }
}

/// Notes that a guest goes on, and passes that on.
#[derive(Default)]
struct Woken {
    woken: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.outer.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::*;

    /// Answers with these ranks, in the order in which they are handed over.
    fn handed(ranks: &[Rank]) -> Vec<usize> {
        let (handover, order) = (Handover::default(), Mutex::new(Vec::new()));
        let guest = join_all(ranks.iter().enumerate().map(async |(at, rank)| {
            handover.pass(Some(*rank)).await;
            order.lock().expect("an order").push(at);
        }));
        let conducted = handover.conduct(guest, true);
        assert!(futures_util::FutureExt::now_or_never(conducted).expect("nothing else to wait for").is_ok());
        order.into_inner().expect("an order")
    }

    #[test]
    fn answers_come_in_their_recorded_order_and_timers_after_them() {
        let second = Duration::from_secs(1);
        let ranks =
            [Rank::Timer(2 * second, 1), Rank::Answer(3), Rank::Timer(second, 2), Rank::Answer(1), Rank::Answer(2)];
        assert_eq!(handed(&ranks), [3, 4, 1, 2, 0]);
    }

    #[tokio::test]
    async fn a_guest_that_waits_for_nothing_is_stuck_only_in_a_replay() {
        let handover = Handover::default();
        assert_eq!(handover.conduct(std::future::pending::<()>(), true).await, Err(Stuck));
        let live = handover.conduct(std::future::pending::<()>(), false);
        assert!(tokio::time::timeout(Duration::from_millis(1), live).await.is_err());
        let _owed = handover.owe();
        let waits = handover.conduct(std::future::pending::<()>(), true);
        assert!(tokio::time::timeout(Duration::from_millis(1), waits).await.is_err());
    }

    /// The last call's answer comes first. Turns of the runtime say when each comes, not the clock: on a busy machine several short
    /// sleeps end at once.
    #[tokio::test]
    async fn answers_are_handed_over_one_at_a_time_in_the_order_in_which_they_come() {
        let handover = Handover::default();
        let order = Mutex::new(Vec::new());
        let call = async |at: u64| {
            for _ in at..3 {
                tokio::task::yield_now().await;
            }
            let turn = handover.pass(None).await;
            order.lock().expect("an order").push((at, turn));
        };
        handover.conduct(join_all((0..4).map(call)), false).await.expect("answers");
        assert_eq!(*order.lock().expect("an order"), [(3, 1), (2, 2), (1, 3), (0, 4)]);
    }

    #[tokio::test]
    async fn an_answer_that_nobody_wants_any_more_holds_up_no_other() {
        let handover = Handover::default();
        let guest = async {
            let mut dropped = Box::pin(handover.pass(Some(Rank::Answer(1))));
            assert!(futures_util::poll!(dropped.as_mut()).is_pending());
            drop(dropped);
            handover.pass(Some(Rank::Answer(2))).await
        };
        assert_eq!(handover.conduct(guest, true).await, Ok(1));
    }
}
