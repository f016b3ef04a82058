//! Whether a host has heard of the others on its record, or was away itself.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::clock::boot_time;

/// When the record answered this process.
#[derive(Debug)]
pub(super) struct Hearing {
    /// How long a host that is not heard of is there all the same.
    lease: Duration,
    /// When it last answered, and since when it does, by [`boot_time`]; `None` before.
    heard: Mutex<Option<(Duration, Duration)>>,
}

impl Hearing {
    pub(super) fn new(lease: Duration) -> Self {
        Self { lease, heard: Mutex::default() }
    }

    /// Notes that the record answered what there is to do.
    pub(super) fn hears(&self) {
        let now = boot_time();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = match *heard {
            Some((last, since)) if now.saturating_sub(last) < self.lease => Some((now, since)),
            // One that starts has not been away.
            None => Some((now, now.saturating_sub(self.lease))),
            Some(_) => Some((now, now)),
        };
    }

    /// Whether all others that run were heard of: the record has answered for a lease, or this process has just started.
    pub(super) fn has_heard(&self) -> bool {
        let now = boot_time();
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.is_none_or(|(last, since)| {
            now.saturating_sub(last) < self.lease && now.saturating_sub(since) >= self.lease
        })
    }
}
