//! `host state`: moves the record between a file and a server, and removes answers from it.

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    progress::Progress,
    recorded,
    table::Table,
};
use crate::{
    config::{Config, nearest},
    record::{self, Copied, Place, Spot, copy},
    text::counted,
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  host state copy --from state --to env:HOST_STATE_URL
  host state purge --dataset nba_raw")]
pub(super) enum State {
    /// Copy the record from a file to a Postgres database, or back
    Copy(Copy),
    /// Remove recorded answers
    Purge(Purge),
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["dataset", "before"])), after_help = "Removes recorded answers for good, so that their runs cannot be replayed. Results
stay. A host may run meanwhile.

Examples:
  host state purge --dataset nba_raw       with data of this dataset
  host state purge --dataset git.pipeline  of this repository; also deployments
  host state purge --before 2026-02-01     of runs recorded before this day, UTC")]
pub(super) struct Purge {
    /// Answers that contain data of this dataset
    #[arg(long, value_name = "NAME")]
    dataset: Option<String>,
    /// Answers that runs got before this day
    #[arg(long, value_name = "YYYY-MM-DD")]
    before: Option<Date>,
    #[command(flatten)]
    config: ConfigFlag,
}

#[derive(Args)]
#[command(after_help = "Stop the hosts first. The record at --from stays as it is; --to must be empty.
Nothing is sent, and no message is sent a second time. A copy that is
stopped with Ctrl-C leaves nothing behind.

Examples:
  host state copy --from state --to env:HOST_STATE_URL
  host state copy --from env:HOST_STATE_URL --to state/host.db
  host state copy --from state --to env:HOST_STATE_URL --dry-run

`env:NAME` is the value of the environment variable NAME: a password on the
command line is seen by everybody who lists processes.

Exit codes: 0 copied, 64 refused or failed: nothing was copied; 130 and 143
stopped by a signal.")]
pub(super) struct Copy {
    /// The record: a directory, a file, postgres://..., or env:NAME
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// Its new place, written the same way
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Count what would be copied; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputFlag,
}

impl std::fmt::Debug for Copy {
    /// Without the places, which may hold passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copy").field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}

impl State {
    pub(super) fn execute(self) -> Result<u8> {
        let asked = match self {
            Self::Copy(asked) => asked,
            Self::Purge(purge) => return purge.execute(),
        };
        let from = Spot::named(&asked.from).context("--from")?;
        let to = Spot::named(&asked.to).context("--to")?;
        super::runtime()?.block_on(async {
            let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
            let progress = Progress::new("copying");
            let count = |rows| usize::try_from(rows).unwrap_or(usize::MAX);
            let step = |done: u64, all: u64| progress.step(count(done), count(all));
            let copied = tokio::select! {
                copied = copy(&from, &to, asked.dry_run, step) => copied?,
                _ = interrupt.recv() => return stopped(130),
                _ = terminate.recv() => return stopped(143),
            };
            drop(progress);
            super::print(&match asked.output.output {
                Format::Json => format!("{:#}\n", json(&copied, asked.dry_run)),
                Format::Table => shown(&copied, asked.dry_run),
            })?;
            Ok(0)
        })
    }
}

impl Purge {
    fn execute(self) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let what = match (&self.dataset, self.before) {
                (Some(dataset), _) => {
                    let known = record.answer_sources().await?;
                    if !known.contains(dataset) {
                        let sources = known.iter().cloned().collect::<Vec<_>>().join(", ");
                        let near = nearest(dataset, &known);
                        let there = if known.is_empty() {
                            "no answer is recorded".to_owned()
                        } else {
                            format!("there are answers of {sources}")
                        };
                        bail!("no answer of {dataset} is recorded{near}; {there}");
                    }
                    record::Purge::Source(dataset.clone())
                }
                (None, Some(day)) => record::Purge::Before(day.to_zoned(TimeZone::UTC)?.timestamp()),
                (None, None) => bail!("name --dataset or --before"),
            };
            let purged = record.purge(&what, "its answers were removed with `host state purge`").await?;
            record.close().await;
            super::print(&format!(
                "Removed {}; {} cannot be replayed any more.\n",
                counted(purged.answers as usize, "recorded answer", "recorded answers"),
                counted(purged.runs as usize, "run", "runs")
            ))?;
            Ok(0)
        })
    }
}

fn stopped(code: u8) -> Result<u8> {
    tracing::warn!("stopped; nothing was copied");
    Ok(code)
}

fn json(copied: &Copied, is_dry: bool) -> Value {
    let tables: serde_json::Map<String, Value> =
        copied.tables.iter().map(|(name, rows)| ((*name).to_owned(), json!(rows))).collect();
    let (from, to) = &copied.places;
    json!({
        "from": from.to_string(),
        "to": to.to_string(),
        "copied": !is_dry,
        "tables": tables,
        "mended": copied.mended,
    })
}

fn shown(copied: &Copied, is_dry: bool) -> String {
    let mut table = Table::new(["TABLE", "ROWS"]);
    for (name, rows) in &copied.tables {
        table.row(vec![(*name).to_owned(), rows.to_string()]);
    }
    let (from, to) = &copied.places;
    let mut text = table.text() + "\n";
    if copied.mended > 0 {
        text +=
            &format!("{} texts had a NUL character, which Postgres cannot keep: it is \u{fffd} now.\n", copied.mended);
    }
    if is_dry {
        return text + &format!("Nothing was copied: without --dry-run this would go from {from} to {to}.\n");
    }
    text += &format!("Copied from {from} to {to}.\n");
    text += &match to {
        Place::Server(_) => {
            "Next: under [state] in host.toml, name the variable with its address: url_env = \"HOST_STATE_URL\".\n"
                .to_owned()
        }
        Place::File(_) | Place::Memory => {
            "Next: under [state] in host.toml, remove `url_env`, and set `directory` to where the file is.\n".to_owned()
        }
    };
    text + "Start no host on the old record any more: it would send again what is sent from the new one.\n"
}
