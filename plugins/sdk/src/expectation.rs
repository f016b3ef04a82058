//! What is expected of the run's data date.

use crate::bindings::pipeline::check::{expectation, types::Error};

/// By when the data of the data date is expected, in seconds since the Unix epoch; never later than the run's due time.
/// Measure ages of a date's data against it, so that a date which is repaired late becomes good when it is asked about
/// again.
pub fn deadline() -> i64 {
    expectation::deadline()
}

/// The newest dates before the data date that this check judged good, newest first, at most `limit`.
pub async fn good_dates(limit: u32) -> Result<Vec<String>, Error> {
    expectation::good_dates(limit).await
}
