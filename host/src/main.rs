//! The command line.

use std::process::ExitCode;

use clap::Parser;
use host::{
    cli::{Arguments, USAGE},
    confined::Allocator,
    plugin,
};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    // Before anything else: what such a process has not begun it cannot leak.
    if let Some(code) = plugin::serve_confined() {
        return code;
    }
    match Arguments::try_parse() {
        Ok(arguments) => arguments.execute(),
        Err(error) => {
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
    }
}
