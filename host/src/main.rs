//! The command line.

use std::process::ExitCode;

use clap::Parser;
use host::cli::{Arguments, USAGE};

fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => arguments.execute(),
        Err(error) => {
            // Nothing is left to do when the terminal is gone.
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        }
    }
}
