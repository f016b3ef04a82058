//! Files of a moment, in which something is written before it gets its name.

use std::io::Error;

/// An error without the name of a temporary file, which does not exist any more when somebody reads the error.
pub(super) fn unnamed(error: Error) -> Error {
    error.kind().into()
}
