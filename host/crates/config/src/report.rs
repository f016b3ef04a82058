//! `[report]`: the report of a time, sent by the clock.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Cron, Time};

/// `[report]`
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Reporting {
    /// The channel that gets the report. Default: none, and then nothing is sent; `host report` and the page show it all the same.
    pub channel: Option<String>,
    /// When it is sent, in the pipeline's time zone. Default: `0 9 * * 1`, which is Monday at nine.
    pub schedule: Option<Cron>,
    /// How long the time is that it is about, until then. Default: 7d.
    pub about: Option<Time>,
}

impl Reporting {
    /// The usual time that a report is about.
    const WEEK: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 60 * 60);

    /// How long the time is that it is about.
    pub fn length(&self) -> Time {
        self.about.unwrap_or(Time(Self::WEEK))
    }

    /// When it is sent.
    pub fn schedule(&self) -> Cron {
        self.schedule.clone().unwrap_or_else(Cron::mondays)
    }

    pub(super) fn check(&self) -> Result<()> {
        match (&self.channel, self.schedule.is_some() || self.about.is_some()) {
            (None, true) => bail!("report: has no effect without report.channel; add it, or remove the others"),
            (Some(channel), _) if channel.trim().is_empty() => bail!("report.channel: is empty; write \"#channel\""),
            _ => Ok(()),
        }
    }
}
