//! Compares one service's deployment with the commits. Unknown is kept apart from in sync.

use sdk::{Deployment, Error, History, Repository, Since, hours_between};

use crate::Watched;

/// More commits than anyone reads; the oldest of them dates the drift.
const COMMITS_LOOKED_AT: u32 = 1000;

/// The findings for one service.
pub(crate) struct Finding<'a> {
    pub(crate) watched: &'a Watched,
    /// Its kinds of drift; empty if it is in sync or unknown.
    pub(crate) kinds: Vec<Kind>,
    /// Why it is unknown, if it is.
    not_known: Option<String>,
}

/// A kind of drift.
pub(crate) enum Kind {
    /// Commits that are not deployed.
    Code {
        /// When the deployed revision was created, in seconds.
        deployed: i64,
        changes: History,
        /// Since the oldest of the commits.
        hours: f64,
    },
    /// An older revision gets traffic.
    Traffic { revision: String },
    /// The minimum of instances differs from the expected one.
    Instances { expected: u32, found: u32 },
}

impl Finding<'_> {
    pub(crate) fn drifted(&self) -> bool {
        !self.kinds.is_empty()
    }

    /// The unknown part, with the service's name.
    pub(crate) fn unknown(&self) -> Option<String> {
        self.not_known.as_ref().map(|why| format!("{}: {why}", self.watched.name))
    }
}

impl Kind {
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Code { changes, hours, .. } => {
                let commits = if changes.total == 1 { "commit" } else { "commits" };
                format!("{} {commits} and {} hours behind", changes.total, hours.floor())
            }
            Self::Traffic { revision } => format!("traffic is not routed to the latest revision, {revision}"),
            Self::Instances { expected, found } => format!("minimum instances are {found}, expected {expected}"),
        }
    }
}

/// Examines one service; `found` is its deployment, `due` the run's clock in seconds.
pub(crate) async fn examine<'a>(
    repository: &Repository,
    watched: &'a Watched,
    found: Result<Option<Deployment>, Error>,
    due: i64,
) -> Finding<'a> {
    let mut finding = Finding { watched, kinds: Vec::new(), not_known: None };
    let deployment = match found {
        Ok(Some(deployment)) => deployment,
        Ok(None) => {
            let (kind, ..) = watched.parts();
            finding.not_known = Some(format!("no such {kind} is deployed"));
            return finding;
        }
        Err(error) => {
            finding.not_known = Some(error.reason().to_owned());
            return finding;
        }
    };
    match code(repository, &watched.directories, &deployment, due).await {
        Ok(drift) => finding.kinds.extend(drift),
        Err(why) => finding.not_known = Some(why),
    }
    if !deployment.serves_latest {
        finding.kinds.push(Kind::Traffic { revision: deployment.revision });
    }
    if deployment.min_instances != watched.min_instances {
        finding.kinds.push(Kind::Instances { expected: watched.min_instances, found: deployment.min_instances });
    }
    finding
}

/// Compares by the deployed commit if it is known, else by the time of deployment.
async fn code(
    repository: &Repository,
    directories: &[String],
    deployment: &Deployment,
    due: i64,
) -> Result<Option<Kind>, String> {
    if directories.is_empty() {
        return Err("no directories are configured for it".to_owned());
    }
    let since = match &deployment.commit {
        Some(commit) => Since::Commit(commit),
        None => Since::Time(deployment.deployed),
    };
    let lookups =
        sdk::try_join(repository.missing(directories), repository.changes(since, directories, COMMITS_LOOKED_AT));
    let (missing, changes) = lookups.await.map_err(|error| error.reason().to_owned())?;
    if !missing.is_empty() {
        return Err(format!("the branch has no {}", missing.join(", ")));
    }
    let Some(oldest) = changes.commits.last() else {
        return Ok(None);
    };
    let hours = hours_between(oldest.time, due).max(0.0);
    Ok(Some(Kind::Code { deployed: deployment.deployed, changes, hours }))
}
