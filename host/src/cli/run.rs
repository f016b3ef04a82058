//! `host run`: rounds, once or at their due times.

use std::{
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
    check::Work,
    config::Config,
    host::{Begin, Host},
    log,
    record::{Claim, Record},
    round::Round,
    run::When,
    service::{Read, Service, Sources, complain},
    text::printable,
    web,
};

/// How long a single round that is over, and told, waits for the validation beside it: longer than that of any check may take.
const VALIDATION: Duration = Duration::from_secs(25);

/// How long the last lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host run --once plugins/*.wasm                     every check once, a table on standard output
  host run --once --check phase2-raw plugins/*.wasm  one check
  host run --once --date 2026-02-05 plugins/*.wasm   the data of one date
  host run plugins/                                  every check at its schedule, until Ctrl-C or SIGTERM;
                                                     files that change are taken on, at once with SIGHUP

Exit codes with --once: 0 all pass or skip, 1 some warn, 2 some fail, 3 some could not be evaluated
or a message was not delivered; 64 the arguments or host.toml cannot be used.")]
pub(super) struct Run {
    /// Plugin components, or directories of them. Default: every plugin that is pinned.
    #[arg(value_name = "PLUGIN.wasm")]
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
    /// How results are written to standard output. Without --once nothing is written there unless it is named.
    #[arg(long, value_enum)]
    output: Option<Format>,
    /// How a host that stays writes what it says on standard error.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = log::Format::Text)]
    log: log::Format,
}

impl Run {
    pub(super) fn execute(self) -> Result<u8> {
        let sources = Sources {
            locked: self.locked || self.lock.is_some(),
            checks: self.check.clone(),
            ..super::sources(&self.config, self.lock.as_ref(), &self.plugins)
        };
        let read = sources.read()?;
        if !self.once {
            log::start(log::Style::Service(self.log));
        }
        if read.lock.is_none() {
            match self.once {
                true => eprintln!("{}", sources.nothing_pinned()),
                false => tracing::warn!("{}", sources.nothing_pinned()),
            }
        }
        let runtime = super::runtime()?;
        let code = runtime.block_on(self.start(sources, read));
        // A query that is being interrupted needs no waiting for.
        runtime.shutdown_background();
        log::finish(LAST_LINES);
        code
    }

    async fn start(&self, sources: Sources, read: Read) -> Result<u8> {
        let mut stop = Stop::listen()?;
        let (_claim, host) = tokio::select! {
            ready = self.ready(&sources, read) => ready?,
            code = stop.wait() => return Ok(code),
        };
        let (record, backends) = (host.recorder.record.clone(), host.backends.clone());
        let code = match self.once {
            // Runs that are under way are dropped with everything they hold.
            true => tokio::select! {
                code = self.once(Arc::new(host), &sources) => code,
                code = stop.wait() => Ok(code),
            },
            false => self.stay(host, sources, stop).await,
        };
        backends.close().await;
        record.close().await;
        code
    }

    /// Everything that has to be there before a check can run.
    async fn ready(&self, sources: &Sources, read: Read) -> Result<(Option<Claim>, Host)> {
        let progress = Progress::new("loading plugins");
        let files = read.files.len();
        let step = |done| progress.step(done, files);
        let config = &read.config;
        let directory = config.resolve(&config.state.directory);
        // One round waits for the round of another process; a host that stays would wait for ever.
        let patience = if self.once { config.delivery.wait.0 } else { Duration::ZERO };
        let (claim, record) = match self.dry_run {
            true => (None, Record::memory().await?),
            false => (Some(Claim::take(&directory, patience).await?), open(config, &directory).await?),
        };
        let mut host = read.host(record, Begin::Soon, step).await?;
        drop(progress);
        sources.choose(&mut host)?;
        if !self.dry_run {
            host.find_receivers().await?;
        }
        host.recorder.forget(&host.config).await?;
        Ok((claim, host))
    }

    async fn once(&self, host: Arc<Host>, sources: &Sources) -> Result<u8> {
        // Beside the round: what is found first need not wait for what takes long.
        let mut sending = JoinSet::new();
        sending.spawn(host.recorder.delivery.clone().run());
        let now = Timestamp::now();
        let mut validation = JoinSet::new();
        // The past is no time to look at the checks themselves.
        if self.date.is_none() && !self.dry_run && host.validation_due(now).await?.is_some_and(|due| due <= now) {
            let validating = host.clone();
            validation.spawn(async move { validating.validate(now).await });
        }
        // Whether somebody asked a gate is looked at when that is due, or when it is wanted.
        let wanted = |work: &Work| !self.check.is_empty() || !matches!(work, Work::Consultation(_));
        let all = host.checks.iter().enumerate().filter(|(_, check)| wanted(&check.work) && !check.waits);
        let all: Vec<usize> = all.map(|(at, _)| at).collect();
        let progress = Progress::new(&format!("running {} checks", all.len()));
        let when = When { at: self.at, date: self.date };
        let mut round = host.round(&all, Timestamp::now(), when).await?;
        drop(progress);
        self.late(&host, sources, when, &mut round).await?;
        match tokio::time::timeout(VALIDATION, complain(&mut validation)).await {
            Ok(found) => found?,
            Err(_) => eprintln!("the checks are not validated yet: that takes long, and the next start tries again"),
        }
        if round.runs.iter().all(|run| run.past) && !round.runs.is_empty() {
            eprintln!("this is about the past: it is recorded, and nobody is told");
        }
        host.recorder.delivery.close();
        // What is left then is in the outbox, and is sent by the next start.
        let _ = tokio::time::timeout(host.config.delivery.wait.0, sending.join_all()).await;
        for message in host.recorder.record.waiting().await? {
            let (receiver, what) = message.told();
            eprintln!("error: {receiver}: NOT delivered yet, the next start tries again: {what}");
        }
        let code = if host.recorder.owes_messages().await? { 3 } else { round.exit_code() };
        show(&host, &round, code, self.output.unwrap_or(Format::Table)).await?;
        Ok(code)
    }

    /// The round of the checks whose plugins were still being compiled, when they are. What the others found is said before.
    async fn late(&self, host: &Host, sources: &Sources, when: When, round: &mut Round) -> Result<()> {
        let waited: Vec<&str> =
            host.checks.iter().filter(|check| check.waits).map(|check| check.name.as_str()).collect();
        if waited.is_empty() {
            return Ok(());
        }
        for run in &round.runs {
            eprintln!("{}: {}: {}", run.check, run.status().name(), printable(&run.summary()));
        }
        eprintln!("still being compiled: the plugins of {}", waited.join(", "));
        let Some(mut whole) = host.whole().await? else { return Ok(()) };
        sources.choose(&mut whole)?;
        if !self.dry_run {
            whole.find_receivers().await?;
        }
        let which = whole.checks.iter().enumerate().filter(|(_, check)| waited.contains(&check.name.as_str()));
        let which: Vec<usize> = which.map(|(at, _)| at).collect();
        let late = whole.round(&which, Timestamp::now(), when).await?;
        round.join(late);
        Ok(())
    }

    /// Each check at its due time, until a signal asks it to go.
    async fn stay(&self, host: Host, sources: Sources, mut stop: Stop) -> Result<u8> {
        if host.checks.is_empty() {
            bail!("there is no check to run");
        }
        let service = Service::new(host, sources).await?;
        let web = web::start(&service).await?;
        let shown = async |host: &Host, round: &Round| {
            if let Some(format) = self.output
                && let Err(error) = show(host, round, round.exit_code(), format).await
            {
                tracing::error!("{error:#}");
            }
        };
        let asked = async || {
            stop.wait().await;
        };
        let ended = service.run(asked, shown).await;
        if let Some(web) = web {
            web.finish().await;
        }
        ended.map(|()| 0)
    }
}

async fn show(host: &Host, round: &Round, code: u8, format: Format) -> Result<()> {
    let undelivered = host.recorder.undelivered(&round.messages).await?;
    super::print(&render(round, &undelivered, code, format))
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
                tracing::warn!("interrupted");
                130
            }
            _ = self.terminate.recv() => {
                tracing::warn!("terminated");
                143
            }
        }
    }
}

/// Opens the record. A host that cannot is one that watches nothing, so the fallback hears of it.
async fn open(config: &Config, directory: &Path) -> Result<Record> {
    let opened = Record::open(directory).await;
    if let (Err(error), Some(receivers)) = (&opened, Receivers::fallback_only(config).await?) {
        unrecorded(&receivers, &format!("the host cannot start: {error:#}")).await;
    }
    opened
}
