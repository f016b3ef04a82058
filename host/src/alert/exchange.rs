//! One request to a receiver, and what its answer means.

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::http;

/// Bytes that are read of an answer. Slack's Web API returns the whole message.
const LONGEST: usize = 4 << 20;
/// Characters of it that are kept.
pub(super) const SHOWN: usize = 200;
/// The scopes of the token, in each answer of Slack's Web API; its own clients read them there:
/// <https://docs.slack.dev/tools/node-slack-sdk/reference/web-api/interfaces/WebAPICallResult>
const SCOPES: &str = "x-oauth-scopes";

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Accepted, and where Slack's bot posted it.
    Taken(Option<Posted>),
    /// Retry, after the wait that the receiver asked for, if any.
    Again(String, Option<Duration>),
    /// The receiver cannot parse it.
    Unreadable(String),
    /// The thread does not take it.
    Threadless(String),
    /// Refused for good.
    Refused(String),
}

/// Where a message of the bot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The channel's id.
    pub channel: String,
    /// The message's time, which identifies it in the channel.
    pub ts: String,
    /// Whether it is in the thread that was asked for.
    pub in_thread: bool,
}

/// Sends requests. The client is made on first use, since it reads the system's certificates.
#[derive(Debug)]
pub(super) struct Exchange {
    client: OnceLock<reqwest::Client>,
    timeout: Duration,
}

/// What was read of an answer.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: u16,
    pub(super) body: String,
    /// How long the receiver wants to be left alone.
    pub(super) wait: Option<Duration>,
    /// The scopes of the bot's token.
    pub(super) scopes: Option<String>,
}

impl Exchange {
    /// `timeout` is for one request.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { client: OnceLock::new(), timeout }
    }

    fn client(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = http::client().timeout(self.timeout).build().context("the HTTP client cannot start")?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Posts JSON, with a message's id and a token if it has one. An error is a reason to retry.
    pub(super) async fn post(
        &self,
        address: &str,
        id: &str,
        token: Option<&str>,
        payload: &Value,
    ) -> Result<Received, Answer> {
        let client = self.client().map_err(|error| Answer::Again(format!("{error:#}"), None))?;
        let mut request = client
            .post(address)
            .header("content-type", "application/json; charset=utf-8")
            .header("idempotency-key", id)
            .body(payload.to_string());
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        // The address may be the secret: keep it out of errors.
        let unreachable = |error: reqwest::Error| {
            let error = anyhow::Error::from(error.without_url());
            Answer::Again(format!("not reached: {error:#}"), None)
        };
        let mut answer = request.send().await.map_err(unreachable)?;
        let wait = http::retry_after(answer.headers());
        let scopes = answer.headers().get(SCOPES).and_then(|scopes| scopes.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&piece);
            if body.len() >= LONGEST {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Received { status: answer.status().as_u16(), body, wait, scopes })
    }
}

impl Received {
    /// The status and the beginning of the text.
    pub(super) fn said(&self) -> String {
        let shown: String = self.body.chars().filter(|character| !character.is_control()).take(SHOWN).collect();
        match shown.trim() {
            "" => format!("answered {}", self.status),
            text => format!("answered {}: {text}", self.status),
        }
    }

    /// Whether it is a page, as of a proxy or a login, and so not from Slack, whatever its status.
    pub(super) fn is_page(&self) -> bool {
        self.body.trim_start().starts_with('<')
    }

    /// What an answer means whose status says it all. Slack's answers to webhooks are listed at
    /// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/#handling_errors>
    pub(super) fn by_status(&self) -> Answer {
        match self.status {
            200..=299 => Answer::Taken(None),
            400 => Answer::Unreadable(self.said()),
            408 | 425 | 429 | 500..=599 => Answer::Again(self.said(), self.wait),
            _ => Answer::Refused(self.said()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_means_one_thing() {
        let again = |said: &str, wait| Answer::Again(said.to_owned(), wait);
        let refused = |said: &str| Answer::Refused(said.to_owned());
        let wait = Some(Duration::from_secs(30));
        for (status, body, retry_after, expected) in [
            (200, "ok", None, Answer::Taken(None)),
            (302, "", None, refused("answered 302")),
            (400, "invalid_blocks", None, Answer::Unreadable("answered 400: invalid_blocks".to_owned())),
            (403, "action_prohibited", None, refused("answered 403: action_prohibited")),
            (404, "no_service", None, refused("answered 404: no_service")),
            (410, "channel_is_archived", None, refused("answered 410: channel_is_archived")),
            (429, "rate_limited", wait, again("answered 429: rate_limited", wait)),
            (408, "", None, again("answered 408", None)),
            (500, "rollup_error\n\x1b[31m", None, again("answered 500: rollup_error[31m", None)),
            (503, "", wait, again("answered 503", wait)),
        ] {
            let received = Received { status, body: body.to_owned(), wait: retry_after, scopes: None };
            assert_eq!(received.by_status(), expected, "{status} {body}");
        }
    }
}
