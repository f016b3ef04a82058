//! `host validate`: finds broken queries, and checks that cannot fail.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{
    flags::{CheckFlag, FileFlags, Format, OutputFlag},
    loaded_in_memory,
    progress::Progress,
    table::Table,
};
use crate::{
    run::validation::{Kind, Validated},
    service::{Read, Sources},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host validate plugins/                      every check
  host validate --check phase2-raw plugins/   one check
  host validate --output json plugins/        with the SQL, for CI

It prepares each query, or runs it dry. That finds unknown tables and
columns, wrong types, missing grants and exceeded budgets without reading a
row or billing a byte; only skip_when runs its query. Then it runs each check
on simulated results, to find checks that cannot fail. It records nothing and
sends nothing; `host run` does both, when it starts and on validate_schedule.

A remark is not a fault: the check does what it says, which may be less than
you meant. \"not tried\" says that no simulated result reached a limit.

Exit codes: 0 nothing is wrong, 2 something is wrong, even if the rest could
not be validated, 3 nothing is known to be wrong, but some of it could not be
validated, 64 the arguments or host.toml cannot be used.")]
pub(super) struct Validate {
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    #[command(flatten)]
    only: CheckFlag,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    output: OutputFlag,
}

impl Validate {
    pub(super) fn execute(self) -> Result<u8> {
        let files = self.files.sources(&self.plugins);
        let sources = Sources { checks: self.only.checks.clone(), ..files };
        let read = sources.read()?;
        let runtime = super::runtime()?;
        let found = runtime.block_on(self.find(&sources, read));
        super::leave(runtime);
        let found = found?;
        super::print(&self.render(&found))?;
        let any = |is: fn(Kind) -> bool| found.iter().flat_map(|(_, findings)| findings).any(|one| is(one.kind));
        Ok(match (any(Kind::is_wrong), any(Kind::is_inconclusive)) {
            (true, _) => 2,
            (false, true) => 3,
            (false, false) => 0,
        })
    }

    async fn find(&self, sources: &Sources, read: Read) -> Result<Validated> {
        let mut host = loaded_in_memory(read).await?;
        sources.choose(&mut host)?;
        let _progress = Progress::new(&format!("validating {} checks", host.checks.len()));
        host.validate(crate::record::now()).await
    }

    fn render(&self, found: &Validated) -> String {
        if self.output.output == Format::Json {
            let checks = found.iter().map(|(check, findings)| json!({ "check": check, "findings": findings }));
            return format!("{:#}\n", json!({ "checks": checks.collect::<Vec<_>>() }));
        }
        let mut table = Table::new(["CHECK", "RESULT", "FINDING"]);
        for (check, findings) in found {
            if findings.is_empty() {
                table.row(vec![check.clone(), "valid".to_owned(), String::new()]);
            }
            for finding in findings {
                let result = match finding.kind {
                    Kind::Refused => "refused",
                    Kind::CannotFail => "cannot fail",
                    Kind::CannotPass => "cannot pass",
                    Kind::Remark => "remark",
                    Kind::NotTried => "not tried",
                    Kind::Unknown => "unknown",
                    Kind::Unfinished => "unfinished",
                };
                table.row(vec![check.clone(), result.to_owned(), finding.shown()]);
            }
        }
        table.text()
    }
}
