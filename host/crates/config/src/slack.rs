//! `[slack]`: where messages are sent.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Endpoint, SecretName};

/// `[slack]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// Send to Slack, by webhooks or as a bot, or show on the console. Default: webhook.
    pub deliver: Deliver,
    /// The environment variable with the bot's token. Default: SLACK_BOT_TOKEN.
    pub token_env: String,
    /// A file with the bot's token, instead of the environment.
    pub token_file: Option<PathBuf>,
    /// The secret with the bot's token: `secret:NAME`, or `secret:us-west2/NAME` for a regional secret. The environment
    /// variable or file may also contain this form.
    pub token: Option<SecretName>,
    /// The environment variable with the signing secret of the bot's app. With one, and with `[web] listen`, the messages of
    /// the bot have buttons. Default: SLACK_SIGNING_SECRET; if it is not set, there are no buttons.
    pub signing_secret_env: Option<String>,
    /// A file with the signing secret, instead of the environment.
    pub signing_secret_file: Option<PathBuf>,
    /// The secret with the signing secret: `secret:NAME`, or `secret:us-west2/NAME` for a regional secret. The environment
    /// variable or file may also contain this form.
    pub signing_secret: Option<SecretName>,
    /// Another address of Slack's Web API. Default: `https://slack.com/api`.
    pub endpoint: Endpoint,
    /// The channels: where to find a webhook, if not in the environment under its usual name; for the bot, a channel's id.
    pub channels: BTreeMap<String, Channel>,
}

impl Default for Slack {
    fn default() -> Self {
        Self {
            deliver: Deliver::default(),
            token_env: "SLACK_BOT_TOKEN".to_owned(),
            token_file: None,
            token: None,
            signing_secret_env: None,
            signing_secret_file: None,
            signing_secret: None,
            endpoint: Endpoint::default(),
            channels: BTreeMap::new(),
        }
    }
}

impl Slack {
    /// Whether host.toml names the signing secret.
    pub(super) fn names_signing_secret(&self) -> bool {
        self.signing_secret.is_some() || self.signing_secret_file.is_some() || self.signing_secret_env.is_some()
    }

    /// Rejects a token that is named twice or would be sent in clear text, and ids that are none.
    pub(super) fn check(&self) -> Result<()> {
        if self.token.is_some() && self.token_file.is_some() {
            bail!("slack: both `token` and `token_file` are set; keep one");
        }
        let (secret, file) = (self.signing_secret.is_some(), self.signing_secret_file.is_some());
        if usize::from(secret) + usize::from(file) + usize::from(self.signing_secret_env.is_some()) > 1 {
            bail!("slack: keep one of `signing_secret`, `signing_secret_file` and `signing_secret_env`");
        }
        if self.endpoint.is_open() {
            bail!("slack.endpoint: not https, so the bot's token would be sent in clear text; use https");
        }
        for (name, channel) in &self.channels {
            if let Some(id) = channel.id.as_ref().filter(|id| !is_id(id)) {
                bail!(
                    "slack.channels.\"{name}\".id: `{id}` is not a channel's id; Slack shows it at the end of the channel's details: \"C0123456789\""
                );
            }
        }
        Ok(())
    }
}

/// Whether a text has the form of a channel's id: capital letters and digits, `C` for a channel, `G` for a private one.
fn is_id(text: &str) -> bool {
    text.len() >= 5
        && text.starts_with(['C', 'G'])
        && text.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
}

/// `slack.deliver`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// Send each channel's messages to its webhook.
    #[default]
    Webhook,
    /// Send all messages with one bot token: follow-ups go into the thread of an incident's first message, which is updated.
    Bot,
    /// Show messages on standard error, as a reader of the channel would see them.
    Console,
}

/// `[slack.channels."#NAME"]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// The environment variable with the webhook. Default: `SLACK_WEBHOOK_URL_` and the channel's name.
    pub webhook_env: Option<String>,
    /// A file with the webhook, instead of the environment.
    pub webhook_file: Option<PathBuf>,
    /// The secret with the webhook: `secret:NAME`, or `secret:us-west2/NAME` for a regional secret. The environment variable
    /// or file may also contain this form.
    pub webhook: Option<SecretName>,
    /// For the bot: the channel's id in Slack, such as `C0123456789`. It stays when the channel is renamed. Default: the
    /// channel is found by its name.
    pub id: Option<String>,
}
