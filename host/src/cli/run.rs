//! `host run`: rounds, once or at their due times.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::Args;
use jiff::{Timestamp, civil::Date};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use super::{
    output::{Format, render},
    progress::Progress,
};
use crate::{
    alert::{Receivers, unrecorded},
    config::{Config, nearest},
    plugin::{Lock, pin_command},
    round::{Host, Round, When},
    schedule,
    state::{Claim, State},
    text::printable,
    validate::Validated,
};

/// How long a single round waits for a validation before it.
const VALIDATION_FIRST: Duration = Duration::from_secs(10);
/// The longest that is slept at a stretch, so that a clock that was set is noticed.
const NAP: Duration = Duration::from_secs(30);

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
    /// What is pinned; plugins.lock beside the configuration unless it is named.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Refuse to start when nothing is pinned.
    #[arg(long)]
    locked: bool,
    /// Record nothing and send nothing; what would be said is shown on standard error.
    #[arg(long)]
    dry_run: bool,
    /// How results are written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Run {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(&self.config)?;
        if !self.plugins.iter().any(|file| file.exists()) {
            let files: Vec<String> = self.plugins.iter().map(|file| file.display().to_string()).collect();
            bail!("there is no file {}; build the plugins with `cargo xtask plugins`", files.join(", "));
        }
        let path = super::lock_path(self.lock.as_ref(), &self.config);
        let lock = Lock::read(&path)?;
        if lock.is_none() {
            let pin = pin_command(&path, "plugins/*.wasm");
            let nothing = format!("nothing is pinned: there is no {}; `{pin}` writes one", path.display());
            if self.locked || self.lock.is_some() {
                bail!("{nothing}");
            }
            eprintln!("{nothing}");
        }
        let runtime = super::runtime()?;
        let code = runtime.block_on(self.start(config, lock.as_ref()));
        // A query that is being interrupted needs no waiting for.
        runtime.shutdown_background();
        code
    }

    async fn start(&self, config: Config, lock: Option<&Lock>) -> Result<u8> {
        let mut stop = Stop::listen()?;
        let (_claim, host) = tokio::select! {
            ready = self.ready(config, lock) => ready?,
            code = stop.wait() => return Ok(code),
        };
        let host = Arc::new(host);
        let code = match self.once {
            // Runs that are under way are dropped with everything they hold.
            true => tokio::select! {
                code = self.once(&host) => code,
                code = stop.wait() => Ok(code),
            },
            false => self.stay(host.clone(), &mut stop).await,
        };
        host.backends.close().await;
        host.state.close().await;
        code
    }

    /// Everything that has to be there before a check can run.
    async fn ready(&self, config: Config, lock: Option<&Lock>) -> Result<(Option<Claim>, Host)> {
        let progress = Progress::new("loading plugins");
        let step = |done| progress.step(done, self.plugins.len());
        let directory = config.resolve(&config.state.directory);
        // One round waits for the round of another process; a host that stays would wait for ever.
        let patience = if self.once { config.delivery.wait.0 } else { Duration::ZERO };
        let (claim, state) = match self.dry_run {
            true => (None, State::memory().await?),
            false => (Some(Claim::take(&directory, patience).await?), open(&config, &directory).await?),
        };
        let mut host = Host::start(config, &self.plugins, lock, state, step).await?;
        drop(progress);
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
        if !self.dry_run {
            host.find_receivers().await?;
        }
        host.forget().await?;
        Ok((claim, host))
    }

    async fn once(&self, host: &Arc<Host>) -> Result<u8> {
        // Beside the round: what is found first need not wait for what takes long.
        let mut sending = JoinSet::new();
        sending.spawn(host.delivery.clone().run());
        let now = Timestamp::now();
        let mut validation = JoinSet::new();
        // The past is no time to look at the checks themselves.
        if self.date.is_none() && !self.dry_run && host.validation_due(now).await?.is_some_and(|due| due <= now) {
            let _progress = Progress::new(&format!("validating {} checks", host.checks.len()));
            let validating = host.clone();
            validation.spawn(async move { validating.validate(now).await });
            // A warehouse that does not answer must not keep the round waiting; it goes on beside it.
            if let Ok(found) = tokio::time::timeout(VALIDATION_FIRST, complain(&mut validation)).await {
                found?;
            }
        }
        let all: Vec<usize> = (0..host.checks.len()).collect();
        let progress = Progress::new(&format!("running {} checks", all.len()));
        let when = When { at: self.at, date: self.date };
        let round = host.round(&all, Timestamp::now(), when).await?;
        drop(progress);
        complain(&mut validation).await?;
        if round.runs.iter().all(|run| run.replay) && !round.runs.is_empty() {
            eprintln!("this is about the past: it is recorded, and nobody is told");
        }
        host.delivery.close();
        // What is left then is in the outbox, and is sent by the next start.
        let _ = tokio::time::timeout(host.config.delivery.wait.0, sending.join_all()).await;
        for message in host.state.waiting().await? {
            let (receiver, what) = message.told();
            eprintln!("error: {receiver}: NOT delivered yet, the next start tries again: {what}");
        }
        let code = if host.owes_messages().await? { 3 } else { round.exit_code() };
        self.show(host, &round, code).await?;
        Ok(code)
    }

    /// Each check at its due time. A round does not wait for the one before; a check that still runs is left out.
    async fn stay(&self, host: Arc<Host>, stop: &mut Stop) -> Result<u8> {
        let mut background = JoinSet::new();
        background.spawn(host.delivery.clone().run());
        background.spawn(stay_valid(host.clone()));
        let mut rounds: JoinSet<Result<Round>> = JoinSet::new();
        let mut running: HashMap<tokio::task::Id, Vec<usize>> = HashMap::new();
        for check in &host.checks {
            if let Err(reason) = &check.ready {
                let reason = printable(reason);
                eprintln!("{}: cannot run, and will say so when it is due: {reason}", check.name);
            }
        }
        let mut after = Timestamp::now();
        loop {
            let Some((due, which)) = schedule::next_round(&host.checks, after) else {
                bail!("no check is ever due");
            };
            eprintln!("next: {} at {due} ({})", names(&host, &which), wait(due));
            loop {
                let left = Duration::try_from(due.duration_since(Timestamp::now())).unwrap_or_default();
                if left.is_zero() {
                    break;
                }
                tokio::select! {
                    () = tokio::time::sleep(left.min(NAP)) => {}
                    Some(ended) = rounds.join_next_with_id() => {
                        let (id, round) = match ended {
                            Ok((id, round)) => (id, round),
                            Err(error) => (error.id(), Err(error.into())),
                        };
                        let which = running.remove(&id).unwrap_or_default();
                        // What goes wrong with one round must not keep the next from coming.
                        let shown = match round {
                            Ok(round) => self.show(&host, &round, round.exit_code()).await,
                            Err(error) => Err(error),
                        };
                        if let Err(error) = shown {
                            eprintln!("error: {}: {error:#}", names(&host, &which));
                        }
                    }
                    _ = stop.wait() => {
                        let dropped: usize = running.values().map(Vec::len).sum();
                        eprintln!("stopping: {dropped} checks are under way and are dropped");
                        return Ok(if host.owes_messages().await? { 3 } else { 0 });
                    }
                }
            }
            let (late, free): (Vec<usize>, Vec<usize>) =
                which.into_iter().partition(|at| running.values().any(|which| which.contains(at)));
            if !late.is_empty() {
                eprintln!("left out at {due}, since they still run: {}", names(&host, &late));
            }
            if let Err(error) = host.forget().await {
                eprintln!("error: what is old cannot be removed from the record: {error:#}");
            }
            // After a sleep or a jump of the clock, what was due in between is not made up for.
            after = due.max(Timestamp::now());
            if free.is_empty() {
                continue;
            }
            let (round_host, checks) = (host.clone(), free.clone());
            let round = rounds.spawn(async move { round_host.round(&checks, due, When::default()).await });
            running.insert(round.id(), free);
        }
    }

    async fn show(&self, host: &Host, round: &Round, code: u8) -> Result<()> {
        let undelivered = host.undelivered(round).await?;
        super::print(&render(round, &undelivered, code, self.output))
    }
}

/// What asks the host to go: Ctrl-C, and SIGTERM, which orchestrators send. Listens from the start, not only from the
/// first wait.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The exit code of a process that such a signal ended: 128 and its number.
    async fn wait(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => {
                eprintln!("interrupted");
                130
            }
            _ = self.terminate.recv() => {
                eprintln!("terminated");
                143
            }
        }
    }
}

/// Opens the record. A host that cannot is one that watches nothing, so the fallback hears of it.
async fn open(config: &Config, directory: &Path) -> Result<State> {
    let opened = State::open(directory).await;
    if let (Err(error), Some(receivers)) = (&opened, Receivers::fallback_only(config).await?) {
        unrecorded(&receivers, &format!("the host cannot start: {error:#}")).await;
    }
    opened
}

/// Validates the checks now, and then at the schedule.
async fn stay_valid(host: Arc<Host>) {
    if host.config.validate_schedule.0.is_none() {
        return;
    }
    let mut due = Some(Timestamp::now());
    loop {
        let now = Timestamp::now();
        if due.is_some_and(|due| due <= now) {
            let mut validation = JoinSet::new();
            let validating = host.clone();
            validation.spawn(async move { validating.validate(now).await });
            if let Err(error) = complain(&mut validation).await {
                eprintln!("error: the checks cannot be validated: {error:#}");
            }
        }
        tokio::time::sleep(NAP).await;
        due = match host.validation_due(Timestamp::now()).await {
            Ok(due) => due,
            Err(error) => {
                eprintln!("error: when the checks are to be validated is not known: {error:#}");
                None
            }
        };
    }
}

/// Says what a validation finds wrong with checks, when it has ended.
async fn complain(validation: &mut JoinSet<Result<Validated>>) -> Result<()> {
    while let Some(found) = validation.join_next().await {
        for (check, findings) in found?? {
            for finding in findings {
                eprintln!("validation: {check}: {}", printable(&finding.shown()));
            }
        }
    }
    Ok(())
}

fn names(host: &Host, which: &[usize]) -> String {
    let names = which.iter().filter_map(|at| host.checks.get(*at)).map(|check| check.name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

/// `in 12 min`
fn wait(due: Timestamp) -> String {
    match due.duration_since(Timestamp::now()).as_secs() {
        seconds @ ..=90 => format!("in {seconds} s"),
        seconds => format!("in {} min", seconds / 60),
    }
}
