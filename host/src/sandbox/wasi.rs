//! A WASI that grants nothing: no files, sockets, environment or arguments. Clocks stand at the run's due time,
//! randomness is the same for the same due time, and what is written to stdout and stderr is the run's log.

use std::time::Duration;

use anyhow::Result;
use sha2::{Digest, Sha256};
use wasmtime::component::Linker;
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, p2::pipe::MemoryOutputPipe};

use super::RunState;

/// The most that is kept of what a run writes, in bytes; a guest that writes more is stopped.
const LOG_BYTES: usize = 64 << 10;

/// What one run wrote.
#[derive(Clone)]
pub(super) struct Log(MemoryOutputPipe);

impl Default for Log {
    fn default() -> Self {
        Self(MemoryOutputPipe::new(LOG_BYTES))
    }
}

impl Log {
    /// What is no UTF-8 is replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.contents()).into_owned()
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<RunState>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker).map_err(anyhow::Error::from)
}

pub(super) fn context(due: i64, log: &Log) -> WasiCtx {
    let clock = Clock(Duration::from_secs(due.max(0).unsigned_abs()));
    let seed = Sha256::digest(due.to_le_bytes()).to_vec();
    WasiCtx::builder()
        .stdout(log.0.clone())
        .stderr(log.0.clone())
        .wall_clock(clock)
        .monotonic_clock(clock)
        .secure_random(Deterministic::new(seed.clone()))
        .insecure_random(Deterministic::new(seed))
        .insecure_random_seed(u128::from(due.unsigned_abs()))
        .allow_ip_name_lookup(false)
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

/// A clock that stands still.
#[derive(Clone, Copy)]
struct Clock(Duration);

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1_000_000_000
    }

    fn now(&self) -> u64 {
        0
    }
}
