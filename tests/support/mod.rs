//! What tests and benchmarks run the host with. Not part of the library: the demo needs only the sample.
#![allow(clippy::panic, clippy::indexing_slicing)]
// Two programs include it: what one leaves out, and what stays inside one, is no mistake.
#![allow(dead_code, unreachable_pub)]

pub mod command;
pub mod slack;
pub mod text;
pub mod watched;

/// The moment of every sample in the tests: half past six in New York, on a winter day.
pub const AT: &str = "2026-02-06T11:30:00Z";
/// The date asked about then.
pub const DATE: &str = "2026-02-05";
