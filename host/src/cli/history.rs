//! `host history`: what was found, what people were told of it, and what did not get through.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{local, recorded, table::Table};
use crate::{
    alert::span,
    config::{Config, nearest},
    record::{Consultation, Included, PastAlert, PastRun, Undelivered},
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host history                                the newest runs of all checks, alerts, messages not delivered
  host history phase2-raw --limit 100         of one check
  host history phase2-raw --output json       with reports, host calls and what they cost
  host history --output json                  and messages, with what each attempt was answered")]
pub(super) struct History {
    /// Only this check.
    check: Option<String>,
    /// How many runs, and how many alerts.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// The configuration, which says where the record is.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
    /// How it is written to standard output.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl History {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(&self.config)?;
        super::runtime()?.block_on(self.show(&config))
    }

    async fn show(&self, config: &Config) -> Result<u8> {
        let record = recorded(config).await?;
        let check = self.check.as_deref();
        // The table has no room for more than a line.
        let included = match self.output {
            Format::Table => Included::default(),
            Format::Json => Included { report: true, calls: true, most: usize::MAX },
        };
        let runs = record.runs(check, self.limit, included).await?;
        if let (Some(check), true) = (check, runs.is_empty()) {
            let known = record.checks().await?;
            bail!("no run of {check} is recorded{}\nthere are runs of: {}", nearest(check, &known), known.join(", "));
        }
        let alerts = record.alerts(check, self.limit).await?;
        let now = Timestamp::now();
        let consultations = record.consultations(check, self.limit).await?;
        let (undelivered, messages) = match check {
            Some(_) => Default::default(),
            None => (record.undelivered(now, false).await?, record.messages(None, self.limit).await?),
        };
        let zone = config.timezone.rules();
        super::print(&match self.output {
            Format::Json => {
                let all = json!({
                    "runs": runs,
                    "alerts": alerts,
                    "messages": messages,
                    "consultations": consultations,
                    "undelivered": undelivered,
                });
                format!("{all:#}\n")
            }
            Format::Table => shown(&runs, &alerts, &undelivered, now, &zone) + &asked(&consultations, &zone),
        })?;
        record.close().await;
        Ok(0)
    }
}

/// Who asked gates, when anybody did.
fn asked(consultations: &[Consultation], zone: &TimeZone) -> String {
    if consultations.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["ASKED", "GATE", "DATA OF", "CALLER", "ANSWER"]);
    for one in consultations {
        let (at, date) = (local(one.at, zone), one.data_date.to_string());
        table.row(vec![at, one.gate.clone(), date, one.caller.clone(), one.decision.clone()]);
    }
    format!("\n{}", table.text())
}

fn shown(
    runs: &[PastRun],
    alerts: &[PastAlert],
    undelivered: &[Undelivered],
    now: Timestamp,
    zone: &TimeZone,
) -> String {
    let mut table = Table::new(&["DUE", "DATA OF", "CHECK", "RESULT", "SUMMARY"]);
    for run in runs {
        let summary = match (run.past, run.attempt) {
            (true, _) => format!("{} (asked as of then)", run.summary),
            (false, 1) => run.summary.clone(),
            (false, attempt) => format!("{} (attempt {attempt})", run.summary),
        };
        let due = local(run.due, zone);
        table.row(vec![due, run.data_date.to_string(), run.check.clone(), run.status.clone(), summary]);
    }
    let mut text = match runs.is_empty() {
        true => "No run is recorded.\n".to_owned(),
        false => table.text(),
    };
    if !alerts.is_empty() {
        let mut table = Table::new(&["ALERT SINCE", "LASTED", "CHECK", "SEVERITY", "SUMMARY"]);
        for alert in alerts {
            let until = alert.ended.unwrap_or(now);
            let lasted = span(until.duration_since(alert.began).as_secs());
            let lasted = if alert.ended.is_some() { lasted } else { format!("{lasted}, goes on") };
            let severity = if alert.kind == "error" { "not evaluated" } else { &alert.severity };
            let held = alert.held.as_ref().map(|held| format!(" (nobody was told; {held})")).unwrap_or_default();
            let summary = format!("{}{held}", alert.summary);
            table.row(vec![local(alert.began, zone), lasted, alert.check.clone(), severity.to_owned(), summary]);
        }
        text += &format!("\n{}", table.text());
    }
    if !undelivered.is_empty() {
        let mut table = Table::new(&["NOT DELIVERED", "RECEIVER", "MESSAGE", "WHAT"]);
        for message in undelivered {
            let what = if message.waiting { "tried again" } else { "set aside" };
            let what = format!("{} ({what}: {})", message.title, message.problem);
            table.row(vec![local(message.created, zone), message.receiver.clone(), message.id.clone(), what]);
        }
        text += &format!("\n{}", table.text());
    }
    text
}
