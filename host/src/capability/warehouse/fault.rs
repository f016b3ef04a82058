//! Errors of SQLite, and their messages.

use rusqlite::{ErrorCode, ffi};

use crate::contract::Error;

/// Why a query failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It was refused memory; [`super::memory::Refusal`] says which limit.
    Memory,
    /// Anything else.
    Said(Error),
}

impl Fault {
    /// An error that the query did not cause: `what` cannot be read.
    pub(super) fn unreadable(what: &str, error: rusqlite::Error) -> Self {
        match Self::from(error) {
            Self::Said(Error::Invalid(message) | Error::Unavailable(message)) => {
                let message = message.strip_prefix(FAILED).unwrap_or(&message);
                Self::Said(Error::Unavailable(format!("{what}: {message}")))
            }
            other => other,
        }
    }
}

/// The beginning of a query's error.
const FAILED: &str = "query failed: ";

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Said(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_NOMEM) {
            return Self::Memory;
        }
        Self::Said(match error.sqlite_error_code() {
            Some(ErrorCode::OutOfMemory) => return Self::Memory,
            Some(ErrorCode::OperationInterrupted) => Error::TimedOut(format!("{FAILED}the run ended")),
            Some(
                ErrorCode::NotADatabase
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy,
            ) => Error::Unavailable(format!("{FAILED}{error}")),
            Some(ErrorCode::AuthorizationForStatementDenied) => Error::Denied(format!("{FAILED}{error}")),
            _ => Error::Invalid(format!("{FAILED}{error}")),
        })
    }
}
