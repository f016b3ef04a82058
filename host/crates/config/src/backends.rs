//! The backends that answer checks: the warehouse, repositories and deployments.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer},
};

use super::Endpoint;

/// `[warehouse]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Warehouse {
    /// The embedded engine: each dataset is a SQLite file.
    Sqlite {
        /// The directory with the files: `nba_raw.db` in it is the dataset `nba_raw`.
        path: PathBuf,
        /// The project that table names may begin with: `project.dataset.table`.
        project: Option<String>,
    },
    /// BigQuery: <https://cloud.google.com/bigquery/docs/reference/rest>
    #[serde(rename = "bigquery")]
    BigQuery {
        /// The project that owns the datasets, runs the queries and is billed for them.
        project: String,
        /// The location of the datasets: `US`, `us-west2`, …
        location: String,
        /// The location of each dataset that is elsewhere: `nba_raw = "us-west2"`. A query runs where its datasets are, so
        /// they must share a location.
        #[serde(default)]
        locations: BTreeMap<String, String>,
        /// Another address of the API, for an emulator.
        #[serde(default)]
        endpoint: Endpoint,
        /// Whether BigQuery may answer from its cache, which is free. Default: true.
        #[serde(default = "yes")]
        cache: bool,
    },
}

fn yes() -> bool {
    true
}

/// `[git.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Git {
    /// A local repository, with or without a working tree.
    pub path: PathBuf,
    /// The branch that services are deployed from. Default: main.
    #[serde(default = "main_branch")]
    pub branch: String,
}

fn main_branch() -> String {
    "main".to_owned()
}

/// `[deployments]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "kebab-case")]
pub enum Deployments {
    /// A JSON file.
    File {
        /// The file.
        path: PathBuf,
    },
    /// Services, functions and jobs on Cloud Run: <https://cloud.google.com/run/docs/reference/rest>
    CloudRun {
        /// The project that owns them.
        project: String,
        /// The region that they run in, `us-west2`, or several, `["us-west2", "us-central1"]`.
        region: Regions,
        /// Another address of the API.
        #[serde(default)]
        endpoint: Endpoint,
    },
}

/// One region or several, in the order of host.toml.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Regions(Vec<String>);

impl Regions {
    /// Their names; at least one, and each once.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }

    fn new(names: Vec<String>) -> Result<Self> {
        if names.is_empty() {
            bail!("no region; write one, `us-west2`, or several, `[\"us-west2\", \"us-central1\"]`");
        }
        for (at, name) in names.iter().enumerate() {
            if names.iter().take(at).any(|earlier| earlier == name) {
                bail!("`{name}` is listed twice");
            }
        }
        Ok(Self(names))
    }
}

impl<'de> Deserialize<'de> for Regions {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_any(OneOrSeveral)
    }
}

struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Regions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a region, or a list of regions")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Regions, E> {
        Ok(Regions(vec![name.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Regions, A::Error> {
        Regions::new(Vec::deserialize(SeqAccessDeserializer::new(names))?).map_err(A::Error::custom)
    }
}
