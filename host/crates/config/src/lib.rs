//! host.toml: what there is to read, with every default, and errors that name the key and the fix.

mod alerts;
mod budgets;
mod calendar;
mod google;
mod mistakes;
mod schema;
mod service;
mod time;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

pub use alerts::{Alerts, Delivery, Fallback, OwnAlerts, Route, State};
pub use budgets::{Budgets, Bytes, Count, OwnBudgets, Time, raise};
pub use calendar::{Calendar, Dates, Effect, Window};
pub use google::{Endpoint, Google, GoogleCredentials, SecretName};
pub use host_package::PublicKey;
pub use host_text::nearest;
use mistakes::{nearest_file, with_nearest};
pub use schema::{reference, schema};
pub use service::{Delay, Heartbeat, Missed, Overlap, Pace, Scheduler, Web};
pub use time::{Cron, ValidateSchedule, Zone};

/// host.toml as a whole.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
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
        }
    }
}

/// `[warehouse]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Warehouse {
    /// The embedded engine: each dataset is a SQLite file.
    Sqlite {
        /// The directory with the files: `nba_raw.db` in it is the dataset `nba_raw`.
        path: PathBuf,
        /// The project that tables may be prefixed with, `project.dataset.table`.
        project: Option<String>,
    },
    /// BigQuery: <https://cloud.google.com/bigquery/docs/reference/rest>
    #[serde(rename = "bigquery")]
    BigQuery {
        /// The project that has the datasets, runs the queries and pays for them.
        project: String,
        /// Where the datasets are: `US`, `us-west2`, …
        location: String,
        /// Another address of the API: an emulator's.
        #[serde(default)]
        endpoint: Endpoint,
        /// Whether BigQuery may answer from its cache, which costs nothing. Default: true.
        #[serde(default = "yes")]
        cache: bool,
    },
}

fn yes() -> bool {
    true
}

/// `[git.NAME]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// A local repository, with or without a working tree.
    pub path: PathBuf,
    /// The branch that is deployed from. Default: main.
    #[serde(default = "main_branch")]
    pub branch: String,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// `[deployments]`
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Deployments {
    /// A JSON file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// The services of one region: <https://cloud.google.com/run/docs/reference/rest>
    CloudRun {
        /// The project that has the services.
        project: String,
        /// Where they run: `us-west2`.
        region: String,
        /// Another address of the API.
        #[serde(default)]
        endpoint: Endpoint,
    },
}

/// `[slack]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// The environment variable with the webhook. Default: `SLACK_WEBHOOK_URL_` and the channel's name.
    pub webhook_env: Option<String>,
    /// A file with the webhook, instead of the environment.
    pub webhook_file: Option<PathBuf>,
    /// The secret that holds the webhook: `secret:NAME`. The environment or a file may name one too.
    pub webhook: Option<SecretName>,
}

/// `[trust]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// With keys, only plugins that one of them signed run. `host keygen` makes one. Default: none, and every plugin
    /// among the files runs.
    #[schemars(with = "Vec<schema::PublicKeyText>")]
    pub keys: Vec<PublicKey>,
}

/// `[checks.NAME]`
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
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

/// `[grants.NAME]`: what one plugin may do. Everything is denied that is not named here.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// The datasets it may query.
    pub warehouse: Vec<String>,
    /// The repositories it may look up, by their names under `[git]`.
    pub git: Vec<String>,
    /// The services whose deployments it may look up; `*` is all.
    pub deployments: Vec<String>,
    /// The channels it may post to.
    pub slack: Vec<String>,
    /// Its own budgets.
    pub budgets: OwnBudgets,
}

/// `warehouse nba_raw; slack #canary-alerts`
impl std::fmt::Display for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            ("warehouse", &self.warehouse),
            ("git", &self.git),
            ("deployments", &self.deployments),
            ("slack", &self.slack),
        ];
        let named = kinds.iter().filter(|(_, granted)| !granted.is_empty());
        let named: Vec<String> = named.map(|(kind, granted)| format!("{kind} {}", granted.join(", "))).collect();
        f.write_str(if named.is_empty() { "nothing" } else { "" })?;
        f.write_str(&named.join("; "))
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
        let config: Self = toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", with_nearest(&error)))?;
        config.check_names()?;
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

    fn check_names(&self) -> Result<()> {
        self.scheduler.check()?;
        self.web.check()?;
        self.heartbeat.check()?;
        self.budgets.check().map_err(|error| anyhow::anyhow!("budgets.{error}"))?;
        for plugin in self.grants.keys() {
            let refused = |error| anyhow::anyhow!("grants.{plugin}.budgets.{error}");
            self.budgets(plugin).check().map_err(refused)?;
        }
        for (plugin, grants) in &self.grants {
            for repository in &grants.git {
                if !self.git.contains_key(repository) {
                    let nearest = nearest(repository, self.git.keys());
                    bail!("grants.{plugin}.git: there is no [git.{repository}]{nearest}");
                }
            }
        }
        self.alerts.check()?;
        for name in self.checks.keys() {
            self.alerts(name).check().map_err(|error| anyhow::anyhow!("checks.{name}.{error}"))?;
        }
        for (name, calendar) in &self.calendars {
            calendar.check().map_err(|error| anyhow::anyhow!("calendars.{name}: {error}"))?;
        }
        self.check_google()?;
        one_webhook("fallback", &self.fallback.webhook_env, &self.fallback.webhook_file, &self.fallback.webhook)?;
        for (channel, own) in &self.slack.channels {
            let key = format!("slack.channels.\"{channel}\"");
            one_webhook(&key, &own.webhook_env, &own.webhook_file, &own.webhook)?;
        }
        let granted = self.grants.iter().flat_map(|(plugin, grants)| {
            grants.slack.iter().map(move |channel| (format!("grants.{plugin}.slack"), channel))
        });
        let configured = self.slack.channels.keys().map(|channel| ("slack.channels".to_owned(), channel));
        if let Some((key, channel)) = granted.chain(configured).find(|(_, channel)| !channel.starts_with('#')) {
            bail!("{key}: `{channel}` is no channel; write \"#{channel}\"");
        }
        let channels = self.checks.iter().filter_map(|(name, check)| Some((name, check.channel.as_ref()?)));
        for (name, channel) in channels {
            if !channel.starts_with('#') {
                bail!("checks.{name}.channel: `{channel}` is no channel; write \"#{channel}\"");
            }
        }
        Ok(())
    }

    fn check_google(&self) -> Result<()> {
        let plain =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-.:_".contains(c));
        let mut names = Vec::new();
        if let Some(Warehouse::BigQuery { project, location, endpoint, .. }) = &self.warehouse {
            names.extend([("warehouse.project", project), ("warehouse.location", location)]);
            endpoint.check("warehouse.endpoint", &self.google)?;
        }
        if let Some(Deployments::CloudRun { project, region, endpoint }) = &self.deployments {
            names.extend([("deployments.project", project), ("deployments.region", region)]);
            endpoint.check("deployments.endpoint", &self.google)?;
        }
        if let Some(project) = &self.google.project {
            names.push(("google.project", project));
            self.google.secrets_endpoint.check("google.secrets_endpoint", &self.google)?;
        }
        match names.into_iter().find(|(_, name)| !plain(name)) {
            Some((key, name)) => bail!("{key}: `{name}` is no name: letters, digits and - make one"),
            None => Ok(()),
        }
    }

    fn check_paths(&self) -> Result<()> {
        let mut wanted = Vec::new();
        match &self.warehouse {
            Some(Warehouse::Sqlite { path, .. }) => wanted.push(("warehouse.path".to_owned(), path, "directory")),
            Some(Warehouse::BigQuery { .. }) | None => {}
        }
        for (name, git) in &self.git {
            wanted.push((format!("git.{name}.path"), &git.path, "directory"));
        }
        match &self.deployments {
            Some(Deployments::File { path }) => wanted.push(("deployments.path".to_owned(), path, "file")),
            Some(Deployments::CloudRun { .. }) | None => {}
        }
        if let Some(path) = &self.google.key_file {
            wanted.push(("google.key_file".to_owned(), path, "file"));
        }
        for (channel, receiver) in &self.slack.channels {
            if let Some(path) = &receiver.webhook_file {
                wanted.push((format!("slack.channels.\"{channel}\".webhook_file"), path, "file"));
            }
        }
        if let Some(path) = &self.web.token_file {
            wanted.push(("web.token_file".to_owned(), path, "file"));
        }
        if let Some(path) = &self.fallback.webhook_file {
            wanted.push(("fallback.webhook_file".to_owned(), path, "file"));
        }
        for (key, path, kind) in wanted {
            let found = self.resolve(path);
            if !found.exists() {
                bail!("{key}: there is no {kind} {}{}", found.display(), nearest_file(&found));
            }
        }
        Ok(())
    }
}

/// Refuses two places for one webhook.
fn one_webhook(
    key: &str,
    variable: &Option<String>,
    file: &Option<PathBuf>,
    secret: &Option<SecretName>,
) -> Result<()> {
    let given = [("webhook_env", variable.is_some()), ("webhook_file", file.is_some()), ("webhook", secret.is_some())];
    let given: Vec<&str> = given.into_iter().filter_map(|(name, there)| there.then_some(name)).collect();
    match given.as_slice() {
        [one, other, ..] => bail!("{key}: it has both `{one}` and `{other}`; keep one"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a user reads when a line is wrong: the key, the reason, the nearest valid name.
    #[test]
    fn mistakes_are_named_with_the_key_and_the_fix() {
        let cases: &[(&str, &[&str])] = &[
            ("timezon = 'UTC'", &["unknown field `timezon`", "did you mean `timezone`?"]),
            ("timezone = 'America/New_Yrok'", &["timezone", "`America/New_Yrok` is no IANA time zone"]),
            ("[checks.a]\nschedul = 'x'", &["schedul", "did you mean `schedule`?"]),
            ("[checks.a]\nschedule = '0 0 30 2 *'", &["`0 0 30 2 *` is never due"]),
            ("[checks.a]\nschedule = 'often'", &["`often` is no schedule"]),
            ("[checks.a]\nschedule = '* * * * * *'", &["no schedule"]),
            ("[checks.a]\nchannel = 'alerts'", &["checks.a.channel", "\"#alerts\""]),
            ("[grants.a]\nslack = ['alerts']", &["grants.a.slack", "\"#alerts\""]),
            ("[slack.channels.alerts]", &["slack.channels", "\"#alerts\""]),
            ("[checks.a]\nsettings = 3", &["settings", "expected a map"]),
            ("[warehouse]\nkind = 'sqlit'\npath = 'x'", &["unknown variant `sqlit`"]),
            ("[warehouse]\nkind = 'sqlite'", &["missing field `path`"]),
            ("[slack]\ndeliver = 'consol'", &["did you mean `console`?"]),
            ("[alerts]\nconfirm = 0", &["alerts.confirm", "write 1"]),
            ("[alerts]\nflap_changes = 1", &["alerts.flap_changes", "2 or more"]),
            ("[alerts.routes]\ncritical = ['x']", &["alerts.routes.critical", "\"#x\""]),
            ("[alerts.routes]\nbad = ['#x']", &["unknown variant `bad`"]),
            ("[state]\nkeep = 'long'", &["`long` is no duration"]),
            ("[checks.a.alerts]\nconfirm = 0", &["checks.a.alerts.confirm", "write 1"]),
            ("[calendars.a]\neffect = 'skip'\nwhy = 'x'", &["calendars.a", "never in effect"]),
            ("[calendars.a]\neffect = 'skip'\nwhy = ' '\ndates = ['12-25']", &["calendars.a", "say why"]),
            ("[calendars.a]\neffect = 'skip'\nwhy = 'x'\ndates = ['25.12.']", &["`25.12.` is no date"]),
            ("[calendars.a]\neffect = 'stop'\nwhy = 'x'", &["unknown variant `stop`"]),
            ("[fallback]\nwebhook_env = 'A'\nwebhook_file = 'b'", &["fallback", "keep one"]),
            ("[slack.channels.'#a']\nwebhook = 'https://x'", &["webhook", "write `secret:NAME`"]),
            ("[slack.channels.'#a']\nwebhook = 'secret:a'\nwebhook_env = 'B'", &["slack.channels.\"#a\"", "keep one"]),
            ("[warehouse]\nkind = 'bigquery'\nproject = 'p'", &["missing field `location`"]),
            ("[warehouse]\nkind = 'bigquery'\nproject = 'p`'\nlocation = 'US'", &["warehouse.project", "no name"]),
            (
                "[google]\ncredentials = 'none'\n[warehouse]\nkind = 'bigquery'\nproject = 'p'\nlocation = 'US'",
                &["warehouse.endpoint", "say where yours is"],
            ),
            (
                "[warehouse]\nkind = 'bigquery'\nproject = 'p'\nlocation = 'US'\nendpoint = 'http://example.com'",
                &["warehouse.endpoint", "show the credentials"],
            ),
            (
                "[deployments]\nkind = 'cloud-run'\nproject = 'p'\nregion = 'r'\nendpoint = 'example.com'",
                &["`example.com` is no address"],
            ),
            ("[google]\ncredentials = 'non'", &["did you mean `none`?"]),
            ("[budgets]\ntimeout = 'soon'", &["`soon` is no duration"]),
            ("[budgets]\ntimeout = '0s'", &["is no duration"]),
            ("[budgets]\nmemory = '64 MB'", &["`64 MB` is no size"]),
            (
                "[git.pipeline]\npath = '.'\n[grants.a]\ngit = ['pipelin']",
                &["grants.a.git", "did you mean `pipeline`?"],
            ),
        ];
        for (text, expected) in cases {
            let error = match Config::parse(text) {
                Ok(_) => panic!("accepted: {text}"),
                Err(error) => format!("{error:#}"),
            };
            for part in *expected {
                assert!(error.contains(part), "{text}: {error}");
            }
        }
    }

    #[test]
    fn an_empty_file_has_defaults() {
        let config = Config::parse("").expect("defaults");
        assert_eq!(config.timezone.name(), "America/New_York");
        assert_eq!(config.budgets("any"), Budgets::default());
        assert_eq!(config.slack.deliver, Deliver::Webhook);
    }
}
