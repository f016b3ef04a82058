//! The parts of the system that a run gets: a clock fixed at its due time, randomness that is the same for the same
//! run, and a log for its output.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wasmtime_wasi::{
    Deterministic, HostWallClock, WasiCtx,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError},
};

/// The prefix of log lines written by the host instead of the guest.
pub const HOST_LINE: &str = "host: ";

/// The clock and random seed of a run, which make it reproducible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seed {
    /// The run's clock, in seconds since the Unix epoch.
    pub(super) due: i64,
    /// The random seed.
    random: [u8; 32],
}

impl Seed {
    pub(super) fn new(check: &str, due: i64) -> Self {
        let random = Sha256::new().chain_update(check).chain_update([0]).chain_update(due.to_le_bytes());
        Self { due, random: random.finalize().into() }
    }
}

/// The output of one run, and its attempts at forbidden things.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Written>>);

struct Written {
    bytes: Vec<u8>,
    /// The limit, in bytes.
    most: usize,
    /// Whether the limit was exceeded.
    full: bool,
    tried: Vec<&'static str>,
}

impl Log {
    /// A log with a limit in bytes; a guest that writes more is stopped.
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(Written { bytes: Vec::new(), most, full: false, tried: Vec::new() })))
    }

    /// The text; invalid UTF-8 is replaced. The forbidden attempts come last.
    pub(super) fn text(&self) -> String {
        let written = self.written();
        let mut text = String::from_utf8_lossy(&written.bytes).into_owned();
        for tried in &written.tried {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text += &format!("{HOST_LINE}it tried {tried}, which is not allowed\n");
        }
        text
    }

    pub(super) fn is_full(&self) -> bool {
        self.written().full
    }

    pub(super) fn tried(&self, what: &'static str) {
        let mut written = self.written();
        if !written.tried.contains(&what) {
            written.tried.push(what);
        }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl IsTerminal for Log {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Log {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only used by WASI 0.3, which no plugin imports.
        Box::new(tokio::io::sink())
    }
}

impl OutputStream for Log {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        let mut written = self.written();
        if bytes.len() > written.most.saturating_sub(written.bytes.len()) {
            written.full = true;
            return Err(StreamError::Trap(wasmtime::Error::msg("the log is full")));
        }
        written.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        // Never 0, so that the write itself exceeds the limit.
        let written = self.written();
        Ok(written.most.saturating_sub(written.bytes.len()).max(1))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Log {
    async fn ready(&mut self) {}
}

pub(super) fn context(seed: &Seed, log: &Log) -> WasiCtx {
    let clock = Clock(Duration::from_secs(seed.due.max(0).unsigned_abs()));
    let random = || Deterministic::new(seed.random.to_vec());
    WasiCtx::builder()
        .stdout(log.clone())
        .stderr(log.clone())
        .wall_clock(clock)
        .secure_random(random())
        .insecure_random(random())
        .insecure_random_seed(seed.random.iter().take(16).fold(0, |seed, byte| seed << 8 | u128::from(*byte)))
        .allow_ip_name_lookup(false)
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

/// A clock that does not advance.
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
