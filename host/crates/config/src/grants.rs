//! `[trust]` and `[grants]`: which plugins may run, and what each may do.

use std::path::Path;

use anyhow::{Result, bail};
use host_package::{Keys, TrustedKey};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{OwnBudgets, PublicKey, schema};

/// `[trust]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// Public keys: only plugins signed by one of them run. `host keygen` makes a key. A key may have a first and a last
    /// day, in UTC: `{ key = "ed25519:…", from = "2026-01-01", until = "2026-12-31" }`. Default: none, and every plugin
    /// among the files runs.
    #[schemars(with = "Vec<schema::TrustedKeyForm>")]
    pub keys: Vec<TrustedKey>,
    /// Keys whose signatures no longer count, as after a leak, even if `keys` lists them.
    #[schemars(with = "Vec<schema::PublicKeyText>")]
    pub revoked: Vec<PublicKey>,
}

impl Trust {
    /// Reads this table of a file alone, whatever else is wrong in it; `None` if it cannot be read or is not there.
    pub fn read(path: &Path) -> Option<Self> {
        let mut file: toml::Table = std::fs::read_to_string(path).ok()?.parse().ok()?;
        file.remove("trust")?.try_into().ok()
    }

    /// The keys that signatures are checked with.
    pub fn keys(&self) -> Keys {
        Keys { trusted: self.keys.clone(), revoked: self.revoked.clone() }
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.keys.is_empty() && !self.revoked.is_empty() {
            true => {
                bail!("trust.revoked has no effect: without trust.keys every plugin runs; add the keys that you trust")
            }
            false => Ok(()),
        }
    }
}

/// `[grants.NAME]`: what one plugin may do. Everything else is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Grants {
    /// The datasets it may query.
    pub warehouse: Vec<String>,
    /// The views it may query besides, as `dataset.view`: also what they read in datasets that are not granted. Only for
    /// views whose authors you trust: an author decides what a view reads.
    pub views: Vec<String>,
    /// The functions of your own that its queries may call, as `dataset.name`; also those that a view calls. BigQuery's
    /// own functions need no grant.
    pub functions: Vec<String>,
    /// The repositories it may look up, by their names under `[git]`.
    pub git: Vec<String>,
    /// The services and jobs whose deployments it may look up, as the check names them: `NAME`, `REGION/NAME`, `job:NAME`;
    /// `*` allows all.
    pub deployments: Vec<String>,
    /// The channels it may post to, besides the `channel` of its checks in host.toml.
    pub slack: Vec<String>,
    /// Overrides `[budgets]` for this plugin.
    pub budgets: OwnBudgets,
}

impl Grants {
    /// Every kind of grant by its key in host.toml, with what is granted.
    pub fn lists(&self) -> [(&'static str, &Vec<String>); 6] {
        // Named one by one, so that the compiler asks for a new kind here.
        let Self { warehouse, views, functions, git, deployments, slack, budgets: _ } = self;
        [
            ("warehouse", warehouse),
            ("views", views),
            ("functions", functions),
            ("git", git),
            ("deployments", deployments),
            ("slack", slack),
        ]
    }
}

/// `warehouse nba_raw; slack #canary-alerts`
impl std::fmt::Display for Grants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = self.lists();
        let named = kinds.iter().filter(|(_, granted)| !granted.is_empty());
        let named: Vec<String> = named.map(|(kind, granted)| format!("{kind} {}", granted.join(", "))).collect();
        f.write_str(if named.is_empty() { "nothing" } else { "" })?;
        f.write_str(&named.join("; "))
    }
}
