//! The subcommands: each turns arguments into one call and one printed result.

mod costs;
mod doctor;
mod explain;
mod gate;
mod history;
mod init;
mod inspect;
mod new;
mod output;
mod pin;
mod plan;
mod progress;
mod receivers;
mod registry;
mod run;
mod sign;
mod silence;
mod table;
mod test;
mod validate;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use jiff::{Timestamp, tz::TimeZone};

use crate::{config::Config, log, package::LOCK, record::Record, service::Sources};

/// The exit code for arguments or a configuration that cannot be used (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;

/// Runs data-pipeline checks as sandboxed WebAssembly components.
#[derive(Debug, Parser)]
#[command(
    name = "host",
    version,
    about,
    max_term_width = 100,
    after_help = "Examples:
  host new raw-events                   a plugin to begin with
  host init plugins/*.wasm              a host.toml for plugins that are there
  host run --once plugins/*.wasm        every check once
  host run plugins/                     every check at its schedule
  host doctor                           what is missing

`host COMMAND --help` has examples of each command, and `host man DIRECTORY` writes them as manual pages."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run checks: once, or at their schedules until Ctrl-C.
    Run(run::Run),
    /// Show when each check runs, what it may do and whom it tells, and what is wrong with that.
    Plan(plan::Plan),
    /// Ask whether the data of a date may be processed.
    Gate(gate::Gate),
    /// Try every query of the checks without reading a row, and find checks that cannot fail.
    Validate(validate::Validate),
    /// Show what was found, told and not delivered.
    History(history::History),
    /// Show what queries billed, against each check's budget a day.
    Costs(costs::Costs),
    /// Say nothing new of checks for a while.
    Silence(silence::Silence),
    /// Show the silences, or end one.
    Silences(silence::Silences),
    /// Try whether messages arrive.
    #[command(subcommand)]
    Receivers(receivers::Receivers),
    /// Write down which plugin versions run, or move one of them.
    Pin(pin::Pin),
    /// Show what a plugin is, what it asks for and what it was granted.
    Inspect(inspect::Inspect),
    /// Write a host.toml with what plugins ask for, to be reviewed.
    Init(init::Init),
    /// Make a new plugin: a small complete one to begin with.
    New(new::New),
    /// Try a plugin on cases: what it is given, and what it must make of it.
    Test(test::Test),
    /// Publish a plugin in a registry.
    Push(registry::Push),
    /// Fetch a plugin from a registry and pin it.
    Add(registry::Add),
    /// Fetch exactly what is pinned.
    Pull(registry::Pull),
    /// Move plugins to newer versions.
    Update(registry::Update),
    /// Show which plugins have newer versions.
    Outdated(registry::Outdated),
    /// Make a key to sign plugins with.
    Keygen(sign::Keygen),
    /// Sign plugins.
    Sign(sign::Sign),
    /// Look whether everything is there that a host needs.
    Doctor(doctor::Doctor),
    /// Write what completes commands in a shell.
    Completions(explain::Completions),
    /// Write manual pages.
    Man(explain::Man),
    /// Show what host.toml may have in it, for editors or for people.
    Schema(explain::Schema),
}

impl Arguments {
    /// Does what was asked.
    pub fn execute(self) -> ExitCode {
        log::start(log::Style::Command);
        let result = match self.command {
            Command::Run(run) => run.execute(),
            Command::Plan(plan) => plan.execute(),
            Command::Gate(gate) => gate.execute(),
            Command::Validate(validate) => validate.execute(),
            Command::History(history) => history.execute(),
            Command::Costs(costs) => costs.execute(),
            Command::Silence(silence) => silence.execute(),
            Command::Silences(silences) => silences.execute(),
            Command::Receivers(receivers) => receivers.execute(),
            Command::Pin(pin) => pin.execute(),
            Command::Inspect(inspect) => inspect.execute(),
            Command::Init(init) => init.execute(),
            Command::New(new) => new.execute(),
            Command::Test(test) => test.execute(),
            Command::Push(push) => push.execute(),
            Command::Add(add) => add.execute(),
            Command::Pull(pull) => pull.execute(),
            Command::Update(update) => update.execute(),
            Command::Outdated(outdated) => outdated.execute(),
            Command::Keygen(keygen) => keygen.execute(),
            Command::Sign(sign) => sign.execute(),
            Command::Doctor(doctor) => doctor.execute(),
            Command::Completions(completions) => completions.execute(),
            Command::Man(man) => man.execute(),
            Command::Schema(schema) => schema.execute(),
        };
        match result {
            Ok(code) => ExitCode::from(code),
            Err(error) => {
                // It may quote a plugin.
                eprintln!("error: {}", crate::text::printable(&format!("{error:#}")));
                ExitCode::from(USAGE)
            }
        }
    }
}

/// Threads with the stack that deep SQL needs, and with memory that is counted.
fn runtime() -> Result<tokio::runtime::Runtime> {
    crate::capability::warehouse::memory::count();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(crate::STACK).build().context("no threads")
}

/// The record beside a configuration. It is not made: without a run there is nothing to show or to say.
async fn recorded(config: &Config) -> Result<Record> {
    let directory = config.resolve(&config.state.directory);
    match Record::exists(&directory) {
        true => Record::open(&directory).await,
        false => bail!("nothing is recorded in {}: `host run plugins/*.wasm` has not run yet", directory.display()),
    }
}

/// A moment as people of the pipeline's time zone read it.
fn local(moment: Timestamp, zone: &TimeZone) -> String {
    moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// The lock file that is named, else the one beside the configuration.
fn lock_path(named: Option<&PathBuf>, config: &Path) -> PathBuf {
    named.cloned().unwrap_or_else(|| config.with_file_name(LOCK))
}

/// The files that a command names: host.toml, what is pinned, plugins. All checks are wanted, and nothing need be pinned.
fn sources(config: &Path, lock: Option<&PathBuf>, plugins: &[PathBuf]) -> Sources {
    let (lock, plugins) = (lock_path(lock, config), plugins.to_vec());
    Sources { config: config.to_owned(), lock, locked: false, plugins, checks: Vec::new() }
}

/// Writes to standard output. A reader that went away, as `head` does, is no error of ours.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}
