//! The backends that answer checks: the warehouse, repositories and deployments.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

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
    /// The services of one region: <https://cloud.google.com/run/docs/reference/rest>
    CloudRun {
        /// The project that owns the services.
        project: String,
        /// The region that they run in: `us-west2`.
        region: String,
        /// Another address of the API.
        #[serde(default)]
        endpoint: Endpoint,
    },
}
