//! Where a record is, as people see it.

use std::{fmt, path::PathBuf};

/// Where the record is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A database in a state directory.
    File(PathBuf),
    /// A database on a server, without the password.
    Server(String),
    /// In memory.
    Memory,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(shown) => f.write_str(shown),
            Self::Memory => f.write_str("memory"),
        }
    }
}
