//! `git`: lookups in the history of a branch.
//!
//! Lookups that are asked at once are answered together: one walk reads each commit and tree once,
//! however many services a run asks about.

mod history;
mod repository;
#[cfg(test)]
mod tests;

pub use repository::Repository;

use wasmtime::component::{Accessor, HasSelf};

use self::repository::{Answer, Lookup};
use super::{calls::Session, grant::Wish};
use crate::{
    contract::{
        Error,
        git::{Base, Commit, History, Host, HostWithStore},
    },
    sandbox::RunState,
};

/// What a drift check asks: for each set of paths the newest commit, and what came since `base`. For benchmarks.
pub async fn lookups(path: &std::path::Path, base: &str, services: &[Vec<String>]) -> Result<u32, Error> {
    let repository = Repository::new("benchmark", path.to_owned(), "main");
    let run = std::sync::Arc::default();
    let lookups = services.iter().flat_map(|paths| {
        let base = Base::Commit(base.to_owned());
        [Lookup::Latest { paths: paths.clone() }, Lookup::Changes { base, paths: paths.clone(), limit: u32::MAX }]
    });
    let answers = futures_util::future::try_join_all(lookups.map(|lookup| repository.ask(&run, lookup))).await?;
    Ok(answers.iter().map(|answer| if let Answer::Changes(history) = answer { history.total } else { 0 }).sum())
}

impl Host for RunState {}

impl HostWithStore<RunState> for HasSelf<RunState> {
    async fn latest(
        accessor: &Accessor<RunState, Self>,
        repository: Option<String>,
        paths: Vec<String>,
    ) -> Result<Option<Commit>, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let asked = paths.join(" ");
        let answer = async {
            let repository = granted(&session, "latest", repository)?;
            match repository.ask(session.effort(), Lookup::Latest { paths }).await? {
                Answer::Latest(commit) => Ok(commit),
                other => Err(other.unexpected()),
            }
        };
        session.call("git.latest", asked, answer).await
    }

    async fn changes(
        accessor: &Accessor<RunState, Self>,
        repository: Option<String>,
        base: Base,
        paths: Vec<String>,
        limit: u32,
    ) -> Result<History, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let since = match &base {
            Base::Commit(id) => format!("{id}.."),
            Base::Time(seconds) => format!("since {seconds}"),
        };
        let asked = format!("{since} {}", paths.join(" "));
        let answer = async {
            let repository = granted(&session, "changes", repository)?;
            match repository.ask(session.effort(), Lookup::Changes { base, paths, limit }).await? {
                Answer::Changes(history) => Ok(history),
                other => Err(other.unexpected()),
            }
        };
        session.call("git.changes", asked, answer).await
    }

    async fn missing(
        accessor: &Accessor<RunState, Self>,
        repository: Option<String>,
        paths: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let session = accessor.with(|mut access| access.get().session());
        let asked = paths.join(" ");
        let answer = async {
            let repository = granted(&session, "missing", repository)?;
            match repository.ask(session.effort(), Lookup::Missing { paths }).await? {
                Answer::Missing(paths) => Ok(paths),
                other => Err(other.unexpected()),
            }
        };
        session.call("git.missing", asked, answer).await
    }
}

/// The repository that is meant, if it is granted.
fn granted<'a>(session: &'a Session, call: &str, name: Option<String>) -> Result<&'a Repository, Error> {
    let name = match (name, session.grants.git.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only.clone(),
        (None, []) => {
            return Err(Error::Denied(format!(
                "{call} denied: no repository is granted; add one to grants.{}.git in host.toml",
                session.caller.plugin
            )));
        }
        (None, several) => {
            return Err(Error::Invalid(format!(
                "{call} failed: several repositories are granted ({}); say which in the check's settings",
                several.join(", ")
            )));
        }
    };
    session.allow(call, Wish::Repository(&name))?;
    session
        .backends
        .repositories
        .get(&name)
        .ok_or_else(|| Error::Unavailable(format!("{call} failed: host.toml has no [git.{name}]")))
}
