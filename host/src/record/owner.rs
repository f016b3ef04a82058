//! The configuration that a record belongs to. Two on one record would end each other's alerts, since each would take the
//! other's checks for removed.

use std::{
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::Record;
use super::sql::{answered, query, query_scalar};

/// The only row of the owner.
const ONLY: i64 = 1;
/// The usual name of a state directory, and the start of the others that are suggested.
const STATE: &str = "state";

impl Record {
    /// Writes something that changes nothing.
    pub async fn try_to_write(&self) -> Result<()> {
        if self.member().is_none() {
            return self.execute(query("UPDATE rights SET rights = rights")).await.map(drop);
        }
        // A server may have room for a change, but not for another run.
        let tried = async {
            let mut write = self.begin().await?;
            let run = "INSERT INTO runs (check_name, due, data_date, attempt, past, status, summary, seconds, calls, recorded) \
                VALUES ('', 0, '', 0, FALSE, '', '', 0, '', 0)";
            query(run).execute(&mut write).await?;
            answered(write.rollback()).await
        };
        tried.await.map_err(|error| self.explain(error))
    }

    /// Notes that a configuration uses the record in this directory. Refuses it if the record belongs to another one.
    pub async fn belong_to(&self, config: &Path, directory: &Path) -> Result<()> {
        if let Some(refused) = self.refuses(config, directory).await? {
            bail!(refused);
        }
        let whole = std::path::absolute(config).with_context(|| config.display().to_string())?;
        let own = path_from(&canonical(directory)?, &whole);
        let insert = query(
            "INSERT INTO owner (id, config) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET config = excluded.config",
        )
        .bind(ONLY)
        .bind(own.to_string_lossy().into_owned());
        self.execute(insert).await.map(drop)
    }

    /// Why a configuration may not use the record in this directory: it belongs to another file that is still there. The
    /// record follows one that was moved or renamed.
    pub async fn refuses(&self, config: &Path, directory: &Path) -> Result<Option<String>> {
        let owner: Option<String> = query_scalar("SELECT config FROM owner WHERE id = $1")
            .bind(ONLY)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let place = canonical(directory)?;
        let owner = owner.map(|owner| place.join(owner));
        let other = owner.filter(|other| other.exists() && !is_same(other, config));
        let Some(other) = other else { return Ok(None) };
        let (shown, other) = (config.display(), other.canonicalize().unwrap_or(other));
        Ok(Some(format!(
            "{} holds the record of {}, and two configurations on one record would end each other's alerts: write \
             `directory = \"{}\"` under [state] in {shown}; or, if {shown} replaces that file, remove that file, or name \
             both by one path that stays, such as `--config current/host.toml`",
            directory.display(),
            other.display(),
            free_name(config, &place),
        )))
    }
}

fn canonical(directory: &Path) -> Result<PathBuf> {
    directory.canonicalize().with_context(|| directory.display().to_string())
}

/// Whether two paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// A path to a file from a directory, both absolute: it stays right when both are moved or copied together.
fn path_from(directory: &Path, file: &Path) -> PathBuf {
    let common = directory.components().zip(file.components()).take_while(|(one, other)| one == other).count();
    let up = directory.components().skip(common).map(|_| Component::ParentDir);
    up.chain(file.components().skip(common)).collect()
}

/// A name for a state directory beside a configuration, other than one that is taken.
fn free_name(config: &Path, taken: &Path) -> String {
    let beside = config.with_file_name(STATE);
    match beside.canonicalize().is_ok_and(|beside| beside == taken) {
        true => format!("{STATE}-{}", config.file_stem().unwrap_or_default().to_string_lossy()),
        false => STATE.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_begins_at_a_directory() {
        for (directory, file, expected) in [
            ("/srv/watch/state", "/srv/watch/host.toml", "../host.toml"),
            ("/srv/watch", "/srv/watch/host.toml", "host.toml"),
            ("/var/lib/host", "/srv/watch/host.toml", "../../../srv/watch/host.toml"),
            ("/", "/host.toml", "host.toml"),
        ] {
            assert_eq!(path_from(Path::new(directory), Path::new(file)), Path::new(expected), "{directory}");
        }
    }
}
