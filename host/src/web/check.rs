//! One check's page: its metrics over time, its runs, alerts and messages, its silences, and its runbook.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use maud::{Markup, PreEscaped, html};
use pulldown_cmark::{CowStr, Event, Parser, Tag, TagEnd};

use super::{
    Site,
    api::unknown,
    backtest::proof,
    chart::{Point, chart},
    date::{Ordered, dates, said},
    layout::{Frame, alert, brief, link, moment, since, status, strip},
    runs::{self, LISTED, LISTED_BYTES},
};
use crate::{
    check::{Check, Work},
    config::Config,
    contract::Metric,
    host::Host,
    plugin::WarnLimits,
    proof::Trial,
    record::{
        self, Backtested, Included, LONGEST_WHY, Label, MutationScore, PastAlert, PastMessage, PastRun, Silence,
        metrics,
    },
    text::encoded,
};

/// Runs in the charts.
const CHARTED: u32 = 200;
/// Bytes of reports read for the charts; with large reports, fewer runs are shown.
const CHARTED_BYTES: usize = 4 << 20;
/// The maximum number of charts.
const CHARTS: usize = 30;
/// Backtested dates that are shown.
const TRIED: u32 = 92;
/// Alerts and messages in the lists.
const TOLD: u32 = 20;

/// The record of one check.
struct Recorded {
    /// Due times and reports, the newest first.
    reports: Vec<(Timestamp, String)>,
    runs: Vec<PastRun>,
    alerts: Vec<PastAlert>,
    messages: Vec<PastMessage>,
    silences: Vec<Silence>,
    score: Option<MutationScore>,
    tried: Vec<Backtested>,
    /// The digest of the check as it is tried.
    digest: Option<String>,
    /// What came of the order that led here.
    answer: Option<Result<String, String>>,
}

pub(super) async fn page(
    State(site): State<Site>,
    Path(name): Path<String>,
    query: Result<Query<Ordered>, QueryRejection>,
) -> Response {
    let frame = match Frame::new(&site).await {
        Ok(frame) => frame,
        Err(refused) => return refused.into_response(),
    };
    let host = frame.host().clone();
    let Some(check) = host.check(&name).cloned() else {
        return frame.problem(StatusCode::NOT_FOUND, &unknown(&host, &name).error).await;
    };
    let plugin = check.plugin().map(|ready| ready.plugin.file.name.clone());
    match recorded(&host, &name, &Ordered::of(query)).await {
        Ok(recorded) => {
            frame.about(plugin.as_deref()).page(move |site, host| (name, content(site, host, &check, &recorded))).await
        }
        Err(error) => frame.problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

async fn recorded(host: &Host, name: &str, ordered: &Ordered) -> anyhow::Result<Recorded> {
    let mut silences = host.recorder.record.silences(Some(record::now())).await?;
    silences.retain(|silence| silence.checks.iter().any(|check| check == name));
    let included = Included { report: true, calls: true, most: LISTED_BYTES };
    let check = host.checks.iter().find(|check| check.name == name);
    let digest =
        check.and_then(|check| Trial::new(Arc::new(host.config.clone()), check).ok()).map(|trial| trial.digest());
    Ok(Recorded {
        reports: host.recorder.record.reports(name, CHARTED, CHARTED_BYTES).await?,
        runs: host.recorder.record.runs(Some(name), LISTED, included).await?,
        alerts: host.recorder.record.alerts(Some(name), TOLD).await?,
        messages: host.recorder.record.messages(Some(name), TOLD).await?,
        silences,
        score: host.recorder.record.scores(Some(name)).await?.pop(),
        tried: match &digest {
            Some(digest) => host.recorder.record.newest_backtests(name, digest, TRIED).await?,
            None => Vec::new(),
        },
        digest,
        answer: ordered.answer(&host.recorder.record).await?,
    })
}

fn content(site: &Site, host: &Host, check: &Check, recorded: &Recorded) -> Markup {
    let recent = host.recorder.board.of(&check.name);
    let result = recent.last.as_ref().map_or("not run yet", |last| last.status.name());
    html! {
        div.head { h1 { (check.name) } (status(result)) (strip(&recent)) }
        @if let Some(last) = &recent.last { p.summary { (brief(&last.summary)) } }
        p.facts {
            (since(&recent, host)) " · "
            @match site.service().next(&check.name) { Some(next) => { "next " (moment(next, host)) }, None => "never due" }
        }
        (facts(check))
        h2 #dates { "Dates" }
        (said(recorded.answer.as_ref()))
        (dates(host, check, &recent.seen))
        @if !recent.remarks.is_empty() {
            h2 #remarks { "Remarks" }
            p { "About the check itself, from its validation. Its runs are evaluated all the same." }
            ul { @for remark in &recent.remarks { li { (brief(remark)) } } }
        }
        (charts(host, check, &recorded.reports))
        (proof(host, &check.name, (recorded.score.as_ref(), recorded.digest.as_deref()), &recorded.tried))
        h2 #runs { "Runs" }
        (runs::table(host, &recorded.runs))
        h2 #alerts { "Alerts" }
        (alerts(host, &recorded.alerts))
        h2 #messages { "Messages" }
        (messages(host, &recorded.messages))
        h2 #silences { "Silences" }
        (silences(host, check, &recorded.silences))
        @if let Some(ready) = check.plugin() {
            h2 #runbook { "Runbook" }
            section.runbook aria-labelledby="runbook" { (runbook(&ready.plugin.descriptor.runbook, &host.config)) }
        }
    }
}

fn facts(check: &Check) -> Markup {
    html! {
        dl.facts {
            dt { "Schedule" } dd { code { (check.schedule) } " " (check.zone.name()) }
            dt { "Data of" } dd { (check.data_date.words()) }
            @if let Some(family) = &check.family { dt { "Channel" } dd { (family.channel) } }
            @match &check.work {
                Work::Plugin(ready) => {
                    dt { "About" } dd { (ready.plugin.descriptor.summary) }
                    dt { "Plugin" } dd { (ready.plugin.file.name) " " (ready.plugin.file.version) " " code.digest { (ready.plugin.file.digest) } }
                    dt { "Grants" } dd { (ready.grants) }
                    @if let Some(skip) = &ready.skip {
                        dt { "Skipped" }
                        dd {
                            @if let Some(why) = &skip.when.why { (why) ": " }
                            "if " code { (brief(&skip.when.sql)) }
                            @if let Some(known) = &skip.unless_known { ", once known by " code { (brief(&known.sql)) } }
                            @if skip.at_most.0.is_some() { ", for at most " (skip.at_most) }
                        }
                    }
                }
                Work::Consultation(gate) => { dt { "About" } dd { "Checks that somebody asked " (link(gate)) " about its date." } }
                Work::Unable(reason) => { dt { "Cannot run" } dd { (reason) } }
            }
        }
    }
}

/// A chart for each metric of the newest report with metrics, up to the maximum number.
fn charts(host: &Host, check: &Check, reports: &[(Timestamp, String)]) -> Markup {
    let zone = host.config.timezone.rules();
    let settings = check.plugin().and_then(|ready| serde_json::from_str(&ready.settings).ok()).unwrap_or_default();
    let looked_at: Vec<(Timestamp, Vec<Metric>)> = reports
        .iter()
        .map(|(due, report)| (*due, metrics(report)))
        .filter(|(_, metrics)| !metrics.is_empty())
        .collect();
    let all = looked_at.first().map_or(0, |(_, metrics)| metrics.len());
    let charted = points(looked_at);
    html! {
        @if !charted.is_empty() {
            h2 #metrics { "Metrics" }
            div.charts { @for (name, points) in &charted { (chart(name, points, WarnLimits::of(&settings, name), &zone)) } }
            @if all > charted.len() { p { "and " (all - charted.len()) " more metrics in the API" } }
        }
    }
}

/// The values of each charted metric, the oldest first: the metrics of the newest report, in its order. `reports` has
/// the newest first. Walks each report once, however many metrics it has.
fn points(reports: Vec<(Timestamp, Vec<Metric>)>) -> Vec<(String, Vec<Point>)> {
    let newest =
        reports.first().map(|(_, metrics)| metrics.iter().map(|metric| metric.name.clone())).into_iter().flatten();
    let mut charted: Vec<(String, Vec<Point>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for name in newest {
        if charted.len() == CHARTS {
            break;
        }
        places.entry(name).or_insert_with_key(|name| {
            charted.push((name.clone(), Vec::new()));
            charted.len() - 1
        });
    }
    for (due, metrics) in reports.into_iter().rev() {
        for metric in metrics {
            let points = places.get(&metric.name).and_then(|at| charted.get_mut(*at)).map(|(_, points)| points);
            // Of duplicate metrics in a report, the first counts.
            if let Some(points) = points.filter(|points| points.last().is_none_or(|(before, _)| *before != due)) {
                points.push((due, metric));
            }
        }
    }
    charted
}

fn alerts(host: &Host, alerts: &[PastAlert]) -> Markup {
    html! {
        @if alerts.is_empty() { p { "No alerts." } } @else {
            ul.alerts {
                @for entry in alerts { (alert(entry, false, host)) (label(entry)) }
            }
        }
    }
}

/// The form that says what an alert was, for `host tune` and `host report`.
fn label(alert: &PastAlert) -> Markup {
    html! {
        li {
            form.silence method="post" action={ "/alerts/" (alert.id) "/label" } {
                label {
                    "It was "
                    select name="label" required {
                        @for label in Label::ALL { option value=(label.name()) selected[alert.label == Some(label)] { (label.name()) } }
                    }
                }
                label { " because " input name="why" required maxlength=(LONGEST_WHY) autocomplete="off"; }
                button { "Label" span.hidden { " alert " (alert.id) } }
            }
        }
    }
}

fn messages(host: &Host, messages: &[PastMessage]) -> Markup {
    html! {
        @if messages.is_empty() { p { "No messages sent." } } @else {
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
        @if silences.is_empty() { p { "No silence is active. A silence holds back new messages; the check keeps running, and a recovery is still sent." } }
        form.silence method="post" action={ "/checks/" (name) "/silences" } {
            label { "Silence for " input name="for" value="4h" size="5" required autocomplete="off"; }
            label { " because " input name="why" required maxlength="200" autocomplete="off"; }
            button { "Silence" }
        }
    }
}

/// Renders a plugin's runbook from Markdown. It is untrusted text: no markup, no pictures, and only links to the web. Its
/// commands of the host name the configuration that is used.
fn runbook(text: &str, config: &Config) -> Markup {
    let (mut dropped, mut in_code) = (0usize, false);
    let events = Parser::new(text).filter_map(move |event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Some(Event::Text(text)),
        Event::Code(text) => Some(Event::Code(config.command(&text).into())),
        Event::Start(Tag::CodeBlock(_)) | Event::End(TagEnd::CodeBlock) => {
            in_code = !in_code;
            Some(event)
        }
        Event::Text(text) if in_code => Some(Event::Text(lines(&text, config).into())),
        // Its alternative text follows as text.
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { ref dest_url, .. }) if !is_web(dest_url) => {
            dropped += 1;
            None
        }
        Event::End(TagEnd::Link) if dropped > 0 => {
            dropped -= 1;
            None
        }
        // The page has its own headings above these.
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

fn lines(text: &str, config: &Config) -> String {
    text.split_inclusive('\n').map(|line| config.command(line)).collect()
}

fn is_web(url: &CowStr<'_>) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(name: String, value: f64) -> Metric {
        Metric { name, value: Some(value), min: None, max: None, below: None, unit: None }
    }

    /// Walks a report with many metrics once: looking up each metric in each report took minutes.
    #[test]
    fn many_metrics_of_many_runs_are_soon_charted() {
        let metrics = |run: i64| (0..13_000).map(|at| metric(format!("metric {at}"), run as f64)).collect();
        let at = |run: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(run);
        let reports = (0..20).rev().map(|run| (at(run), metrics(run))).collect();
        let started = std::time::Instant::now();
        let charted = points(reports);
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(charted.len(), CHARTS);
        let (name, points) = &charted[2];
        let values: Vec<Option<f64>> = points.iter().map(|(_, metric)| metric.value).collect();
        assert_eq!((name.as_str(), values), ("metric 2", (0..20).map(|run| Some(f64::from(run))).collect()));
    }

    #[test]
    fn a_metric_that_a_report_has_twice_is_what_it_has_first() {
        let twice = || vec![metric("a".to_owned(), 1.0), metric("a".to_owned(), 2.0), metric("b".to_owned(), 3.0)];
        let charted = points(vec![(Timestamp::UNIX_EPOCH, twice())]);
        let shown: Vec<(&str, Option<f64>)> =
            charted.iter().map(|(name, points)| (name.as_str(), points[0].1.value)).collect();
        assert_eq!(shown, [("a", Some(1.0)), ("b", Some(3.0))]);
    }

    #[test]
    fn a_runbook_brings_no_markup_of_its_own() {
        let shown = |text: &str| runbook(text, &Config::default()).into_string();
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
