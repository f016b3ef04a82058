//! The guest's clock that measures time: it does not advance, but its timers take their time. How they end among the answers of the
//! run is recorded with them.

use std::{sync::Arc, task::Poll, time::Duration};

use futures_util::future::poll_fn;
use wasmtime::component::Resource;
use wasmtime_wasi::{
    async_trait,
    p2::{DynPollable, Pollable, bindings::clocks::monotonic_clock, subscribe},
};

use super::state::RunState;
use crate::capability::{Calls, Timer};

/// The resolution, in nanoseconds.
const RESOLUTION: u64 = 1_000_000_000;

impl monotonic_clock::Host for RunState {
    fn now(&mut self) -> wasmtime::Result<monotonic_clock::Instant> {
        Ok(0)
    }

    fn resolution(&mut self) -> wasmtime::Result<monotonic_clock::Duration> {
        Ok(RESOLUTION)
    }

    /// The clock shows 0, so a moment is as far away as it is late.
    fn subscribe_instant(&mut self, when: monotonic_clock::Instant) -> wasmtime::Result<Resource<DynPollable>> {
        self.subscribe_duration(when)
    }

    fn subscribe_duration(&mut self, length: monotonic_clock::Duration) -> wasmtime::Result<Resource<DynPollable>> {
        let pending = match (length, self.calls()) {
            (0, _) => Pending::Past { has_yielded: false },
            (_, Some(calls)) => Pending::Timer { timer: calls.timer(Duration::from_nanos(length)), calls },
            (_, None) => Pending::Never,
        };
        let pending = self.resources().push(pending)?;
        subscribe(self.resources(), pending)
    }
}

/// A timer that a guest waits for.
enum Pending {
    /// None: it is over.
    Past { has_yielded: bool },
    /// One of a run.
    Timer { timer: Timer, calls: Arc<Calls> },
    /// One of `describe` or `kind`, which wait for nothing.
    Never,
}

#[async_trait]
impl Pollable for Pending {
    async fn ready(&mut self) {
        match self {
            // A guest that asks in a loop must let others run.
            Self::Past { has_yielded } => {
                poll_fn(|context| match std::mem::replace(has_yielded, true) {
                    true => Poll::Ready(()),
                    false => {
                        context.waker().wake_by_ref();
                        Poll::Pending
                    }
                })
                .await;
            }
            Self::Timer { timer, calls } => calls.wait(timer).await,
            Self::Never => std::future::pending().await,
        }
    }
}
