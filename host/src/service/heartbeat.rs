//! Tells an outside service that the host is working, so that the service can alert when the host is silent.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use reqwest::Url;

use crate::{config::Heartbeat as Settings, http, metrics::Metrics};

/// The heartbeat service.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    client: reqwest::Client,
    addresses: Arc<Addresses>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

/// The addresses of the heartbeat: `/start` and `/fail` belong to the path, whatever query follows it.
#[derive(Debug)]
pub struct Addresses {
    /// Requested when a round begins.
    pub start: Url,
    /// When it was recorded.
    pub success: Url,
    /// When the host failed.
    pub fail: Url,
}

impl Addresses {
    /// From the address in host.toml or its variable. Errors do not show it, since it may be a secret.
    pub fn new(address: &str) -> Result<Self> {
        let mut success =
            Url::parse(address).map_err(|error| anyhow!("heartbeat: the address is not valid: {error}"))?;
        success.set_fragment(None);
        // `…/ping/abc/` is `…/ping/abc`.
        success.path_segments_mut().map_err(|()| anyhow!("heartbeat: the address has no path"))?.pop_if_empty();
        let with = |last: &str| {
            let mut url = success.clone();
            if let Ok(mut path) = url.path_segments_mut() {
                path.push(last);
            }
            url
        };
        Ok(Self { start: with("start"), fail: with("fail"), success })
    }
}

/// One round; its start and its end have the same id.
#[derive(Debug)]
pub(super) struct Beat(String);

impl Heartbeat {
    /// `None` without an address.
    pub(super) fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Option<Self>> {
        let Some(url) = settings.address()? else { return Ok(None) };
        let client = http::client().timeout(settings.timeout.0).build().context("heartbeat: no HTTP client")?;
        let addresses = Arc::new(Addresses::new(&url)?);
        Ok(Some(Self { client, addresses, timeout: settings.timeout.0, metrics }))
    }

    /// Reports the start of a round.
    pub(super) async fn start(&self) -> Beat {
        let beat = Beat(uuid());
        self.request(&self.addresses.start, &beat).await;
        beat
    }

    /// Reports the end of a round in which the host worked, whatever the checks found.
    pub(super) async fn success(&self, beat: &Beat) {
        self.request(&self.addresses.success, beat).await;
    }

    /// Reports the end of a round in which the host failed.
    pub(super) async fn fail(&self, beat: &Beat) {
        self.request(&self.addresses.fail, beat).await;
    }

    async fn request(&self, address: &Url, Beat(id): &Beat) {
        let mut url = address.clone();
        url.query_pairs_mut().append_pair("rid", id);
        let answer = self.client.get(url).send();
        // The client's own timeout starts only with the connection.
        let problem = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) if answer.status().is_success() => None,
            Ok(Ok(answer)) => Some(format!("it answered {}", answer.status())),
            // Omit the address, which may be a secret.
            Ok(Err(error)) => Some(error.without_url().to_string()),
            Err(_) => Some(format!("no answer within {:?}", self.timeout)),
        };
        self.metrics.beat(problem.is_none());
        if let Some(problem) = problem {
            tracing::warn!("the heartbeat was not accepted: {problem}");
        }
    }
}

/// A random UUID, version 4: <https://www.rfc-editor.org/rfc/rfc9562#section-5.4>
fn uuid() -> String {
    let random = fastrand::u128(..);
    let set = (random & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{set:032x}");
    let parts = [digits.get(..8), digits.get(8..12), digits.get(12..16), digits.get(16..20), digits.get(20..)];
    parts.into_iter().flatten().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_appended_belongs_to_the_path() {
        let cases = [
            ("https://hc-ping.com/abc", "https://hc-ping.com/abc", "https://hc-ping.com/abc/start"),
            ("https://hc-ping.com/abc/", "https://hc-ping.com/abc", "https://hc-ping.com/abc/start"),
            (
                "http://h/ping/key/slug?create=1",
                "http://h/ping/key/slug?create=1",
                "http://h/ping/key/slug/start?create=1",
            ),
            ("http://h/a%20b?x=%26&y#z", "http://h/a%20b?x=%26&y", "http://h/a%20b/start?x=%26&y"),
            ("http://h", "http://h/", "http://h/start"),
        ];
        for (address, success, start) in cases {
            let addresses = super::Addresses::new(address).expect("an address");
            assert_eq!((addresses.success.as_str(), addresses.start.as_str()), (success, start), "{address}");
            assert_eq!(addresses.fail.as_str(), start.replace("/start", "/fail"), "{address}");
        }
        let secret = super::Addresses::new("http://secret:port/x").expect_err("no port").to_string();
        assert!(!secret.contains("secret"), "{secret}");
    }

    #[test]
    fn an_id_is_a_random_uuid() {
        let id = super::uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.get(14..15), Some("4"));
        assert!(["8", "9", "a", "b"].contains(&id.get(19..20).expect("a digit")), "{id}");
        assert_ne!(id, super::uuid());
    }
}
