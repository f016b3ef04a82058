//! `host silence` and `host silences`: nothing new is said of some checks for a while.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{history::Format, local, recorded, table::Table};
use crate::{
    check::no_such_check,
    config::{Config, Time},
};

#[derive(Debug, Args)]
#[command(
    after_help = "A silence holds back new messages only: checks still run and are recorded, and a recovery is told.

Examples:
  host silence phase2-raw --for 4h --why \"box scores are loaded again\"
  host silence phase5-predictions phase6-publishing --for 2d --why \"no games until Friday\""
)]
pub(super) struct Silence {
    /// The checks.
    #[arg(required = true, value_name = "CHECK")]
    checks: Vec<String>,
    /// For how long: 30m, 4h, 2d.
    #[arg(long = "for", value_name = "TIME")]
    length: Time,
    /// The reason, for those who wonder.
    #[arg(long)]
    why: String,
    /// The configuration, which says where the record is.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host silences              those that are in force or to come, with their numbers
  host silences --expire 3   end one before its time")]
pub(super) struct Silences {
    /// Also those that are over.
    #[arg(long)]
    all: bool,
    /// End the silence with this number now.
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    expire: Option<i64>,
    /// The configuration, which says where the record is.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
    /// How it is written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Silence {
    pub(super) fn execute(self) -> Result<u8> {
        if self.why.trim().is_empty() {
            bail!("--why: say why, for those who wonder");
        }
        let config = Config::read(&self.config)?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let mut known = record.checks().await?;
            known.extend(config.checks.keys().cloned());
            known.sort();
            known.dedup();
            for check in &self.checks {
                if !known.contains(check) {
                    let unknown = no_such_check(check, known.iter().map(String::as_str));
                    bail!("{unknown}\nthere are: {}", known.join(", "));
                }
            }
            let now = Timestamp::now();
            let ends = now.checked_add(self.length.0).context("--for is too long")?;
            let id = record.silence(&self.checks, self.why.trim(), now, ends).await?;
            let ends = local(ends, &config.timezone.rules());
            super::print(&format!(
                "silence {id}: nothing new is said of {} until {ends}; `host silences --expire {id}` ends it\n",
                self.checks.join(", ")
            ))?;
            record.close().await;
            Ok(0)
        })
    }
}

impl Silences {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(&self.config)?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let now = Timestamp::now();
            if let Some(id) = self.expire {
                if !record.expire(id, now).await? {
                    bail!("no silence with the number {id} holds; `host silences` shows those that do");
                }
                super::print(&format!("silence {id} is over\n"))?;
            } else {
                let silences = record.silences((!self.all).then_some(now)).await?;
                let mut table = Table::new(&["NUMBER", "FROM", "UNTIL", "CHECKS", "WHY"]);
                let zone = config.timezone.rules();
                for silence in &silences {
                    let (began, ends) = (local(silence.began, &zone), local(silence.ends, &zone));
                    table.row(vec![
                        silence.id.to_string(),
                        began,
                        ends,
                        silence.checks.join(", "),
                        silence.why.clone(),
                    ]);
                }
                super::print(&match self.output {
                    Format::Json => format!("{:#}\n", json!({ "silences": silences })),
                    Format::Table if silences.is_empty() => "No silence holds.\n".to_owned(),
                    Format::Table => table.text(),
                })?;
            }
            record.close().await;
            Ok(0)
        })
    }
}
