//! A running host: its scheduler, its page, and its heartbeat.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error};

use super::{Count, Time, budgets::quoted};

/// Concurrent runs that the sandbox has room for.
const MOST_RUNS: u32 = 64;

/// A shorter token could be guessed.
const SHORTEST_TOKEN: usize = 16;

/// `[scheduler]`: how a running host schedules its checks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduler {
    /// Largest random delay after the due time; the same for the same check and due time. The check's clock still shows
    /// the due time. Default: 0s.
    pub jitter: Delay,
    /// What to do when a check is due while it is still running. Default: skip.
    pub overlap: Overlap,
    /// What to do with due times that passed while the host was down or asleep. Default: catch-up.
    pub missed: Missed,
    /// Retries of a run that could not be evaluated, within its round. Default: 1.
    pub retries: Count,
    /// The wait before a retry. Default: 10s.
    pub retry_wait: Delay,
    /// How long after a bad result its data date is looked at again, once it is no longer the date that the check judges
    /// on its schedule; the wait doubles each time, up to a day. Default: 1h.
    pub recheck: Time,
    /// How long a bad date is looked at again; then it is given up, and that is told. Default: 7d.
    pub recheck_for: Time,
    /// Concurrent runs, at most 64; further runs wait. Default: 64.
    pub runs: Count,
    /// Concurrent runs that may query the warehouse. Default: 48.
    pub warehouse_runs: Count,
    /// Concurrent runs that may look up git. Default: 16.
    pub git_runs: Count,
    /// Concurrent runs that may look up deployments. Default: 16.
    pub deployments_runs: Count,
    /// Time to finish running checks and send messages on shutdown. Default: 10s, as long as Cloud Run allows:
    /// <https://cloud.google.com/run/docs/container-contract#instance-shutdown>
    pub grace: Delay,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            jitter: Delay(Duration::ZERO),
            overlap: Overlap::Skip,
            missed: Missed::CatchUp,
            retries: Count(1),
            retry_wait: Delay(Duration::from_secs(10)),
            recheck: Time(Duration::from_secs(60 * 60)),
            recheck_for: Time(Duration::from_secs(7 * 24 * 60 * 60)),
            runs: Count(MOST_RUNS),
            warehouse_runs: Count(48),
            git_runs: Count(16),
            deployments_runs: Count(16),
            grace: Delay(Duration::from_secs(10)),
        }
    }
}

impl Scheduler {
    pub(super) fn check(&self) -> Result<()> {
        let runs = [
            ("runs", self.runs),
            ("warehouse_runs", self.warehouse_runs),
            ("git_runs", self.git_runs),
            ("deployments_runs", self.deployments_runs),
        ];
        match runs.into_iter().find(|(_, count)| !(1..=MOST_RUNS).contains(&count.0)) {
            Some((key, count)) => bail!("scheduler.{key}: {count} is out of range; write 1 to {MOST_RUNS}"),
            None => Ok(()),
        }
    }
}

/// A check's own values for `[scheduler]`, in `[checks.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// See [`Scheduler::jitter`].
    pub jitter: Duration,
    /// See [`Scheduler::overlap`].
    pub overlap: Overlap,
    /// See [`Scheduler::missed`].
    pub missed: Missed,
    /// See [`Scheduler::retries`].
    pub retries: u32,
    /// See [`Scheduler::retry_wait`].
    pub retry_wait: Duration,
}

/// What to do when a check is due while it is still running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// Skip this due time, and record that.
    Skip,
    /// Run when the previous run has ended; if several due times wait, only the newest runs.
    Queue,
}

/// What to do with due times that passed while the host was down or asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Missed {
    /// Run the newest of them at once.
    CatchUp,
    /// Run none of them.
    Skip,
}

/// A time that may be zero: `0s`, `30s`, `5m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay(pub Duration);

impl<'de> Deserialize<'de> for Delay {
    fn deserialize<D: serde::Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        match quoted(source, "a duration in quotes, such as \"0s\" or \"30s\"")?.as_str() {
            "0" | "0s" => Ok(Self(Duration::ZERO)),
            text => text.parse::<Time>().map(|time| Self(time.0)).map_err(serde::de::Error::custom),
        }
    }
}

/// `[web]`: the page, the API, the metrics.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// The address to listen on. Any address but loopback needs a token. Default: none, and no page.
    #[serde(deserialize_with = "listen")]
    pub listen: Option<SocketAddr>,
    /// Host names of the page, in addition to localhost and IP addresses: `["host.example.com"]`.
    pub hosts: Vec<String>,
    /// The page's public address, for links in messages. Default: `http://` and the listening address, in messages of the
    /// process that serves the page, unless its port is 0.
    pub url: Option<String>,
    /// The environment variable with the token. Default: HOST_TOKEN.
    pub token_env: String,
    /// A file with the token, instead of the environment.
    pub token_file: Option<PathBuf>,
}

/// An address to listen on. The error shows how to write one.
fn listen<'de, D: Deserializer<'de>>(text: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(text)?;
    let address = text.parse().map_err(|_| {
        D::Error::custom(format!("`{text}` is not an address to listen on; write it like 127.0.0.1:8080"))
    });
    address.map(Some)
}

impl Default for Web {
    fn default() -> Self {
        Self { listen: None, hosts: Vec::new(), url: None, token_env: "HOST_TOKEN".to_owned(), token_file: None }
    }
}

impl Web {
    pub(super) fn check(&self) -> Result<()> {
        if let Some(host) = self.hosts.iter().find(|host| host.contains(['/', ' ']) || host.is_empty()) {
            bail!("web.hosts: `{host}` is not a host name; write it like \"host.example.com\"");
        }
        if let Some(url) = self.url.as_ref().filter(|url| !is_address(url)) {
            bail!("web.url: `{url}` is not an address; write it like \"https://host.example.com\"");
        }
        Ok(())
    }

    /// The token, from the environment or its file; `None` if neither is set.
    pub fn token(&self, directory: &Path) -> Result<Option<String>> {
        let (place, found) = match &self.token_file {
            Some(path) => {
                let path = directory.join(path);
                let text =
                    std::fs::read_to_string(&path).with_context(|| format!("web.token_file: {}", path.display()))?;
                (path.display().to_string(), Some(text))
            }
            None => (self.token_env.clone(), std::env::var(&self.token_env).ok()),
        };
        let token = found.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        match token.as_ref().filter(|token| token.len() < SHORTEST_TOKEN) {
            Some(_) => bail!(
                "web: the token in {place} is shorter than {SHORTEST_TOKEN} characters and can be guessed; make one with `openssl rand -hex 32`"
            ),
            None => Ok(token),
        }
    }

    /// The token; an error if it is missing although other machines can reach the page.
    pub fn reachable_token(&self, directory: &Path) -> Result<Option<String>> {
        let token = self.token(directory)?;
        match self.listen {
            Some(listen) if token.is_none() && !self.is_loopback() => bail!(
                "web.listen: other machines can reach {listen}, so the page needs a token: set {} (`openssl rand -hex 32` makes one), or listen on 127.0.0.1",
                self.token_env
            ),
            _ => Ok(token),
        }
    }

    /// Whether only this machine can reach the page.
    pub fn is_loopback(&self) -> bool {
        self.listen.is_none_or(|listen| listen.ip().is_loopback())
    }

    /// The path below which a proxy serves the page: `/host`, or nothing at the root.
    pub fn prefix(&self) -> String {
        let after_host = self.url.as_deref().and_then(|url| url.split_once("://")?.1.split_once('/'));
        let path = after_host.map(|(_, path)| path.trim_matches('/')).unwrap_or_default();
        if path.is_empty() { String::new() } else { format!("/{path}") }
    }

    /// The public address of the page, without a slash at the end; `None` without a page, and if the system chooses its
    /// port. `serves`: whether this process serves it; one that does not knows only an address that is set.
    pub fn address(&self, serves: bool) -> Option<String> {
        let known = self.listen.filter(|listen| serves && listen.port() != 0);
        let own = known.map(|listen| match listen.ip().is_unspecified() {
            true => format!("http://{}:{}", Ipv4Addr::LOCALHOST, listen.port()),
            false => format!("http://{listen}"),
        });
        self.url.as_ref().map(|url| url.trim_end_matches('/').to_owned()).or(own)
    }
}

/// `[heartbeat]`: an outside service that alerts when the host is silent, such as Healthchecks.io.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Heartbeat {
    /// The address to request after each round, with `/start` and `/fail` appended where they apply:
    /// <https://healthchecks.io/docs/http_api/>. Default: none.
    pub url: Option<String>,
    /// The environment variable with the address, when the address is a secret.
    pub url_env: Option<String>,
    /// How long the service may take to answer. Default: 10s.
    pub timeout: Time,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { url: None, url_env: None, timeout: Time(Duration::from_secs(10)) }
    }
}

impl Heartbeat {
    /// The address; `None` if not configured. An unset variable is an error: nobody would notice the missing heartbeat.
    pub fn address(&self) -> Result<Option<String>> {
        match (&self.url, &self.url_env) {
            (Some(url), _) => Ok(Some(url.clone())),
            (None, Some(name)) => {
                let url = std::env::var(name).ok().filter(|url| !url.is_empty());
                url.map(Some)
                    .with_context(|| format!("heartbeat.url_env: {name} is not set; set it, or remove the line"))
            }
            (None, None) => Ok(None),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.url.is_some() && self.url_env.is_some() {
            bail!("heartbeat: both `url` and `url_env` are set; keep one");
        }
        match self.url.as_ref().filter(|url| !is_address(url)) {
            Some(url) => bail!("heartbeat.url: `{url}` is not an address; write it like \"https://hc-ping.com/...\""),
            None => Ok(()),
        }
    }
}

fn is_address(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}
