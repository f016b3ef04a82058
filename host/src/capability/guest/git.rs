//! `git`: lookups in the history of a branch.

use std::sync::Arc;

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::{Backends, calls::Calls, git::Git, grant::Wish, tape::Question},
    contract::{
        Error,
        git::{Base, Commit, History, Host, HostWithStore},
    },
};

impl Host for Reach {}

impl<T: Send> HostWithStore<T> for Imports {
    async fn latest(
        accessor: &Accessor<T, Self>,
        repository: Option<String>,
        paths: Vec<String>,
    ) -> Result<Option<Commit>, Error> {
        let (calls, backends) = reach(accessor)?;
        let asked = paths.join(" ");
        let git = granted(&calls, &backends, "latest", repository);
        let question = question(&git, format!("{paths:?}"));
        calls
            .ask("git.latest", asked, question, permitted(&git), async { git.clone()?.1.latest(&calls, paths).await })
            .await
    }

    async fn changes(
        accessor: &Accessor<T, Self>,
        repository: Option<String>,
        base: Base,
        paths: Vec<String>,
        limit: u32,
    ) -> Result<History, Error> {
        let (calls, backends) = reach(accessor)?;
        let since = match &base {
            Base::Commit(id) => format!("{id}.."),
            Base::Time(seconds) => format!("since {seconds}"),
        };
        let asked = format!("{since} {}", paths.join(" "));
        let git = granted(&calls, &backends, "changes", repository);
        let question = question(&git, format!("{base:?} {paths:?} {limit}"));
        let answer = async { git.clone()?.1.changes(&calls, base, paths, limit).await };
        calls.ask("git.changes", asked, question, permitted(&git), answer).await
    }

    async fn missing(
        accessor: &Accessor<T, Self>,
        repository: Option<String>,
        paths: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let (calls, backends) = reach(accessor)?;
        let asked = paths.join(" ");
        let git = granted(&calls, &backends, "missing", repository);
        let question = question(&git, format!("{paths:?}"));
        calls
            .ask("git.missing", asked, question, permitted(&git), async { git.clone()?.1.missing(&calls, paths).await })
            .await
    }
}

/// A granted repository, and its name.
type Granted<'b> = Result<(String, &'b Git), Error>;

fn permitted(git: &Granted<'_>) -> Result<(), Error> {
    git.as_ref().map(drop).map_err(Error::clone)
}

fn question(git: &Granted<'_>, text: String) -> Question {
    let source = git.as_ref().map(|(name, _)| format!("git.{name}"));
    Question::words(text, source.unwrap_or_default())
}

/// The named repository, or the only granted one.
fn granted<'b>(calls: &Calls, backends: &'b Arc<Backends>, call: &str, name: Option<String>) -> Granted<'b> {
    let name = match (name, calls.grants.git.as_slice()) {
        (Some(name), _) => name,
        (None, [only]) => only.clone(),
        (None, []) => {
            return Err(Error::Denied(format!(
                "{call} denied: no repository is granted; add one to grants.{}.git in host.toml",
                calls.caller.plugin
            )));
        }
        (None, several) => {
            return Err(Error::Invalid(format!(
                "{call} failed: several repositories are granted ({}); name one in the check's settings",
                several.join(", ")
            )));
        }
    };
    calls.allow(call, Wish::Repository(&name))?;
    backends.repository(call, &name).map(|git| (name, git))
}
