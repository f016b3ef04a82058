//! Times for people.

/// `2026-02-05 14:30 UTC`, from seconds since the Unix epoch.
pub fn utc(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        Err(_) => format!("{seconds} s since 1970"),
    }
}

/// Hours from one moment to another, both in seconds; negative when `to` is earlier.
pub fn hours_between(from: i64, to: i64) -> f64 {
    to.saturating_sub(from) as f64 / 3600.0
}
