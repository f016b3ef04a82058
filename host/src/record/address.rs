//! Where the record of a configuration is, and who may use it.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{Claim, Record};
use crate::config::Config;

/// Where the record of a configuration is.
#[derive(Clone)]
pub enum Address {
    /// A state directory, for one host at a time.
    Directory(PathBuf),
    /// A Postgres database, for several hosts: its address, with the password.
    Server(String),
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => f.debug_tuple("Directory").field(directory).finish(),
            Self::Server(_) => f.write_str("Server(..)"),
        }
    }
}

impl Address {
    /// As `[state]` has it.
    pub fn of(config: &Config) -> Result<Self> {
        let Some(variable) = &config.state.url_env else {
            return Ok(Self::Directory(config.resolve(&config.state.directory)));
        };
        // It may be the address itself, with its password.
        if !variable.chars().all(|one| one.is_ascii_alphanumeric() || one == '_') || variable.is_empty() {
            bail!(
                "`url_env` under [state] takes the name of a variable, such as HOST_STATE_URL; the address goes into that variable"
            );
        }
        match std::env::var(variable) {
            Ok(url) if !url.trim().is_empty() => {
                super::engine::server(&url).with_context(|| variable.clone())?;
                Ok(Self::Server(url))
            }
            _ => bail!(
                "{variable} is not set: `url_env` under [state] names it; set it to the address of the Postgres database, \
                 such as postgres://USER@HOST/DATABASE"
            ),
        }
    }

    /// Whether there is a record. A server has one, or makes it when it is opened.
    pub fn exists(&self) -> bool {
        match self {
            Self::Directory(directory) => Record::exists(directory),
            Self::Server(_) => true,
        }
    }

    /// Opens the record, and migrates it; creates it if it does not exist.
    pub async fn open(&self) -> Result<Record> {
        match self {
            Self::Directory(directory) => Record::open(directory).await,
            Self::Server(url) => Record::server(url).await,
        }
    }

    /// Opens the record without changing it.
    pub async fn look(&self) -> Result<Record> {
        match self {
            Self::Directory(directory) => Record::look(directory).await,
            Self::Server(url) => Record::look_at_server(url).await,
        }
    }

    /// Notes that a configuration uses the record in its directory; an error if it belongs to another one. Several hosts on a
    /// server have a file each.
    pub async fn belong(&self, record: &Record, config: &Path) -> Result<()> {
        match self {
            Self::Directory(directory) => record.belong_to(config, directory).await,
            Self::Server(_) => Ok(()),
        }
    }

    /// Whether a host runs on the record.
    pub async fn is_in_use(&self, record: &Record) -> Result<bool> {
        match self {
            Self::Directory(directory) => Ok(Claim::is_held(directory)),
            Self::Server(_) => record.is_anybody_there().await,
        }
    }

    /// The right to run on the record: of a directory only one host has it, and another waits for it; on a server all have it.
    pub async fn claim(&self, wait: Duration) -> Result<Option<Claim>> {
        match self {
            Self::Directory(directory) => Claim::take(directory, wait).await.map(Some),
            Self::Server(_) => Ok(None),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(directory) => directory.display().fmt(f),
            Self::Server(url) => match super::engine::server(url) {
                Ok((_, place)) => place.fmt(f),
                Err(_) => f.write_str("the database"),
            },
        }
    }
}
