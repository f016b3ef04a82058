//! Standard error. `eprintln!` panics when the reader is gone, as after `2>&1 | head -1`, and the work is lost with it.

use std::io::Write;

/// Writes to standard error. If it is closed, nobody can be told, and the work goes on.
pub fn tell(text: &str) {
    // In one call, so that lines of concurrent processes do not mix.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// `eprintln!` that does not panic: a line on standard error, through [`tell`].
#[macro_export]
macro_rules! note {
    ($($what:tt)*) => { $crate::tell(&(format!($($what)*) + "\n")) };
}
