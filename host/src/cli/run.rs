//! `host run`: rounds, once or at their due times.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal,
    path::PathBuf,
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
    flags::{CheckFlag, CiFormat, DateFlag, FileFlags},
    loaded,
    output::render,
    progress::Progress,
    table::one_line,
};
use crate::{
    alert::{Receivers, unrecorded},
    check::Work,
    config::{Config, Time},
    host::{Begin, Host},
    log,
    record::{Address, Claim, Own, Record},
    round::Round,
    run::{Status, When},
    service::{Read, Service, Sources, complain},
    text::{listed, note},
    web,
};

/// How long a finished round waits for the validation that runs beside it. No check may take this long to validate.
const VALIDATION: Duration = Duration::from_secs(25);

/// How long a start waits for another host without a word.
const SOON: Duration = Duration::from_secs(1);

/// How many checks a line names.
const NAMED: usize = 5;
/// The most alerts that are looked through for those of a round.
const OPEN: u32 = 10_000;

/// How long the last log lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host run --once plugins/                      every check once
  host run --once --check phase2-raw plugins/   one check
  host run --once --date 2026-02-05 plugins/    the data of one date
  host run plugins/                             every check on its schedule

Without --once it runs until Ctrl-C or SIGTERM. It reloads changed files, at
once on SIGHUP.

Exit codes with --once: 0 all pass or skip, 1 some warn, 2 some fail, 3 some
could not be evaluated or recorded, or a message was not delivered, 64 the
arguments or host.toml cannot be used.")]
pub(super) struct Run {
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// Run each check once, now; the exit code is the worst result
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    only: CheckFlag,
    #[command(flatten)]
    day: DateFlag,
    /// The clock of the runs, in RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", requires = "once")]
    at: Option<Timestamp>,
    #[command(flatten)]
    files: FileFlags,
    /// Refuse to start without a lock file
    #[arg(long)]
    locked: bool,
    /// Record nothing and send nothing; show the messages on standard error instead
    #[arg(long)]
    dry_run: bool,
    /// The format on standard output [default: table with --once, nothing without]
    #[arg(long, value_enum, value_name = "FORMAT")]
    output: Option<CiFormat>,
    /// The format of the log on standard error, without --once
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = log::Format::Text)]
    log: log::Format,
}

impl Run {
    pub(super) fn execute(self) -> Result<u8> {
        if self.day.date.is_some() && !self.once {
            bail!("--date needs --once: a host that stays runs each check for its own dates");
        }
        let sources = Sources {
            locked: self.locked || self.files.lock_is_named(),
            checks: self.only.checks.clone(),
            ..self.files.sources(&self.plugins)
        };
        let read = sources.read()?;
        if !self.once {
            log::start(log::Style::Service(self.log));
        }
        if read.lock.is_none() {
            match self.once {
                true => note!("{}", sources.nothing_pinned()),
                false => tracing::warn!("{}", sources.nothing_pinned()),
            }
        }
        let runtime = super::runtime()?;
        let code = runtime.block_on(self.start(sources, read));
        // An interrupted query may still be running.
        super::leave(runtime);
        log::finish(LAST_LINES);
        code
    }

    async fn start(&self, sources: Sources, read: Read) -> Result<u8> {
        let (taken, own) = (read.fingerprint, read.own()?);
        let mut stop = Stop::listen()?;
        let (_claim, host, names) = tokio::select! {
            ready = self.ready(&sources, read) => ready?,
            code = stop.wait() => return Ok(code),
        };
        let (record, backends) = (host.recorder.record.clone(), host.backends.clone());
        let code = match self.once {
            // This drops unfinished runs with everything they hold.
            true => tokio::select! {
                code = self.once(Arc::new(host), &sources, (&own, &names)) => code,
                code = stop.wait() => Ok(code),
            },
            false => self.stay(host, sources, (own, taken, names), stop).await,
        };
        backends.close().await;
        record.close().await;
        code
    }

    /// Everything that a check needs before it can run, and the names of all checks. Other hosts on the record do not hear of it yet.
    async fn ready(&self, sources: &Sources, read: Read) -> Result<(Option<Claim>, Host, BTreeSet<String>)> {
        let address = Address::of(&read.config)?;
        // A single round waits for another process to finish; a host that stays would wait forever.
        let patience = if self.once { read.config.delivery.wait } else { Time(Duration::ZERO) };
        let claim = if self.dry_run { None } else { claimed(&address, patience).await? };
        let record = async |config: &Config| match self.dry_run {
            true => Record::memory().await,
            false => open(config).await,
        };
        let mut host = loaded(read, record, Begin::Soon).await?;
        if !self.once {
            host.recorder.serve();
        }
        let names = host.names();
        sources.choose(&mut host)?;
        if !self.dry_run {
            host.find_receivers().await?;
        }
        Ok((claim, host, names))
    }

    /// Takes part on the record, once nothing can keep this host from it: a host that cannot start must stop no other.
    async fn begin(&self, host: &Host, own: &Own, names: &BTreeSet<String>) -> Result<()> {
        if let Some(why) = super::apart(&host.recorder.record, own).await? {
            if self.once {
                bail!("{why}");
            }
            // It may hold later, or be adopted.
            tracing::error!("{why}");
        }
        // A round about a past date is about that date alone.
        if self.day.date.is_none() {
            // One start may run a part of the plugins; a host that stays runs them all.
            host.close_gone(names, !self.once, self.at.unwrap_or_else(crate::record::now)).await?;
        }
        if !self.dry_run {
            host.recorder.purge(&host.config).await?;
            host.store_plugins(&self.files.lock()).await?;
        }
        host.recorder.forget(&host.config).await
    }

    async fn once(&self, host: Arc<Host>, sources: &Sources, (own, names): (&Own, &BTreeSet<String>)) -> Result<u8> {
        self.begin(&host, own, names).await?;
        // Beside the round, so that no message waits for a slow check.
        let mut sending = JoinSet::new();
        sending.spawn(host.recorder.delivery.clone().run());
        let now = crate::record::now();
        let mut validation = JoinSet::new();
        // A past date validates nothing.
        if self.day.date.is_none() && !self.dry_run && host.validation_due(now).await?.is_some_and(|due| due <= now) {
            let validating = host.clone();
            validation.spawn(async move { validating.validate(now).await });
        }
        // `NAME.consulted` runs on its schedule, or when it is named.
        let wanted = |work: &Work| !self.only.checks.is_empty() || !matches!(work, Work::Consultation(_));
        let all = host.checks.iter().enumerate().filter(|(_, check)| wanted(&check.work) && !check.waits);
        let all: Vec<usize> = all.map(|(at, _)| at).collect();
        let looks = self.day.date.is_none() && !self.dry_run;
        if looks {
            host.recorder.look_again();
        }
        let progress = Progress::new(&format!("running {} checks", all.len()));
        let when = When { at: self.at, date: self.day.date };
        let mut round = host.round(&all, crate::record::now(), when).await?;
        drop(progress);
        let whole = self.late(&host, sources, when, &mut round).await?;
        // What people ordered while this ran, or while nothing did.
        host.recorder.carry_out(&host.config).await?;
        if looks {
            let host = whole.as_ref().unwrap_or(&host);
            let all = host.checks.iter().enumerate().filter(|(_, check)| wanted(&check.work));
            let all: Vec<usize> = all.map(|(at, _)| at).collect();
            round.join(host.look_again(&all, self.at, None).await?);
        }
        match tokio::time::timeout(VALIDATION, complain(&mut validation)).await {
            Ok(found) => found?,
            Err(_) => note!("validation did not finish in time; the next start tries again"),
        }
        // What it queues after the outbox is closed would not be tried.
        validation.shutdown().await;
        if let Some(date) = self.day.date
            && round.runs.iter().all(|run| run.past)
            && !round.runs.is_empty()
        {
            let what = if self.dry_run { "nothing is recorded (--dry-run)" } else { "recorded, and alerts are sent" };
            note!("{date} is a past date: {what}");
        }
        // On a terminal the table says it.
        if !std::io::stderr().is_terminal() {
            round.by_group().iter().for_each(|(group, line)| note!("{}", one_line(&format!("{group}: {line}"))));
        }
        host.recorder.delivery.close();
        // The outbox keeps the rest for the next start.
        let _ = tokio::time::timeout(host.config.delivery.wait.0, sending.join_all()).await;
        self.held(&host, &round).await?;
        for message in host.recorder.record.waiting().await? {
            let (receiver, what) = message.told();
            note!("error: {receiver}: NOT delivered yet, the next start retries: {}", one_line(&what));
        }
        let code = if host.recorder.owes_messages().await? { 3 } else { round.exit_code() };
        show(&host, &round, code, self.output.unwrap_or(CiFormat::Table)).await?;
        Ok(code)
    }

    /// Says which results of a round nobody is sent a message about, and why.
    async fn held(&self, host: &Host, round: &Round) -> Result<()> {
        if self.dry_run || round.exit_code() == 0 {
            return Ok(());
        }
        let bad: Vec<_> =
            round.runs.iter().filter(|run| !matches!(run.status(), Status::Pass | Status::Skip)).collect();
        let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for alert in host.recorder.record.open_alerts(OPEN).await? {
            let is_of = |date: Date| alert.data_date.is_none_or(|own| own == date);
            let ran = bad.iter().any(|run| run.check == alert.check && is_of(run.data_date));
            if let Some(why) = alert.held.filter(|_| ran) {
                held.entry(why).or_default().insert(alert.check);
            }
        }
        for (why, checks) in held {
            let checks: Vec<String> = checks.into_iter().collect();
            note!("no alert sent for {}: {}", listed(&checks, NAMED), one_line(&why));
        }
        Ok(())
    }

    /// The round of the checks whose plugins were still compiling. It shows the other results first. Returns the whole host,
    /// if there were any.
    async fn late(&self, host: &Host, sources: &Sources, when: When, round: &mut Round) -> Result<Option<Host>> {
        let waited: Vec<&str> =
            host.checks.iter().filter(|check| check.waits).map(|check| check.name.as_str()).collect();
        if waited.is_empty() {
            return Ok(None);
        }
        for run in &round.runs {
            note!("{}: {}: {}", run.check, run.status().name(), one_line(&run.summary()));
        }
        note!("still compiling the plugins of {}", waited.join(", "));
        let Some(mut whole) = host.whole().await? else { return Ok(None) };
        sources.choose(&mut whole)?;
        if !self.dry_run {
            whole.find_receivers().await?;
        }
        let which = whole.checks.iter().enumerate().filter(|(_, check)| waited.contains(&check.name.as_str()));
        let which: Vec<usize> = which.map(|(at, _)| at).collect();
        let late = whole.round(&which, crate::record::now(), when).await?;
        round.join(late);
        Ok(Some(whole))
    }

    /// Runs each check at its due times, until a signal. `taken` is the fingerprint of the files that were read.
    async fn stay(
        &self,
        host: Host,
        sources: Sources,
        (own, taken, names): (Own, u64, BTreeSet<String>),
        mut stop: Stop,
    ) -> Result<u8> {
        if host.checks.is_empty() {
            bail!("no check to run: no plugin was loaded and host.toml has no check");
        }
        let service = Service::new(host, sources, own.clone(), taken).await?;
        let web = web::listen(&service).await?;
        self.begin(&service.host(), &own, &names).await?;
        let web = web.map(web::Listening::serve);
        let shown = async |host: &Host, round: &Round| {
            // Most looks at bad dates find that none is to be looked at.
            if let Some(format) = self.output
                && !round.runs.is_empty()
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

async fn show(host: &Host, round: &Round, code: u8, format: CiFormat) -> Result<()> {
    let undelivered = host.recorder.undelivered(&round.messages).await?;
    super::print(&render(round, &undelivered, code, format))
}

/// The signals that end the host: Ctrl-C, and SIGTERM from orchestrators. It listens from the start, not only from the
/// first wait.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    pub(super) fn listen() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal; gives the usual exit code: 128 plus its number.
    pub(super) async fn wait(&mut self) -> u8 {
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

/// The claim on a record, which another host may have. Says so if that takes long.
async fn claimed(address: &Address, patience: Time) -> Result<Option<Claim>> {
    let claim = address.claim(patience.0);
    tokio::pin!(claim);
    if let Ok(claim) = tokio::time::timeout(SOON, &mut claim).await {
        return claim;
    }
    note!("another host is running on {address}; waiting up to {patience} for it to end");
    claim.await
}

/// Opens the record of a configuration. A host that cannot open it watches nothing, so the fallback is told.
async fn open(config: &Config) -> Result<Record> {
    let opened = super::own_record(config).await;
    if let (Err(error), Some(receivers)) = (&opened, Receivers::fallback_only(config).await?) {
        unrecorded(&receivers, &format!("the host cannot start: {error:#}")).await;
    }
    opened
}
