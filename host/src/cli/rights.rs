//! `host plan --diff`: the rights that a change of host.toml or plugins.lock gives and takes, for its review.

use std::{fs, path::Path};

use anyhow::{Result, bail};
use serde_json::json;

use super::{
    flags::{FileFlags, Format},
    table::Table,
};
use crate::{
    config::{Change, Config, Rights},
    package::{LOCK, Lock},
    text::note,
};

/// The exit code when the rights differ.
const DIFFER: u8 = 2;

/// Compares the files with an older host.toml and the lock file beside it.
pub(super) fn compare(old: &Path, files: &FileFlags, format: Format) -> Result<u8> {
    if !old.exists() {
        bail!(
            "there is no {}; --diff takes an older host.toml, as in `git worktree add --detach ../main origin/main && host plan --diff ../main/host.toml`",
            old.display()
        );
    }
    let old_lock = old.with_file_name(LOCK);
    let (before, after) = (Config::load(old)?, Config::load(files.config())?);
    let pins = Lock::read(&files.lock())?;
    // `git show` of a file that did not exist leaves an empty one.
    let empty = fs::read(&old_lock).is_ok_and(|bytes| bytes.is_empty());
    let pinned = if empty { None } else { Lock::read(&old_lock)? };
    if pinned.is_none() && pins.is_some() {
        let shown = old_lock.display();
        let why = if empty { format!("{shown} is empty") } else { format!("there is no {shown}") };
        note!("{why}: compared as if nothing had been pinned");
    }
    let whole = |path: &Path| path.canonicalize().ok();
    if pinned.is_some() && whole(&old_lock) == whole(&files.lock()) {
        note!(
            "pins are not compared: {} belongs to both; put the old files into a directory of their own",
            old_lock.display()
        );
    }
    let changes = Rights::of(&before, pinned.as_ref()).changes(&Rights::of(&after, pins.as_ref()));
    super::print(&match format {
        Format::Json => {
            let changes = changes.iter().map(|change| {
                json!({
                    "change": change.direction,
                    "place": change.place,
                    "before": change.before,
                    "after": change.after,
                    "may": may(change, &after),
                })
            });
            format!("{:#}\n", json!({ "changes": changes.collect::<Vec<_>>() }))
        }
        Format::Table if changes.is_empty() => "The rights are the same.\n".to_owned(),
        Format::Table => {
            let mut table = Table::new(["CHANGE", "WHERE", "RIGHT"]);
            for change in &changes {
                table.row(vec![change.direction.word().to_owned(), change.place.clone(), change.what()]);
                if let Some(may) = may(change, &after) {
                    table.row(vec![String::new(), String::new(), format!("these bytes may: {may}")]);
                }
            }
            table.text()
        }
    })?;
    Ok(if changes.is_empty() { 0 } else { DIFFER })
}

/// The grants of a plugin whose bytes changed: they hold for the new bytes.
fn may(change: &Change, config: &Config) -> Option<String> {
    change.after.as_ref()?;
    let plugin = change.place.strip_prefix(LOCK)?.strip_prefix(' ')?;
    Some(config.grants.get(plugin).cloned().unwrap_or_default().to_string())
}
