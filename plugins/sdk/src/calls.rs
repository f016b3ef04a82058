//! Lookups of git, deployments and table metadata, with the SDK's types.

use crate::bindings::pipeline::check::{
    deployments::{self, Deployment},
    git::{self, Base, Commit, History},
    types::Error,
    warehouse::{self, Table},
};

/// The tables of a dataset, from metadata, without scanning any data.
pub async fn tables(dataset: &str) -> Result<Vec<Table>, Error> {
    warehouse::tables(dataset.to_owned()).await
}

/// The deployment of a service, or of a job, `job:NAME`; `None` if it is not deployed.
pub async fn lookup(service: &str) -> Result<Option<Deployment>, Error> {
    deployments::lookup(service.to_owned()).await
}

/// The history of one branch.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Its name under `[git]` in host.toml; `None` for the only one granted.
    pub name: Option<String>,
}

/// Where a range of commits begins.
pub enum Since<'a> {
    /// After a commit.
    Commit(&'a str),
    /// After a moment, in seconds since the Unix epoch.
    Time(i64),
}

impl Repository {
    /// The newest commit that touches the paths; `None` if none does.
    pub async fn latest(&self, paths: &[String]) -> Result<Option<Commit>, Error> {
        git::latest(self.name.clone(), paths.to_vec()).await
    }

    /// The commits since `base` that touch the paths, newest first, at most `limit`, with their total number.
    pub async fn changes(&self, since: Since<'_>, paths: &[String], limit: u32) -> Result<History, Error> {
        let base = match since {
            Since::Commit(id) => Base::Commit(id.to_owned()),
            Since::Time(seconds) => Base::Time(seconds),
        };
        git::changes(self.name.clone(), base, paths.to_vec(), limit).await
    }

    /// The paths that do not exist on the branch.
    pub async fn missing(&self, paths: &[String]) -> Result<Vec<String>, Error> {
        git::missing(self.name.clone(), paths.to_vec()).await
    }
}
