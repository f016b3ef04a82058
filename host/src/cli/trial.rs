//! What the commands have in common that try a check: on other dates, with other settings, on other data.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use jiff::civil::Date;
use serde_json::Value;

use super::{
    flags::{FileFlags, setting},
    loaded_in_memory,
    progress::Progress,
};
use crate::{
    check::Check,
    config::{Bytes, Config},
    plugin::set,
    proof::{Backtest, Day, Stopped, Trial},
    record::{Address, Record},
    run::Moment,
    service::Sources,
    text::{self, note},
};

/// The files, the settings and the limit of a trial.
#[derive(Debug, Args)]
pub(super) struct TrialFlags {
    /// A setting that takes the place of that in host.toml; repeat it for several
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, Value)>,
    /// The most that all its queries together may bill, such as "20 GiB" [default: budgets.bytes_per_day of the plugin]
    #[arg(long, value_name = "SIZE")]
    max_bytes: Option<Bytes>,
    #[command(flatten)]
    pub(super) files: FileFlags,
}

/// The checks of the files, and where trials are kept.
pub(super) struct Trials {
    pub(super) config: Arc<Config>,
    pub(super) checks: Vec<Arc<Check>>,
    /// The host's record.
    pub(super) record: Record,
    /// Counts what queries bill, apart from the budgets of a running host.
    pub(super) costs: Record,
}

impl Trials {
    /// Loads the plugins and opens the record; nothing is recorded of a run.
    pub(super) async fn load(files: &FileFlags, plugins: &[PathBuf]) -> Result<Self> {
        let sources: Sources = files.sources(plugins);
        let read = sources.read()?;
        let address = Address::of(&read.config)?;
        let record = match address.exists() {
            true => address.open().await?,
            false => {
                note!("there is no record yet, so nothing of this is kept");
                Record::memory().await?
            }
        };
        let host = loaded_in_memory(read).await?;
        let config = Arc::new(host.config.clone());
        Ok(Self { config, checks: host.checks, record, costs: Record::memory().await? })
    }

    /// The names of the checks.
    pub(super) fn names(&self) -> Vec<String> {
        self.checks.iter().map(|check| check.name.clone()).collect()
    }

    /// Closes the records.
    pub(super) async fn close(self) {
        self.record.close().await;
        self.costs.close().await;
    }
}

impl TrialFlags {
    /// Loads the plugins and opens the record.
    pub(super) async fn load(&self, plugins: &[PathBuf]) -> Result<Trials> {
        Trials::load(&self.files, plugins).await
    }

    /// Whether settings take the place of those in host.toml.
    pub(super) fn has_settings(&self) -> bool {
        !self.settings.is_empty()
    }

    /// The check of a name as it is to be tried, and the most bytes that it may bill.
    pub(super) async fn trial(&self, trials: &Trials, name: &str) -> Result<(Trial, u64)> {
        let found = trials.checks.iter().find(|check| check.name == name);
        let known = || trials.checks.iter().map(|check| check.name.as_str());
        let check = found.ok_or_else(|| anyhow!("{}", crate::check::no_such_check(name, known())))?;
        let mut trial = Trial::new(trials.config.clone(), check)?;
        if !self.settings.is_empty() {
            let mut settings = trial.settings();
            for (path, value) in &self.settings {
                set(&mut settings, path, value.clone())?;
            }
            trial = Trial { what_if: true, ..trial.with_settings(&settings).await? };
        }
        let usual = trial.most_bytes();
        let most = self.max_bytes.map_or(usual, |most| most.0 as u64);
        Ok((trial.billing(most), most))
    }
}

/// What asking about past dates would bill at most.
pub(super) struct Bill {
    check: String,
    /// The bytes.
    pub(super) bytes: u64,
    /// How many dates are asked about.
    pub(super) asked: usize,
    /// The dates that were asked about in the last day already.
    pub(super) kept: Vec<Date>,
}

impl Bill {
    /// Estimates it by dry runs, which are free.
    pub(super) async fn estimate(runner: &Backtest, moments: &[Moment]) -> Result<Self> {
        let kept = runner.kept().await?;
        let open: Vec<_> = moments.iter().filter(|moment| !kept.contains_key(&moment.data_date)).cloned().collect();
        let progress = Progress::new("estimating the cost");
        let bytes = runner.estimate(&open, |done| progress.step(done, open.len())).await?;
        let check = runner.trial.check.name.clone();
        Ok(Self { check, bytes, asked: open.len(), kept: kept.into_keys().collect() })
    }

    /// Refuses to bill more than so many bytes.
    pub(super) fn refuse_above(&self, most: u64) -> Result<()> {
        if self.bytes > most {
            bail!(
                "{}: {} dates would bill up to about {}, more than {}; raise --max-bytes, or ask about fewer dates",
                self.check,
                self.asked,
                text::bytes(self.bytes),
                text::bytes(most)
            );
        }
        Ok(())
    }
}

/// Asks about past dates. Returns what was said of them, and why the last ones were not asked about, if so.
pub(super) async fn ask(runner: &Backtest, moments: &[Moment]) -> Result<(Vec<Day>, Option<Stopped>)> {
    let progress = Progress::new(&format!("asking about {}", runner.trial.check.name));
    runner.run(moments, |done| progress.step(done, moments.len())).await
}
