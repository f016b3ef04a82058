//! A repository with simulated history: whether the paths exist is looked up, what happened to them is made up.

use std::sync::Arc;

use super::Repository;
use crate::{
    capability::{calls::Calls, rehearsal::Rehearsal, shapes::lock},
    contract::{
        Error,
        git::{Commit, History},
    },
};

impl Rehearsal {
    /// Complains of paths that the branch does not have. `Err` if that cannot be determined.
    async fn exist(&self, repository: &Repository, calls: &Arc<Calls>, paths: &[String]) -> Result<(), Error> {
        let key: Vec<String> = [repository.name().to_owned()].into_iter().chain(paths.iter().cloned()).collect();
        if lock(&self.shapes.paths).contains_key(&key) {
            return Ok(());
        }
        match repository.missing(calls, paths.to_vec()).await {
            Ok(missing) => {
                for path in &missing {
                    let error = Error::NotFound(format!("{} has no {path}", repository.shown()));
                    self.shapes.complain(path, &error);
                }
                lock(&self.shapes.paths).insert(key, missing);
                Ok(())
            }
            Err(error) => {
                self.shapes.complain(&paths.join(" "), &error);
                Err(error)
            }
        }
    }

    pub(super) async fn latest(
        &self,
        repository: &Repository,
        calls: &Arc<Calls>,
        paths: &[String],
    ) -> Result<Option<Commit>, Error> {
        self.exist(repository, calls, paths).await?;
        let mut draw = self.draw(&paths.join(" "));
        Ok(draw.moment().map(|moment| commit(0, moment.as_second())))
    }

    pub(super) async fn changes(
        &self,
        repository: &Repository,
        calls: &Arc<Calls>,
        asked: &str,
        paths: &[String],
        limit: u32,
    ) -> Result<History, Error> {
        self.exist(repository, calls, paths).await?;
        let mut draw = self.draw(&format!("{asked} {}", paths.join(" ")));
        let count = draw.few();
        let mut commits: Vec<Commit> =
            (0..count).map(|at| commit(at, draw.moment().map_or(0, |moment| moment.as_second()))).collect();
        commits.sort_by_key(|commit| std::cmp::Reverse(commit.time));
        commits.truncate(limit as usize);
        Ok(History { commits, total: u32::try_from(count).unwrap_or(u32::MAX) })
    }

    pub(super) async fn missing(
        &self,
        repository: &Repository,
        calls: &Arc<Calls>,
        paths: &[String],
    ) -> Result<Vec<String>, Error> {
        self.exist(repository, calls, paths).await?;
        let mut draw = self.draw(&format!("missing {}", paths.join(" ")));
        Ok(if draw.seldom() { paths.to_vec() } else { Vec::new() })
    }
}

fn commit(at: usize, time: i64) -> Commit {
    Commit { id: format!("{:040x}", at + 1), time, author: "Simulated".to_owned(), subject: format!("Change {at}") }
}
