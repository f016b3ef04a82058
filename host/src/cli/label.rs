//! `host label`: what an alert was.

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::flags::ConfigFlag;
use crate::{
    config::Config,
    record::{Address, LONGEST_WHY, Label as Recorded},
    recorder::user,
};

#[derive(Debug, Args)]
#[command(after_help = "`host history` lists alerts with their numbers. Labels decide which dates
`host tune` takes for good, and `host report` counts them. A new label takes the
place of an older one.

Examples:
  host label 12 false --why \"the vendor had no games that day\"
  host label 13 real --why \"14 games were missing\"
  host label 14 noise --why \"it resolved itself before anybody looked\"")]
pub(super) struct Label {
    /// The alert's number
    #[arg(value_name = "ALERT")]
    alert: i64,
    /// What it was
    #[arg(value_enum, value_name = "LABEL")]
    label: Was,
    /// Why, for others to read
    #[arg(long)]
    why: String,
    #[command(flatten)]
    config: ConfigFlag,
}

/// What an alert was.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Was {
    /// Something was wrong, and people had to know
    Real,
    /// Nothing was wrong
    False,
    /// Something was wrong, and nobody had to know
    Noise,
}

impl Label {
    pub(super) fn execute(self) -> Result<u8> {
        let why = self.why.trim();
        match why.chars().count() {
            0 => bail!("--why is empty; give the reason, for others to read"),
            1..=LONGEST_WHY => {}
            long => bail!("--why: {long} characters; write at most {LONGEST_WHY}"),
        }
        let label = match self.label {
            Was::Real => Recorded::Real,
            Was::False => Recorded::False,
            Was::Noise => Recorded::Noise,
        };
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            if !Address::of(&config)?.exists() {
                bail!("no alert is recorded yet");
            }
            let record = super::own_record(&config).await?;
            let history = config.command("host history");
            let alert = record.alert(self.alert).await?;
            let alert = alert.with_context(|| format!("there is no alert {}; `{history}` lists them", self.alert))?;
            record.label(self.alert, label, why, (&user(), crate::record::now())).await?;
            let date = alert.data_date.map(|date| format!(", data of {date}")).unwrap_or_default();
            super::print(&format!("alert {} of {}{date}: {}\n", alert.id, alert.check, label.name()))?;
            record.close().await;
            Ok(0)
        })
    }
}
