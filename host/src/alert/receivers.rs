//! The receivers of messages (each channel's webhook, the console, the fallback), and how their answers are judged.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Level, Notification, block_kit, id};
use crate::{
    config::{Channel, Config, Deliver, Fallback, SecretName},
    google::{Google, Secrets},
    http,
};

/// The receiver name of the fallback; channels begin with `#`.
pub const FALLBACK: &str = "fallback";
/// Bytes that are read of an answer.
const ANSWER: usize = 64 << 10;
/// Characters of it that are kept.
const SHOWN: usize = 200;

/// The receivers.
#[derive(Debug)]
pub struct Receivers {
    /// Made on first use, since it reads the system's certificates.
    client: OnceLock<reqwest::Client>,
    timeout: Duration,
    /// The webhook of each channel; `None` for the console.
    webhooks: Option<BTreeMap<String, Webhook>>,
    /// The fallback, for alarms.
    fallback: Option<Webhook>,
}

/// A secret address.
struct Webhook {
    address: Mutex<String>,
    /// The secret to read again when the address is gone.
    secret: Option<(SecretName, Secrets)>,
}

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Accepted.
    Taken,
    /// Retry, after the wait that the receiver asked for, if any.
    Again(String, Option<Duration>),
    /// The receiver cannot parse it.
    Unreadable(String),
    /// Refused for good.
    Refused(String),
}

impl Receivers {
    /// Finds the webhook of every channel that may be posted to. A missing webhook is an error now, not when an alert
    /// is due.
    /// `told` are channels that messages are still owed to, or will be: without a webhook, those messages wait, and are set
    /// aside when they are late.
    pub async fn find<'c>(
        config: &'c Config,
        channels: impl IntoIterator<Item = &'c str>,
        told: &BTreeSet<String>,
    ) -> Result<Self> {
        let sources = Sources::new(config);
        let webhooks = match config.slack.deliver {
            Deliver::Console => None,
            Deliver::Webhook => {
                let routed = config.alerts.routes.values().flatten().map(String::as_str);
                let configured = config.slack.channels.keys().map(String::as_str);
                let all: BTreeSet<&str> = channels.into_iter().chain(configured).chain(routed).collect();
                Self::distinct(config, &all)?;
                let found = all
                    .into_iter()
                    .map(async |channel| Ok::<_, anyhow::Error>((channel.to_owned(), sources.webhook(channel).await?)));
                let mut webhooks: BTreeMap<String, Webhook> = try_join_all(found).await?.into_iter().collect();
                for channel in told.iter().filter(|channel| *channel != FALLBACK) {
                    if !webhooks.contains_key(channel)
                        && let Ok(webhook) = sources.webhook(channel).await
                    {
                        webhooks.insert(channel.clone(), webhook);
                    }
                }
                Some(webhooks)
            }
        };
        Ok(Self::new(webhooks, sources.fallback().await?, config.delivery.timeout.0))
    }

    /// The receivers of every channel in host.toml.
    pub fn channels_in(config: &Config) -> BTreeSet<&str> {
        let granted = config.grants.values().flat_map(|grants| &grants.slack);
        let own = config.checks.values().filter_map(|check| check.channel.as_ref());
        let routed = config.alerts.routes.values().flatten();
        granted.chain(own).chain(routed).chain(config.slack.channels.keys()).map(String::as_str).collect()
    }

    /// Rejects two channels whose names give the same variable: a webhook posts to one channel, so the messages of the other
    /// would land there.
    pub fn distinct(config: &Config, channels: &BTreeSet<&str>) -> Result<()> {
        let mut known: BTreeMap<String, &str> = BTreeMap::new();
        for channel in channels {
            let chosen = config.slack.channels.get(*channel).cloned().unwrap_or_default();
            if matches!(chosen, Channel { webhook: None, webhook_file: None, webhook_env: None, .. }) {
                let variable = variable(channel);
                if let Some(other) = known.insert(variable.clone(), channel) {
                    bail!(
                        "channels {other} and {channel} would both use the webhook in {variable}; give one of them a variable of its own in host.toml: `webhook_env = \"…\"` under [slack.channels.\"{channel}\"]"
                    );
                }
            }
        }
        Ok(())
    }

    /// The receiver of one channel.
    pub async fn only(config: &Config, channel: &str) -> Result<Self> {
        let webhooks = BTreeMap::from([(channel.to_owned(), Sources::new(config).webhook(channel).await?)]);
        Ok(Self::new(Some(webhooks), None, config.delivery.timeout.0))
    }

    /// The fallback, if there is one.
    pub async fn fallback_only(config: &Config) -> Result<Option<Self>> {
        let fallback = Sources::new(config).fallback().await?;
        Ok(fallback.map(|fallback| Self::new(None, Some(fallback), config.delivery.timeout.0)))
    }

    /// Sends a test message.
    pub async fn test(&self, receiver: &str, at: Timestamp) -> Answer {
        let title = "Test: messages from host arrive here";
        let id = id(&format!("{at} {receiver} test"));
        if receiver == FALLBACK {
            return self.alarm(&id, &json!({ "event": "test", "id": id, "text": title })).await;
        }
        let notification = Notification {
            channel: receiver.to_owned(),
            level: Some(Level::Info),
            title: title.to_owned(),
            footer: format!("Sent by `host receivers test` at {at:.0}."),
            ..Notification::default()
        };
        self.send(receiver, &id, &block_kit::payload(&notification, &id, &[])).await
    }

    /// Shows everything on the console.
    pub fn console() -> Self {
        Self::new(None, None, Duration::from_secs(10))
    }

    /// Whether a receiver is configured.
    pub fn know(&self, receiver: &str) -> bool {
        match receiver {
            FALLBACK => true,
            channel => self.webhooks.as_ref().is_none_or(|webhooks| webhooks.contains_key(channel)),
        }
    }

    fn new(webhooks: Option<BTreeMap<String, Webhook>>, fallback: Option<Webhook>, timeout: Duration) -> Self {
        Self { client: OnceLock::new(), timeout, webhooks, fallback }
    }

    fn client(&self) -> Result<&reqwest::Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = http::client().timeout(self.timeout).build().context("the HTTP client cannot start")?;
        Ok(self.client.get_or_init(|| client))
    }

    /// Whether messages are shown on the console.
    pub fn is_console(&self) -> bool {
        self.webhooks.is_none()
    }

    /// The channels with a webhook.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.webhooks.iter().flatten().map(|(channel, _)| channel.as_str())
    }

    /// Whether there is a fallback for undelivered messages.
    pub fn has_fallback(&self) -> bool {
        self.fallback.is_some()
    }

    /// Sends a payload to a channel.
    pub async fn send(&self, channel: &str, id: &str, payload: &Value) -> Answer {
        match self.webhooks.as_ref().and_then(|webhooks| webhooks.get(channel)) {
            Some(webhook) => self.post(webhook, id, payload, true).await,
            None => Answer::Refused(format!("{channel} has no webhook: set {}", variable(channel))),
        }
    }

    /// Sends plain JSON to the fallback.
    pub async fn alarm(&self, id: &str, payload: &Value) -> Answer {
        match &self.fallback {
            Some(webhook) => self.post(webhook, id, payload, false).await,
            None => Answer::Refused("no fallback is configured any more".to_owned()),
        }
    }

    /// A webhook that is gone may have been replaced: its secret may hold a new one.
    async fn post(&self, webhook: &Webhook, id: &str, payload: &Value, slack: bool) -> Answer {
        let answer = self.post_to(&webhook.address(), id, payload, slack).await;
        let Answer::Refused(said) = &answer else { return answer };
        match webhook.read_again().await {
            Ok(true) => self.post_to(&webhook.address(), id, payload, slack).await,
            Ok(false) => answer,
            Err(error) => Answer::Again(format!("{said}; its secret cannot be read again: {error:#}"), None),
        }
    }

    async fn post_to(&self, webhook: &str, id: &str, payload: &Value, slack: bool) -> Answer {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return Answer::Again(format!("{error:#}"), None),
        };
        let request = client
            .post(webhook)
            .header("content-type", "application/json")
            .header("idempotency-key", id)
            .body(payload.to_string());
        // The address is the secret: keep it out of errors.
        let unreachable = |error: reqwest::Error| {
            let error = anyhow::Error::from(error.without_url());
            Answer::Again(format!("not reached: {error:#}"), None)
        };
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return unreachable(error),
        };
        let wait = http::retry_after(answer.headers());
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(piece)) if body.len() < ANSWER => body.extend_from_slice(&piece),
                Ok(_) => break,
                Err(error) => return unreachable(error),
            }
        }
        judge(answer.status().as_u16(), &String::from_utf8_lossy(&body), wait, slack)
    }
}

/// Judges an answer. Slack's answers are listed at
/// <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/#handling_errors>
fn judge(status: u16, body: &str, wait: Option<Duration>, slack: bool) -> Answer {
    let shown: String = body.chars().filter(|character| !character.is_control()).take(SHOWN).collect();
    let said = match shown.trim() {
        "" => format!("answered {status}"),
        text => format!("answered {status}: {text}"),
    };
    match status {
        // A page of a proxy or a login is not Slack, whatever its status.
        200..=299 if slack && body.trim_start().starts_with('<') => Answer::Again(said, wait),
        200..=299 => Answer::Taken,
        400 => Answer::Unreadable(said),
        408 | 425 | 429 | 500..=599 => Answer::Again(said, wait),
        _ => Answer::Refused(said),
    }
}

impl Webhook {
    fn address(&self) -> String {
        self.address.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its secret now holds another address.
    async fn read_again(&self) -> Result<bool> {
        let Some((name, secrets)) = &self.secret else { return Ok(false) };
        let now = checked("webhook", &secrets.read(name).await?, &name.to_string())?;
        let mut address = self.address.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *address != now;
        *address = now;
        Ok(changed)
    }
}

/// Hides the address, which is the secret.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("secret", &self.secret.as_ref().map(|(name, _)| name)).finish()
    }
}

/// Finds webhooks.
struct Sources<'c> {
    config: &'c Config,
    google: Google,
}

impl<'c> Sources<'c> {
    fn new(config: &'c Config) -> Self {
        Self { config, google: Google::new(config) }
    }

    async fn webhook(&self, channel: &str) -> Result<Webhook> {
        let chosen = self.config.slack.channels.get(channel).cloned().unwrap_or_default();
        let whose = format!("channel {channel}");
        match chosen {
            Channel { webhook: Some(name), .. } => self.in_secret(&whose, name).await,
            Channel { webhook_file: Some(path), .. } => self.in_file(&whose, &path).await,
            Channel { webhook_env, .. } => {
                let variable = webhook_env.unwrap_or_else(|| variable(channel));
                let otherwise = "or slack.deliver = \"console\" in host.toml";
                self.in_environment(&whose, &variable, otherwise).await
            }
        }
    }

    async fn fallback(&self) -> Result<Option<Webhook>> {
        match self.config.fallback.clone() {
            Fallback { webhook: Some(name), .. } => self.in_secret("fallback", name).await.map(Some),
            Fallback { webhook_file: Some(path), .. } => self.in_file("fallback", &path).await.map(Some),
            Fallback { webhook_env: Some(variable), .. } => {
                let otherwise = "or remove [fallback] from host.toml";
                self.in_environment("fallback", &variable, otherwise).await.map(Some)
            }
            Fallback { .. } => Ok(None),
        }
    }

    async fn in_file(&self, whose: &str, path: &Path) -> Result<Webhook> {
        let path: PathBuf = self.config.resolve(path);
        let text = std::fs::read_to_string(&path).with_context(|| format!("{whose}: {}", path.display()))?;
        self.in_text(whose, &text, &path.display().to_string()).await
    }

    async fn in_environment(&self, whose: &str, variable: &str, otherwise: &str) -> Result<Webhook> {
        let text = std::env::var(variable)
            .with_context(|| format!("{whose} has no webhook: set {variable} in the environment, {otherwise}"))?;
        self.in_text(whose, &text, variable).await
    }

    /// Resolves a webhook, or the name of a secret that holds it.
    async fn in_text(&self, whose: &str, text: &str, source: &str) -> Result<Webhook> {
        if text.trim().starts_with(SecretName::PREFIX) {
            let name = text.trim().parse().map_err(|error| anyhow::anyhow!("{whose}: {source}: {error}"))?;
            return self.in_secret(whose, name).await;
        }
        Ok(Webhook { address: Mutex::new(checked(whose, text, source)?), secret: None })
    }

    async fn in_secret(&self, whose: &str, name: SecretName) -> Result<Webhook> {
        let secrets = Secrets::new(self.config, self.google.clone()).with_context(|| whose.to_owned())?;
        let text = secrets.read(&name).await.with_context(|| whose.to_owned())?;
        let address = checked(whose, &text, &name.to_string())?;
        Ok(Webhook { address: Mutex::new(address), secret: Some((name, secrets)) })
    }
}

fn checked(whose: &str, text: &str, source: &str) -> Result<String> {
    let webhook = text.trim().to_owned();
    let parsed =
        reqwest::Url::parse(&webhook).with_context(|| format!("{whose}: {source} does not hold a valid URL"))?;
    let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if parsed.scheme() != "https" && !loopback {
        bail!("{whose}: the webhook in {source} is not https");
    }
    Ok(webhook)
}

/// `#canary-alerts` is `SLACK_WEBHOOK_URL_CANARY_ALERTS`.
fn variable(channel: &str) -> String {
    let name: String = channel
        .trim_start_matches('#')
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_uppercase() } else { '_' })
        .collect();
    format!("SLACK_WEBHOOK_URL_{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_names_its_variable() {
        assert_eq!(variable("#canary-alerts"), "SLACK_WEBHOOK_URL_CANARY_ALERTS");
    }

    #[test]
    fn each_answer_means_one_thing() {
        let again = |said: &str, wait| Answer::Again(said.to_owned(), wait);
        let refused = |said: &str| Answer::Refused(said.to_owned());
        let wait = Some(Duration::from_secs(30));
        for (status, body, retry_after, expected) in [
            (200, "ok", None, Answer::Taken),
            (200, "<html>log in", None, again("answered 200: <html>log in", None)),
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
            assert_eq!(judge(status, body, retry_after, true), expected, "{status} {body}");
        }
        assert_eq!(
            judge(200, "<html>", None, false),
            Answer::Taken,
            "any answer of a fallback with status 200 is accepted"
        );
    }
}
