//! Tells an outside service that the host is working, so that the service can alert when the host is silent.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};

use crate::{config::Heartbeat as Settings, http, metrics::Metrics};

/// The heartbeat service.
#[derive(Debug, Clone)]
pub(super) struct Heartbeat {
    client: reqwest::Client,
    url: Arc<str>,
    timeout: Duration,
    metrics: Arc<Metrics>,
}

/// One round; its start and its end have the same id.
#[derive(Debug)]
pub(super) struct Beat(String);

impl Heartbeat {
    /// `None` without an address.
    pub(super) fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Option<Self>> {
        let Some(url) = settings.address()? else { return Ok(None) };
        let client = http::client().timeout(settings.timeout.0).build().context("heartbeat: no HTTP client")?;
        let url = url.trim_end_matches('/').into();
        Ok(Some(Self { client, url, timeout: settings.timeout.0, metrics }))
    }

    /// Reports the start of a round.
    pub(super) async fn start(&self) -> Beat {
        let beat = Beat(uuid());
        self.request("/start", &beat).await;
        beat
    }

    /// Reports the end of a round in which the host worked, whatever the checks found.
    pub(super) async fn success(&self, beat: &Beat) {
        self.request("", beat).await;
    }

    /// Reports the end of a round in which the host failed.
    pub(super) async fn fail(&self, beat: &Beat) {
        self.request("/fail", beat).await;
    }

    async fn request(&self, what: &str, Beat(id): &Beat) {
        let answer = self.client.get(format!("{}{what}?rid={id}", self.url)).send();
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
    fn an_id_is_a_random_uuid() {
        let id = super::uuid();
        assert_eq!(id.len(), 36);
        assert_eq!(id.get(14..15), Some("4"));
        assert!(["8", "9", "a", "b"].contains(&id.get(19..20).expect("a digit")), "{id}");
        assert_ne!(id, super::uuid());
    }
}
