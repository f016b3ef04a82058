//! Questions about git, deployments and table metadata, in the words of the SDK.

use crate::bindings::pipeline::check::{
    deployments::{self, Deployment},
    git::{self, Base, Commit, History},
    types::Error,
    warehouse::{self, Table},
};

/// The tables of a dataset, from metadata: nothing is scanned.
pub async fn tables(dataset: &str) -> Result<Vec<Table>, Error> {
    warehouse::tables(dataset.to_owned()).await
}

/// What is deployed under a service's name; none when there is no such service.
pub async fn lookup(service: &str) -> Result<Option<Deployment>, Error> {
    deployments::lookup(service.to_owned()).await
}

/// The history of one branch.
#[derive(Debug, Clone, Default)]
pub struct Repository {
    /// Its name under `[git]` in host.toml; none for the only one granted.
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
    /// The newest commit that touches the paths; none when none ever did.
    pub async fn latest(&self, paths: &[String]) -> Result<Option<Commit>, Error> {
        git::latest(self.name.clone(), paths.to_vec()).await
    }

    /// The commits since then that touch the paths, newest first, at most `limit`, and how many there are.
    pub async fn changes(&self, since: Since<'_>, paths: &[String], limit: u32) -> Result<History, Error> {
        let base = match since {
            Since::Commit(id) => Base::Commit(id.to_owned()),
            Since::Time(seconds) => Base::Time(seconds),
        };
        git::changes(self.name.clone(), base, paths.to_vec(), limit).await
    }

    /// Those of the paths that the branch does not have.
    pub async fn missing(&self, paths: &[String]) -> Result<Vec<String>, Error> {
        git::missing(self.name.clone(), paths.to_vec()).await
    }
}
