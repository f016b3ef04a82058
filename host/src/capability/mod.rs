//! What a guest can reach, and only through here: each call passes grant, then budget, then backend, then record.
//! One folder an interface, each of the same shape: what the guest calls, and the backend that answers.

mod calls;
pub mod deployments;
pub mod git;
mod grant;
mod slack;
pub mod warehouse;

pub use calls::{Call, Session};

use std::collections::BTreeMap;

use crate::config::{self, Config};

/// What answers, for all runs.
#[derive(Debug, Default)]
pub struct Backends {
    warehouse: Option<warehouse::Sqlite>,
    repositories: BTreeMap<String, git::Repository>,
    deployments: Option<deployments::File>,
}

impl Backends {
    /// From host.toml. What is not configured is not there; asking for it is an error of that run.
    pub fn new(config: &Config) -> Self {
        Self {
            warehouse: config.warehouse.as_ref().map(|config::Warehouse::Sqlite { path, project }| {
                warehouse::Sqlite::new(config.resolve(path), project.clone())
            }),
            repositories: config
                .git
                .iter()
                .map(|(name, git)| (name.clone(), git::Repository::new(name, config.resolve(&git.path), &git.branch)))
                .collect(),
            deployments: config
                .deployments
                .as_ref()
                .map(|config::Deployments::File { path }| deployments::File::new(config.resolve(path))),
        }
    }
}
