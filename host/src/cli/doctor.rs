//! `host doctor`: whether everything that a host needs is present.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    flags::{FileFlags, Format, OutputFlag},
    progress::Progress,
    table::Table,
};
use crate::{
    doctor::{Finding, Health, examine},
    text::printable,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host doctor                                before the first run
  host doctor --config /etc/host/host.toml   as a service runs it
  host doctor --output json                  for scripts

It checks host.toml, pinned plugins, credentials, the warehouse,
repositories, deployments, receivers, permissions, the record, the disk, the
clock and the tools that build plugins. It changes nothing, costs nothing and
sends no message. `host receivers test` sends messages, and `host validate`
tries the queries.

Exit codes: 0 nothing is wrong, 2 something is wrong.")]
pub(super) struct Doctor {
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    output: OutputFlag,
}

impl Doctor {
    pub(super) fn execute(self) -> Result<u8> {
        let runtime = super::runtime()?;
        let findings = runtime.block_on(async {
            let _progress = Progress::new("checking");
            examine(self.files.config(), self.files.config_is_named(), &self.files.lock()).await
        });
        // Some service may still not have answered.
        super::leave(runtime);
        super::print(&match self.output.output {
            Format::Json => format!("{:#}\n", json!({ "findings": findings })),
            Format::Table => shown(&findings),
        })?;
        let wrong = findings.iter().any(|finding| finding.result == Health::Wrong);
        Ok(if wrong { 2 } else { 0 })
    }
}

fn shown(findings: &[Finding]) -> String {
    let mut table = Table::new(["WHAT", "RESULT", "DETAIL"]);
    for Finding { what, result, detail } in findings {
        table.row(vec![printable(what), result.to_string(), printable(detail)]);
    }
    table.text()
}
