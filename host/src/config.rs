//! host.toml: what there is to read, with every default, and errors that name the key and the fix.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, tz::TimeZone};
use serde::{Deserialize, Deserializer, de::Error as _};

/// host.toml as a whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The pipeline's time zone, an IANA name: data dates are dates there. Default: America/New_York.
    pub timezone: Zone,
    /// Where queries go.
    pub warehouse: Option<Warehouse>,
    /// The repositories that can be looked up, by name.
    pub git: BTreeMap<String, Git>,
    /// Where it is written down what is deployed.
    pub deployments: Option<Deployments>,
    /// Where messages go.
    pub slack: Slack,
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
            timezone: Zone("America/New_York".to_owned()),
            warehouse: None,
            git: BTreeMap::new(),
            deployments: None,
            slack: Slack::default(),
            budgets: Budgets::default(),
            checks: BTreeMap::new(),
            grants: BTreeMap::new(),
            directory: PathBuf::new(),
        }
    }
}

/// `[warehouse]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Warehouse {
    /// The embedded engine: each dataset is a SQLite file.
    Sqlite {
        /// The directory with the files: `nba_raw.db` in it is the dataset `nba_raw`.
        path: PathBuf,
        /// The project that tables may be prefixed with, `project.dataset.table`.
        project: Option<String>,
    },
}

/// `[git.NAME]`
#[derive(Debug, Clone, Deserialize)]
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
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Deployments {
    /// A JSON file.
    File {
        /// The file.
        path: PathBuf,
    },
}

/// `[slack]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Slack {
    /// To Slack, or to the console. Default: webhook.
    pub deliver: Deliver,
    /// Where a channel's webhook is found, by channel, unless it is in the environment under its usual name.
    pub channels: BTreeMap<String, Channel>,
}

/// `slack.deliver`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deliver {
    /// Each channel's messages go to its webhook.
    #[default]
    Webhook,
    /// Messages are shown on standard error, as a reader of the channel would see them.
    Console,
}

/// `[slack.channels."#NAME"]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Channel {
    /// The environment variable with the webhook. Default: `SLACK_WEBHOOK_URL_` and the channel's name.
    pub webhook_env: Option<String>,
    /// A file with the webhook, instead of the environment.
    pub webhook_file: Option<PathBuf>,
}

/// `[budgets]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budgets {
    /// Wall-clock time of one run, host calls included. Default: 60s.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Linear memory of one run, in bytes; written `64 MiB`. Default: 64 MiB.
    #[serde(deserialize_with = "bytes")]
    pub memory: usize,
    /// Host calls of one run. Default: 1000.
    pub calls: u32,
    /// Alerts of one run. Default: 20.
    pub alerts: u32,
    /// Rows that one query may answer with. Default: 100000.
    pub rows: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(60), memory: 64 << 20, calls: 1000, alerts: 20, rows: 100_000 }
    }
}

/// `[grants.NAME.budgets]`: what is left out is as in `[budgets]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OwnBudgets {
    /// See [`Budgets::timeout`].
    #[serde(deserialize_with = "some_duration")]
    pub timeout: Option<Duration>,
    /// See [`Budgets::memory`].
    #[serde(deserialize_with = "some_bytes")]
    pub memory: Option<usize>,
    /// See [`Budgets::calls`].
    pub calls: Option<u32>,
    /// See [`Budgets::alerts`].
    pub alerts: Option<u32>,
    /// See [`Budgets::rows`].
    pub rows: Option<u32>,
}

/// `[checks.NAME]`
#[derive(Debug, Clone, Default, Deserialize)]
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
    /// The plugin's settings; `describe` has their schema. What is left out has its default.
    pub settings: toml::Table,
}

/// `[grants.NAME]`: what one plugin may do. Everything is denied that is not named here.
#[derive(Debug, Clone, Default, Deserialize)]
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

/// An IANA time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(String);

impl Zone {
    /// Checks the name.
    pub fn new(name: &str) -> Result<Self> {
        TimeZone::get(name)
            .with_context(|| format!("`{name}` is no IANA time zone; write it like `America/New_York`"))?;
        Ok(Self(name.to_owned()))
    }

    /// Its rules. Names are checked when they are read; UTC stands in for a zone whose data went away since.
    pub fn rules(&self) -> TimeZone {
        TimeZone::get(&self.0).unwrap_or(TimeZone::UTC)
    }

    /// Its IANA name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        Self::new(&String::deserialize(source)?).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

/// A cron expression that has a next time.
#[derive(Debug, Clone)]
pub struct Cron(croner::Cron);

impl Cron {
    /// Parses five fields, and refuses a date that never comes, such as 30 February.
    pub fn new(expression: &str) -> Result<Self> {
        let cron = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .build()
            .parse(expression)
            .map_err(|error| anyhow::anyhow!("`{expression}` is no schedule: {error}; write minute, hour, day of month, month, day of week, like `*/30 * * * *`"))?;
        let start = jiff::civil::date(2024, 1, 1).to_zoned(TimeZone::UTC)?;
        if cron.find_next_occurrence(&start, true).is_err() {
            bail!("`{expression}` is never due: there is no such day");
        }
        Ok(Self(cron))
    }

    /// At the beginning of every hour.
    pub fn hourly() -> Self {
        let hourly = croner::Cron::from_str("0 * * * *");
        // Five plain fields always parse.
        #[allow(clippy::expect_used)]
        Self(hourly.expect("a valid schedule"))
    }

    /// The first due time after a moment, in a time zone; none when there is none any more.
    pub fn next(&self, after: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let after = after.to_zoned(zone.clone());
        self.0.find_next_occurrence(&after, false).ok().map(|due| due.timestamp())
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for Cron {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        Self::new(&String::deserialize(source)?).map_err(|error| D::Error::custom(format!("{error:#}")))
    }
}

impl Config {
    /// Reads and checks a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "{}: cannot be read; name another file with --config, or make the sample pipeline with `cargo xtask demo`",
                path.display()
            )
        })?;
        let mut config = Self::parse(&text).with_context(|| format!("{}: refused", path.display()))?;
        config.directory = path.parent().unwrap_or(Path::new("")).to_owned();
        config.check_paths().with_context(|| format!("{}: refused", path.display()))?;
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
        let own = self.grants.get(plugin).map(|grants| grants.budgets.clone()).unwrap_or_default();
        Budgets {
            timeout: own.timeout.unwrap_or(self.budgets.timeout),
            memory: own.memory.unwrap_or(self.budgets.memory),
            calls: own.calls.unwrap_or(self.budgets.calls),
            alerts: own.alerts.unwrap_or(self.budgets.alerts),
            rows: own.rows.unwrap_or(self.budgets.rows),
        }
    }

    fn check_names(&self) -> Result<()> {
        for (plugin, grants) in &self.grants {
            for repository in &grants.git {
                if !self.git.contains_key(repository) {
                    let nearest = nearest(repository, self.git.keys());
                    bail!("grants.{plugin}.git: there is no [git.{repository}]{nearest}");
                }
            }
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

    fn check_paths(&self) -> Result<()> {
        let mut wanted = Vec::new();
        match &self.warehouse {
            Some(Warehouse::Sqlite { path, .. }) => wanted.push(("warehouse.path".to_owned(), path, "directory")),
            None => {}
        }
        for (name, git) in &self.git {
            wanted.push((format!("git.{name}.path"), &git.path, "directory"));
        }
        match &self.deployments {
            Some(Deployments::File { path }) => wanted.push(("deployments.path".to_owned(), path, "file")),
            None => {}
        }
        for (channel, receiver) in &self.slack.channels {
            if let Some(path) = &receiver.webhook_file {
                wanted.push((format!("slack.channels.\"{channel}\".webhook_file"), path, "file"));
            }
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

/// `; did you mean …?`, or nothing when nothing is near.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a (impl AsRef<str> + 'a + ?Sized)>) -> String {
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(wrong, name.as_ref()), name.as_ref()))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| format!("; did you mean `{name}`?"))
        .unwrap_or_default()
}

fn nearest_file(path: &Path) -> String {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return String::new() };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    nearest(&name.to_string_lossy(), names.iter())
}

/// Adds the nearest valid name to what toml says of an unknown key or variant.
fn with_nearest(error: &toml::de::Error) -> String {
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let hint = match (message.starts_with("unknown "), quoted.next()) {
        (true, Some(wrong)) => nearest(wrong, quoted),
        _ => String::new(),
    };
    format!(
        "{}{}",
        error.to_string().trim_end(),
        if hint.is_empty() { hint } else { format!("\n{}", hint.trim_start_matches("; ")) }
    )
}

fn duration<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Duration, D::Error> {
    let text = String::deserialize(source)?;
    let parsed = text.parse::<SignedDuration>().ok().and_then(|parsed| Duration::try_from(parsed).ok());
    match parsed {
        Some(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(D::Error::custom(format!("`{text}` is no duration; write it like `90s` or `5m`"))),
    }
}

fn some_duration<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<Duration>, D::Error> {
    duration(source).map(Some)
}

fn bytes<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<usize, D::Error> {
    let text = String::deserialize(source)?;
    let (number, unit) =
        text.trim().split_at(text.trim().find(|c: char| !c.is_ascii_digit()).unwrap_or(text.trim().len()));
    let factor = match unit.trim() {
        "B" => Some(1usize),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        _ => None,
    };
    factor
        .and_then(|factor| number.parse::<usize>().ok()?.checked_mul(factor))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| D::Error::custom(format!("`{text}` is no size; write it like `64 MiB`")))
}

fn some_bytes<'de, D: Deserializer<'de>>(source: D) -> std::result::Result<Option<usize>, D::Error> {
    bytes(source).map(Some)
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
        assert_eq!(config.budgets("any").timeout, Duration::from_secs(60));
        assert_eq!(config.budgets("any").memory, 64 << 20);
        assert_eq!(config.slack.deliver, Deliver::Webhook);
    }

    /// Due times are times of day in their zone, also when its clocks change.
    #[test]
    fn the_next_due_time_follows_the_zones_clock() {
        let cases = [
            ("30 6 * * *", "America/New_York", "2026-02-05T11:29:59Z", "2026-02-05T11:30:00Z"),
            ("30 6 * * *", "America/New_York", "2026-02-05T11:30:00Z", "2026-02-06T11:30:00Z"),
            ("30 6 * * *", "America/New_York", "2026-03-07T12:00:00Z", "2026-03-08T10:30:00Z"),
            ("30 6 * * *", "America/New_York", "2026-10-31T12:00:00Z", "2026-11-01T11:30:00Z"),
            ("*/30 * * * *", "America/New_York", "2026-03-08T06:45:00Z", "2026-03-08T07:00:00Z"),
            ("*/30 * * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z"),
            ("0 */2 * * *", "UTC", "2026-02-28T23:00:00Z", "2026-03-01T00:00:00Z"),
            ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
        ];
        for (cron, zone, after, due) in cases {
            let next = Cron::new(cron)
                .expect("valid")
                .next(after.parse().expect("a time"), &Zone::new(zone).expect("a zone").rules());
            assert_eq!(next.map(|next| next.to_string()).as_deref(), Some(due), "{cron} in {zone} after {after}");
        }
    }

    #[test]
    fn one_plugin_can_have_its_own_budgets() {
        let config = Config::parse("[grants.a.budgets]\ntimeout = '1m 30s'").expect("valid");
        assert_eq!(config.budgets("a").timeout, Duration::from_secs(90));
        assert_eq!(config.budgets("a").memory, 64 << 20);
        assert_eq!(config.budgets("b").timeout, Duration::from_secs(60));
    }
}
