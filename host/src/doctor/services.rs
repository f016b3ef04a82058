//! What is asked and who is told: the warehouse, repositories, deployments, receivers, the page, registries.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use reqwest::header::DATE;
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
    record::{Claim, Record},
    registry,
};

/// How long one service may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far two clocks may be apart before that is worth a word.
pub(super) const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// Everything that host.toml names, asked side by side.
pub(super) async fn asked(config: &Config) -> Vec<Finding> {
    let (credentials, backends, receivers, page) =
        tokio::join!(credentials(config), backends(config), receivers(config), page(config));
    let mut findings: Vec<Finding> = credentials.into_iter().chain(backends).chain(receivers).collect();
    findings.push(heartbeat(config));
    findings.extend(page);
    findings
}

/// Whether Google gives a token, when it will be asked for something.
async fn credentials(config: &Config) -> Option<Finding> {
    let bigquery = matches!(config.warehouse, Some(Warehouse::BigQuery { .. }));
    let cloud_run = matches!(config.deployments, Some(Deployments::CloudRun { .. }));
    if !bigquery && !cloud_run && config.google.project.is_none() {
        return None;
    }
    let google = Google::new(config);
    let found = match timeout(PATIENCE, google.authenticate()).await {
        Ok(Ok(())) => Ok(google.source()),
        Ok(Err(fault)) => Err(fault.message),
        Err(_) => Err(format!("no answer in time; tried {}", google.source())),
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
    let datasets = granted(|grants| &grants.warehouse);
    let mut findings = Vec::new();
    for (what, table, wanted) in [
        ("warehouse", config.warehouse.is_some(), !datasets.is_empty()),
        ("deployments", config.deployments.is_some(), !granted(|grants| &grants.deployments).is_empty()),
    ] {
        if wanted && !table {
            findings.push(Finding::wrong(what, format!("it is granted, and host.toml has no [{what}]")));
        }
    }
    let probed = Backends::new(config, &record).probe(&datasets, Instant::now() + PATIENCE).await;
    findings.extend(probed.into_iter().map(|(what, found)| Finding::of(what, found)));
    findings
}

/// Whether each channel has a webhook. Nothing is sent: only a message shows that one arrives.
async fn receivers(config: &Config) -> Vec<Finding> {
    if config.slack.deliver == Deliver::Console {
        return vec![Finding::note("slack", "messages are shown on the console only: slack.deliver is \"console\"")];
    }
    let mut findings = Vec::new();
    for channel in Receivers::channels_in(config) {
        let found = Receivers::only(config, channel).await;
        let found = found.map(|_| "it has a webhook; `host receivers test` sends to it".to_owned());
        findings.push(Finding::of(format!("channel {channel}"), found));
    }
    findings.push(match Receivers::fallback_only(config).await {
        Ok(Some(_)) => Finding::ok("fallback", "it has a webhook; `host receivers test` sends to it"),
        Ok(None) => {
            Finding::note("fallback", "nobody is told when Slack takes no message; [fallback] names another place")
        }
        Err(error) => Finding::wrong("fallback", format!("{error:#}")),
    });
    findings
}

fn heartbeat(config: &Config) -> Finding {
    match config.heartbeat.address() {
        Ok(Some(_)) => Finding::ok("heartbeat", "an outside service is told after each round of a host that stays"),
        Ok(None) => Finding::note(
            "heartbeat",
            "nobody notices when a host that stays is gone; [heartbeat] names a service that does",
        ),
        Err(error) => Finding::wrong("heartbeat", format!("{error:#}")),
    }
}

/// Whether the page can listen where it is to.
async fn page(config: &Config) -> Option<Finding> {
    let listen = config.web.listen?;
    let free = async {
        config.web.reachable_token(&config.directory)?;
        let running = || Claim::is_held(&config.resolve(&config.state.directory));
        match TcpListener::bind(listen).await {
            Ok(_) => Ok::<_, anyhow::Error>(format!("{listen} is free for it")),
            Err(_) if running() => Ok(format!("a host runs on this state directory, and {listen} is in use")),
            Err(error) => anyhow::bail!("web.listen: nothing can listen on {listen}: {error}"),
        }
    };
    Some(Finding::of("page", free.await))
}

/// Who the host is to each registry that something pinned comes from.
pub(super) async fn registries(pinned: &Read<Lock>) -> Vec<Finding> {
    let Ok(Some(lock)) = pinned else { return Vec::new() };
    let sources = lock.pins().values().filter_map(|pin| pin.source.strip_prefix(SCHEME)?.split('/').next());
    let registries: BTreeSet<&str> = sources.collect();
    let found = |registry: &str| -> Result<String> {
        Ok(match registry::is_known_to(registry)? {
            true => "Docker's configuration has credentials for it".to_owned(),
            false => "no credentials for it; `docker login` writes them, if it wants any".to_owned(),
        })
    };
    registries.into_iter().map(|registry| Finding::of(format!("registry {registry}"), found(registry))).collect()
}

/// The name of a server that is asked anyway, and how far its clock is ahead of this one.
pub(super) async fn clock(config: &Config) -> Option<(String, SignedDuration)> {
    let Some(Warehouse::BigQuery { endpoint, .. }) = &config.warehouse else { return None };
    let url = reqwest::Url::parse(&endpoint.or(warehouse::BIGQUERY)).ok()?;
    let server = url.host_str()?.to_owned();
    let client = http::client().timeout(PATIENCE).build().ok()?;
    let began = Timestamp::now();
    let answer = client.get(url).send().await.ok()?;
    // It was written at some time in between.
    let ended = Timestamp::now();
    let date = answer.headers().get(DATE)?.to_str().ok()?;
    let theirs = rfc2822::parse(date).ok()?.timestamp();
    let ours = if theirs < began { began } else { ended.min(theirs) };
    Some((server, theirs.duration_since(ours)))
}
