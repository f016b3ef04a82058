//! Makes the sample pipeline: `sample DIRECTORY [--fault NAME]`. `cargo xtask demo` calls it.
#![allow(clippy::print_stdout)] // the list of faults is what was asked for

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use host_tests::{Fault, Moment};
use jiff::Timestamp;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (directory, fault) = match arguments.as_slice() {
        [directory] => (directory, None),
        [_, "--fault", "help"] => {
            println!("{}", faults());
            return Ok(());
        }
        [directory, "--fault", name] => {
            let fault = Fault::named(name);
            (directory, Some(fault.with_context(|| format!("there is no fault {name}; there are:\n{}", faults()))?))
        }
        _ => bail!("usage: sample DIRECTORY [--fault NAME]"),
    };
    host_tests::make(Path::new(directory), &Moment::new(Timestamp::now())?, fault)
}

fn faults() -> String {
    let lines = Fault::ALL.iter().map(|fault| format!("  {:18}{}", fault.name(), fault.about()));
    lines.collect::<Vec<_>>().join("\n")
}
