//! Locks between processes (`flock`): a wait is bounded and says who holds the lock, and a file system without locks is a
//! warning.

use std::{
    fs,
    io::{Error, ErrorKind},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How long to wait for another process.
const PATIENCE: Duration = Duration::from_secs(10);
/// After how long to say that this process waits.
const NOTICE: Duration = Duration::from_secs(1);
/// How often to try again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A held lock, until it is dropped.
#[derive(Debug)]
pub struct Claim(#[allow(dead_code)] fs::File);

impl Claim {
    /// Locks a directory. It waits for another process at most [`PATIENCE`], and then names it.
    pub(super) fn of(directory: &Path) -> Result<Self> {
        let shown = directory.display();
        let file = fs::File::open(directory).with_context(|| shown.to_string())?;
        let started = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self(file)),
                Err(fs::TryLockError::Error(error)) if no_locks(&error) => {
                    host_text::note!("warning: {}", unlocked(directory, &error));
                    return Ok(Self(file));
                }
                Err(fs::TryLockError::Error(error)) => return Err(error).with_context(|| shown.to_string()),
                Err(fs::TryLockError::WouldBlock) => {}
            }
            let waited = started.elapsed();
            if waited >= PATIENCE {
                bail!(
                    "{shown} is locked by {}, and was for {} s; end that process, or try again when it has ended",
                    holder(&file),
                    PATIENCE.as_secs()
                );
            }
            if waited >= NOTICE && !told {
                told = true;
                host_text::note!("waiting for {}, which has locked {shown}", holder(&file));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Whether an error says that the file system has no locks, as NFS may.
pub fn no_locks(error: &Error) -> bool {
    let known = [libc::EBADF, libc::ENOTSUP, libc::EOPNOTSUPP, libc::ENOLCK, libc::ENOSYS];
    error.kind() == ErrorKind::Unsupported || error.raw_os_error().is_some_and(|number| known.contains(&number))
}

/// The warning for a file or directory that cannot be locked.
pub fn unlocked(path: &Path, error: &Error) -> String {
    let shown = path.display();
    format!("{shown}: this file system has no locks ({error}); make sure that only one process changes it at a time")
}

/// The process that has locked a file: `process 1234 (host)`.
pub fn holder(file: &fs::File) -> String {
    let found = file.metadata().ok().and_then(|metadata| {
        let locks = fs::read_to_string("/proc/locks").ok()?;
        locker(&locks, metadata.dev(), metadata.ino())
    });
    let Some(process) = found else { return "another process".to_owned() };
    // Its arguments may hold secrets.
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {process}"),
        name => format!("process {process} ({})", name.escape_debug()),
    }
}

/// The process in `/proc/locks` that has locked a file: `1: FLOCK  ADVISORY  WRITE 1234 fd:01:5678 0 EOF`. Some file
/// systems show another device there, so the inode decides if the device does not.
fn locker(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let place = format!("{:02x}:{:02x}:{inode}", libc::major(device), libc::minor(device));
    let mut holders: Vec<(bool, u32)> = Vec::new();
    for line in locks.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, process, file, ..] = words.as_slice() else { continue };
        if file.rsplit(':').next() == Some(inode.to_string().as_str())
            && let Some(process) = process.parse().ok().filter(|process| *process > 0)
        {
            holders.push((*file == place, process));
        }
    }
    holders.into_iter().max_by_key(|(exact, _)| *exact).map(|(_, process)| process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_read_from_the_list_of_locks() {
        let locks = "1: POSIX  ADVISORY  READ 11 fd:01:7 0 EOF
2: FLOCK  ADVISORY  WRITE 22 fd:01:7 0 EOF
2: -> FLOCK  ADVISORY  WRITE 33 fd:01:7 0 EOF
3: FLOCK  ADVISORY  WRITE 44 00:2b:8 0 EOF
4: FLOCK  ADVISORY  WRITE 0 fd:01:9 0 EOF
";
        let device = libc::makedev(0xfd, 1);
        assert_eq!(locker(locks, device, 7), Some(22));
        assert_eq!(locker(locks, device, 8), Some(44), "another device of the same file system");
        assert_eq!(locker(locks, device, 9), None, "a process of another namespace");
        assert_eq!(locker(locks, device, 1), None);
        let directory = tempfile::tempdir().unwrap();
        let file = fs::File::open(directory.path()).unwrap();
        file.lock().unwrap();
        assert!(holder(&file).contains(&std::process::id().to_string()), "{}", holder(&file));
    }
}
