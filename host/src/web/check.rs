//! One check's page: its metrics over time, its runs, alerts and messages, its silences, and its runbook.

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CowStr, Event, Parser, Tag, TagEnd};

use super::{
    Site,
    chart::{Point, chart},
    layout::{class, link, moment, page as framed, problem, since, status, strip},
};
use crate::{
    alert::span,
    check::{Check, Work},
    config::nearest,
    host::Host,
    record::{Past, PastAlert, PastMessage, Silence},
    text::encoded,
};

/// Runs that the charts show.
const CHARTED: u32 = 200;
/// Runs that are listed.
const LISTED: usize = 50;
/// Alerts and messages that are listed.
const TOLD: u32 = 20;
/// What is shown of a report, in characters.
const REPORT: usize = 8000;

/// What the record has of one check.
struct Recorded {
    runs: Vec<Past>,
    alerts: Vec<PastAlert>,
    messages: Vec<PastMessage>,
    silences: Vec<Silence>,
}

pub(super) async fn page(State(site): State<Site>, Path(name): Path<String>) -> Response {
    let host = site.host();
    let Some(check) = host.check(&name) else {
        let names: Vec<&str> = host.checks.iter().map(|check| check.name.as_str()).collect();
        let text = format!("There is no check {name}{}", nearest(&name, names));
        return problem(&site, StatusCode::NOT_FOUND, &text).await;
    };
    match recorded(&host, &name).await {
        Ok(recorded) => framed(&site, StatusCode::OK, &name, content(&site, &host, check, &recorded)).await,
        Err(error) => problem(&site, StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

async fn recorded(host: &Host, name: &str) -> anyhow::Result<Recorded> {
    let mut silences = host.recorder.record.silences(Some(Timestamp::now())).await?;
    silences.retain(|silence| silence.checks.iter().any(|check| check == name));
    Ok(Recorded {
        runs: host.recorder.record.runs(Some(name), CHARTED).await?,
        alerts: host.recorder.record.alerts(Some(name), TOLD).await?,
        messages: host.recorder.record.messages(Some(name), TOLD).await?,
        silences,
    })
}

fn content(site: &Site, host: &Host, check: &Check, recorded: &Recorded) -> Markup {
    let recent = host.recorder.board.of(&check.name);
    let result = recent.last.as_ref().map_or("not run yet", |last| last.status.name());
    html! {
        div.head { h1 { (check.name) } (status(result)) (strip(&recent)) }
        @if let Some(last) = &recent.last { p.summary { (last.summary) } }
        p.facts {
            (since(&recent, host)) " · "
            @match site.service().next(&check.name) { Some(next) => { "next " (moment(next, host)) }, None => "never due" }
        }
        (facts(check))
        (charts(host, &recorded.runs))
        h2 #runs { "Runs" }
        (runs(host, &recorded.runs))
        h2 #alerts { "Alerts" }
        (alerts(host, &recorded.alerts))
        h2 #messages { "Messages" }
        (messages(host, &recorded.messages))
        h2 #silences { "Silences" }
        (silences(host, check, &recorded.silences))
        @if let Some(ready) = check.plugin() {
            h2 #runbook { "Runbook" }
            section.runbook aria-labelledby="runbook" { (runbook(&ready.plugin.descriptor.runbook)) }
        }
    }
}

fn facts(check: &Check) -> Markup {
    html! {
        dl.facts {
            dt { "Schedule" } dd { code { (check.schedule) } " " (check.zone.name()) }
            @if let Some(family) = &check.family { dt { "Channel" } dd { (family.channel) } }
            @match &check.work {
                Work::Plugin(ready) => {
                    dt { "Checks" } dd { (ready.plugin.descriptor.summary) }
                    dt { "Plugin" } dd { (ready.plugin.file.name) " " (ready.plugin.file.version) " " code.digest { (ready.plugin.file.digest) } }
                    dt { "May" } dd { (ready.grants) }
                }
                Work::Consultation(gate) => { dt { "Checks" } dd { "Somebody asked " (link(gate)) " about the day before." } }
                Work::Unable(reason) => { dt { "Cannot run" } dd { (reason) } }
            }
        }
    }
}

/// A chart for each metric that the newest report with metrics has.
fn charts(host: &Host, runs: &[Past]) -> Markup {
    let zone = host.config.timezone.rules();
    let reports: Vec<_> = runs.iter().rev().filter(|run| !run.replay).map(|run| (run.due, run.metrics())).collect();
    let names: Vec<String> = reports
        .iter()
        .rev()
        .find(|(_, metrics)| !metrics.is_empty())
        .map(|(_, metrics)| metrics.iter().map(|metric| metric.name.clone()).collect())
        .unwrap_or_default();
    let points = |name: &str| -> Vec<Point> {
        let of = |(due, metrics): &(Timestamp, Vec<crate::contract::Metric>)| {
            metrics.iter().find(|metric| metric.name == name).map(|metric| (*due, metric.clone()))
        };
        reports.iter().filter_map(of).collect()
    };
    html! {
        @if !names.is_empty() {
            h2 #metrics { "Metrics" }
            div.charts { @for name in &names { (chart(name, &points(name), &zone)) } }
        }
    }
}

fn runs(host: &Host, runs: &[Past]) -> Markup {
    html! {
        @if runs.is_empty() { p { "No run is recorded yet." } } @else {
            div.scroll tabindex="0" role="region" aria-label="Runs" {
                table {
                    thead { tr { th scope="col" { "Due" } th scope="col" { "Data of" } th scope="col" { "Result" } th scope="col" { "Summary" } th scope="col" { "Took" } } }
                    tbody { @for run in runs.iter().take(LISTED) { (line(host, run)) } }
                }
            }
        }
    }
}

fn line(host: &Host, run: &Past) -> Markup {
    let report = run.report.as_ref().map(|report| pretty(report.get()));
    let calls = run.calls.as_ref().map(|calls| pretty(calls.get())).filter(|calls| calls != "[]");
    html! {
        tr {
            td { (moment(run.due, host)) @if run.attempt > 1 { " (attempt " (run.attempt) ")" } }
            td { (run.data_date) }
            td { @if run.left_out { (status("left out")) } @else { (status(&run.status)) } }
            td {
                (run.summary)
                @if run.replay { " (asked as of then)" }
                @if report.is_some() || calls.is_some() {
                    details {
                        summary { "Report" }
                        @if let Some(report) = &report { pre { (report) } }
                        @if let Some(calls) = &calls { p { "Host calls" } pre { (calls) } }
                    }
                }
            }
            td { (took(run.seconds)) }
        }
    }
}

/// `8 ms`, `2.4 s`
fn took(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1000.0) } else { format!("{seconds:.1} s") }
}

/// JSON with line breaks, as much as anybody reads.
fn pretty(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let text = format!("{value:#}");
    match text.char_indices().nth(REPORT) {
        Some((end, _)) => format!("{}\n… the API has it whole", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn alerts(host: &Host, alerts: &[PastAlert]) -> Markup {
    html! {
        @if alerts.is_empty() { p { "There was none." } } @else {
            ul.alerts {
                @for alert in alerts {
                    @let word = if alert.kind == "error" { "not evaluated" } else { alert.severity.as_str() };
                    @let until = alert.ended.unwrap_or_else(Timestamp::now);
                    li class=(class(word)) {
                        (status(word)) " " (moment(alert.began, host)) ", "
                        @if alert.ended.is_some() { "lasted " } @else { "goes on for " }
                        (span(until.duration_since(alert.began).as_secs())) ": " (alert.summary)
                        @if let Some(held) = &alert.held { " (nobody was told: " (held) ")" }
                    }
                }
            }
        }
    }
}

fn messages(host: &Host, messages: &[PastMessage]) -> Markup {
    html! {
        @if messages.is_empty() { p { "Nothing was sent of it." } } @else {
            ul.messages {
                @for message in messages {
                    li {
                        (moment(message.created, host)) " to " b { (message.receiver) } ": " (message.title) " "
                        span class=(if message.state == "delivered" { "receipt" } else { "receipt bad" }) {
                            (message.state.replace('_', " "))
                            @for receipt in &message.receipts { ", " (moment(receipt.at, host)) " " (receipt.answer) }
                        }
                    }
                }
            }
        }
    }
}

fn silences(host: &Host, check: &Check, silences: &[Silence]) -> Markup {
    let name = encoded(&check.name);
    html! {
        @for silence in silences {
            form.silence method="post" action={ "/silences/" (silence.id) "/end" } {
                input type="hidden" name="check" value=(check.name);
                "Until " (moment(silence.ends, host)) ": " (silence.why) " "
                button { "End silence " (silence.id) }
            }
        }
        @if silences.is_empty() { p { "None holds. A silence holds back new messages; the check runs on, and a recovery is told." } }
        form.silence method="post" action={ "/checks/" (name) "/silences" } {
            label { "Silence for " input name="for" value="4h" size="5" required autocomplete="off"; }
            label { " because " input name="why" required maxlength="200" autocomplete="off"; }
            button { "Silence" }
        }
    }
}

/// A plugin's runbook, from Markdown. It is a plugin's text: it brings no markup, no pictures, and links to the web only.
fn runbook(text: &str) -> Markup {
    let mut dropped = 0usize;
    let events = Parser::new(text).filter_map(move |event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        // Its alternative text is what follows.
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { ref dest_url, .. }) if !is_web(dest_url) => {
            dropped += 1;
            None
        }
        Event::End(TagEnd::Link) if dropped > 0 => {
            dropped -= 1;
            None
        }
        // The page has headings of its own above these.
        Event::Start(Tag::Heading { .. }) => Some(Event::Start(Tag::Heading {
            level: pulldown_cmark::HeadingLevel::H3,
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        })),
        Event::End(TagEnd::Heading(_)) => Some(Event::End(TagEnd::Heading(pulldown_cmark::HeadingLevel::H3))),
        event => Some(event),
    });
    let mut shown = String::new();
    pulldown_cmark::html::push_html(&mut shown, events);
    PreEscaped(shown)
}

fn is_web(url: &CowStr<'_>) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runbook_brings_no_markup_of_its_own() {
        let shown = |text: &str| runbook(text).into_string();
        assert_eq!(shown("# A\n\n**b** `c`"), "<h3>A</h3>\n<p><strong>b</strong> <code>c</code></p>\n");
        assert!(!shown("<script>alert(1)</script>").contains("<script"));
        assert!(!shown("a <img src=x onerror=alert(1)> b").contains("<img"));
        assert_eq!(shown("![a picture](https://evil.example/x.png)"), "<p>a picture</p>\n");
        assert_eq!(shown("[x](javascript:alert(1))"), "<p>x</p>\n");
        assert_eq!(
            shown("[x](data:text/html,y) [z](https://a.example)"),
            "<p>x <a href=\"https://a.example\">z</a></p>\n"
        );
    }
}
