//! Notes in the audit trail what changed in host.toml and plugins.lock since the host last ran, and who owns the files.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use anyhow::{Context, Result};
use jiff::{Timestamp, tz::TimeZone};

use super::Recorder;
use crate::{
    config::{Change, Config, Rights, local},
    package::{LOCK, Lock},
    record::{self, Audited},
};

impl Recorder {
    /// Compares the rights with those that the host last ran with, and notes each change. A host runs with its rights whether
    /// or not they can be written down: an error is logged, and the change is noted at the next start.
    pub async fn audit(&self, config: &Config, config_file: &Path, lock: Option<&Lock>) {
        // What a host may do that takes no part changes nothing.
        if !self.record.takes_part() {
            return;
        }
        if let Err(error) = self.compare(config, config_file, lock).await {
            tracing::error!("the audit trail: {error:#}");
        }
    }

    async fn compare(&self, config: &Config, config_file: &Path, lock: Option<&Lock>) -> Result<()> {
        let now = Rights::of(config, lock);
        let (at, zone) = (record::now(), config.timezone.rules());
        let entries = match self.record.rights().await? {
            None => {
                let pins =
                    lock.map_or_else(|| "nothing is pinned".to_owned(), |lock| format!("pins: {}", lock.pins().len()));
                let change = format!(
                    "first seen: {pins}, plugins with grants: {}, trusted keys: {}",
                    config.grants.len(),
                    config.trust.keys.len()
                );
                vec![Audited { at, who: owner(config_file, &zone), place: config_file.display().to_string(), change }]
            }
            Some(before) => {
                let before: Rights = serde_json::from_str(&before).context("the rights in the record")?;
                let noted = |change: &Change| {
                    let who = match (change.place.starts_with(LOCK), lock) {
                        (true, Some(lock)) => owner(lock.path(), &zone),
                        (true, None) => format!("{LOCK} is gone"),
                        (false, _) => owner(config_file, &zone),
                    };
                    let (effect, what) = (change.direction.word(), change.what());
                    let change_in_words = format!("{effect} {what}{}", rolled_back(change));
                    Audited { at, who, place: change.place.clone(), change: change_in_words }
                };
                before.changes(&now).iter().map(noted).collect()
            }
        };
        match entries.is_empty() {
            true => Ok(()),
            false => self.record.note_rights(&serde_json::to_string(&now)?, &entries).await,
        }
    }
}

/// Says so if a pin was moved to an older version.
fn rolled_back(change: &Change) -> &'static str {
    let version = |value: &Option<String>| {
        let (version, _) = value.as_ref()?.split_once(' ')?;
        version.parse::<semver::Version>().ok()
    };
    match (version(&change.before), version(&change.after)) {
        (Some(before), Some(after)) if change.place.starts_with(LOCK) && after < before => " (rolled back)",
        _ => "",
    }
}

/// `host.toml of alice, changed at 2026-02-05 05:00 EST`: the host does not see who wrote a file, only who owns it.
fn owner(file: &Path, zone: &TimeZone) -> String {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(found) => {
            let changed = Timestamp::from_second(found.mtime()).unwrap_or(Timestamp::UNIX_EPOCH);
            format!("{shown} of {}, changed at {}", name(found.uid()), local(changed, zone))
        }
        Err(_) => shown.to_string(),
    }
}

/// The user of this process; under sudo, also who called it.
pub fn user() -> String {
    let own = name(rustix::process::getuid().as_raw());
    match std::env::var("SUDO_USER") {
        Ok(caller) if !caller.is_empty() && caller != own => format!("{own} (sudo by {caller})"),
        _ => own,
    }
}

/// The name of a user, or the number.
fn name(user: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == user.to_string()).then(|| name.to_owned())
    });
    found.unwrap_or_else(|| format!("user {user}"))
}
