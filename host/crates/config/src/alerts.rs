//! When alerts are sent, and what happens when a message cannot be delivered. Names and defaults follow Alertmanager:
//! <https://prometheus.io/docs/alerting/latest/configuration/>

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, SecretName, Time, channel_name};

/// `[alerts]`: when alerts are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// How long to wait before repeating an alert that has not changed. Default: 4h.
    pub repeat_interval: Time,
    /// How long to wait for the other checks of a round before sending the message. Default: 30s.
    pub group_wait: Time,
    /// Bad results in a row before an alert is sent. Default: 1.
    pub confirm: Count,
    /// Errors in a row (runs that could not be evaluated) before an alert is sent. A mistake that no retry can mend, as in
    /// settings or grants, is told at once. Default: 2.
    pub confirm_errors: Count,
    /// A check that turns bad, and has changed more often than this within `flap_window`, is flapping: one alert says so,
    /// and no further alert is sent until the check has been stable for half of the window. 0 turns this off. Default: 4.
    pub flap_changes: Count,
    /// The time in which `flap_changes` counts. Default: 4h.
    pub flap_window: Time,
    /// Further channels for every alert of a severity, besides the check's own: `critical = ["#on-call"]`. A check that could
    /// not be evaluated counts as a warning.
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
    /// For information.
    Info,
    /// Needs attention, but nothing is broken yet.
    Warning,
    /// Broken.
    Critical,
}

impl Route {
    /// `info`, `warning` or `critical`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A check's own values for `[alerts]`, in `[checks.NAME]`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OwnAlerts {
    /// Overrides `alerts.repeat_interval`.
    pub repeat_interval: Option<Time>,
    /// Overrides `alerts.confirm`.
    pub confirm: Option<Count>,
    /// Overrides `alerts.confirm_errors`.
    pub confirm_errors: Option<Count>,
}

impl Alerts {
    pub(super) fn check(&self) -> Result<()> {
        for (key, count) in [("confirm", self.confirm), ("confirm_errors", self.confirm_errors)] {
            if count.0 == 0 {
                bail!("alerts.{key}: must be at least 1; write 1 to alert at the first result");
            }
        }
        if self.flap_changes.0 == 1 {
            bail!(
                "alerts.flap_changes: 1 would make every failure flapping; write 2 or more, or 0 to turn flapping off"
            );
        }
        for (channel, route) in self.routes.iter().flat_map(|(route, list)| list.iter().map(move |one| (one, route))) {
            let refused = |error| anyhow::anyhow!("alerts.routes.{}: {error}", format!("{route:?}").to_lowercase());
            channel_name(channel).map_err(refused)?;
        }
        Ok(())
    }
}

/// `[delivery]`: how messages are sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Delivery {
    /// How long a receiver may take to answer. Default: 10s.
    pub timeout: Time,
    /// The wait before the first retry; it doubles with each further retry, up to five minutes. Default: 1s.
    pub backoff: Time,
    /// How long a message may be undelivered before that is reported. Default: 5m.
    pub late: Time,
    /// How long `host run --once` waits for its messages to be delivered; the next start sends the rest. Default: 30s.
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

/// `[fallback]`: where undelivered messages are reported; any service that accepts a POST of JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fallback {
    /// The environment variable with the address.
    pub webhook_env: Option<String>,
    /// A file with the address.
    pub webhook_file: Option<PathBuf>,
    /// The secret with the address: `secret:NAME`, or `secret:us-west2/NAME` for a regional secret. The environment variable
    /// or file may also contain this form.
    pub webhook: Option<SecretName>,
}

/// `[state]`: where results are kept between runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// The directory with the database, for this host.toml alone. Default: `state`, beside host.toml.
    pub directory: PathBuf,
    /// Environment variable with the address of a Postgres database, for several hosts on one record, such as
    /// `postgres://host@db.example/watch?sslmode=verify-full`; then `directory` is not used. Default: none.
    pub url_env: Option<String>,
    /// How long runs, alerts and messages are kept. Default: 90d.
    pub keep: Time,
}

impl Default for State {
    fn default() -> Self {
        Self { directory: PathBuf::from("state"), url_env: None, keep: Time(Duration::from_secs(90 * 24 * 60 * 60)) }
    }
}
