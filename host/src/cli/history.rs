//! `host history`: past runs, alerts and messages, also those that were not delivered.

use std::cmp::Reverse;

use anyhow::{Result, bail};
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    local,
    output::rows,
    recorded,
    table::Table,
};
use crate::{
    alert::{Dated, Day, State, Subject},
    capability::Evidence,
    config::{Config, nearest},
    record::{Consultation, Included, PastAlert, PastRun, Record, Undelivered},
    recorder::days,
    text::span,
};

/// Bytes of reports that are read to find evidence.
const EVIDENCE: usize = 4 << 20;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host history                            runs, alerts, undelivered messages
  host history phase2-raw --limit 100     one check
  host history --dates                    data dates that are not good
  host history phase2-raw --output json   with reports, host calls and costs
  host history --output json              with all messages and attempts")]
pub(super) struct History {
    /// Only this check
    check: Option<String>,
    /// The number of runs, and of alerts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only the data dates that are not good, all of them
    #[arg(long, conflicts_with = "limit")]
    dates: bool,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

impl History {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        super::runtime()?.block_on(self.show(&config))
    }

    async fn show(&self, config: &Config) -> Result<u8> {
        let record = recorded(config).await?;
        if let Some(check) = self.check.as_ref().filter(|check| !config.names(check))
            && record.runs(Some(check), 1, Included::default()).await?.is_empty()
        {
            let known = record.checks().await?;
            bail!("no run of {check} is recorded{}\nrecorded checks: {}", nearest(check, &known), known.join(", "));
        }
        let zone = config.timezone.rules();
        super::print(&match self.dates {
            true => self.dates(&record, &zone).await?,
            false => self.everything(&record, &zone).await?,
        })?;
        record.close().await;
        Ok(0)
    }

    async fn dates(&self, record: &Record, zone: &TimeZone) -> Result<String> {
        let now = crate::record::now();
        let judged = judged(record, self.check.as_deref()).await?;
        let none = judged.is_empty();
        let dates = not_good(judged, now);
        Ok(match (self.output.output, &self.check) {
            (Format::Json, _) => format!("{:#}\n", json!({ "dates": dates })),
            (Format::Table, Some(check)) if none => format!("No date of {check} was judged yet.\n"),
            (Format::Table, None) if none => "No date was judged yet.\n".to_owned(),
            (Format::Table, _) => listed(&dates, now, zone),
        })
    }

    async fn everything(&self, record: &Record, zone: &TimeZone) -> Result<String> {
        let check = self.check.as_deref();
        // The table shows one line a run, and for one check the evidence of the newest run that has any.
        let included = match self.output.output {
            Format::Table => Included { report: check.is_some(), calls: false, most: EVIDENCE },
            Format::Json => Included { report: true, calls: true, most: usize::MAX },
        };
        let mut runs = record.runs(check, self.limit, included).await?;
        // Those that were recorded last, in the order of the column that is shown.
        runs.sort_by_key(|run| Reverse(run.due));
        let mut alerts = record.alerts(check, self.limit).await?;
        alerts.sort_by_key(|alert| Reverse(alert.began));
        let now = crate::record::now();
        let consultations = record.consultations(check, self.limit).await?;
        let (undelivered, messages) = match check {
            Some(_) => Default::default(),
            None => (record.undelivered(now, false).await?, record.messages(None, self.limit).await?),
        };
        Ok(match self.output.output {
            Format::Json => {
                let dates = not_good(judged(record, check).await?, now);
                let all = json!({
                    "runs": runs,
                    "alerts": alerts,
                    "dates": dates,
                    "messages": messages,
                    "consultations": consultations,
                    "undelivered": undelivered,
                });
                format!("{all:#}\n")
            }
            Format::Table => {
                let shown = shown(&runs, &alerts, &undelivered, now, zone);
                shown + &asked(&consultations, zone) + &check.map(|_| evidence(&runs)).unwrap_or_default()
            }
        })
    }
}

/// The evidence of the newest run that has any; empty if none has.
fn evidence(runs: &[PastRun]) -> String {
    let found = runs.iter().find_map(|run| {
        let evidence: Vec<Evidence> = serde_json::from_str(run.evidence.as_ref()?.get()).ok()?;
        Some((run, evidence))
    });
    let Some((run, evidence)) = found else { return String::new() };
    let of = format!("{} of {}", run.check, run.data_date);
    evidence.iter().map(|evidence| rows(&of, evidence)).collect()
}

/// The data dates of all checks, or of one.
async fn judged(record: &Record, check: Option<&str>) -> Result<Vec<(String, Subject, Day)>> {
    let mut judged = days(record).await?;
    judged.retain(|(name, ..)| check.is_none_or(|check| check == name));
    Ok(judged)
}

/// Those of data dates that are neither good nor skipped, the newest first.
fn not_good(judged: Vec<(String, Subject, Day)>, now: Timestamp) -> Vec<Dated> {
    let mut dates: Vec<Dated> = judged
        .into_iter()
        .filter(|(_, _, day)| !matches!(day.state, State::Good | State::Skipped))
        .map(|(name, subject, day)| Dated::new(&name, subject, &day, now))
        .collect();
    dates.sort_by(|one, other| (&one.check, other.data_date).cmp(&(&other.check, one.data_date)));
    dates
}

fn listed(dates: &[Dated], now: Timestamp, zone: &TimeZone) -> String {
    if dates.is_empty() {
        return "All judged dates are good.\n".to_owned();
    }
    let mut table = Table::new(["CHECK", "DATA OF", "STATE", "BAD FOR", "LOOKED AT AGAIN", "SUMMARY"]);
    for date in dates {
        let data_of = date.data_date.map_or_else(|| "now".to_owned(), |date| date.to_string());
        let since = date.since.filter(|_| date.open);
        let bad_for = since.map(|since| span(now.duration_since(since).as_secs())).unwrap_or_default();
        let look = date.next_look.map(|look| local(look, zone)).unwrap_or_default();
        let mut notes: Vec<String> = date.summary.clone().into_iter().collect();
        if let Some(ack) = &date.acknowledged {
            let until = ack.until.map(|until| format!(" until {}", local(until, zone))).unwrap_or_default();
            notes.push(format!("acknowledged by {}{until}: {}", ack.who.as_deref().unwrap_or_default(), ack.why));
        }
        if let Some(given_up) = &date.given_up {
            let by = given_up.who.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
            notes.push(format!("given up{by}: {}", given_up.why));
        }
        let state = date.state.replace('_', " ");
        table.row(vec![date.check.clone(), data_of, state, bad_for, look, notes.join("; ")]);
    }
    table.text()
}

/// Who asked which gate; empty when nobody asked.
fn asked(consultations: &[Consultation], zone: &TimeZone) -> String {
    if consultations.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["ASKED", "GATE", "DATA OF", "CALLER", "ANSWER"]);
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
    let mut table = Table::new(["DUE", "DATA OF", "CHECK", "RESULT", "SUMMARY"]);
    for run in runs {
        let summary = match (run.past, run.attempt) {
            (true, _) => format!("{} (other date)", run.summary),
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
        let mut table = Table::new(["ALERT SINCE", "LASTED", "NUMBER", "CHECK", "DATA OF", "SEVERITY", "SUMMARY"]);
        for alert in alerts {
            let until = alert.ended.unwrap_or(now);
            let lasted = span(until.duration_since(alert.began).as_secs());
            let lasted = if alert.ended.is_some() { lasted } else { format!("{lasted}, ongoing") };
            let severity = if alert.kind == "error" { "not evaluated" } else { &alert.severity };
            let held = alert.held.as_ref().map(|held| format!(" (no alert of its own; {held})")).unwrap_or_default();
            let label = alert.label.map(|label| format!(" (labelled {})", label.name())).unwrap_or_default();
            let summary = format!("{}{held}{label}", alert.summary);
            let (since, date) = (local(alert.began, zone), alert.data_date.map(|date| date.to_string()));
            let date = date.unwrap_or_default();
            let (id, check) = (alert.id.to_string(), alert.check.clone());
            table.row(vec![since, lasted, id, check, date, severity.to_owned(), summary]);
        }
        text += &format!("\n{}", table.text());
    }
    if !undelivered.is_empty() {
        let mut table = Table::new(["NOT DELIVERED", "RECEIVER", "MESSAGE", "WHAT"]);
        for message in undelivered {
            let what = if message.waiting { "will be retried" } else { "given up" };
            let what = format!("{} ({what}: {})", message.title, message.problem);
            table.row(vec![local(message.created, zone), message.receiver.clone(), message.id.clone(), what]);
        }
        text += &format!("\n{}", table.text());
    }
    text
}
