//! The stop signal of a query, as SQLite's progress handler and the functions see it. A connection and its functions
//! serve many queries, so both read one place, which holds the signal of the current query.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The shortest time between two reads of the signal: it may read the thread's clock, which is a system call.
const PAUSE: Duration = Duration::from_micros(250);
/// Bytes that functions may process between two checks: in the worst case, about a hundred a microsecond.
const BYTES: usize = 256 << 10;

type Signal = Box<dyn FnMut() -> bool + Send>;

/// Whether the current query of a connection should stop.
#[derive(Clone, Default)]
pub struct Watch(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    signal: Option<Signal>,
    asked: Option<Instant>,
    stopped: bool,
    bytes: usize,
}

impl Watch {
    /// Begins a query, which stops when `signal` says so.
    pub fn begin(&self, signal: impl FnMut() -> bool + Send + 'static) {
        self.with(|inner| *inner = Inner { signal: Some(Box::new(signal)), ..Inner::default() });
    }

    /// Ends a query.
    pub fn end(&self) {
        self.with(|inner| *inner = Inner::default());
    }

    /// Whether to stop. Once true, it stays true for this query.
    pub fn is_over(&self) -> bool {
        self.with(Inner::look)
    }

    /// The same for a function about to process some bytes: most calls are too small to check.
    pub(super) fn is_over_after(&self, bytes: usize) -> bool {
        self.with(|inner| {
            inner.bytes = inner.bytes.saturating_add(bytes);
            if inner.bytes < BYTES {
                return inner.stopped;
            }
            inner.bytes = 0;
            inner.look()
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Inner) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    fn look(&mut self) -> bool {
        let now = Instant::now();
        let recent = self.asked.is_some_and(|asked| now.duration_since(asked) < PAUSE);
        if !self.stopped && !recent {
            self.asked = Some(now);
            self.stopped = self.signal.as_mut().is_some_and(|signal| signal());
        }
        self.stopped
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Watch")
    }
}
