//! host.toml: its keys and defaults, and errors that name the key and the fix.

mod alerts;
mod backends;
mod budgets;
mod calendar;
mod checks;
mod command;
mod data_date;
mod dates;
mod definitions;
mod dependencies;
mod for_each;
mod google;
mod grants;
mod mistakes;
mod names;
mod privacy;
mod record;
mod report;
mod rights;
mod rules;
mod schema;
mod service;
mod skips;
mod slack;
mod time;

use std::{
    collections::BTreeMap,
    fmt::Display,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use host_package::Digest;
use schemars::JsonSchema;
use serde::Deserialize;
use toml::de::DeTable;

pub use alerts::{Alerts, Delivery, Fallback, OwnAlerts, Route, State};
pub use backends::{Deployments, Git, Regions, Warehouse};
pub use budgets::{Budgets, Bytes, Count, OwnBudgets, Time, raise};
pub use calendar::{Calendar, DateRange, Effect, Window};
pub use checks::{Check, Dates};
pub use data_date::DataDate;
pub use dates::{ExpectBy, KnownDate, Recheck};
pub use dependencies::Dependencies;
use for_each::Many;
pub use for_each::Origin;
pub use google::{Endpoint, Google, GoogleCredentials, SecretName};
pub use grants::{Grants, Trust};
pub use host_package::PublicKey;
pub use host_text::nearest;
use mistakes::{explained, only_tables};
pub use names::{CONSULTED, channel_name, check_key, check_name};
pub use privacy::Privacy;
pub use record::{Answers, Keeping, Recording};
pub use report::Reporting;
pub use rights::{Change, Direction, Rights};
pub use schema::{reference, schema};
pub use service::{Delay, Heartbeat, Missed, Overlap, Pace, Scheduler, Web};
pub use skips::{Skip, SkipAtMost, SkipQuery};
pub use slack::{Channel, Deliver, Slack};
pub use time::{Cron, ValidateSchedule, Zone, local};

/// host.toml as a whole.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The pipeline's time zone, an IANA name; data dates are dates in it. Default: America/New_York.
    pub timezone: Zone,
    /// When a running host validates its checks, in the pipeline's time zone. `host run --once` validates them once a
    /// day. `never` turns this off. Default: `0 5 * * *`.
    pub validate_schedule: ValidateSchedule,
    /// The scheduler of a running host.
    pub scheduler: Scheduler,
    /// The web page and API.
    pub web: Web,
    /// The service that is told regularly that the host is running.
    pub heartbeat: Heartbeat,
    /// The warehouse that answers queries.
    pub warehouse: Option<Warehouse>,
    /// Credentials for Google Cloud.
    pub google: Google,
    /// The git repositories, by name.
    pub git: BTreeMap<String, Git>,
    /// Where deployments are looked up.
    pub deployments: Option<Deployments>,
    /// Slack channels and their webhooks.
    pub slack: Slack,
    /// When alerts are sent.
    pub alerts: Alerts,
    /// How messages are sent.
    pub delivery: Delivery,
    /// Where undelivered messages are reported.
    pub fallback: Fallback,
    /// Dates and hours at which checks are skipped or silenced.
    pub calendars: BTreeMap<String, Calendar>,
    /// Where results are kept between runs.
    pub state: State,
    /// What is recorded of a run besides its result.
    pub record: Recording,
    /// The report on what the checks were worth.
    pub report: Reporting,
    /// What of the data leaves the warehouse.
    pub privacy: Privacy,
    /// Whose plugins may run.
    pub trust: Trust,
    /// The limits of a run, unless `grants.NAME.budgets` overrides them.
    pub budgets: Budgets,
    /// The checks. A plugin that no check names is a check of its own name.
    pub checks: BTreeMap<String, Check>,
    /// What each plugin may do; a plugin without an entry may do nothing.
    pub grants: BTreeMap<String, Grants>,
    /// The directory of host.toml, which relative paths start from.
    #[serde(skip)]
    pub directory: PathBuf,
    /// The file, as it was named; empty if the text is from elsewhere.
    #[serde(skip)]
    pub file: PathBuf,
    /// The digest of the file's text; any edit changes it.
    #[serde(skip)]
    pub digest: Digest,
    /// The file's text.
    #[serde(skip)]
    pub text: String,
    /// The `depends_on` of all checks, as a graph.
    #[serde(skip)]
    pub dependencies: Dependencies,
    /// The `for_each` that made a check or a grant, by its key: `checks.source-b`.
    #[serde(skip)]
    pub origins: BTreeMap<String, Origin>,
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
            record: Recording::default(),
            report: Reporting::default(),
            privacy: Privacy::default(),
            trust: Trust::default(),
            budgets: Budgets::default(),
            checks: BTreeMap::new(),
            grants: BTreeMap::new(),
            directory: PathBuf::new(),
            file: PathBuf::new(),
            digest: Digest::of(b""),
            text: String::new(),
            dependencies: Dependencies::default(),
            origins: BTreeMap::new(),
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

    /// Reads a file without checking that the paths in it exist.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let (shown, usual) = (path.display(), Path::new("host.toml"));
                let made = if path == usual { "one" } else { "host.toml" };
                anyhow::anyhow!("there is no {shown}; `host init` writes {made}, or name another with --config")
            }
            _ => anyhow::anyhow!("{}: cannot be read: {error}", path.display()),
        })?;
        let mut config = Self::parse(&text).with_context(|| format!("{}: refused", path.display()))?;
        config.directory = path.parent().unwrap_or(Path::new("")).to_owned();
        path.clone_into(&mut config.file);
        Ok(config)
    }

    /// Reads the text of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |mut error: toml::de::Error| {
            error.set_input(Some(text));
            anyhow::anyhow!("{}", host_text::without_passwords(&explained(&error)))
        };
        let mut file = DeTable::parse(text).map_err(wrong)?;
        only_tables(file.get_ref())?;
        let many = Many::take(file.get_mut(), text)?;
        let mut config = Self::deserialize(toml::Deserializer::from(file)).map_err(wrong)?;
        many.add_to(&mut config, text)?;
        config.check_rules()?;
        config.dependencies = Dependencies::new(&config.checks)?;
        config.digest = Digest::of(text.as_bytes());
        text.clone_into(&mut config.text);
        Ok(config)
    }

    /// Resolves a path against host.toml's directory.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// A mistake in an entry of `checks` or `grants`, with the place of host.toml where a reader finds it: `checks.a.channel:
    /// …`, or for an entry of a `for_each`, `checks."source-{table}" with table = "b": channel: …`.
    pub fn at(&self, section: &str, name: &str, wrong: impl Display) -> String {
        let key = format!("{section}.{name}");
        match self.origins.get(&key) {
            Some(origin) => format!("{origin}: {wrong}"),
            None => format!("{section}.{}.{wrong}", check_key(name)),
        }
    }

    /// The file, for messages: as it was named, or `host.toml`.
    pub fn shown(&self) -> String {
        match self.file.as_os_str().is_empty() {
            true => "host.toml".to_owned(),
            false => self.file.display().to_string(),
        }
    }

    /// The table of a check in host.toml: `[checks.a]`, or that of the `for_each` that makes it.
    pub fn table(&self, check: &str) -> String {
        match self.origin(check) {
            Some(origin) => format!("[{}]", origin.definition),
            None => format!("[checks.{}]", check_key(check)),
        }
    }

    /// The `for_each` that makes a check, if one does.
    pub fn origin(&self, check: &str) -> Option<&Origin> {
        self.origins.get(&format!("checks.{check}"))
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

    /// The project that table names of the warehouse may begin with.
    pub fn warehouse_project(&self) -> Option<String> {
        match &self.warehouse {
            Some(Warehouse::Sqlite { project, .. }) => project.clone(),
            Some(Warehouse::BigQuery { project, .. }) => Some(project.clone()),
            None => None,
        }
    }

    /// Whether the file has a check of this name, or one whose consultations it watches.
    pub fn names(&self, check: &str) -> bool {
        let watched = check.strip_suffix(CONSULTED).and_then(|gate| self.checks.get(gate));
        self.checks.contains_key(check) || watched.is_some_and(|gate| gate.expect_consult.is_some())
    }

    /// The plugin of a check; `None` of one that host.toml does not name, which may be of a plugin of its name.
    pub fn plugin_of(&self, check: &str) -> Option<&str> {
        let (name, own) = self.checks.get_key_value(check)?;
        Some(own.plugin.as_deref().unwrap_or(name))
    }

    /// The checks that host.toml gives to a plugin.
    pub fn checks_of(&self, plugin: &str) -> Vec<String> {
        self.checks.keys().filter(|check| self.plugin_of(check) == Some(plugin)).cloned().collect()
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

    /// How long bad dates of one check are looked at again.
    pub fn recheck(&self, check: &str) -> Recheck {
        let own = self.checks.get(check);
        Recheck {
            wait: own.and_then(|own| own.recheck).unwrap_or(self.scheduler.recheck).0,
            length: own.and_then(|own| own.recheck_for).unwrap_or(self.scheduler.recheck_for).0,
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
        let same = Config { digest: config(text).digest, text: text.to_owned(), ..commented };
        assert!(same == config(text));
    }
}
