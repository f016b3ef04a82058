//! The subcommands: each turns its arguments into one call and one printed result.

mod audit;
mod backtest;
mod costs;
mod dates;
mod doctor;
mod explain;
mod flags;
mod fleet;
mod gate;
mod history;
mod init;
mod inspect;
mod label;
mod mutate;
mod narrow;
mod new;
mod output;
mod pin;
mod plan;
mod progress;
mod query;
mod receivers;
mod registry;
mod replay;
mod report;
mod rights;
mod run;
mod sign;
mod silence;
mod starter;
mod state;
mod table;
mod test;
mod trial;
mod tune;
mod usage;
mod validate;

use std::{ffi::OsString, fs, io::Write, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::{Command as Clap, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::progress::Progress;
use crate::{
    config::{Config, local},
    host::{Begin, Host},
    log,
    record::{self, Address, Own, Record},
    service::{Read, takes_no_part},
    text::{note, printable, tell},
};

/// The exit code for arguments or a configuration that cannot be used (EX_USAGE of sysexits.h).
pub const USAGE: u8 = 64;

/// The commands in the order in which a newcomer needs them.
const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["init", "new", "test", "doctor"]),
    ("Run checks", &["run", "plan", "validate", "gate", "query", "fleet"]),
    (
        "See results and messages",
        &["history", "audit", "costs", "recheck", "ack", "close", "label", "silence", "silences", "receivers"],
    ),
    ("Prove a check", &["replay", "backtest", "tune", "mutate", "report"]),
    ("The record", &["state"]),
    ("Plugins", &["inspect", "pin", "add", "pull", "update", "outdated", "push", "keygen", "sign"]),
    ("Shell and editor", &["completions", "man", "schema", "help"]),
];

/// Runs data-pipeline checks as sandboxed WebAssembly components
#[derive(Debug, Parser)]
#[command(
    name = "host",
    version = env!("HOST_VERSION"),
    about,
    max_term_width = 100,
    after_help = "Examples:
  host init                        a host with sample data and a first check
  host new raw-events              a new plugin
  host init plugins/               a host.toml for existing plugins
  host run --once plugins/         every check once
  host run plugins/                every check on its schedule
  host doctor                      what is missing

`host COMMAND --help` has examples of each command, and `host man DIRECTORY`
writes the manual pages."
)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a host.toml, or a complete first host
    Init(init::Init),
    /// Create a small working plugin
    New(new::New),
    /// Run a plugin on test cases
    Test(test::Test),
    /// Check files, rights, services and tools
    Doctor(doctor::Doctor),
    /// Run checks once, or on their schedules until Ctrl-C
    Run(run::Run),
    /// Show when each check runs, its grants and its channel
    Plan(plan::Plan),
    /// Find broken queries, and checks that cannot fail
    Validate(validate::Validate),
    /// Ask whether the data of a date may be processed
    Gate(gate::Gate),
    /// Run one query on the embedded warehouse
    Query(query::Query),
    /// Show the hosts that share a record, or adopt a configuration
    Fleet(fleet::Fleet),
    /// Show past runs, alerts and undelivered messages
    History(history::History),
    /// Show who changed pins, grants, keys, silences and bad dates
    Audit(audit::Audit),
    /// Show what each check's queries billed
    Costs(costs::Costs),
    /// Look at bad dates of a check again, now
    Recheck(dates::Recheck),
    /// Say that somebody works on a bad date: no reminders
    Ack(dates::Ack),
    /// Give up on a bad date
    Close(dates::Close),
    /// Say what an alert was: real, false or noise
    Label(label::Label),
    /// Send no new alerts of some checks for a while
    Silence(silence::Silence),
    /// Show the silences, or end one
    Silences(silence::Silences),
    /// Test whether messages arrive
    #[command(subcommand)]
    Receivers(receivers::Receivers),
    /// Copy the record to another place, or remove answers from it
    #[command(subcommand)]
    State(state::State),
    /// Run recorded runs again, also with another version or setting
    Replay(replay::Replay),
    /// Show what a check says of past dates
    Backtest(backtest::Backtest),
    /// Propose limits from a check's own history
    Tune(tune::Tune),
    /// Make a check's data wrong, and see what it catches
    Mutate(mutate::Mutate),
    /// Show what the checks were worth in a week
    Report(report::Report),
    /// Show what a plugin is, asks for and was granted
    Inspect(inspect::Inspect),
    /// Record which plugin versions run, or change one
    Pin(pin::Pin),
    /// Fetch a plugin from a registry and pin it
    Add(registry::Add),
    /// Fetch exactly the pinned plugins
    Pull(registry::Pull),
    /// Change pinned plugins to newer versions
    Update(registry::Update),
    /// Show which plugins have newer versions
    Outdated(registry::Outdated),
    /// Publish a plugin in a registry
    Push(registry::Push),
    /// Make a key to sign plugins with
    Keygen(sign::Keygen),
    /// Sign plugins
    Sign(sign::Sign),
    /// Print shell completions
    Completions(explain::Completions),
    /// Write the manual pages
    Man(explain::Man),
    /// Print the schema of host.toml, for editors or for people
    Schema(explain::Schema),
}

impl Arguments {
    /// Reads a command line. Prints a mistake on standard error, and gives the exit code then.
    pub fn read(line: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        let line: Vec<OsString> = line.into_iter().collect();
        let columns = narrow::columns();
        let mut command = grouped(Self::command(), columns);
        if let Some(columns) = columns {
            command = narrow::fitted(command, columns);
        }
        let read = command.try_get_matches_from_mut(&line).and_then(|found| Self::from_arg_matches(&found));
        read.map_err(|error| {
            let explained = match (error.use_stderr(), line.len()) {
                (false, _) => None,
                (true, 0..=1) => Some(usage::START.to_owned()),
                (true, _) => usage::explained(&error, &command),
            };
            match explained {
                Some(text) => tell(&printable(&text)),
                None => drop(error.print()),
            }
            ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
        })
    }

    /// Runs the command; gives its exit code.
    pub fn execute(self) -> ExitCode {
        log::start(log::Style::Command);
        let result = match self.command {
            Command::Run(run) => run.execute(),
            Command::Plan(plan) => plan.execute(),
            Command::Gate(gate) => gate.execute(),
            Command::Validate(validate) => validate.execute(),
            Command::Query(query) => query.execute(),
            Command::Fleet(fleet) => fleet.execute(),
            Command::History(history) => history.execute(),
            Command::Audit(audit) => audit.execute(),
            Command::Costs(costs) => costs.execute(),
            Command::Recheck(recheck) => recheck.execute(),
            Command::Ack(ack) => ack.execute(),
            Command::Close(close) => close.execute(),
            Command::Label(label) => label.execute(),
            Command::Silence(silence) => silence.execute(),
            Command::Silences(silences) => silences.execute(),
            Command::Receivers(receivers) => receivers.execute(),
            Command::State(state) => state.execute(),
            Command::Replay(replay) => replay.execute(),
            Command::Backtest(backtest) => backtest.execute(),
            Command::Tune(tune) => tune.execute(),
            Command::Mutate(mutate) => mutate.execute(),
            Command::Report(report) => report.execute(),
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
                // The error may quote a plugin.
                note!("error: {}", printable(&format!("{error:#}")));
                ExitCode::from(USAGE)
            }
        }
    }
}

/// A command whose `--help` lists its subcommands in groups, in a terminal of this width if it is narrow.
fn grouped(command: Clap, columns: Option<usize>) -> Clap {
    let about = |name: &str| match command.find_subcommand(name) {
        Some(found) => found.get_about().map(ToString::to_string).unwrap_or_default(),
        None => "Print this list, or the help of a command".to_owned(),
    };
    let mut groups = String::new();
    for (title, names) in GROUPS {
        groups += &format!("{title}:\n");
        for name in *names {
            let about = about(name);
            let about = columns.map_or_else(|| about.clone(), |columns| narrow::indented(&about, 15, columns));
            groups += &format!("  {name:13}{about}\n");
        }
        groups += "\n";
    }
    let template =
        format!("{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}Options:\n{{options}}{{after-help}}");
    command.help_template(template)
}

/// Threads with enough stack for deep SQL, and with counted memory.
fn runtime() -> Result<tokio::runtime::Runtime> {
    crate::capability::warehouse::memory::count();
    crate::confined::Allocator::limit_heaps(crate::lanes::cores());
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_stack_size(crate::STACK).build().context("no threads")
}

/// Leaves the threads of a runtime to the end of the process, since some may wait for an answer. `shutdown_background` would let go of
/// threads that are just ending, and glibc may read the stack of such a thread after it is gone
/// (<https://sourceware.org/bugzilla/show_bug.cgi?id=19951>): stacks as large as ours are not kept.
fn leave(runtime: tokio::runtime::Runtime) {
    std::mem::forget(runtime);
}

/// A host from files, with a progress line while its plugins are loaded.
async fn loaded(read: Read, record: impl AsyncFnOnce(&Config) -> Result<Record>, begin: Begin<'_>) -> Result<Host> {
    let progress = Progress::new("loading plugins");
    let files = read.files.len();
    read.host(record, begin, |done| progress.step(done, files)).await
}

/// The same with every check ready, and a record that is gone afterwards.
async fn loaded_in_memory(read: Read) -> Result<Host> {
    loaded(read, async |_| Record::memory().await, Begin::Whole).await
}

/// The record beside a configuration. This does not create it: before the first run there is nothing to show.
async fn recorded(config: &Config) -> Result<Record> {
    let address = Address::of(config)?;
    match address.exists() {
        true => address.open().await,
        false => {
            let run = config.command("host run --once");
            bail!("no run is recorded in {address} yet; `{run}` records the first")
        }
    }
}

/// Takes part with a configuration on a record that hosts share; else why not.
async fn apart(record: &Record, own: &Own) -> Result<Option<String>> {
    let holding = record.stand(own, record::now()).await?;
    Ok((holding.digest != own.digest).then(|| takes_no_part(own, &holding)))
}

/// Opens the record of a configuration, to write to it.
async fn own_record(config: &Config) -> Result<Record> {
    let address = Address::of(config)?;
    let record = address.open().await?;
    address.belong(&record, &config.file).await?;
    Ok(record)
}

/// Writes a file that must not exist. It follows no link, not even one to nowhere.
fn create(path: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).with_context(|| path.display().to_string())
}

/// Writes to standard output. A reader that stops early, as `head` does, is not an error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}
