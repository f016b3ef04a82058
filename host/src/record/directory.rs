//! The state directory: only its user may read it, since messages quote data, and only one host runs on it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::package::{holder, no_locks, unlocked};

/// The lock file, held by the host that uses a state directory.
const LOCK: &str = "host.lock";
/// How often to check whether another host has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// All files of a host in its state directory begin with this.
const OURS: &str = "host.";

/// The exclusive right to use a state directory, until it is dropped.
#[derive(Debug)]
pub struct Claim(#[allow(dead_code)] fs::File);

/// Another host has the claim.
#[derive(Debug, thiserror::Error)]
#[error(
    "another host is running on {}; stop it, name another state.directory in host.toml, or use --dry-run, which records and sends nothing (the lock is held by {holder})",
    .directory.display()
)]
pub struct Taken {
    /// The state directory.
    pub directory: PathBuf,
    /// The other host: `process 1234 (host)`.
    pub holder: String,
}

impl Claim {
    /// Whether a host is running on a directory.
    pub fn is_held(directory: &Path) -> bool {
        let lock = fs::File::open(directory.join(LOCK));
        lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
    }

    /// Waits for another host on the directory to end; [`Taken`] if it does not within the time.
    pub async fn take(directory: &Path, wait: Duration) -> Result<Self> {
        make(directory)?;
        let path = directory.join(LOCK);
        Self::of(directory, open(&path).with_context(|| format!("{}: cannot be written", path.display()))?, wait).await
    }

    /// The same without changing the directory or the rights to it. `None` where nothing can be written, so that no host can run.
    pub(super) async fn lock(directory: &Path, wait: Duration) -> Result<Option<Self>> {
        match open(&directory.join(LOCK)) {
            Ok(file) => Self::of(directory, file, wait).await.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn of(directory: &Path, file: fs::File, wait: Duration) -> Result<Self> {
        let path = directory.join(LOCK);
        let deadline = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
                Err(fs::TryLockError::WouldBlock) => {
                    return Err(Taken { directory: directory.to_owned(), holder: holder(&file) }.into());
                }
                Err(fs::TryLockError::Error(error)) if no_locks(&error) => {
                    tracing::warn!("{}", unlocked(&path, &error));
                    return Ok(Self(file));
                }
                Err(fs::TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
            }
        }
    }
}

fn open(lock: &Path) -> std::io::Result<fs::File> {
    fs::File::options().create(true).truncate(false).write(true).mode(0o600).open(lock)
}

/// Makes the directory, or takes one that is there: other users lose their rights to it and to the host's files in it.
/// Refuses one that this user cannot make private.
pub(super) fn make(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("the state directory {shown} cannot be made"))?;
    let found = fs::metadata(directory).with_context(|| shown.to_string())?;
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        let may = if mode & 0o022 == 0 { "read" } else { "change" };
        let elsewhere = "or name another state.directory in host.toml, as a new directory below this one";
        if !is_ours(&found) {
            bail!(
                "other users can {may} the state directory {shown} (mode {mode:o}), and it belongs to user {}: run `chmod 700 {shown}` as that user, {elsewhere}",
                found.uid()
            );
        }
        let alone = holds_only_ours(directory).with_context(|| shown.to_string())?;
        if !alone && mode & 0o022 != 0 {
            bail!(
                "other users can change the state directory {shown} (mode {mode:o}), which also holds files that are not the host's: run `chmod 700 {shown}`, {elsewhere}"
            );
        }
        // Files that are not the host's may be meant for others; the host's own are private in any case.
        if alone {
            set_mode(directory, mode & 0o700)?;
            tracing::warn!("{shown}: other users could {may} it (mode {mode:o}); its mode is now {:o}", mode & 0o700);
        }
    }
    for file in host_files(directory) {
        make_private(&file, found.uid())?;
    }
    Ok(())
}

/// Makes an empty file that only this user can read, unless there is a file. SQLite gives its other files the same mode.
pub(super) fn private_file(path: &Path) {
    // An error is that of the database, which is opened next.
    let _ = fs::File::options().create_new(true).write(true).mode(0o600).open(path);
}

/// `owner` has the directory, and may have the files in it.
fn make_private(path: &Path, owner: u32) -> Result<()> {
    let shown = path.display();
    let Ok(found) = fs::metadata(path) else { return Ok(()) };
    let (mode, user) = (found.mode() & 0o7777, found.uid());
    if !found.is_file() {
        return Ok(());
    }
    if !is_ours(&found) && user != owner {
        bail!(
            "{shown} belongs to user {user}, who may have put it there: remove it, or give it to the user of the host"
        );
    }
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let may = if mode & 0o022 == 0 { "read" } else { "change" };
    // A link may lead to a file that has nothing to do with the host, and that must stay as it is.
    if path.is_symlink() {
        bail!("{shown} is a link to a file that other users can {may} (mode {mode:o}): remove the link");
    }
    if !is_ours(&found) {
        bail!("other users can {may} {shown} (mode {mode:o}): run `chmod 600 {shown}` as user {user}");
    }
    set_mode(path, mode & 0o600)?;
    tracing::warn!("{shown}: other users could {may} it (mode {mode:o}); its mode is now {:o}", mode & 0o600);
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    let set = fs::set_permissions(path, fs::Permissions::from_mode(mode));
    set.with_context(|| format!("{}: other users can read it; run `chmod {mode:o}` on it", path.display()))
}

fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}

fn host_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(OURS)).map(|entry| entry.path()).collect()
}

fn holds_only_ours(directory: &Path) -> std::io::Result<bool> {
    let entries = fs::read_dir(directory)?.flatten();
    Ok(entries.into_iter().all(|entry| entry.file_name().to_string_lossy().starts_with(OURS)))
}
