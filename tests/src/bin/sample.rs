//! Makes the sample pipeline: `sample DIRECTORY [--fault NAME [--at TIME]]`. `cargo xtask demo` and `pictures` call it.
#![allow(clippy::print_stdout, clippy::print_stderr)] // the list of faults is what was asked for
#![allow(clippy::disallowed_methods)] // it knows no record

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use host_tests::{Fault, Moment};
use jiff::Timestamp;

const USAGE: &str = "usage: sample DIRECTORY [--fault NAME [--at TIME]]; the fault `help` lists them";

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
    let (directory, fault, at) = match arguments.as_slice() {
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return Ok(());
        }
        [directory, ..] if directory.starts_with('-') => bail!("{USAGE}"),
        [directory] => (directory, None, Timestamp::now()),
        [_, "--fault", "help"] => {
            println!("{}", faults());
            return Ok(());
        }
        [directory, "--fault", name] => (directory, Some(named(name)?), Timestamp::now()),
        [directory, "--fault", name, "--at", at] => (directory, Some(named(name)?), at.parse()?),
        _ => bail!("{USAGE}"),
    };
    host_tests::make(Path::new(directory), &Moment::new(at)?, fault)
}

fn named(name: &str) -> Result<Fault> {
    Fault::named(name).with_context(|| format!("unknown fault {name}; the faults are:\n{}", faults()))
}

fn faults() -> String {
    let lines = Fault::ALL.iter().map(|fault| format!("  {:18}{}", fault.name(), fault.about()));
    lines.collect::<Vec<_>>().join("\n")
}
