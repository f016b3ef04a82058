//! The services around a host: warehouse, repositories, deployments, receivers, the page, registries.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::{Url, header::DATE};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};

use super::{Finding, Read};
use crate::{
    alert::Receivers,
    capability::{Backends, warehouse},
    config::{Config, Deliver, Deployments, Warehouse},
    google::Google,
    http,
    package::{Lock, SCHEME},
    record::{Address, Claim, Record},
    registry::{self, Known},
    service::Addresses,
};

/// How long one service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest difference between two clocks that is in order.
pub(super) const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Examines everything that host.toml names, at the same time.
pub(super) async fn asked(config: &Config) -> Vec<Finding> {
    let (credentials, backends, receivers, page) =
        tokio::join!(credentials(config), backends(config), receivers(config), page(config));
    let mut findings: Vec<Finding> = credentials.into_iter().chain(backends).chain(receivers).collect();
    findings.push(heartbeat(config));
    findings.extend(page);
    findings
}

/// Whether Google gives a token, when host.toml uses Google.
async fn credentials(config: &Config) -> Option<Finding> {
    let bigquery = matches!(config.warehouse, Some(Warehouse::BigQuery { .. }));
    let cloud_run = matches!(config.deployments, Some(Deployments::CloudRun { .. }));
    if !bigquery && !cloud_run && config.google.project.is_none() {
        return None;
    }
    let google = Google::new(config);
    let found = match timeout(PATIENCE, google.token()).await {
        Ok(Ok(_)) => Ok(google.source()),
        Ok(Err(fault)) => Err(fault.message),
        Err(_) => Err(format!("no answer within 10 s; tried {}", google.source())),
    };
    Some(Finding::of("Google credentials", found))
}

async fn backends(config: &Config) -> Vec<Finding> {
    let record = match Record::memory().await {
        Ok(record) => record,
        Err(error) => return vec![Finding::wrong("record", format!("{error:#}"))],
    };
    let granted = |kind: fn(&crate::config::Grants) -> &Vec<String>| {
        config.grants.values().flat_map(kind).cloned().collect::<BTreeSet<String>>()
    };
    let (datasets, views) = (granted(|grants| &grants.warehouse), granted(|grants| &grants.views));
    let mut findings = Vec::new();
    for (what, table, wanted) in [
        ("warehouse", config.warehouse.is_some(), !datasets.is_empty() || !views.is_empty()),
        ("deployments", config.deployments.is_some(), !granted(|grants| &grants.deployments).is_empty()),
    ] {
        if wanted && !table {
            findings.push(Finding::wrong(what, format!("granted, but host.toml has no [{what}]")));
        }
    }
    let probed = Backends::new(config, &record).probe(&datasets, &views, Instant::now() + PATIENCE).await;
    findings.extend(probed.into_iter().map(|(what, found)| Finding::of(what, found)));
    findings
}

/// Whether each channel has a webhook, or the bot's token is accepted. This sends nothing, so it does not show whether
/// messages arrive.
async fn receivers(config: &Config) -> Vec<Finding> {
    if config.slack.deliver == Deliver::Console {
        return vec![Finding::note("slack", "messages appear on the console only: slack.deliver is \"console\"")];
    }
    let test = config.command("host receivers test");
    let mut findings = Vec::new();
    let channels = Receivers::channels_in(config);
    match Receivers::examine_bot(config).await {
        Some(found) => {
            findings.push(Finding::of("Slack bot", found));
            findings.extend(channels.into_iter().map(|channel| {
                Finding::note(
                    format!("channel {channel}"),
                    format!("gets the bot's messages; `{test}` sends one to it"),
                )
            }));
        }
        None => {
            let distinct = Receivers::distinct(config, &channels).err();
            findings.extend(distinct.map(|error| Finding::wrong("channels", format!("{error:#}"))));
            for channel in channels {
                let found = Receivers::only(config, channel).await;
                let found = found.map(|_| format!("has a webhook; `{test}` sends a message to it"));
                findings.push(Finding::of(format!("channel {channel}"), found));
            }
        }
    }
    findings.push(match Receivers::fallback_only(config).await {
        Ok(Some(_)) => Finding::ok("fallback", format!("has a webhook; `{test}` sends a message to it")),
        Ok(None) => Finding::note(
            "fallback",
            "not configured: nobody is told when Slack accepts no messages; [fallback] names another receiver",
        ),
        Err(error) => Finding::wrong("fallback", format!("{error:#}")),
    });
    findings
}

fn heartbeat(config: &Config) -> Finding {
    match config.heartbeat.address() {
        Ok(Some(address)) => match Addresses::new(&address) {
            Ok(addresses) => Finding::ok("heartbeat", pinged(&addresses, config.heartbeat.url.is_none())),
            Err(error) => Finding::wrong("heartbeat", format!("{error:#}")),
        },
        Ok(None) => {
            Finding::note("heartbeat", "not configured: nothing alerts you when the host stops; set [heartbeat]")
        }
        Err(error) => Finding::wrong("heartbeat", format!("{error:#}")),
    }
}

/// The three addresses. Of a secret one only the server, and what is appended to it.
fn pinged(addresses: &Addresses, secret: bool) -> String {
    let shown = |url: &Url| match secret {
        false => url.to_string(),
        true => {
            let last = url
                .path_segments()
                .and_then(|mut parts| parts.next_back())
                .filter(|part| ["start", "fail"].contains(part));
            let query = if url.query().is_some() { "?…" } else { "" };
            let last = last.map(|part| format!("/{part}")).unwrap_or_default();
            format!("{}://{}/…{last}{query}", url.scheme(), url.host_str().unwrap_or_default())
        }
    };
    format!(
        "a running host pings an outside service: {} when a round begins, {} when it was recorded, {} when the host failed",
        shown(&addresses.start),
        shown(&addresses.success),
        shown(&addresses.fail)
    )
}

/// Whether the page can listen on its address.
async fn page(config: &Config) -> Option<Finding> {
    let listen = config.web.listen?;
    let free = async {
        config.web.reachable_token(&config.directory)?;
        let address = Address::of(config)?;
        let running = || matches!(&address, Address::Directory(directory) if Claim::is_held(directory));
        match TcpListener::bind(listen).await {
            Ok(_) => Ok::<_, anyhow::Error>(format!("{listen} is free")),
            Err(_) if running() => Ok(format!("a host runs on this state directory, and {listen} is in use")),
            Err(error) => anyhow::bail!("web.listen: nothing can listen on {listen}: {error}"),
        }
    };
    Some(Finding::of("page", free.await))
}

/// The credentials for each registry of a pinned plugin.
pub(super) async fn registries(pinned: &Read<Lock>) -> Vec<Finding> {
    let Ok(Some(lock)) = pinned else { return Vec::new() };
    let sources = lock.pins().values().filter_map(|pin| pin.source.strip_prefix(SCHEME)?.split('/').next());
    let registries: BTreeSet<&str> = sources.collect();
    let mut findings = Vec::new();
    for registry in registries {
        let what = format!("registry {registry}");
        findings.push(match registry::known(registry).await {
            Ok(Known::Yes) => Finding::ok(what, "Docker's configuration has credentials"),
            Ok(Known::No) => Finding::ok(what, "no credentials; if it needs some, `docker login` sets them"),
            Ok(Known::Missing(helper)) => Finding::note(
                what,
                format!("{helper}, which Docker's configuration names for its credentials, is not installed"),
            ),
            Err(error) => Finding::wrong(what, format!("{error:#}")),
        });
    }
    findings
}

/// The server of the warehouse, and how far its clock is ahead of this one.
#[allow(clippy::disallowed_methods)]
pub(super) async fn clock(config: &Config) -> Option<(String, SignedDuration)> {
    let Some(Warehouse::BigQuery { endpoint, .. }) = &config.warehouse else { return None };
    let url = reqwest::Url::parse(&endpoint.or(warehouse::BIGQUERY)).ok()?;
    let server = url.host_str()?.to_owned();
    let client = http::client().timeout(PATIENCE).build().ok()?;
    let began = Timestamp::now();
    let answer = client.get(url).send().await.ok()?;
    // The server answered between `began` and `ended`.
    let ended = Timestamp::now();
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    let theirs = rfc2822::parse(date).ok()?.timestamp();
    let ours = if theirs < began { began } else { ended.min(theirs) };
    Some((server, theirs.duration_since(ours)))
}
