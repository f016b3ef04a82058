//! The results of a round: a table for people, JSON and JUnit for programs, from the same data.

use std::{collections::BTreeMap, fmt::Write};

use serde_json::{Value, json};

use super::{flags::CiFormat, table::Table};
use crate::{
    capability::Evidence,
    gate::Decision,
    record,
    round::Round,
    run::{Run, Status, dates, tally, verdict_name},
    text::printable,
};

/// Undelivered messages, by id.
pub(super) type Undelivered = BTreeMap<String, record::Undelivered>;

/// The whole round as text.
pub(super) fn render(round: &Round, undelivered: &Undelivered, code: u8, format: CiFormat) -> String {
    match format {
        CiFormat::Table => table(round),
        CiFormat::Json => format!("{:#}\n", json(round, undelivered, code)),
        CiFormat::Junit => junit(&round.runs),
    }
}

fn table(round: &Round) -> String {
    let first = round.runs.first().map(|run| run.data_date);
    // One date is in the footer.
    let several = round.runs.iter().any(|run| Some(run.data_date) != first);
    let row = |mut cells: Vec<String>, date: String| {
        if several {
            cells.insert(1, date);
        }
        cells
    };
    let header = ["CHECK", "RESULT", "SUMMARY"].map(str::to_owned).to_vec();
    let mut table = Table::new(row(header, "DATA OF".to_owned()));
    for run in &round.runs {
        let cells = vec![run.check.clone(), run.status().name().to_owned(), run.summary()];
        table.row(row(cells, run.data_date.to_string()));
    }
    format!("{}{}\n{}\n", table.text(), evidence(&round.runs), footer(&round.runs))
}

/// The rows that explain violations, after the table; empty if there are none.
fn evidence(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        for evidence in &run.evidence {
            text += &rows(&run.check, evidence);
        }
    }
    text
}

/// Rows of one metric, with the check's name.
pub(super) fn rows(check: &str, evidence: &Evidence) -> String {
    let one_line = |text: &str| printable(text).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = format!("\n{check}, {}\n", one_line(&evidence.title()));
    for line in evidence.lines() {
        let _ = writeln!(text, "  {}", one_line(&line));
    }
    text
}

/// `1 failed, 6 passed. Data of 2026-02-05.`
fn footer(runs: &[Run]) -> String {
    match runs.is_empty() {
        true => "No checks.".to_owned(),
        false => format!("{}. Data of {}.", tally(runs.iter()), dates(runs.iter())),
    }
}

fn json(round: &Round, undelivered: &Undelivered, code: u8) -> Value {
    let messages: Vec<Value> = round
        .messages
        .iter()
        .map(|(id, notification)| {
            let undelivered = undelivered.get(id);
            json!({
                "id": id,
                "channel": notification.channel,
                "title": notification.title,
                "delivered": undelivered.is_none(),
                "waiting": undelivered.is_some_and(|message| message.waiting),
                "problem": undelivered.map(|message| &message.problem),
            })
        })
        .collect();
    json!({
        "exit_code": code,
        "runs": round.runs.iter().map(run).collect::<Vec<_>>(),
        "notifications": messages,
        "unrecorded": round.unrecorded,
    })
}

fn run(run: &Run) -> Value {
    let report = run.report.as_ref();
    json!({
        "check": run.check,
        "plugin": run.plugin,
        "due": run.due,
        "data_date": run.data_date,
        "attempt": run.attempt,
        "again": run.again,
        "status": run.status(),
        "verdict": report.map(|report| verdict_name(&report.verdict)),
        "error": run.error,
        "summary": run.summary(),
        "metrics": report.map(|report| &report.metrics),
        "violations": report.map(|report| &report.violations),
        "unknown": report.map(|report| &report.unknown),
        "evidence": run.evidence,
        "gate": report.and_then(|report| report.gate.as_ref()).map(|_| Decision::new(run)),
        "seconds": run.duration.as_secs_f64(),
        "calls": run.calls,
        "log": run.log,
    })
}

/// The schema that CI systems read: <https://github.com/testmoapp/junitxml>. Warnings pass, with their text as output.
fn junit(runs: &[Run]) -> String {
    let count = |status: Status| runs.iter().filter(|run| run.status() == status).count();
    let total: f64 = runs.iter().map(|run| run.duration.as_secs_f64()).sum();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<testsuites>\n  <testsuite name=\"host\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{total:.3}\">",
        runs.len(),
        count(Status::Fail),
        count(Status::Error),
        count(Status::Skip),
    );
    for run in runs {
        let summary = xml(&run.summary());
        let _ = write!(
            text,
            "    <testcase classname=\"host\" name=\"{}\" time=\"{:.3}\">",
            xml(&run.check),
            run.duration.as_secs_f64()
        );
        let _ = match run.status() {
            Status::Pass | Status::Warn => write!(text, "<system-out>{summary}</system-out>"),
            Status::Skip => write!(text, "<skipped message=\"{summary}\"/>"),
            Status::Fail => write!(text, "<failure message=\"{summary}\"/>"),
            Status::Error => write!(text, "<error message=\"{summary}\"/>"),
        };
        text.push_str("</testcase>\n");
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// Escapes text and attributes, and replaces characters that XML does not allow.
pub(super) fn xml(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\n' | '\t' => " ".to_owned(),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => "\u{fffd}".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xml_holds_no_character_that_it_must_not() {
        assert_eq!(xml("a<b>&\"\u{0}\u{1b}[31m\n"), "a&lt;b&gt;&amp;&quot;\u{fffd}\u{fffd}[31m ");
    }
}
