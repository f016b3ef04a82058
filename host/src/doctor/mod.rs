//! `host doctor`: checks the files, the machine and the services that a host needs, before the host needs them. It changes
//! nothing, costs nothing and sends nothing.

mod files;
mod services;
mod toolchains;

use std::path::Path;

use anyhow::Result;
use serde::Serialize;

use crate::{
    config::{Config, Zone, local},
    package::Lock,
};

/// The result of one examination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was examined: `warehouse nba_raw`.
    pub what: String,
    /// The result.
    pub result: Health,
    /// What was found, and what to do about it.
    pub detail: String,
}

/// The state of what was examined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// In order.
    Ok,
    /// It works, but could be better; or only some hosts need it.
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

    /// A finding from a result.
    fn of<E: std::fmt::Display>(what: impl Into<String>, found: std::result::Result<String, E>) -> Self {
        match found {
            Ok(detail) => Self::ok(what, detail),
            // `:#` adds the causes.
            Err(error) => Self::wrong(what, format!("{error:#}")),
        }
    }
}

/// Examines everything. With `named`, host.toml must exist.
pub async fn examine(path: &Path, named: bool, lock: &Path) -> Vec<Finding> {
    let (config, mut findings) = configuration(path, named);
    let pinned = Lock::read(lock);
    if let Some(config) = &config {
        findings.extend(files::plugins(&pinned, lock, config));
        findings.extend(files::keys(config));
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

/// host.toml, as far as it can be used, and its state.
fn configuration(path: &Path, named: bool) -> (Option<Config>, Vec<Finding>) {
    let what = path.display().to_string();
    if !path.exists() && !named {
        let hint = "not found in this directory; `host init` writes one, or name another with --config";
        return (None, vec![Finding::note(what, hint)]);
    }
    match (Config::read(path), Config::load(path)) {
        (Ok(config), _) => {
            let detail = match (config.checks.len(), config.grants.len()) {
                (0, 0) => {
                    "no checks and no grants; `host init --help` shows how to print what a plugin needs".to_owned()
                }
                (checks, grants) => format!("checks: {checks}, plugins with grants: {grants}"),
            };
            (Some(config), vec![Finding::ok(what, detail)])
        }
        // The rest can still be examined.
        (Err(error), Ok(config)) => (Some(config), vec![Finding::wrong(what, format!("{error:#}"))]),
        (Err(error), Err(_)) => (None, vec![Finding::wrong(what, format!("{error:#}"))]),
    }
}

/// The clock, compared with the newest recorded run and with the clock of the warehouse.
async fn clock(config: Option<&Config>) -> Finding {
    let what = "clock";
    let now = crate::record::now();
    let zone = config.map_or_else(Zone::new_york, |config| config.timezone.clone());
    let shown = local(now, &zone.rules());
    let Some(config) = config else { return Finding::ok(what, shown) };
    if let Some(last) = files::last_recorded(config).await
        && last.duration_since(now) > files::AHEAD
    {
        let detail = format!(
            "it says {shown}, but a run was recorded at {}: the clock was set back, or was ahead then",
            local(last, &zone.rules())
        );
        return Finding::wrong(what, detail);
    }
    match services::clock(config).await {
        None => Finding::ok(what, shown),
        Some((server, difference)) if difference.abs() <= services::SKEW => {
            Finding::ok(what, format!("{shown}, the same as {server}"))
        }
        Some((server, difference)) => {
            let direction = if difference.is_positive() { "behind" } else { "ahead of" };
            let detail = format!(
                "{:#} {direction} {server}, which may reject credentials; set the clock, for example with `timedatectl set-ntp true`",
                difference.abs()
            );
            Finding::wrong(what, detail)
        }
    }
}

/// An optional file: none when it does not exist, an error when it cannot be used.
type Read<T> = Result<Option<T>>;
