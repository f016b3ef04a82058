//! `host validate`: whether the checks can do their work, before they have to.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::{history::Format, progress::Progress, table::Table};
use crate::{
    host::Begin,
    record::Record,
    run::validation::{Kind, Validated},
    service::{Read, Sources},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host validate plugins/*.wasm                      every check
  host validate --check phase2-raw plugins/*.wasm   one check
  host validate --output json plugins/*.wasm        with the SQL, for CI

Queries are prepared or run dry: unknown tables and columns, wrong types, what is over budget or not granted is
found without reading a row or billing a byte. Then each check is tried on made-up answers: one that nothing makes
fail is found too. Nothing is recorded and nobody is told; `host run` does that, at its start and by validate_schedule.

Exit codes: 0 nothing is wrong, 2 something is, 3 some of it could not be found out; 64 the arguments or host.toml
cannot be used.")]
pub(super) struct Validate {
    /// Plugin components, or directories of them. Default: every plugin that is pinned.
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// Only this check; may be given several times.
    #[arg(long, value_name = "NAME")]
    check: Vec<String>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
    /// What is pinned; plugins.lock beside the configuration unless it is named.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// How it is written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Validate {
    pub(super) fn execute(self) -> Result<u8> {
        let files = super::sources(&self.config, self.lock.as_ref(), &self.plugins);
        let sources = Sources { checks: self.check.clone(), ..files };
        let read = sources.read()?;
        let runtime = super::runtime()?;
        let found = runtime.block_on(self.find(&sources, read));
        runtime.shutdown_background();
        let found = found?;
        super::print(&self.render(&found))?;
        let any = |kinds: &[Kind]| found.iter().flat_map(|(_, findings)| findings).any(|one| kinds.contains(&one.kind));
        Ok(match (any(&[Kind::Unknown, Kind::Unfinished]), any(&[Kind::Refused, Kind::CannotFail])) {
            (true, _) => 3,
            (false, true) => 2,
            (false, false) => 0,
        })
    }

    async fn find(&self, sources: &Sources, read: Read) -> Result<Validated> {
        let progress = Progress::new("loading plugins");
        let files = read.files.len();
        let step = |done| progress.step(done, files);
        let record = Record::memory().await?;
        let mut host = read.host(record, Begin::Whole, step).await?;
        drop(progress);
        sources.choose(&mut host)?;
        let _progress = Progress::new(&format!("validating {} checks", host.checks.len()));
        host.validate(Timestamp::now()).await
    }

    fn render(&self, found: &Validated) -> String {
        if self.output == Format::Json {
            let checks = found.iter().map(|(check, findings)| json!({ "check": check, "findings": findings }));
            return format!("{:#}\n", json!({ "checks": checks.collect::<Vec<_>>() }));
        }
        let mut table = Table::new(&["CHECK", "RESULT", "WHAT"]);
        for (check, findings) in found {
            if findings.is_empty() {
                table.row(vec![check.clone(), "valid".to_owned(), String::new()]);
            }
            for finding in findings {
                let result = match finding.kind {
                    Kind::Refused => "refused",
                    Kind::CannotFail => "cannot fail",
                    Kind::Unknown => "unknown",
                    Kind::Unfinished => "unfinished",
                };
                table.row(vec![check.clone(), result.to_owned(), finding.shown()]);
            }
        }
        table.text()
    }
}
