//! The command line.

use std::process::ExitCode;

use host::{cli::Arguments, confined::Allocator, plugin};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    // First of all: a confined process cannot leak what it has not started yet.
    if let Some(code) = plugin::serve_confined() {
        return code;
    }
    unset_empty_credentials();
    match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments.execute(),
        Err(code) => code,
    }
}

/// An empty GOOGLE_APPLICATION_CREDENTIALS counts as unset, as it does for Google's own tools; the library that gets tokens
/// would take it for the name of a file.
#[allow(unsafe_code)]
fn unset_empty_credentials() {
    const NAME: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    if std::env::var_os(NAME).is_some_and(|path| path.is_empty()) {
        // SAFETY: the process has one thread so far.
        unsafe { std::env::remove_var(NAME) };
    }
}
