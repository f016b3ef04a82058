//! `host backtest`: what a check says of past dates.

mod shown;

use std::{collections::BTreeSet, fs, path::PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::{ToSpan, civil::Date};
use serde_json::json;

use super::{
    flags::CiFormat,
    trial::{Bill, TrialFlags, Trials, ask},
};
use crate::{
    config::{KnownDate, Time},
    proof::{Backtest as Runner, Day, Stopped, dates},
    run::Status,
    text::{self, note},
    web,
};
use shown::Shown;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host backtest phase2-raw --from 2026-01-01 --to 2026-03-31
  host backtest phase2-raw --from 2026-01-01 --set min_player_records=60
  host backtest phase2-raw --from 2026-01-01 --html phase2-raw.html
  host backtest --known          the dates in known_bad and known_good, for CI

The warehouse is asked about each date as when the check was due for it; it
answers with what it has today. Nothing is recorded as a run and nobody is told.
First the whole cost is estimated by dry runs, which are free. What was asked in
the last day is kept and not asked again, so a backtest that was stopped goes on
where it was; with --known all is asked again.

Exit codes: 0 all pass or skip, with --known all dates are as expected;
1 some do not, 3 some could not be evaluated or were not asked about, 64 the
arguments or host.toml cannot be used.")]
pub(super) struct Backtest {
    /// The check [with --known: all that have known dates]
    #[arg(value_name = "CHECK", required_unless_present = "known")]
    check: Option<String>,
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The first data date
    #[arg(long, value_name = "YYYY-MM-DD", required_unless_present = "known", conflicts_with = "known")]
    from: Option<Date>,
    /// The last data date [default: the newest for which the check was due]
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "known")]
    to: Option<Date>,
    /// Only the dates in known_bad and known_good: the check must fail or warn for the first, and pass or skip the second
    #[arg(long)]
    known: bool,
    /// Also judge this much time before each date first, such as 35d: for a check that compares with good dates, and
    /// has judged none of them yet
    #[arg(long, value_name = "TIME")]
    learn: Option<Time>,
    /// Only estimate what it would bill
    #[arg(long)]
    dry_run: bool,
    /// Ask again what was asked in the last day
    #[arg(long)]
    again: bool,
    /// Also write a page with charts
    #[arg(long, value_name = "FILE", conflicts_with = "known")]
    html: Option<PathBuf>,
    #[command(flatten)]
    trial: TrialFlags,
    /// The format on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CiFormat::Table)]
    output: CiFormat,
}

/// What was found of one check.
pub(super) struct Tried {
    pub(super) check: String,
    pub(super) days: Vec<Day>,
    /// The messages that people would have had, without reminders: the due time and the title of each.
    pub(super) messages: Vec<(jiff::Timestamp, String)>,
    /// How many reminders they would have had: as long as nobody mends a date.
    pub(super) reminders: usize,
    pub(super) stopped: Option<Stopped>,
    /// How many dates are asked about.
    pub(super) asks: usize,
    /// How many dates were asked about in the last day already.
    pub(super) kept: usize,
    pub(super) estimated: u64,
    /// The dates that are known: whether they were bad, and why.
    pub(super) known: Vec<(KnownDate, bool)>,
}

impl Backtest {
    pub(super) fn execute(self) -> Result<u8> {
        super::runtime()?.block_on(self.try_all())
    }

    async fn try_all(&self) -> Result<u8> {
        let trials = self.trial.load(&self.plugins).await?;
        let names: Vec<String> = match &self.check {
            Some(name) => vec![name.clone()],
            None => {
                let known = |name: &String| !known(&trials, name).is_empty();
                let names: Vec<String> = trials.names().into_iter().filter(known).collect();
                if names.is_empty() {
                    bail!(
                        "no check has known_bad or known_good in host.toml; add dates such as known_bad = [\"2026-02-11 14 games missing\"]"
                    );
                }
                names
            }
        };
        let mut tried = Vec::new();
        for name in &names {
            // Dates that only teach the next ones, and those that were over the limit, bill as well.
            let billed = trials.costs.costs(Date::MIN).await?.iter().map(|cost| cost.bytes).sum();
            tried.push(self.one(&trials, name, billed).await?);
        }
        let config = trials.config.clone();
        trials.close().await;
        if self.dry_run {
            if self.output == CiFormat::Json {
                let one = |one: &Tried| json!({ "check": one.check, "asks": one.asks, "kept": one.kept, "estimated_bytes": one.estimated });
                super::print(&format!("{:#}\n", json!({ "checks": tried.iter().map(one).collect::<Vec<_>>() })))?;
            }
            return Ok(0);
        }
        let shown = Shown { tried: &tried, zone: config.timezone.rules(), known: self.known };
        super::print(&match self.output {
            CiFormat::Table => shown.text(),
            CiFormat::Json => format!("{:#}\n", shown.json()),
            CiFormat::Junit => shown.junit(),
        })?;
        if let (Some(path), Some(one)) = (&self.html, tried.first()) {
            let days = one.days.iter().map(|day| web::Tried {
                date: day.date,
                due: day.due,
                status: day.status(),
                report: day.outcome.report(),
                error: day.outcome.error().map(str::to_owned),
            });
            let messages = (one.messages.as_slice(), one.would_get());
            let page = web::backtest(&one.check, &config, &days.collect::<Vec<_>>(), messages);
            fs::write(path, page).with_context(|| path.display().to_string())?;
            note!("{} has the charts", path.display());
        }
        Ok(shown.code())
    }

    /// Some dates, and those that are to be judged before them.
    fn learned(&self, dates: &[Date]) -> Result<Vec<Date>> {
        let Some(learn) = self.learn else { return Ok(dates.to_vec()) };
        let days = i64::try_from(learn.0.as_secs().div_ceil(24 * 60 * 60))?;
        let mut all: BTreeSet<Date> = dates.iter().copied().collect();
        for date in dates {
            all.extend((1..=days).filter_map(|back| date.checked_sub(back.days()).ok()));
        }
        Ok(all.into_iter().collect())
    }

    /// One check. `billed` is what the checks before it have billed, of the same limit.
    async fn one(&self, trials: &Trials, name: &str, billed: u64) -> Result<Tried> {
        let (trial, most) = self.trial.trial(trials, name).await?;
        let most = most.saturating_sub(billed);
        let trial = trial.billing(most);
        let known = if self.known { known(trials, name) } else { Vec::new() };
        let dates = match self.from {
            _ if self.known => {
                let mut dates: Vec<Date> = known.iter().map(|(known, _)| known.date).collect();
                dates.sort_unstable();
                if dates.is_empty() {
                    bail!("{name} has neither known_bad nor known_good in host.toml");
                }
                dates
            }
            Some(from) => dates(from, self.to.map_or_else(|| trial.newest(), Ok)?)?,
            None => bail!("--from is missing"),
        };
        let runner = Runner {
            trial,
            record: trials.record.clone(),
            costs: trials.costs.clone(),
            again: self.again || self.known,
        };
        let wanted: BTreeSet<Date> = dates.iter().copied().collect();
        let moments = runner.moments(&self.learned(&dates)?, self.known)?;
        if moments.is_empty() {
            bail!("{name} is due for none of these dates");
        }
        let bill = Bill::estimate(&runner, &moments).await?;
        let kept = bill.kept.iter().filter(|date| wanted.contains(date)).count();
        if bill.bytes > 0 || self.dry_run {
            let already = match kept {
                0 => String::new(),
                kept => format!("; {kept} were asked about in the last day, and are not asked again"),
            };
            let dates = text::counted(bill.asked, "date bills", "dates bill");
            note!("{name}: {dates} up to about {}{already}", text::bytes(bill.bytes));
        }
        bill.refuse_above(most)?;
        let mut tried = Tried {
            check: name.to_owned(),
            days: Vec::new(),
            messages: Vec::new(),
            reminders: 0,
            stopped: None,
            asks: bill.asked,
            kept,
            estimated: bill.bytes,
            known,
        };
        if self.dry_run {
            return Ok(tried);
        }
        (tried.days, tried.stopped) = ask(&runner, &moments).await?;
        tried.days.retain(|day| wanted.contains(&day.date));
        let (reminders, messages): (Vec<_>, Vec<_>) =
            runner.messages(&mut tried.days).into_iter().partition(|(_, message)| message.reminder);
        tried.reminders = reminders.len();
        tried.messages = messages.into_iter().map(|(due, message)| (due, message.title)).collect();
        Ok(tried)
    }
}

/// The dates of a check that are known, and whether they were bad.
pub(super) fn known(trials: &Trials, name: &str) -> Vec<(KnownDate, bool)> {
    let Some(check) = trials.config.checks.get(name) else { return Vec::new() };
    let bad = check.known_bad.iter().map(|known| (known.clone(), true));
    bad.chain(check.known_good.iter().map(|known| (known.clone(), false))).collect()
}

impl Tried {
    /// The messages that people would have got, in a sentence without its end.
    pub(super) fn would_get(&self) -> String {
        let reminders = match self.reminders {
            0 => "",
            1 => ", and a reminder",
            many => &format!(", and {many} reminders until somebody mends the dates"),
        };
        match self.messages.len() {
            0 => "People would have got no message".to_owned(),
            1 => format!("People would have got 1 message{reminders}"),
            many => format!("People would have got {many} messages{reminders}"),
        }
    }

    /// What a known date is, if the check does not say what it was: `None` if it does.
    pub(super) fn differs(&self, known: &KnownDate, bad: bool) -> Option<String> {
        let Some(day) = self.days.iter().find(|day| day.date == known.date) else {
            return Some("it was not asked about".to_owned());
        };
        let status = day.status();
        match (bad, status) {
            (true, Status::Fail | Status::Warn) | (false, Status::Pass | Status::Skip) => None,
            (_, Status::Error) => Some(format!("it is not evaluated: {}", day.outcome.error().unwrap_or_default())),
            (true, _) => Some(format!("it was bad, and the check says {}", status.name())),
            (false, _) => Some(format!("it was good, and the check says {}: {}", status.name(), shown::what(day))),
        }
    }
}
