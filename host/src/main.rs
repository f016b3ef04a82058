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
    match Arguments::read(std::env::args_os()) {
        Ok(arguments) => arguments.execute(),
        Err(code) => code,
    }
}
