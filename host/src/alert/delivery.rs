//! Getting a notification to Slack, or to the console.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};

use super::{Notification, block_kit, console};
use crate::config::{Channel, Config, Deliver};

/// How long Slack may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where messages go.
pub enum Delivery {
    /// To standard error.
    Console,
    /// To each channel's webhook.
    Webhooks {
        /// One connection pool for all.
        client: reqwest::Client,
        /// The secret address of each channel.
        webhooks: BTreeMap<String, String>,
    },
}

/// What became of a notification.
#[derive(Debug)]
pub struct Receipt {
    /// Where it was sent.
    pub channel: String,
    /// What Slack answered, when it did not take it, or why it was not reached.
    pub problem: Option<String>,
}

impl Delivery {
    /// Finds the webhook of every channel that may be posted to; one without is refused now, not when something is wrong.
    pub fn new<'c>(config: &'c Config, channels: impl IntoIterator<Item = &'c str>) -> Result<Self> {
        if config.slack.deliver == Deliver::Console {
            return Ok(Self::Console);
        }
        // Fails only when another part of the process chose already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("the HTTP client cannot start")?;
        let mut webhooks = BTreeMap::new();
        for channel in channels.into_iter().chain(config.slack.channels.keys().map(String::as_str)) {
            if !webhooks.contains_key(channel) {
                webhooks.insert(channel.to_owned(), webhook(config, channel)?);
            }
        }
        Ok(Self::Webhooks { client, webhooks })
    }

    /// Sends one message.
    pub async fn send(&self, notification: &Notification) -> Receipt {
        let channel = notification.channel.clone();
        let problem = match self {
            Self::Console => {
                eprint!("{}", console::shown(notification));
                None
            }
            Self::Webhooks { client, webhooks } => match webhooks.get(&channel) {
                None => Some("no webhook is known for it".to_owned()),
                Some(webhook) => post(client, webhook, notification).await.err().map(|error| format!("{error:#}")),
            },
        };
        Receipt { channel, problem }
    }
}

async fn post(client: &reqwest::Client, webhook: &str, notification: &Notification) -> Result<()> {
    let body = block_kit::payload(notification).to_string();
    let sent = client.post(webhook).header("content-type", "application/json").body(body).send().await;
    // The address is the secret: it is in no error.
    let answer = sent.map_err(reqwest::Error::without_url).context("Slack was not reached")?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = answer.text().await.unwrap_or_default();
    let text: String = text.chars().filter(|character| !character.is_control()).take(200).collect();
    bail!("Slack answered {status}: {text}")
}

fn webhook(config: &Config, channel: &str) -> Result<String> {
    let chosen = config.slack.channels.get(channel).cloned().unwrap_or_default();
    let (webhook, source) = match chosen {
        Channel { webhook_file: Some(path), .. } => {
            let path = config.resolve(&path);
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("channel {channel}: {}", path.display()))?;
            (text, path.display().to_string())
        }
        Channel { webhook_env, .. } => {
            let variable = webhook_env.unwrap_or_else(|| variable(channel));
            let webhook = std::env::var(&variable).with_context(|| {
                format!(
                    "channel {channel} has no webhook: set {variable} in the environment, or slack.deliver = \"console\" in host.toml"
                )
            })?;
            (webhook, variable)
        }
    };
    let webhook = webhook.trim().to_owned();
    let parsed =
        reqwest::Url::parse(&webhook).with_context(|| format!("channel {channel}: what {source} holds is no URL"))?;
    let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if parsed.scheme() != "https" && !loopback {
        bail!("channel {channel}: the webhook in {source} is not https");
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
    #[test]
    fn a_channel_names_its_variable() {
        assert_eq!(super::variable("#canary-alerts"), "SLACK_WEBHOOK_URL_CANARY_ALERTS");
    }
}
