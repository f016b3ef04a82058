//! The HTTP client: one TLS stack, and no redirects to other addresses.

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
