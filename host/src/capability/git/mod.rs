//! `git`: lookups in the history of a branch.
//!
//! Concurrent lookups are answered together: one walk reads each commit and tree once, however many services a run
//! looks up.

mod history;
mod rehearsal;
mod repository;
#[cfg(test)]
mod tests;
mod walk;

pub use repository::Repository;

use std::sync::Arc;

use self::repository::{Answer, Lookup};
use super::{Caller, Calls, rehearsal::Rehearsal};
use crate::{
    config::{Budgets, Grants},
    contract::{
        Error,
        git::{Base, Commit, History},
    },
};

/// The lookups of a drift check, for benchmarks: for each set of paths the newest commit, and the commits since `base`.
pub async fn lookups(path: &std::path::Path, base: &str, services: &[Vec<String>]) -> Result<u32, Error> {
    let repository = Repository::new("benchmark", path.to_owned(), "main");
    let calls = Arc::new(Calls::new(Caller::default(), Grants::default(), Budgets::default()));
    let lookups = services.iter().flat_map(|paths| {
        let base = Base::Commit(base.to_owned());
        [Lookup::Latest { paths: paths.clone() }, Lookup::Changes { base, paths: paths.clone(), limit: 1000 }]
    });
    let answers = futures_util::future::try_join_all(lookups.map(|lookup| repository.ask(&calls, lookup))).await?;
    Ok(answers.iter().map(|answer| if let Answer::Changes(history) = answer { history.total } else { 0 }).sum())
}

/// A repository, or a rehearsal of it.
#[derive(Debug, Clone)]
pub enum Git {
    /// The repository.
    Repository(Repository),
    /// Simulated history of its paths.
    Rehearsed {
        /// Makes up the history.
        rehearsal: Arc<Rehearsal>,
        /// The repository that knows the paths.
        of: Repository,
    },
}

impl Git {
    /// The same repository with simulated history.
    pub(super) fn rehearsed(&self, rehearsal: Arc<Rehearsal>) -> Self {
        let (Self::Repository(of) | Self::Rehearsed { of, .. }) = self;
        Self::Rehearsed { rehearsal, of: of.clone() }
    }

    /// The branch and the commit that it points to.
    pub(super) async fn tip(&self) -> Result<(String, String), Error> {
        let (Self::Repository(repository) | Self::Rehearsed { of: repository, .. }) = self;
        repository.tip().await
    }

    /// The newest commit that touches any of the paths.
    pub(super) async fn latest(&self, calls: &Arc<Calls>, paths: Vec<String>) -> Result<Option<Commit>, Error> {
        match self {
            Self::Repository(repository) => repository.latest(calls, paths).await,
            Self::Rehearsed { rehearsal, of } => rehearsal.latest(of, calls, &paths).await,
        }
    }

    /// The commits since `base` that touch any of the paths, at most `limit` of them.
    pub(super) async fn changes(
        &self,
        calls: &Arc<Calls>,
        base: Base,
        paths: Vec<String>,
        limit: u32,
    ) -> Result<History, Error> {
        match self {
            Self::Repository(repository) => repository.changes(calls, base, paths, limit).await,
            Self::Rehearsed { rehearsal, of } => {
                rehearsal.changes(of, calls, &format!("{base:?}"), &paths, limit).await
            }
        }
    }

    /// The paths that do not exist on the branch.
    pub(super) async fn missing(&self, calls: &Arc<Calls>, paths: Vec<String>) -> Result<Vec<String>, Error> {
        match self {
            Self::Repository(repository) => repository.missing(calls, paths).await,
            Self::Rehearsed { rehearsal, of } => rehearsal.missing(of, calls, &paths).await,
        }
    }
}

impl Repository {
    /// The newest commit that touches any of the paths.
    async fn latest(&self, calls: &Arc<Calls>, paths: Vec<String>) -> Result<Option<Commit>, Error> {
        match self.ask(calls, Lookup::Latest { paths }).await? {
            Answer::Latest(commit) => Ok(commit),
            other => Err(other.unexpected()),
        }
    }

    /// The commits since `base` that touch any of the paths, at most `limit` of them.
    async fn changes(&self, calls: &Arc<Calls>, base: Base, paths: Vec<String>, limit: u32) -> Result<History, Error> {
        match self.ask(calls, Lookup::Changes { base, paths, limit }).await? {
            Answer::Changes(history) => Ok(history),
            other => Err(other.unexpected()),
        }
    }

    /// The paths that do not exist on the branch.
    async fn missing(&self, calls: &Arc<Calls>, paths: Vec<String>) -> Result<Vec<String>, Error> {
        match self.ask(calls, Lookup::Missing { paths }).await? {
            Answer::Missing(paths) => Ok(paths),
            other => Err(other.unexpected()),
        }
    }
}
