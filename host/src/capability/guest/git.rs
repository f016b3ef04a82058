//! `git`: lookups in the history of a branch.

use std::sync::Arc;

use wasmtime::component::Accessor;

use super::{Imports, Reach, reach};
use crate::{
    capability::{Backends, calls::Calls, git::Git, grant::Wish},
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
        let answer = async { granted(&calls, &backends, "latest", repository)?.latest(&calls, paths).await };
        calls.call("git.latest", asked, answer).await
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
        let answer =
            async { granted(&calls, &backends, "changes", repository)?.changes(&calls, base, paths, limit).await };
        calls.call("git.changes", asked, answer).await
    }

    async fn missing(
        accessor: &Accessor<T, Self>,
        repository: Option<String>,
        paths: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        let (calls, backends) = reach(accessor)?;
        let asked = paths.join(" ");
        let answer = async { granted(&calls, &backends, "missing", repository)?.missing(&calls, paths).await };
        calls.call("git.missing", asked, answer).await
    }
}

/// The named repository, or the only granted one.
fn granted<'b>(calls: &Calls, backends: &'b Arc<Backends>, call: &str, name: Option<String>) -> Result<&'b Git, Error> {
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
    backends.repository(call, &name)
}
