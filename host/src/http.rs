//! The HTTP client: one TLS stack, and no address but the one that was meant.

/// Makes a client; the caller says how long it waits.
pub(crate) fn client() -> reqwest::ClientBuilder {
    choose_tls();
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none())
}

/// Chooses the cryptography of every TLS connection of the process.
pub(crate) fn choose_tls() {
    // Fails only when another part of the process chose already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
