//! `host audit`: who changed what the host may do.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    local, recorded,
    table::Table,
};
use crate::config::Config;

#[derive(Debug, Args)]
#[command(after_help = "The record keeps each change of pins, grants, budgets, channels and keys that the
host sees when it starts or reloads, and each silence. Of a file it knows the
owner, not the author: version control does. Entries are never removed.

Examples:
  host audit                   the newest changes
  host audit --limit 1000 --output json")]
pub(super) struct Audit {
    /// The number of entries
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

impl Audit {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let entries = record.audit(self.limit).await?;
            let zone = config.timezone.rules();
            let mut table = Table::new(["WHEN", "WHERE", "CHANGE", "WHO"]);
            for entry in &entries {
                let (at, who) = (local(entry.at, &zone), entry.who.clone());
                table.row(vec![at, entry.place.clone(), entry.change.clone(), who]);
            }
            super::print(&match self.output.output {
                Format::Json => format!("{:#}\n", json!({ "audit": entries })),
                Format::Table if entries.is_empty() => "Nothing has changed.\n".to_owned(),
                Format::Table => table.text(),
            })?;
            record.close().await;
            Ok(0)
        })
    }
}
