//! A check: a plugin with its schedule and settings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Count, Cron, Delay, Missed, Overlap, OwnAlerts, Zone};

/// `[checks.NAME]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// The plugin that runs. Default: the one with the check's name.
    pub plugin: Option<String>,
    /// Five fields: minute, hour, day of month, month, day of week. Default: the plugin's.
    pub schedule: Option<Cron>,
    /// The time zone of the schedule. Default: the plugin's, else the pipeline's.
    pub timezone: Option<Zone>,
    /// Where its alerts go. Default: the plugin's channel.
    pub channel: Option<String>,
    /// The checks whose data it is made from. While one of them fails, a failure of this one is listed there and not
    /// told on its own.
    pub depends_on: Vec<String>,
    /// What it has of its own of `[alerts]`.
    pub alerts: OwnAlerts,
    /// Its own `scheduler.jitter`.
    pub jitter: Option<Delay>,
    /// Its own `scheduler.overlap`.
    pub overlap: Option<Overlap>,
    /// Its own `scheduler.missed`.
    pub missed: Option<Missed>,
    /// Its own `scheduler.retries`.
    pub retries: Option<Count>,
    /// When somebody must have asked it, as a gate, about the day before: `0 10 * * *`, in the check's time zone. That
    /// nobody did is told like a failure. Default: nobody need ask.
    pub expect_consult: Option<Cron>,
    /// The plugin's settings; `describe` has their schema. What is left out has its default.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: toml::Table,
}
