//! The backends of a case: datasets, a repository and deployments in a temporary directory. A run uses them like real
//! ones.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use jiff::civil::Date;
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::json;

use super::{Backend, Case, nothing};
use crate::{
    capability::{Backends, GoodDates, warehouse::scratch},
    config::{self, Config, Grants},
    record::Record,
};

/// The name of the repository, and its branch.
const REPOSITORY: &str = "code";
const BRANCH: &str = "main";

/// `[[commits]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Commit {
    /// The name that deployments use.
    name: Option<String>,
    /// The commit time.
    time: toml::value::Datetime,
    /// The first line of the message. Default: the name.
    subject: Option<String>,
    /// Default: Sam.
    #[serde(default = "author")]
    author: String,
    /// The changed files.
    #[serde(default)]
    paths: Vec<String>,
    /// The deleted files.
    #[serde(default)]
    deletes: Vec<String>,
}

fn author() -> String {
    "Sam".to_owned()
}

/// `[[deployments]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deployment {
    service: String,
    /// Default: the name of the service with `-00001`.
    revision: Option<String>,
    /// The name of a commit of this case, or a hash. Default: the deployment names no commit.
    commit: Option<String>,
    /// The deployment time.
    deployed: toml::value::Datetime,
    /// Default: true.
    #[serde(default = "yes")]
    serves_latest: bool,
    #[serde(default)]
    min_instances: u32,
}

fn yes() -> bool {
    true
}

/// The directory, and the configuration that points to it.
pub(super) struct World {
    config: Config,
    directory: tempfile::TempDir,
}

impl World {
    /// The directory, as in errors.
    pub(super) fn path(&self) -> String {
        format!("{}/", self.directory.path().display())
    }

    pub(super) fn backends(&self, record: &Record, good_dates: Vec<Date>) -> Arc<Backends> {
        Arc::new(Backends::new(&self.config, record).with_good_dates(GoodDates::Given(good_dates)))
    }
}

impl Case {
    /// Grants for everything in the case.
    pub(super) fn grants(&self) -> Grants {
        let datasets = self.tables.keys().filter_map(|table| Some(table.split_once('.')?.0.to_owned()));
        Grants {
            warehouse: datasets.collect(),
            git: vec![REPOSITORY.to_owned()],
            deployments: vec!["*".to_owned()],
            ..Grants::default()
        }
    }

    /// Makes the backends. CSV files are in `beside`.
    pub(super) fn world(&self, beside: &Path) -> Result<World> {
        let directory = scratch::directory().context("cannot make a directory for the case's data")?;
        let path = directory.path();
        self.make_datasets(path, beside)?;
        let ids = self.make_repository(&path.join(REPOSITORY))?;
        self.make_deployments(&path.join("deployments.json"), &ids)?;
        let available = |backend| !self.unavailable.contains(&backend);
        let place = |backend, name: &str| path.join(if available(backend) { name } else { "unavailable" });
        let config = Config {
            warehouse: available(Backend::Warehouse)
                .then(|| config::Warehouse::Sqlite { path: path.to_owned(), project: None }),
            git: BTreeMap::from([(
                REPOSITORY.to_owned(),
                config::Git { path: place(Backend::Git, REPOSITORY), branch: BRANCH.to_owned() },
            )]),
            deployments: Some(config::Deployments::File { path: place(Backend::Deployments, "deployments.json") }),
            timezone: self.timezone.clone(),
            ..nothing()
        };
        Ok(World { config, directory })
    }

    fn make_datasets(&self, directory: &Path, beside: &Path) -> Result<()> {
        let mut connections: BTreeMap<&str, Connection> = BTreeMap::new();
        for (full_name, table) in &self.tables {
            let named = || format!("tables.\"{full_name}\"");
            let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
            let Some((dataset, name)) =
                full_name.split_once('.').filter(|(dataset, name)| plain(dataset) && plain(name))
            else {
                bail!("{}: write the table as dataset.table, using letters, digits and _", named());
            };
            if !connections.contains_key(dataset) {
                connections.insert(dataset, scratch::open(&directory.join(format!("{dataset}.db")))?);
            }
            let Some(connection) = connections.get(dataset) else { continue };
            let rows = table.make(connection, name, beside).with_context(named)?;
            let dated = |(other, table): (&String, &super::Table)| {
                other.starts_with(&format!("{dataset}.")) && table.modified.is_some()
            };
            if self.tables.iter().any(dated) {
                let modified = table.modified.map(|time| time.to_string().parse::<jiff::Timestamp>());
                let modified = modified.transpose().with_context(|| format!("{}.modified", named()))?;
                // BigQuery's metadata table of a dataset.
                connection.execute_batch("CREATE TABLE IF NOT EXISTS __TABLES__ (table_id TEXT, row_count INT64, size_bytes INT64, last_modified_time INT64)")?;
                connection.execute(
                    "INSERT INTO __TABLES__ VALUES (?1, ?2, NULL, ?3)",
                    (name, i64::try_from(rows)?, modified.map(|time| time.as_millisecond())),
                )?;
            }
        }
        for (_, connection) in connections {
            connection.execute_batch("COMMIT")?;
        }
        Ok(())
    }

    /// Makes the repository; gives the hashes of the named commits.
    fn make_repository(&self, path: &Path) -> Result<BTreeMap<&str, String>> {
        let mut ids = BTreeMap::new();
        if self.commits.is_empty() {
            return Ok(ids);
        }
        let repository = gix::ThreadSafeRepository::init_opts(
            path,
            gix::create::Kind::Bare,
            gix::create::Options::default(),
            gix::open::Options::isolated(),
        )?
        .to_thread_local();
        let mut tree = gix::ObjectId::empty_tree(gix::hash::Kind::Sha1);
        let mut parent: Option<gix::ObjectId> = None;
        for (at, commit) in self.commits.iter().enumerate() {
            let seconds = moment(&commit.time, &format!("commits[{at}].time"))?.as_second();
            let mut editor = repository.edit_tree(tree)?;
            for file in &commit.paths {
                let content = repository.write_blob(format!("{file} {at}\n"))?;
                editor.upsert(file.as_str(), gix::objs::tree::EntryKind::Blob, content)?;
            }
            for file in &commit.deletes {
                editor.remove(file.as_str())?;
            }
            tree = editor.write().with_context(|| format!("commits[{at}].paths"))?.detach();
            let author = gix::actor::Signature {
                name: commit.author.as_str().into(),
                email: "author@example.com".into(),
                time: gix::date::Time { seconds, offset: 0 },
            };
            let message = commit.subject.as_deref().or(commit.name.as_deref()).unwrap_or("Change");
            let id = repository.write_object(gix::objs::Commit {
                tree,
                parents: parent.into_iter().collect(),
                author: author.clone(),
                committer: author,
                encoding: None,
                message: message.into(),
                extra_headers: Vec::new(),
            })?;
            parent = Some(id.detach());
            if let Some(name) = &commit.name
                && ids.insert(name.as_str(), id.to_string()).is_some()
            {
                bail!("commits[{at}].name: two commits have the name {name}");
            }
        }
        if let Some(head) = parent {
            fs::write(path.join("refs").join("heads").join(BRANCH), format!("{head}\n"))?;
        }
        Ok(ids)
    }

    fn make_deployments(&self, path: &Path, ids: &BTreeMap<&str, String>) -> Result<()> {
        let mut entries = Vec::new();
        for (at, deployment) in self.deployments.iter().enumerate() {
            let hash = |commit: &str| commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit());
            let commit = match &deployment.commit {
                Some(commit) if let Some(id) = ids.get(commit.as_str()) => Some(id),
                Some(commit) if !hash(commit) => {
                    bail!("deployments[{at}].commit: this case has no commit named {commit}")
                }
                other => other.as_ref(),
            };
            entries.push(json!({
                "service": deployment.service,
                "revision": deployment.revision.clone().unwrap_or_else(|| format!("{}-00001", deployment.service)),
                "commit": commit,
                "deployed": moment(&deployment.deployed, &format!("deployments[{at}].deployed"))?.to_string(),
                "serves_latest": deployment.serves_latest,
                "min_instances": deployment.min_instances,
            }));
        }
        fs::write(path, json!(entries).to_string())?;
        Ok(())
    }
}

fn moment(time: &toml::value::Datetime, place: &str) -> Result<jiff::Timestamp> {
    let moment = time.to_string().parse();
    moment.with_context(|| format!("{place}: write a time like 2026-02-05T10:00:00Z"))
}
