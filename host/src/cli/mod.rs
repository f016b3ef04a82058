//! The subcommands: each turns arguments into one call and one printed result.

mod output;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The exit code for arguments or a configuration that cannot be used (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;

/// Runs data-pipeline checks as sandboxed WebAssembly components.
#[derive(Debug, Parser)]
#[command(name = "host", version, about, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run checks: once, or at their schedules until Ctrl-C.
    Run(run::Run),
}

impl Arguments {
    /// Does what was asked.
    pub fn execute(self) -> ExitCode {
        let result = match self.command {
            Command::Run(run) => run.execute(),
        };
        match result {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::from(USAGE)
            }
        }
    }
}
