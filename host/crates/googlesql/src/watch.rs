//! The stop signal of a question, as SQLite's progress handler and the functions see it. A connection is kept for many
//! questions and its functions with it, so both look at one place, which holds the signal of the question under way.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often the signal itself is asked at most: it may read the thread's clock, which is a system call.
const PAUSE: Duration = Duration::from_micros(250);
/// How many bytes functions may have met between two looks: a function reads some hundred bytes in a microsecond at worst.
const BYTES: usize = 256 << 10;

type Signal = Box<dyn FnMut() -> bool + Send>;

/// Whether what is asked of one connection should stop now.
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
    /// A question begins; it is to stop when `signal` says so.
    pub fn begin(&self, signal: impl FnMut() -> bool + Send + 'static) {
        self.with(|inner| *inner = Inner { signal: Some(Box::new(signal)), ..Inner::default() });
    }

    /// It is answered.
    pub fn end(&self) {
        self.with(|inner| *inner = Inner::default());
    }

    /// Whether to stop. Once true, it stays true for this question.
    pub fn is_over(&self) -> bool {
        self.with(Inner::look)
    }

    /// The same for a function that is about to read so many bytes: most calls of functions are too small to look.
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
