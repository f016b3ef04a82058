//! What tests and benchmarks run the host with. Not part of the library: the demo needs only the sample.
#![allow(clippy::panic, clippy::indexing_slicing)]
// Two programs include it: what one leaves out, and what stays inside one, is no mistake.
#![allow(dead_code, unreachable_pub)]

pub mod browser;
pub mod command;
pub mod google;
pub mod http;
pub mod process;
pub mod registry;
pub mod service;
pub mod slack;
pub mod text;
pub mod watched;

/// The moment of every sample in the tests: half past six in New York, on a winter day.
pub const AT: &str = "2026-02-06T11:30:00Z";
/// The date asked about then.
pub const DATE: &str = "2026-02-05";

/// A due time after which a check that is due every half hour is due again at once. In whole seconds: the record keeps no nanoseconds,
/// and what it says is compared with this.
pub fn an_hour_ago() -> String {
    let second = jiff::Timestamp::now().as_second() - 3600;
    jiff::Timestamp::from_second(second).unwrap_or_default().to_string()
}

/// For a test that measures what the whole machine does, or keeps it busy: one at a time, until what this gives is dropped.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Says something beside the results of the tests: what is printed as usual is kept back when a test passes.
pub fn say(text: &str) {
    // Nothing is lost when nobody reads it.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}
