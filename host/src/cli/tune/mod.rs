//! `host tune`: limits from a check's own history.

mod shown;
mod written;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use jiff::civil::Date;

use super::{
    backtest::known,
    flags::{Format, OutputFlag},
    progress::Progress,
    trial::{Bill, TrialFlags, Trials, ask},
};
use crate::{
    proof::{Backtest, MONTH, Proposal, TooFew, Trial, Tune as Runner, dates},
    text::note,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host tune phase2-raw                          from what is recorded
  host tune phase2-raw --from 2026-01-01        ask about these dates first
  host tune phase2-raw --alarms-per-month 0.5
  host tune phase2-raw --write                  change host.toml

The limits are tuned on the earlier 60 % of the dates and reported on the later
40 %. A limit lies between the good dates and what a fault would make of them;
where these overlap, as few good dates are beyond it as the alarms allow. Dates
in known_bad, and those of alerts that somebody labelled real, are not tuned on,
nor are dates far apart from all others, unless they are in known_good.

Exit codes: 0 there are proposals, or nothing to change; 3 there are too few
dates, or the proposals cannot be used; 64 the arguments or host.toml cannot be
used.")]
pub(super) struct Tune {
    /// The check
    #[arg(value_name = "CHECK")]
    check: String,
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The most false alarms that the check may give in a month, for all its limits together
    #[arg(long, value_name = "NUMBER", default_value_t = 1.0, value_parser = alarms)]
    alarms_per_month: f64,
    /// Ask the warehouse about the dates from this one on first, as `host backtest` does
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<Date>,
    /// The last of them [default: the newest for which the check was due]
    #[arg(long, value_name = "YYYY-MM-DD", requires = "from")]
    to: Option<Date>,
    /// The first date that only reports [default: the later 40 % of the dates report]
    #[arg(long, value_name = "YYYY-MM-DD")]
    report_from: Option<Date>,
    /// Write the proposals into host.toml, after showing the difference
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    trial: TrialFlags,
    #[command(flatten)]
    output: OutputFlag,
}

fn alarms(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.001..MONTH).contains(&number) => Ok(number),
        _ => Err("write a number from 0.001 to 30, such as 0.5".to_owned()),
    }
}

impl Tune {
    pub(super) fn execute(self) -> Result<u8> {
        super::runtime()?.block_on(self.tune())
    }

    async fn tune(&self) -> Result<u8> {
        if self.write && self.trial.has_settings() {
            bail!("--write writes what host.toml's own settings lead to; leave out --set");
        }
        let trials = self.trial.load(&self.plugins).await?;
        let (trial, most) = self.trial.trial(&trials, &self.check).await?;
        if let Some(from) = self.from {
            self.ask(&trials, &trial, most, from).await?;
        }
        let progress = Progress::new("tuning");
        let (record, alarms, report_from) = (trials.record.clone(), self.alarms_per_month, self.report_from);
        let config = trial.config.clone();
        let runner = Runner { trial, record, alarms, report_from };
        let tuned = runner.run().await;
        drop(progress);
        let tuned = match tuned {
            Err(error) if error.is::<TooFew>() => {
                match self.output.output {
                    Format::Table => note!("{error}"),
                    Format::Json => super::print(&format!(
                        "{:#}\n",
                        serde_json::json!({ "check": self.check, "too_few": error.to_string() })
                    ))?,
                }
                trials.close().await;
                return Ok(3);
            }
            tuned => tuned?,
        };
        super::print(&match self.output.output {
            Format::Table => shown::text(&self.check, &tuned, self.alarms_per_month, self.write),
            Format::Json => format!("{:#}\n", shown::json(&self.check, &tuned)),
        })?;
        let proposed = tuned.proposes();
        let is_tuned = tuned.refused.is_none() && tuned.proposals.iter().any(Proposal::is_tuned);
        let code = if is_tuned { 0 } else { 3 };
        if self.write && proposed {
            match &tuned.refused {
                Some(_) => note!("nothing is written"),
                None => written::write(self.trial.files.config(), &config, &self.check, &tuned)?,
            }
        }
        trials.close().await;
        Ok(code)
    }

    /// Asks about past dates first.
    async fn ask(&self, trials: &Trials, trial: &Trial, most: u64, from: Date) -> Result<()> {
        let runner =
            Backtest { trial: trial.clone(), record: trials.record.clone(), costs: trials.costs.clone(), again: false };
        let mut dates = dates(from, self.to.map_or_else(|| trial.newest(), Ok)?)?;
        // Those that somebody named bound the limits, wherever they are.
        dates.extend(known(trials, &self.check).into_iter().map(|(known, _)| known.date));
        dates.sort_unstable();
        dates.dedup();
        let moments = runner.moments(&dates, false)?;
        Bill::estimate(&runner, &moments).await?.refuse_above(most)?;
        let (_, stopped) = ask(&runner, &moments).await?;
        if let Some(stopped) = stopped {
            bail!("from {} on the dates were not asked about: {}", stopped.at, stopped.why);
        }
        Ok(())
    }
}
