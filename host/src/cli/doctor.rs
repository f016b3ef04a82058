//! `host doctor`: whether everything that a host needs is there.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{history::Format, progress::Progress, table::Table};
use crate::{
    doctor::{Finding, Health, examine},
    text::printable,
};

/// The configuration that is looked for when none is named.
const CONFIG: &str = "host.toml";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host doctor                                 before the first run, and when something is odd
  host doctor --config /etc/host/host.toml    as the service that runs it would
  host doctor --output json                   for scripts

It looks at host.toml, pinned plugins, credentials, the warehouse, repositories, deployments, receivers, permissions, the
record, the disk, the clock and what plugins are written with. It changes nothing, asks nothing that bills and sends no
message: `host receivers test` does that, and `host validate` tries the checks' queries.

Exit codes: 0 nothing is wrong, 2 something is.")]
pub(super) struct Doctor {
    /// The configuration. Default: host.toml, if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is pinned; plugins.lock beside the configuration unless it is named.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// How it is written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Doctor {
    pub(super) fn execute(self) -> Result<u8> {
        let named = self.config.is_some();
        let config = self.config.unwrap_or_else(|| PathBuf::from(CONFIG));
        let lock = super::lock_path(self.lock.as_ref(), &config);
        let runtime = super::runtime()?;
        let findings = runtime.block_on(async {
            let _progress = Progress::new("looking around");
            examine(&config, named, &lock).await
        });
        // What did not answer in time is not waited for.
        runtime.shutdown_background();
        super::print(&match self.output {
            Format::Json => format!("{:#}\n", json!({ "findings": findings })),
            Format::Table => shown(&findings),
        })?;
        let wrong = findings.iter().any(|finding| finding.result == Health::Wrong);
        Ok(if wrong { 2 } else { 0 })
    }
}

fn shown(findings: &[Finding]) -> String {
    let mut table = Table::new(&["WHAT", "RESULT", "DETAIL"]);
    for Finding { what, result, detail } in findings {
        table.row(vec![printable(what), result.to_string(), printable(detail)]);
    }
    table.text()
}
