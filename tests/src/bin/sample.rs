//! Makes the sample pipeline: `sample DIRECTORY [--fault NAME]`. `cargo xtask demo` calls it.

use std::{path::PathBuf, process::ExitCode};

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
    let mut arguments = std::env::args().skip(1);
    let directory: PathBuf = arguments.next().context("name a directory")?.into();
    let fault = match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => None,
        (Some("--fault"), Some(name)) => Some(Fault::named(&name).with_context(|| {
            let known: Vec<String> =
                Fault::ALL.iter().map(|fault| format!("  {:18}{}", fault.name(), fault.about())).collect();
            format!("there is no fault {name}; there are:\n{}", known.join("\n"))
        })?),
        _ => bail!("usage: sample DIRECTORY [--fault NAME]"),
    };
    host_tests::make(&directory, &Moment::new(Timestamp::now())?, fault)
}
