//! `host doctor`: what a host needs of its files, of this machine and of the services around it, looked at before it is
//! missed. Nothing is changed, nothing that bills is asked, and nobody is told.

mod files;
mod services;
mod toolchains;

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    config::{Config, Zone},
    package::Lock,
};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `warehouse nba_raw`.
    pub what: String,
    /// How it is.
    pub result: Health,
    /// What was seen, and what to do when it is not well.
    pub detail: String,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and could be better; or only some need it.
    Note,
    /// Something will not work.
    Wrong,
}

impl std::fmt::Display for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Wrong => "wrong",
        })
    }
}

impl Finding {
    fn new(what: impl Into<String>, result: Health, detail: impl Into<String>) -> Self {
        Self { what: what.into(), result, detail: detail.into() }
    }

    fn ok(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(what, Health::Ok, detail)
    }

    fn note(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(what, Health::Note, detail)
    }

    fn wrong(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(what, Health::Wrong, detail)
    }

    /// What was found out, or why it was not.
    fn of<E: std::fmt::Display>(what: impl Into<String>, found: std::result::Result<String, E>) -> Self {
        match found {
            Ok(detail) => Self::ok(what, detail),
            // With the causes of an error.
            Err(error) => Self::wrong(what, format!("{error:#}")),
        }
    }
}

/// Looks at everything. `named` says that somebody wants this very host.toml.
pub async fn examine(path: &Path, named: bool, lock: &Path) -> Vec<Finding> {
    let (config, mut findings) = configuration(path, named);
    let pinned = Lock::read(lock);
    if let Some(config) = &config {
        findings.extend(files::plugins(&pinned, lock, config));
        let asked = services::asked(config).await;
        findings.extend(asked);
    }
    findings.extend(services::registries(&pinned).await);
    if let Some(config) = &config {
        findings.extend(files::permissions(config, path, &pinned, lock));
        findings.extend(files::state(config).await);
    }
    findings.push(files::cache());
    findings.push(clock(config.as_ref()).await);
    findings.extend(toolchains::examine().await);
    findings
}

/// host.toml, as far as it can be used, and how it is.
fn configuration(path: &Path, named: bool) -> (Option<Config>, Vec<Finding>) {
    let what = path.display().to_string();
    if !path.exists() && !named {
        let hint = "there is none in this directory; `host init PLUGIN.wasm` writes one, and --config names another";
        return (None, vec![Finding::note(what, hint)]);
    }
    match (Config::read(path), Config::load(path)) {
        (Ok(config), _) => {
            let detail = match (config.checks.len(), config.grants.len()) {
                (0, 0) => "it names no check and grants nothing; `host init PLUGIN.wasm` writes what a plugin asks for"
                    .to_owned(),
                (checks, grants) => format!("checks: {checks}, plugins with grants: {grants}"),
            };
            (Some(config), vec![Finding::ok(what, detail)])
        }
        // What else there is can be looked at.
        (Err(error), Ok(config)) => (Some(config), vec![Finding::wrong(what, format!("{error:#}"))]),
        (Err(error), Err(_)) => (None, vec![Finding::wrong(what, format!("{error:#}"))]),
    }
}

/// The clock, against what was recorded and against a server's that is asked anyway.
async fn clock(config: Option<&Config>) -> Finding {
    let what = "clock";
    let now = Timestamp::now();
    let zone = config.map_or_else(Zone::new_york, |config| config.timezone.clone());
    let shown = now.to_zoned(zone.rules()).strftime("%Y-%m-%d %H:%M %Z").to_string();
    let Some(config) = config else { return Finding::ok(what, shown) };
    if let Some(last) = files::last_recorded(config).await
        && last.duration_since(now) > files::AHEAD
    {
        let detail =
            format!("it says {now:.0}, and a run was recorded at {last:.0}: it was set back, or ran ahead then");
        return Finding::wrong(what, detail);
    }
    match services::clock(config).await {
        None => Finding::ok(what, shown),
        Some((server, difference)) if difference.abs() <= services::SKEW => {
            Finding::ok(what, format!("{shown}, as {server} has it"))
        }
        Some((server, difference)) => {
            let direction = if difference.is_positive() { "behind" } else { "ahead of" };
            let detail = format!(
                "it is {:#} {direction} that of {server}, which rejects credentials then: set it, for example with `timedatectl set-ntp true`",
                difference.abs()
            );
            Finding::wrong(what, detail)
        }
    }
}

/// A thing that may be missing without being missed. Errors of it are shown with their causes.
type Read<T> = Result<Option<T>>;
