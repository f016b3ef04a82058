//! Where messages go.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::SecretName;

/// `[slack]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// To Slack, or to the console. Default: webhook.
    pub deliver: Deliver,
    /// Where a channel's webhook is found, by channel, unless it is in the environment under its usual name.
    pub channels: BTreeMap<String, Channel>,
}

/// `slack.deliver`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// Each channel's messages go to its webhook.
    #[default]
    Webhook,
    /// Messages are shown on standard error, as a reader of the channel would see them.
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
    /// The secret that holds the webhook: `secret:NAME`. The environment or a file may name one too.
    pub webhook: Option<SecretName>,
}
