//! Where a query runs. BigQuery runs a query in one location, which must be that of all its datasets.

use std::collections::BTreeMap;

use crate::{contract::Error, googlesql::Select};

/// The locations of the project's datasets.
#[derive(Debug)]
pub(super) struct Locations {
    usual: String,
    own: BTreeMap<String, String>,
}

impl Locations {
    /// `warehouse.location` and `warehouse.locations`.
    pub(super) fn new(usual: &str, own: &BTreeMap<String, String>) -> Self {
        Self { usual: usual.to_owned(), own: own.clone() }
    }

    /// The location of a dataset.
    pub(super) fn of(&self, dataset: &str) -> &str {
        self.own.get(dataset).unwrap_or(&self.usual)
    }

    /// The location that all datasets of a query share. The dataset of a function counts if it has a location of its own:
    /// `AI.GENERATE` is in no dataset.
    pub(super) fn shared(&self, select: &Select) -> Result<&str, Error> {
        let routines = select.routines.iter().map(|routine| routine.dataset.as_str());
        let routines = routines.filter(|dataset| self.own.contains_key(*dataset));
        let mut datasets = select.datasets.iter().map(String::as_str).chain(routines);
        let Some(first) = datasets.next() else { return Ok(&self.usual) };
        let location = self.of(first);
        match datasets.find(|dataset| !self.of(dataset).eq_ignore_ascii_case(location)) {
            None => Ok(location),
            Some(other) => Err(Error::Invalid(format!(
                "query refused: {} but {}, and BigQuery runs a query in one location; ask two queries, or correct the locations in \
                 host.toml",
                self.placed(first),
                self.placed(other)
            ))),
        }
    }

    /// `dataset ops is in US (warehouse.location)`
    fn placed(&self, dataset: &str) -> String {
        let key = match self.own.contains_key(dataset) {
            true => format!("warehouse.locations.{dataset}"),
            false => "warehouse.location".to_owned(),
        };
        format!("dataset {dataset} is in {} ({key})", self.of(dataset))
    }

    /// What to do when BigQuery does not find a dataset in the location of the query; empty if it says something else.
    pub(super) fn advice(&self, message: &str) -> String {
        let Some(dataset) = missing(message) else { return String::new() };
        let key = match self.own.contains_key(dataset) {
            true => format!("correct warehouse.locations.{dataset} in host.toml"),
            false => format!("add {dataset} = \"its location\" to [warehouse.locations] in host.toml"),
        };
        format!("; if the dataset exists in another location, {key}; `bq show {dataset}` says where it is")
    }
}

/// The dataset in `Not found: Dataset my-project:nba_raw was not found in location US`.
fn missing(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("Not found: Dataset ")?;
    let (dataset, _) = rest.split_once(" was not found in location ")?;
    let dataset = dataset.rsplit([':', '.']).next()?;
    dataset.chars().all(|c| c.is_alphanumeric() || c == '_').then_some(dataset)
}
