//! `host plan`: when each check runs, what it may do, which channel it alerts, under which rules, and what is wrong with
//! that.

mod rules;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    flags::{FileFlags, Format, OutputFlag},
    loaded_in_memory, local, rights,
    table::Table,
};
use crate::{
    check::{Check, Work},
    host::Host,
    record::{Address, Silence},
    run::{Moment, When},
    text::note,
};

#[derive(Debug, Args)]
#[command(after_help = "No check runs and no message is sent: plugins only describe themselves.

Examples:
  host plan plugins/                 due times, channels and grants
  host plan plugins/ --count 10      more due times
  host plan plugins/ --output json   for programs
  host plan --diff main/host.toml    the rights that a change gives and takes,
                                     also by the plugins.lock beside that file

Exit codes: 0 nothing is wrong, 3 something is wrong, 64 host.toml cannot be
used. With --diff: 0 the same rights, 2 other rights.")]
pub(super) struct Plan {
    /// Plugin files, or directories of them [default: pinned plugins, or plugins/]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The number of due times for each check
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Only compare rights with an older host.toml and the plugins.lock beside it; load no plugin
    #[arg(long, value_name = "OLD.toml", conflicts_with_all = ["plugins", "count"])]
    diff: Option<PathBuf>,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    output: OutputFlag,
}

impl Plan {
    pub(super) fn execute(self) -> Result<u8> {
        if let Some(old) = &self.diff {
            return rights::compare(old, &self.files, self.output.output);
        }
        let sources = self.files.sources(&self.plugins);
        let read = sources.read()?;
        if read.lock.is_none() {
            note!("{}", sources.nothing_pinned());
        }
        let runtime = super::runtime()?;
        let planned = runtime.block_on(async {
            let host = loaded_in_memory(read).await?;
            let mut wrong: Vec<String> = Vec::new();
            for check in &host.checks {
                wrong.extend(check.unable().map(|reason| format!("{}: {reason}", check.name)));
            }
            wrong.extend(host.receivers().await.err().map(|error| format!("{error:#}")));
            let silences = silences(&host).await?;
            Ok::<_, anyhow::Error>((host, wrong, silences))
        });
        let (host, wrong, silences) = planned?;
        super::print(&match self.output.output {
            Format::Json => format!("{:#}\n", self.json(&host, &wrong, &silences)),
            Format::Table => self.table(&host, &wrong, &silences),
        })?;
        Ok(if wrong.is_empty() { 0 } else { 3 })
    }

    fn due(&self, check: &Check) -> Vec<Timestamp> {
        let mut after = crate::record::now();
        let zone = check.zone.rules();
        let next = || {
            after = check.schedule.next(after, &zone)?;
            Some(after)
        };
        std::iter::from_fn(next).take(self.count as usize).collect()
    }

    fn table(&self, host: &Host, wrong: &[String], silences: &[Silence]) -> String {
        let mut table = Table::new(["CHECK", "PLUGIN", "NEXT DUE", "CHANNEL", "MAY"]);
        for check in &host.checks {
            let zone = check.zone.rules();
            let plugin = match &check.work {
                Work::Plugin(ready) => format!("{} {}", ready.plugin.file.name, ready.plugin.file.version),
                Work::Consultation(gate) => format!("(whether {gate} was asked)"),
                Work::Unable(_) => "(cannot run)".to_owned(),
            };
            let may = check.plugin().map(|ready| ready.grants.to_string()).unwrap_or_default();
            let channel = check.family.as_ref().map(|family| family.channel.clone()).unwrap_or_default();
            let mut dues = self.due(check).into_iter().map(|due| {
                let moment = Moment::of(check, &host.config, due, When::default()).ok();
                let skipped = moment.and_then(|moment| moment.skip).map(|_| " (skipped)").unwrap_or_default();
                local(due, &zone) + skipped
            });
            let first = dues.next().unwrap_or_else(|| "never".to_owned());
            table.row(vec![check.name.clone(), plugin, first, channel, may]);
            for due in dues {
                table.row(vec![String::new(), String::new(), due, String::new(), String::new()]);
            }
        }
        let mut text = table.text();
        if host.checks.is_empty() {
            text = "No checks.\n".to_owned();
        }
        text += &rules::text(host, silences);
        let unused = host.unused();
        if !unused.is_empty() {
            text += &format!("\nNot used, since no check in host.toml names them: {}\n", unused.join(", "));
        }
        if !wrong.is_empty() {
            text += "\nWrong:\n";
        }
        for wrong in wrong {
            text += &format!("  {}\n", crate::text::printable(wrong).replace('\n', "\n    "));
        }
        text
    }

    fn json(&self, host: &Host, wrong: &[String], silences: &[Silence]) -> Value {
        let checks = host.checks.iter().map(|check| {
            let ready = check.plugin();
            let mut planned = json!({
                "check": check.name,
                "schedule": check.schedule.to_string(),
                "timezone": check.zone.name(),
                "due": self.due(check),
                "plugin": ready.map(|ready| &ready.plugin.file),
                "asked": match &check.work { Work::Consultation(gate) => Some(gate), _ => None },
                "dates": ready.map(|ready| ready.dates),
                "channel": check.family.as_ref().map(|family| &family.channel),
                "grants": ready.map(|ready| {
                    let kinds = ready.grants.lists();
                    kinds.into_iter().map(|(kind, granted)| (kind.to_owned(), json!(granted))).collect::<Map<_, _>>()
                }),
                "wrong": check.unable(),
            });
            if let Some(planned) = planned.as_object_mut() {
                let rules = rules::json(check, host, silences);
                planned.extend(rules.into_iter().map(|(key, rule)| (key.to_owned(), rule)));
            }
            planned
        });
        json!({ "checks": checks.collect::<Vec<_>>(), "routes": rules::routes(&host.config), "unused": host.unused(), "wrong": wrong })
    }
}

/// The active and future silences; none before there is a record, which this does not create.
async fn silences(host: &Host) -> Result<Vec<Silence>> {
    let address = Address::of(&host.config)?;
    if !address.exists() {
        return Ok(Vec::new());
    }
    let record = address.open().await?;
    let silences = record.silences(Some(crate::record::now())).await;
    record.close().await;
    silences
}
