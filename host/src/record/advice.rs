//! What is wrong with a record, and what to do about it.

use std::io::ErrorKind;

use super::Place;

/// An error with the place and the fix.
pub(super) fn explained(place: &Place, error: sqlx::Error) -> anyhow::Error {
    let code = error.as_database_error().and_then(|error| error.code());
    let advice = match place {
        Place::File(_) | Place::Memory => file_advice(code.and_then(|code| code.parse().ok())),
        Place::Server(_) => server_advice(code.as_deref(), &error),
    };
    anyhow::anyhow!("{place}: {advice} ({error})")
}

/// SQLITE_IOERR_SHMSIZE: no room for the file that readers and writers share.
const DISK_FULL_AT_START: u32 = 10 | 19 << 8;

/// The numbers are SQLite's result codes: <https://www.sqlite.org/rescode.html>
fn file_advice(code: Option<u32>) -> &'static str {
    match code.map(|code| (code & 0xff, code)) {
        Some((13, _) | (_, DISK_FULL_AT_START)) => "the disk is full; make room, or lower state.keep",
        Some((5 | 6, _)) => "another process has locked it; find it with `fuser` and end it",
        Some((8, _)) => {
            "it cannot be written; make the file and its directory writable, or name another state.directory"
        }
        Some((10, _)) => "the disk cannot be read or written",
        Some((11 | 26, _)) => {
            "it is damaged, or not a database of this host; move it away to start with an empty one, or restore a copy"
        }
        Some((14, _)) => "it cannot be opened; make the directory writable, or name another state.directory",
        _ => "it cannot be used",
    }
}

/// The codes are Postgres's: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn server_advice(code: Option<&str>, error: &sqlx::Error) -> &'static str {
    match (code, error) {
        (Some("53100"), _) => "the server's disk is full; make room there, or lower state.keep",
        (Some("53300"), _) => "the server has no connection left; raise its max_connections (a host needs 5)",
        (Some("28P01" | "28000"), _) => {
            "the server refuses this user; correct the user and the password in its address, in PGPASSWORD or in ~/.pgpass"
        }
        (Some("3D000"), _) => "the server has no such database; create it, as with `createdb`",
        (Some("42501"), _) => "this user may not do that; make it the owner of the database",
        (Some("25006"), _) => "the server only reads; name the primary one in its address",
        (Some("55P03" | "57014"), _) => "it waited too long for a lock or an answer",
        (Some("57P01" | "57P02" | "57P03"), _) => "the server is stopping or starting",
        (Some("42P01" | "42703"), _) => {
            "a table or column is missing; it is not a database of this host, or somebody changed it"
        }
        (Some("42P07"), _) => "it has such a table already, which is not of this host; name an empty database",
        (None, sqlx::Error::Io(error)) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            "the server's certificate is not accepted; see sslmode and sslrootcert in docs/fleet.md"
        }
        (None, sqlx::Error::Tls(_)) => {
            "the server and the host cannot agree on TLS; see sslmode and sslrootcert in docs/fleet.md"
        }
        (None, sqlx::Error::Configuration(_)) => {
            "its address cannot be used; correct the part after `?`, such as sslmode"
        }
        (None, sqlx::Error::Io(error)) if error.kind() == ErrorKind::TimedOut => {
            "the server does not answer; it is very slow, or the way to it is broken"
        }
        (None, sqlx::Error::Io(_)) => "the server cannot be reached",
        (None, sqlx::Error::PoolTimedOut) => {
            "no connection became free in time; the server is slow or cannot be reached"
        }
        _ => "it cannot be used",
    }
}
