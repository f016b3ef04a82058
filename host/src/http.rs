//! The HTTP client: one TLS stack, no redirects to other addresses, and the pauses that servers ask for.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The longest pause that a server can ask for: longer than any run, and no clock overflows.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Makes a client; the caller sets the timeout.
pub(crate) fn client() -> reqwest::ClientBuilder {
    choose_tls();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none())
}

/// Chooses the cryptography for all TLS connections of the process.
pub(crate) fn choose_tls() {
    // Fails only if another part of the process has already chosen, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The pause that an answer asks for in seconds, at most an hour; `None` for a date.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}
