//! `[record]`: what is recorded of a run besides its result, so that it can be replayed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};

use super::{Bytes, Time, Warehouse, budgets::quoted, nearest};

/// `[record]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Recording {
    /// How long the answers that runs got are kept, so that `host replay` can run them again; at most as long as `state.keep`.
    /// `off` keeps none. Default: 30d.
    pub answers: Answers,
    /// Size of the answers that one day may add to the record, compressed. Runs beyond it cannot be replayed. Default: 256 MiB.
    pub answers_per_day: Bytes,
    /// Size of the answers of one run. A run with more cannot be replayed. Default: 4 MiB.
    pub answers_per_run: Bytes,
    /// Whether the answers of a dataset are kept. Default: `on` with SQLite, `off` with BigQuery.
    pub datasets: BTreeMap<String, Keeping>,
}

impl Default for Recording {
    fn default() -> Self {
        Self {
            answers: Answers(Some(Time(Duration::from_secs(30 * 24 * 60 * 60)))),
            answers_per_day: Bytes(256 << 20),
            answers_per_run: Bytes(4 << 20),
            datasets: BTreeMap::new(),
        }
    }
}

/// `record.answers`; `None` is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers(pub Option<Time>);

impl<'de> Deserialize<'de> for Answers {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        match quoted(source, "a duration in quotes, such as \"30d\", or \"off\"")?.as_str() {
            "off" => Ok(Self(None)),
            text => text.parse().map(|time| Self(Some(time))).map_err(D::Error::custom),
        }
    }
}

/// Whether an answer is kept. The order is from all to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Keeping {
    /// It is.
    On,
    /// Only a digest, from which nobody without the record can guess the answer.
    Digest,
    /// Nothing is.
    Off,
}

impl Keeping {
    /// Why a run cannot be run again that was answered by a source; `None` if its answers are kept.
    pub fn why_not(self, source: &str) -> Option<String> {
        match self {
            Self::On => None,
            Self::Digest => Some(format!("only digests of the answers of {source} are kept (record.datasets)")),
            Self::Off => Some(format!("the answers of {source} are not recorded (record.datasets)")),
        }
    }
}

impl Recording {
    /// Whether answers from a source are kept: a dataset by its name; another source has a name that no dataset can have.
    pub fn keeping(&self, source: &str, warehouse: Option<&Warehouse>) -> Keeping {
        let is_dataset = source.chars().all(|c| c.is_alphanumeric() || c == '_') && !NO_DATASETS.contains(&source);
        match self.datasets.get(source) {
            Some(keeping) if is_dataset => *keeping,
            _ if is_dataset && matches!(warehouse, Some(Warehouse::BigQuery { .. })) => Keeping::Off,
            _ => Keeping::On,
        }
    }

    /// Refuses names of which no answer is: what was to be left out would be recorded.
    pub(super) fn check(&self, granted: &BTreeSet<&str>) -> Result<()> {
        match self.datasets.keys().find(|name| !granted.contains(name.as_str())) {
            // Nothing is asked, so there is nothing to leave out.
            _ if granted.is_empty() => Ok(()),
            Some(name) => {
                bail!("record.datasets: no plugin is granted a dataset {name}{}", nearest(name, granted))
            }
            None => Ok(()),
        }
    }
}

/// Sources of answers that are not in the warehouse.
const NO_DATASETS: [&str; 2] = ["deployments", "record"];
