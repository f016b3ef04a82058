//! `host run`: rounds, once or at their due times.

use std::{io::IsTerminal, io::Write, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::{Timestamp, civil::Date};
use tokio::task::JoinSet;

use super::output::{Format, render};
use crate::{
    config::{Config, nearest},
    round::{Host, Round, When},
    schedule,
};

/// The longest that is slept at a stretch, so that a clock that was set is noticed.
const NAP: std::time::Duration = std::time::Duration::from_secs(30);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host run --once plugins/*.wasm                     every check once, a table on standard output
  host run --once --check phase2-raw plugins/*.wasm  one check
  host run --once --date 2026-02-05 plugins/*.wasm   the data of one date
  host run plugins/*.wasm                            every check at its schedule, until Ctrl-C

Exit codes with --once: 0 all pass or skip, 1 some warn, 2 some fail, 3 some could not be evaluated
or a message was not delivered; 64 the arguments or host.toml cannot be used.")]
pub(super) struct Run {
    /// Plugin components.
    #[arg(required = true, value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// Run each check once, now, and exit with what was found.
    #[arg(long)]
    once: bool,
    /// Only this check; may be given several times.
    #[arg(long, value_name = "NAME")]
    check: Vec<String>,
    /// The date whose data is asked about, instead of yesterday. A date of the past is asked about as of the
    /// check's first due time after it.
    #[arg(long, value_name = "YYYY-MM-DD", requires = "once")]
    date: Option<Date>,
    /// The runs' clock, instead of now; RFC 3339.
    #[arg(long, value_name = "TIME", requires = "once")]
    at: Option<Timestamp>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
    /// How results are written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Run {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(&self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_stack_size(crate::STACK)
            .build()
            .context("no threads")?;
        let code = runtime.block_on(async {
            tokio::select! {
                code = self.start(config) => code,
                // Runs that are under way are dropped with everything they hold.
                _ = tokio::signal::ctrl_c(), if self.once => {
                    eprintln!("interrupted");
                    Ok(130)
                }
            }
        });
        // A query that is being interrupted needs no waiting for.
        runtime.shutdown_background();
        code
    }

    async fn start(&self, config: Config) -> Result<u8> {
        let progress = Progress::new(&format!("loading {} plugins", self.plugins.len()));
        let mut host = Host::start(config, &self.plugins).await?;
        progress.done();
        if !self.check.is_empty() {
            for wanted in &self.check {
                let names: Vec<&str> = host.checks.iter().map(|check| check.name.as_str()).collect();
                if !names.contains(&wanted.as_str()) {
                    let near = nearest(wanted, names.iter().copied());
                    bail!("--check {wanted}: there is no such check{near}\nthere are: {}", names.join(", "));
                }
            }
            host.keep(&self.check);
        }
        host.find_receivers()?;
        match self.once {
            true => self.once(&host).await,
            false => self.stay(Arc::new(host)).await,
        }
    }

    async fn once(&self, host: &Host) -> Result<u8> {
        let all: Vec<usize> = (0..host.checks.len()).collect();
        let progress = Progress::new(&format!("running {} checks", all.len()));
        let when = When { at: self.at, date: self.date };
        let round = host.round(&all, Timestamp::now(), when).await?;
        progress.done();
        self.show(&round)?;
        Ok(round.exit_code())
    }

    /// Each check at its due time. A round does not wait for the one before; a check that still runs is left out.
    async fn stay(&self, host: Arc<Host>) -> Result<u8> {
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        let mut rounds: JoinSet<(Vec<usize>, Result<Round>)> = JoinSet::new();
        let mut running: Vec<usize> = Vec::new();
        for check in &host.checks {
            if let Err(reason) = &check.ready {
                eprintln!("{}: {reason}", check.name);
            }
        }
        let mut after = Timestamp::now();
        loop {
            let Some((due, which)) = schedule::next_round(&host.checks, after) else {
                bail!("no check is ever due: {} of {} checks cannot run", host.checks.len(), host.checks.len());
            };
            let names: Vec<&str> =
                which.iter().filter_map(|at| host.checks.get(*at)).map(|check| check.name.as_str()).collect();
            eprintln!("next: {} at {} ({})", names.join(", "), due, wait(due));
            loop {
                let left = std::time::Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
                if left.is_zero() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(left.min(NAP)) => {}
                    Some(ended) = rounds.join_next() => self.ended(ended?, &mut running)?,
                    _ = &mut interrupt => {
                        eprintln!("stopping: {} checks are under way and are dropped", running.len());
                        return Ok(0);
                    }
                }
            }
            let (late, free): (Vec<usize>, Vec<usize>) = which.into_iter().partition(|at| running.contains(at));
            for check in late.iter().filter_map(|at| host.checks.get(*at)) {
                eprintln!("{}: still runs since its last due time, so it is left out of {due}", check.name);
            }
            running.extend(&free);
            let host = host.clone();
            rounds.spawn(async move {
                let round = host.round(&free, due, When::default()).await;
                (free, round)
            });
            after = due;
        }
    }

    fn ended(&self, (which, round): (Vec<usize>, Result<Round>), running: &mut Vec<usize>) -> Result<()> {
        running.retain(|at| !which.contains(at));
        self.show(&round?)
    }

    fn show(&self, round: &Round) -> Result<()> {
        for receipt in &round.receipts {
            if let Some(problem) = &receipt.problem {
                eprintln!("{}: the message was NOT delivered: {problem}", receipt.channel);
            }
        }
        let text = render(round, self.output);
        let mut out = std::io::stdout().lock();
        // A reader that went away, as `head` does, is no error of ours.
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error).context("standard output"),
            _ => Ok(()),
        }
    }
}

/// `in 12 min`
fn wait(due: Timestamp) -> String {
    match due.duration_since(Timestamp::now()).as_secs() {
        seconds @ ..=90 => format!("in {seconds} s"),
        seconds => format!("in {} min", seconds / 60),
    }
}

/// A line that says what is going on, on a terminal only, and goes away when it is over.
struct Progress(bool);

impl Progress {
    fn new(what: &str) -> Self {
        let terminal = std::io::stderr().is_terminal();
        if terminal {
            eprint!("{what} …");
        }
        Self(terminal)
    }

    fn done(self) {
        if self.0 {
            eprint!("\r\x1b[K");
        }
    }
}
