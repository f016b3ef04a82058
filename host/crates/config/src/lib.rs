//! host.toml: what there is to read, with every default, and errors that name the key and the fix.

mod alerts;
mod backends;
mod budgets;
mod calendar;
mod checks;
mod google;
mod grants;
mod mistakes;
mod rules;
mod schema;
mod service;
mod slack;
mod time;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use host_package::Digest;
use schemars::JsonSchema;
use serde::Deserialize;

pub use alerts::{Alerts, Delivery, Fallback, OwnAlerts, Route, State};
pub use backends::{Deployments, Git, Warehouse};
pub use budgets::{Budgets, Bytes, Count, OwnBudgets, Time, raise};
pub use calendar::{Calendar, Dates, Effect, Window};
pub use checks::Check;
pub use google::{Endpoint, Google, GoogleCredentials, SecretName};
pub use grants::{Grants, Trust};
pub use host_package::PublicKey;
pub use host_text::nearest;
use mistakes::with_nearest;
pub use schema::{reference, schema};
pub use service::{Delay, Heartbeat, Missed, Overlap, Pace, Scheduler, Web};
pub use slack::{Channel, Deliver, Slack};
pub use time::{Cron, ValidateSchedule, Zone};

/// host.toml as a whole.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The pipeline's time zone, an IANA name: data dates are dates there. Default: America/New_York.
    pub timezone: Zone,
    /// When the checks themselves are validated, in the pipeline's time zone, while the host stays; and once a day when it
    /// does not. `never` is never. Default: `0 5 * * *`.
    pub validate_schedule: ValidateSchedule,
    /// How a host that stays keeps the schedules.
    pub scheduler: Scheduler,
    /// Its page.
    pub web: Web,
    /// Who is told that it still runs.
    pub heartbeat: Heartbeat,
    /// Where queries go.
    pub warehouse: Option<Warehouse>,
    /// Who the host is to Google Cloud.
    pub google: Google,
    /// The repositories that can be looked up, by name.
    pub git: BTreeMap<String, Git>,
    /// Where it is written down what is deployed.
    pub deployments: Option<Deployments>,
    /// Where messages go.
    pub slack: Slack,
    /// When they are sent.
    pub alerts: Alerts,
    /// How they get there.
    pub delivery: Delivery,
    /// Who is told when one does not get there.
    pub fallback: Fallback,
    /// Days and hours at which checks are not run, or not told of.
    pub calendars: BTreeMap<String, Calendar>,
    /// What is kept between runs.
    pub state: State,
    /// Whose plugins run.
    pub trust: Trust,
    /// What bounds a run, unless `grants.NAME.budgets` says otherwise.
    pub budgets: Budgets,
    /// The checks. A plugin that no check names is one check of its own name.
    pub checks: BTreeMap<String, Check>,
    /// What each plugin may do; a plugin without an entry may do nothing.
    pub grants: BTreeMap<String, Grants>,
    /// The directory that relative paths start from: the one host.toml is in.
    #[serde(skip)]
    pub directory: PathBuf,
    /// Of the text that it was read from: another one when anything in the file is written in another way.
    #[serde(skip)]
    pub digest: Digest,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timezone: Zone::new_york(),
            validate_schedule: ValidateSchedule::default(),
            scheduler: Scheduler::default(),
            web: Web::default(),
            heartbeat: Heartbeat::default(),
            warehouse: None,
            google: Google::default(),
            git: BTreeMap::new(),
            deployments: None,
            slack: Slack::default(),
            alerts: Alerts::default(),
            delivery: Delivery::default(),
            fallback: Fallback::default(),
            calendars: BTreeMap::new(),
            state: State::default(),
            trust: Trust::default(),
            budgets: Budgets::default(),
            checks: BTreeMap::new(),
            grants: BTreeMap::new(),
            directory: PathBuf::new(),
            digest: Digest::of(b""),
        }
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let config = Self::load(path)?;
        config.check_paths().with_context(|| format!("{}: refused", path.display()))?;
        Ok(config)
    }

    /// Reads a file, whether or not what it names is there.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "{}: cannot be read; name another file with --config, or make the sample pipeline with `cargo xtask demo`",
                path.display()
            )
        })?;
        let mut config = Self::parse(&text).with_context(|| format!("{}: refused", path.display()))?;
        config.directory = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(config)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let mut config: Self = toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", with_nearest(&error)))?;
        config.check_names()?;
        config.digest = Digest::of(text.as_bytes());
        Ok(config)
    }

    /// A path as written, seen from host.toml's directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The budgets of one plugin.
    pub fn budgets(&self, plugin: &str) -> Budgets {
        let own = self.grants.get(plugin).map(|grants| &grants.budgets);
        own.map_or_else(|| self.budgets.clone(), |own| self.budgets.with(own))
    }

    /// The `[alerts]` of one check.
    pub fn alerts(&self, check: &str) -> Alerts {
        let own = self.checks.get(check).map(|check| check.alerts).unwrap_or_default();
        Alerts {
            repeat_interval: own.repeat_interval.unwrap_or(self.alerts.repeat_interval),
            confirm: own.confirm.unwrap_or(self.alerts.confirm),
            confirm_errors: own.confirm_errors.unwrap_or(self.alerts.confirm_errors),
            ..self.alerts.clone()
        }
    }

    /// The `[scheduler]` of one check.
    pub fn pace(&self, check: &str) -> Pace {
        let own = self.checks.get(check);
        let all = &self.scheduler;
        Pace {
            jitter: own.and_then(|own| own.jitter).unwrap_or(all.jitter).0,
            overlap: own.and_then(|own| own.overlap).unwrap_or(all.overlap),
            missed: own.and_then(|own| own.missed).unwrap_or(all.missed),
            retries: own.and_then(|own| own.retries).unwrap_or(all.retries).0,
            retry_wait: all.retry_wait.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_has_defaults() {
        let config = Config::parse("").expect("defaults");
        assert_eq!(config.timezone.name(), "America/New_York");
        assert_eq!(config.budgets("any"), Budgets::default());
        assert_eq!(config.slack.deliver, Deliver::Webhook);
        assert_eq!(config, Config::default());
    }

    #[test]
    fn what_is_written_in_another_way_is_another_configuration() {
        let text = "[checks.a]\nschedule = '0 6 * * *'\nsettings = { min = 1.5 }\n[calendars.b]\neffect = 'skip'\nwhy = 'c'\ndates = ['12-25']";
        let config = |text: &str| Config::parse(text).expect("valid");
        assert_eq!(config(text), config(text));
        for (from, to) in [("6", "7"), ("1.5", "2.5"), ("12-25", "12-26"), ("'skip'", "'silence'")] {
            assert_ne!(config(&text.replacen(from, to, 1)), config(text), "{to}");
        }
        let commented = config(&format!("# since today\n{text}"));
        assert_ne!(commented.digest, config(text).digest);
        assert_eq!(Config { digest: config(text).digest, ..commented }, config(text));
    }
}
