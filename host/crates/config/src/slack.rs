//! `[slack]`: where messages are sent.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretName;

/// `[slack]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// Send to Slack, or show on the console. Default: webhook.
    pub deliver: Deliver,
    /// Where to find a channel's webhook, by channel, if not in the environment under its usual name.
    pub channels: BTreeMap<String, Channel>,
}

/// `slack.deliver`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// Send each channel's messages to its webhook.
    #[default]
    Webhook,
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
}
