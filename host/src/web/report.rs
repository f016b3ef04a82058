//! The report of a time: what the alerts were worth, and what to fix first.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::{
    Site,
    layout::{Frame, alone, link},
};
use crate::{
    config::{Config, local},
    proof::{Figured, OfCheck, Report},
    record,
    text::{bytes, counted, span},
};

/// The picture's measures, in SVG units.
const ROW: usize = 22;
const NAMES: usize = 220;
const BARS: usize = 380;

pub(super) async fn page(State(site): State<Site>) -> Response {
    let frame = match Frame::new(&site).await {
        Ok(frame) => frame,
        Err(refused) => return refused.into_response(),
    };
    let host = frame.host().clone();
    let to = record::now();
    let length = SignedDuration::try_from(host.config.report.length().0).unwrap_or(SignedDuration::MAX);
    let from = to.checked_sub(length).unwrap_or(Timestamp::UNIX_EPOCH);
    match Report::make(&host.recorder.record, &host.config, &host.checks, (from, to), None).await {
        Ok(report) => frame.page(move |_, host| ("Report".to_owned(), content(&report, &host.config, &link))).await,
        Err(error) => frame.problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

/// A page that needs nothing else.
pub fn report_file(report: &Report, config: &Config) -> String {
    alone("Report", &content(report, config, &|name| html! { (name) }))
}

fn content(report: &Report, config: &Config, named: &dyn Fn(&str) -> Markup) -> Markup {
    let zone = config.timezone.rules();
    html! {
        h1 { "Report" }
        p.facts { (local(report.from, &zone)) " to " (local(report.to, &zone)) }
        ul {
            @for Figured { what, value, target, met } in report.figures() {
                li { (what) ": " b { (value) } " (target: " (target) @if met == Some(false) { ", missed" } ")" }
            }
            @if report.unlabelled() > 0 {
                li { (counted(report.unlabelled(), "alert is", "alerts are")) " not labelled. The page of a check has a form for each." }
            }
        }
        h2 { "Alerts" }
        (picture(&report.checks))
        (table(report, named))
        h2 { "Fix first" }
        @if report.mend.is_empty() { p { "Nothing stands out." } } @else {
            ol { @for mend in &report.mend { li { (named(&mend.check)) ": " (mend.why) } } }
        }
        @if !report.silences.is_empty() {
            h2 { "Silences that last" }
            ul { @for silence in &report.silences { li { (silence.checks.join(", ")) " since " (local(silence.began, &zone)) ": " (silence.why) } } }
        }
        @if !report.acknowledged.is_empty() {
            h2 { "Acknowledged for more than a week" }
            ul { @for date in &report.acknowledged { li { (named(&date.check)) @if let Some(day) = date.data_date { " " (day) } } } }
        }
        @if report.unread.is_none() { p { "`host report` also lists tables that no recorded run asked." } }
        @if let Some(unread) = &report.unread {
            h2 { "Tables that no recorded run asked" }
            p { @if unread.tables.is_empty() { "None." } @else { (unread.tables.join(", ")) } }
            @if let Some(doubt) = unread.doubt() { p { (doubt) "." } }
        }
    }
}

/// The kinds of alerts of a check, in the order of the picture: the class, the words and the count.
fn kinds(own: &OfCheck) -> [(&'static str, &'static str, usize); 4] {
    let open = own.alerts - own.real - own.not_real();
    [
        ("pass", "real", own.real),
        ("fail", "false or noise", own.falsely + own.noise),
        ("warn", "resolved by themselves", own.passing),
        ("skip", "not labelled", open),
    ]
}

/// A bar for each check with alerts: what they were.
fn picture(checks: &[OfCheck]) -> Markup {
    let rows: Vec<&OfCheck> = checks.iter().filter(|own| own.alerts > 0).collect();
    let most = rows.iter().map(|own| own.alerts).max().unwrap_or(1);
    let height = ROW * rows.len() + ROW;
    html! {
        @if rows.is_empty() { p { "There was no alert." } } @else {
            svg.report viewBox={ "0 0 " (NAMES + BARS + 40) " " (height) } role="img" aria-label="Alerts of each check by what they were" {
                @for (at, own) in rows.iter().enumerate() {
                    text x=(NAMES - 8) y=(at * ROW + 15) text-anchor="end" { (own.named()) }
                    @for (class, words, start, count) in bars(own) {
                        path class=(class) d={ "M" (NAMES + start * BARS / most) " " (at * ROW + 3) "h" (count * BARS / most) "v14h-" (count * BARS / most) "z" } { title { (count) " " (words) } }
                    }
                    text x=(NAMES + own.alerts * BARS / most + 6) y=(at * ROW + 15) { (own.alerts) }
                }
                @for (at, (class, words, _)) in rows.first().map(|own| kinds(own)).into_iter().flatten().enumerate() {
                    path class=(class) d={ "M" (NAMES + at * 110) " " (height - 15) "h10v10h-10z" } {}
                    text x=(NAMES + at * 110 + 14) y=(height - 6) { (words) }
                }
            }
        }
    }
}

/// The parts of a bar that are there: the class, the words, where it starts and how long it is, in alerts.
fn bars(own: &OfCheck) -> Vec<(&'static str, &'static str, usize, usize)> {
    let mut start = 0;
    let mut bars = Vec::new();
    for (class, words, count) in kinds(own) {
        if count > 0 {
            bars.push((class, words, start, count));
        }
        start += count;
    }
    bars
}

fn table(report: &Report, named: &dyn Fn(&str) -> Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="The checks" {
            table {
                thead { tr {
                    @for head in ["Check", "Runs", "Alerts", "Real", "False", "Noise", "Over by themselves", "Missed", "Never judged", "Slowest message", "Mutants", "Billed"] {
                        th scope="col" { (head) }
                    }
                } }
                tbody {
                    @for own in &report.checks {
                        tr {
                            td { @if own.gone { (own.named()) } @else { (named(&own.check)) } }
                            td { (own.runs) }
                            td { (own.alerts) }
                            td { (own.real) }
                            td { (own.falsely) }
                            td { (own.noise) }
                            td { (own.passing) }
                            td { (own.missed.len()) }
                            td { (own.unjudged.len()) }
                            td {
                                @if let Some(slowest) = own.slowest() { (span(slowest)) }
                                @if own.undelivered > 0 { " " (own.undelivered) " not delivered" }
                            }
                            td { @match own.score {
                                Some(score) => { (score.hits) " of " (score.of) }
                                None if own.never() => { "never failed" }
                                None => {}
                            } }
                            td { @if own.bytes > 0 { (bytes(own.bytes)) } }
                        }
                    }
                }
            }
        }
    }
}
