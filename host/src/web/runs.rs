//! A table of runs, with their reports and host calls.

use maud::{Markup, html};

use super::layout::{brief, moment, status};
use crate::{
    capability::{Evidence, plain},
    host::Host,
    record::PastRun,
    text::printable,
};

/// Runs in the list.
pub(super) const LISTED: u32 = 50;
/// Bytes of their reports and calls that are read; the API has the rest.
pub(super) const LISTED_BYTES: usize = 1 << 20;
/// Characters of a report that are shown.
const REPORT: usize = 8000;

/// The table.
pub(super) fn table(host: &Host, runs: &[PastRun]) -> Markup {
    html! {
        @if runs.is_empty() { p { "No run is recorded yet." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Runs" {
                table {
                    thead { tr { th scope="col" { "Due" } th scope="col" { "Data of" } th scope="col" { "Result" } th scope="col" { "Summary" } th scope="col" { "Took" } } }
                    tbody { @for run in runs { (line(host, run)) } }
                }
            }
        }
    }
}

fn line(host: &Host, run: &PastRun) -> Markup {
    let report = run.report.as_ref().map(|report| pretty(report.get()));
    let calls = run.calls.as_ref().map(|calls| pretty(calls.get())).filter(|calls| calls != "[]");
    let evidence =
        run.evidence.as_ref().and_then(|evidence| serde_json::from_str::<Vec<Evidence>>(evidence.get()).ok());
    html! {
        tr {
            td { (moment(run.due, host)) @if run.attempt > 1 { " (attempt " (run.attempt) ")" } }
            td { (run.data_date) }
            td { @if run.left_out { (status("left out")) } @else { (status(&run.status)) } }
            td {
                (brief(&run.summary))
                @if run.past { " (other date)" }
                @if run.unread { " (report in the API)" }
                @for evidence in evidence.iter().flatten() { (rows(evidence)) }
                @if report.is_some() || calls.is_some() {
                    details {
                        summary { "Report" }
                        @if let Some(report) = &report { pre { (report) } }
                        @if let Some(calls) = &calls { p { "Host calls" } pre { (calls) } }
                        @if let Some(cut) = &run.cut { p { (cut) } }
                    }
                }
            }
            td { (took(run.seconds)) }
        }
    }
}

/// Rows that explain a violation.
fn rows(evidence: &Evidence) -> Markup {
    html! {
        details {
            summary { (brief(&printable(&evidence.title()))) }
            @if evidence.rows.is_empty() { @for line in evidence.lines() { p { (line) } } } @else {
                div.scroll tabindex="0" role="region" aria-label=(brief(&printable(&evidence.metric))) {
                    table {
                        thead { tr { @for column in &evidence.columns { th scope="col" { (printable(column)) } } } }
                        tbody {
                            @for row in &evidence.rows { tr { @for cell in row { td { (brief(&plain(cell))) } } } }
                        }
                    }
                }
            }
        }
    }
}

/// `8 ms`, `2.4 s`
fn took(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

/// JSON with line breaks, cut to a readable length.
fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = format!("{value:#}");
    match text.char_indices().nth(REPORT) {
        Some((end, _)) => format!("{}\n… the API has the rest", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
