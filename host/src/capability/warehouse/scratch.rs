//! Databases that need not last: for test cases and for copies that are changed.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path};

use rusqlite::Connection;

/// A directory that only this user may read: in TMPDIR, or else in memory, or else on the disk. It holds dozens of small files that are soon deleted, and
/// ext4 is slow to create files after that: it avoids recently deleted inodes.
pub fn directory() -> std::io::Result<tempfile::TempDir> {
    let mut private = tempfile::Builder::new();
    private.permissions(Permissions::from_mode(0o700));
    if std::env::var_os("TMPDIR").is_some() {
        return private.tempdir();
    }
    private.tempdir_in("/dev/shm").or_else(|_| private.tempdir())
}

/// A database that need not survive a crash.
pub fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
    Ok(connection)
}

/// A quoted SQL name.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
