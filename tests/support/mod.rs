//! Support for tests and benchmarks. Not part of the library: the demo needs only the sample.
#![allow(clippy::panic, clippy::indexing_slicing)]
// Two programs include this, and neither uses all of it.
#![allow(dead_code, unreachable_pub)]

pub mod between;
pub mod browser;
pub mod command;
pub mod google;
pub mod http;
pub mod pipeline;
pub mod pooler;
pub mod postgres;
pub mod process;
pub mod registry;
pub mod service;
pub mod slack;
pub mod text;
pub mod watched;

/// The moment of every sample in the tests: half past six in New York, on a winter day.
pub const AT: &str = "2026-02-06T11:30:00Z";
/// The data date then.
pub const DATE: &str = "2026-02-05";

/// The canaries of the sample, one for each phase.
pub const CANARIES: [&str; 6] = [
    "phase1-scrapers",
    "phase2-raw",
    "phase3-analytics",
    "phase4-precompute",
    "phase5-predictions",
    "phase6-publishing",
];

/// A due time after which a half-hourly check is due again at once. In whole seconds, since the record keeps no
/// nanoseconds and its times are compared with this.
pub fn an_hour_ago() -> String {
    let second = jiff::Timestamp::now().as_second() - 3600;
    jiff::Timestamp::from_second(second).unwrap_or_default().to_string()
}

/// How large a test is: `few` in `cargo xtask test`, which runs for every commit, and `all` in `cargo xtask interop`.
pub fn sized(all: usize, few: usize) -> usize {
    if std::env::var_os("HOST_TESTS_LONG").is_some() { all } else { few }
}

/// For tests that measure or load the whole machine: one at a time, until the returned guard is dropped.
pub fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Prints something beside the test results, since ordinary output is hidden when a test passes.
pub fn say(text: &str) {
    // Nothing is lost when nobody reads it.
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{text}\n").as_bytes());
}
