//! When people are told, and what happens when a message does not get through. The words and defaults are Alertmanager's
//! where it has them: <https://prometheus.io/docs/alerting/latest/configuration/>

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, SecretName, Time};

/// `[alerts]`: when people are told.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// How long after a message its content is said again, while nothing changes. Default: 4h.
    pub repeat_interval: Time,
    /// How long the first result of a round waits for the others, to be told in one message. Default: 30s.
    pub group_wait: Time,
    /// Bad results in a row before people are told. Default: 1.
    pub confirm: Count,
    /// Runs in a row that could not be evaluated before people are told. Default: 2.
    pub confirm_errors: Count,
    /// A check that changed so often within `flap_window` is flapping: that is said once, and then nothing until it
    /// was steady for half of the window. 0: never. Default: 4.
    pub flap_changes: Count,
    /// See `flap_changes`. Default: 4h.
    pub flap_window: Time,
    /// Channels that are told of every alert of a severity, beside the check's own: `critical = ["#on-call"]`.
    pub routes: BTreeMap<Route, Vec<String>>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            repeat_interval: Time(Duration::from_secs(4 * 60 * 60)),
            group_wait: Time(Duration::from_secs(30)),
            confirm: Count(1),
            confirm_errors: Count(2),
            flap_changes: Count(4),
            flap_window: Time(Duration::from_secs(4 * 60 * 60)),
            routes: BTreeMap::new(),
        }
    }
}

/// A severity that `alerts.routes` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Worth reading some day.
    Info,
    /// Wrong, but nothing is broken yet.
    Warning,
    /// Broken.
    Critical,
}

/// What a check has of its own of `[alerts]`, in `[checks.NAME]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnAlerts {
    /// Its own `alerts.repeat_interval`.
    pub repeat_interval: Option<Time>,
    /// Its own `alerts.confirm`.
    pub confirm: Option<Count>,
    /// Its own `alerts.confirm_errors`.
    pub confirm_errors: Option<Count>,
}

impl Alerts {
    pub(super) fn check(&self) -> Result<()> {
        for (key, count) in [("confirm", self.confirm), ("confirm_errors", self.confirm_errors)] {
            if count.0 == 0 {
                bail!("alerts.{key}: 0 results say nothing; write 1 to be told at once");
            }
        }
        if self.flap_changes.0 == 1 {
            bail!("alerts.flap_changes: every check changes once when it turns bad; write 2 or more, or 0 for never");
        }
        for (channel, route) in self.routes.iter().flat_map(|(route, list)| list.iter().map(move |one| (one, route))) {
            if !channel.starts_with('#') {
                let route = format!("{route:?}").to_lowercase();
                bail!("alerts.routes.{route}: `{channel}` is no channel; write \"#{channel}\"");
            }
        }
        Ok(())
    }
}

/// `[delivery]`: getting messages to their receivers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// How long a receiver may take to answer. Default: 10s.
    pub timeout: Time,
    /// The first wait after a failed attempt; it doubles with each, to five minutes. Default: 1s.
    pub backoff: Time,
    /// A message that was not delivered within this time is an alarm. Default: 5m.
    pub late: Time,
    /// How long `host run --once` waits for its messages to be delivered; those that were not are sent by the next
    /// start. Default: 30s.
    pub wait: Time,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            timeout: Time(Duration::from_secs(10)),
            backoff: Time(Duration::from_secs(1)),
            late: Time(Duration::from_secs(5 * 60)),
            wait: Time(Duration::from_secs(30)),
        }
    }
}

/// `[fallback]`: who is told when a message does not get through; anything that takes a POST of plain JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fallback {
    /// The environment variable with the address.
    pub webhook_env: Option<String>,
    /// A file with the address.
    pub webhook_file: Option<PathBuf>,
    /// The secret that holds it: `secret:NAME`. The environment or a file may name one too.
    pub webhook: Option<SecretName>,
}

/// `[state]`: what is kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// The directory with the database. Default: `state`, beside host.toml.
    pub directory: PathBuf,
    /// How long runs, alerts and messages are kept. Default: 90d.
    pub keep: Time,
}

impl Default for State {
    fn default() -> Self {
        Self { directory: PathBuf::from("state"), keep: Time(Duration::from_secs(90 * 24 * 60 * 60)) }
    }
}
