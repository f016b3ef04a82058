//! `host silence` and `host silences`: no new alerts of some checks for a while.

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::json;

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    local, recorded,
    table::Table,
};
use crate::{
    check::no_such_check,
    config::{Config, Time},
    package::{LOCK, Lock},
    record::Address,
    recorder::user,
};

#[derive(Debug, Args)]
#[command(after_help = "A silence holds back new alerts only. Checks still run and are recorded, and
a recovery is sent.

Examples:
  host silence phase2-raw --for 4h --why \"reloading the box scores\"
  host silence phase2-raw phase3-analytics --for 2d --why \"no games\"")]
pub(super) struct Silence {
    /// The checks
    #[arg(required = true, value_name = "CHECK")]
    checks: Vec<String>,
    /// How long: 30m, 4h, 2d
    #[arg(long = "for", value_name = "TIME", allow_hyphen_values = true)]
    length: Time,
    /// The reason, for others to read
    #[arg(long)]
    why: String,
    #[command(flatten)]
    config: ConfigFlag,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host silences              active and future silences, with their numbers
  host silences --expire 3   end one early")]
pub(super) struct Silences {
    /// Show ended silences too
    #[arg(long)]
    all: bool,
    /// End the silence with this number now
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    expire: Option<i64>,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

impl Silence {
    pub(super) fn execute(self) -> Result<u8> {
        if self.why.trim().is_empty() {
            bail!("--why is empty; give the reason, for others to read");
        }
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            let mut known: Vec<String> = config.checks.keys().cloned().chain(pinned(&config)).collect();
            if Address::of(&config)?.exists() {
                known.extend(super::own_record(&config).await?.checks().await?);
            }
            known.sort();
            known.dedup();
            for check in &self.checks {
                if !known.contains(check) {
                    let unknown = no_such_check(check, known.iter().map(String::as_str));
                    bail!("{unknown}\nknown checks: {}", known.join(", "));
                }
            }
            // Before the first run this makes the record: a check may be silenced while it is set up.
            let record = super::own_record(&config).await?;
            let now = crate::record::now();
            let ends = now.checked_add(self.length.0).context("--for is too long")?;
            let zone = config.timezone.rules();
            let id = record.silence(&self.checks, self.why.trim(), (now, ends), (&user(), &zone)).await?;
            let ends = local(ends, &zone);
            super::print(&format!(
                "silence {id}: no new alerts of {} until {ends}; `{}` ends it\n",
                self.checks.join(", "),
                config.command(&format!("host silences --expire {id}"))
            ))?;
            record.close().await;
            Ok(0)
        })
    }
}

/// The pinned plugins that are checks of their own. A lock file that cannot be read is for `host run` to report.
fn pinned(config: &Config) -> Vec<String> {
    let lock = Lock::read(&config.directory.join(LOCK)).ok().flatten();
    let names = lock.iter().flat_map(|lock| lock.pins().keys().cloned());
    let used = |name: &String| config.checks.values().any(|check| check.plugin.as_ref() == Some(name));
    names.filter(|name| !used(name)).collect()
}

impl Silences {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let now = crate::record::now();
            if let Some(id) = self.expire {
                Address::of(&config)?.belong(&record, &config.file).await?;
                if !record.expire(id, now, &user()).await? {
                    bail!("silence {id} is not active; `{}` lists the active ones", config.command("host silences"));
                }
                super::print(&format!("silence {id} ended\n"))?;
            } else {
                let silences = record.silences((!self.all).then_some(now)).await?;
                let mut table = Table::new(["NUMBER", "FROM", "UNTIL", "CHECKS", "WHY"]);
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
                super::print(&match self.output.output {
                    Format::Json => format!("{:#}\n", json!({ "silences": silences })),
                    Format::Table if silences.is_empty() => "No silence is active.\n".to_owned(),
                    Format::Table => table.text(),
                })?;
            }
            record.close().await;
            Ok(0)
        })
    }
}
