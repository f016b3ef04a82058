//! Shared parts of all pages: the frame, the problems at the top, and the format of times, numbers and results.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use jiff::{Timestamp, tz::TimeZone};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Site, api::Refused, render::Turn};
use crate::{
    config::local,
    contract::Metric,
    host::Host,
    record::{self, PastAlert, Undelivered},
    recorder::{Dot, Recent},
    text::{encoded, number, shortened, span, turns},
};

/// The style sheet of all pages.
pub(super) const STYLE: &str = include_str!("style.css");
/// The shortest interval for loading a page again, in seconds.
const FASTEST: u32 = 20;
/// Problems of one kind that are shown at the top.
const SHOWN: usize = 10;
/// Bytes of a text that are shown in a list.
const BRIEF: usize = 600;
/// Metrics of a check in a list; broken ones come first.
const METRICS: usize = 20;
/// A run in a strip, in px: its width with the gap behind it, and its height.
const DOT: (usize, usize) = (7, 20);

/// The frame of every page, read before anything is rendered.
pub(super) struct Frame {
    turn: Turn,
    site: Site,
    host: Arc<Host>,
    undelivered: anyhow::Result<Vec<Undelivered>>,
    status: StatusCode,
    /// The plugin that the page is about, if any.
    about: Option<String>,
    /// Whether the problems of the host are expanded.
    open: bool,
}

impl Frame {
    /// For a page; an error response if there are too many requests.
    pub(super) async fn new(site: &Site) -> Result<Self, Refused> {
        let turn = site.turn().await?;
        let host = site.host();
        let undelivered = host.recorder.record.undelivered(record::now(), false).await;
        Ok(Self { turn, site: site.clone(), host, undelivered, status: StatusCode::OK, about: None, open: false })
    }

    /// The host shown.
    pub(super) fn host(&self) -> &Arc<Host> {
        &self.host
    }

    /// For a page about one plugin.
    pub(super) fn about(self, plugin: Option<&str>) -> Self {
        Self { about: plugin.map(str::to_owned), ..self }
    }

    /// For the first page, with the problems of the host expanded.
    pub(super) fn opened(self) -> Self {
        Self { open: true, ..self }
    }

    /// Renders a page on another thread; the title comes first.
    pub(super) async fn page(
        self,
        content: impl FnOnce(&Site, &Host) -> (String, Markup) + Send + 'static,
    ) -> Response {
        let Self { turn, site, host, undelivered, status, about, open } = self;
        let work = move || {
            let (title, content) = content(&site, &host);
            framed(&host, &title, &problems(&site, &host, undelivered, open), &content)
        };
        match turn.render(about.as_deref(), work).await {
            Ok(text) => (status, Html(text)).into_response(),
            Err(refused) => refused.into_response(),
        }
    }

    /// An error page.
    pub(super) async fn problem(self, status: StatusCode, text: &str) -> Response {
        let text = sentence(text);
        let content = move |_: &Site, _: &Host| {
            let content = html! {
                h1 { (text) }
                p { a href="/checks" { "All checks" } }
            };
            (text, content)
        };
        Self { status, ..self }.page(content).await
    }
}

/// An error page.
pub(super) async fn problem(site: &Site, status: StatusCode, text: &str) -> Response {
    match Frame::new(site).await {
        Ok(frame) => frame.problem(status, text).await,
        Err(refused) => refused.into_response(),
    }
}

/// The same page, loaded again at intervals if that is asked for.
pub(super) fn refreshed(mut page: Response, seconds: Option<u32>) -> Response {
    let value = seconds.and_then(|seconds| HeaderValue::from_str(&seconds.max(FASTEST).to_string()).ok());
    page.headers_mut().extend(value.map(|value| (header::REFRESH, value)));
    page
}

/// A page that needs nothing else, for a file.
pub(super) fn alone(title: &str, content: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body { main { (content) } }
        }
    };
    page.into_string()
}

/// Capitalizes the first letter.
fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

fn framed(host: &Host, title: &str, problems: &Markup, content: &Markup) -> String {
    let text = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · host" }
                link rel="stylesheet" href="/style.css";
                link rel="icon" href="/icon.svg" type="image/svg+xml";
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    nav aria-label="Pages" {
                        a.home href="/" { "host" }
                        a href="/" { "Board" }
                        a href="/checks" { "Checks" }
                        a href="/gates" { "Gates" }
                        a href="/report" { "Report" }
                        @if host.recorder.record.member().is_some() { a href="/fleet" { "Hosts" } }
                        a href="/metrics" { "Metrics" }
                        a href="/api/v1/openapi.json" { "API" }
                    }
                }
                main #content tabindex="-1" {
                    (problems)
                    (content)
                }
                footer {
                    p { "host " (env!("CARGO_PKG_VERSION")) ". Times are in " (host.config.timezone.name()) ", " (moment(record::now(), host)) "." }
                }
            }
        }
    };
    // Our own markup has no such characters.
    let misleads = |c: char| turns(c) || (c.is_control() && c != '\n');
    let text = text.into_string();
    // All links of pages begin at the root of the host; behind a proxy that is below the path of `web.url`. Quotes in texts
    // are escaped, so only attributes match.
    let text = match host.config.web.prefix().as_str() {
        "" => text,
        prefix => {
            let below = |attribute: &str| (format!("{attribute}=\"/"), format!("{attribute}=\"{prefix}/"));
            [below("href"), below("action")].iter().fold(text, |text, (root, below)| text.replace(root, below))
        }
    };
    if text.contains(misleads) { text.replace(misleads, "\u{fffd}") } else { text }
}

/// The problems of the host itself, on every page.
fn problems(site: &Site, host: &Host, undelivered: anyhow::Result<Vec<Undelivered>>, open: bool) -> Markup {
    let refused = site.service().refused();
    let unable: Vec<(&str, &str)> =
        host.checks.iter().filter_map(|check| Some((check.name.as_str(), check.unable()?))).collect();
    let invalid: Vec<(&str, Arc<Recent>)> = host
        .checks
        .iter()
        .map(|check| (check.name.as_str(), host.recorder.board.of(&check.name)))
        .filter(|(_, recent)| !recent.invalid.is_empty())
        .collect();
    html! {
        @if !site.service().is_alive() {
            (problem_box("Checks are not being scheduled", open, html! {
                p { "The scheduler loop is stuck. Restart the host, and look at its log." }
            }))
        }
        @if !host.recorder.record.takes_part() {
            (problem_box("This host takes no part", open, html! {
                p { "The hosts of its record run another configuration, and do what is due. " a href="/fleet" { "The hosts" } " lists them." }
            }))
        }
        @if !site.service().keeps_up() {
            (problem_box("The record does not answer", open, html! {
                p { "This host runs and sends nothing until it does; the log says why. What is shown here is as of before." }
            }))
        } @else if !host.recorder.writes() {
            (problem_box("Results cannot be recorded", open, html! {
                p { "They are tried again for a while, and nothing of them is told before; the log says why." }
            }))
        }
        @if let Some(refused) = refused {
            (problem_box("The configuration on disk was rejected", open, html! {
                p { "The previous configuration is still running. Read at " (moment(refused.at, host)) ":" }
                pre { (refused.reason) }
            }))
        }
        @match &undelivered {
            Ok(messages) if messages.is_empty() => {}
            Ok(messages) => (problem_box(
                &format!("{} {} not delivered", messages.len(), plural(messages.len(), "message was", "messages were")),
                open,
                html! {
                    ul {
                        @for message in messages.iter().rev().take(SHOWN) {
                            li {
                                (moment(message.created, host)) " to " b { (message.receiver) } ": " (message.title) " — "
                                @if message.waiting { "retrying" } @else { "given up" } ": " (message.problem)
                            }
                        }
                    }
                    (more(messages.len()))
                },
            )),
            Err(error) => (problem_box("The record cannot be read", open, html! { p { (format!("{error:#}")) } })),
        }
        @if !unable.is_empty() {
            (problem_box(&format!("{} {} cannot run", unable.len(), plural(unable.len(), "check", "checks")), open, html! {
                ul { @for (name, reason) in unable.iter().take(SHOWN) { li { (link(name)) ": " (brief(reason)) } } }
                (more(unable.len()))
            }))
        }
        @if !invalid.is_empty() {
            (problem_box(&format!("{} {} cannot be trusted", invalid.len(), plural(invalid.len(), "check", "checks")), open, html! {
                ul { @for (name, recent) in invalid.iter().take(SHOWN) { li { (link(name)) ": " (brief(&recent.invalid.join("; "))) } } }
                (more(invalid.len()))
            }))
        }
    }
}

fn problem_box(title: &str, open: bool, content: Markup) -> Markup {
    html! { details.problem open[open] { summary { h2 { (title) } } (content) } }
}

/// A text, cut for a list.
pub(super) fn brief(text: &str) -> String {
    shortened(text, BRIEF)
}

fn more(count: usize) -> Markup {
    html! { @if count > SHOWN { p { "and " (count - SHOWN) " more" } } }
}

pub(super) fn plural(count: usize, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}

/// A check's name, as a link to its page.
pub(super) fn link(check: &str) -> Markup {
    html! { a href={ "/checks/" (encoded(check)) } { (check) } }
}

/// An entry in a list of alerts, with or without its check.
pub(super) fn alert(alert: &PastAlert, named: bool, host: &Host) -> Markup {
    let word = if alert.kind == "error" { "not evaluated" } else { alert.severity.as_str() };
    let until = alert.ended.unwrap_or_else(crate::record::now);
    html! {
        li class=(class(word)) {
            (status(word)) " "
            @if named { (link(&alert.check)) ", " }
            @if let Some(date) = alert.data_date { "data of " (date) ", " }
            (moment(alert.began, host)) ", "
            @if alert.ended.is_some() { "lasted " } @else { "ongoing for " }
            (span(until.duration_since(alert.began).as_secs())) ": " (brief(&alert.summary))
            @if let Some(held) = &alert.held { " (no alert of its own; " (held) ")" }
            @if let Some(label) = alert.label {
                " " b { "labelled " (label.name()) } @if let Some(why) = &alert.label_why { ": " (brief(why)) }
            }
        }
    }
}

/// A moment in the pipeline's time zone.
pub(super) fn moment(at: Timestamp, host: &Host) -> Markup {
    in_zone(at, &host.config.timezone.rules())
}

fn in_zone(at: Timestamp, zone: &TimeZone) -> Markup {
    html! { time datetime=(format!("{at:.0}")) { (local(at, zone)) } }
}

/// A status as a word with a color and a shape.
pub(super) fn status(status: &str) -> Markup {
    html! { span class={ "status " (class(status)) } { (status) } }
}

/// The CSS class of a result; `none` for other words.
pub(super) fn class(status: &str) -> &'static str {
    match status {
        "pass" | "PROCEED" => "pass",
        "warn" | "PROCEED_WITH_WARNING" | "warning" => "warn",
        "fail" | "FAIL" | "critical" => "fail",
        "error" | "NOT_EVALUATED" | "not evaluated" => "error",
        "skip" => "skip",
        _ => "none",
    }
}

/// Since when a check has had its status.
pub(super) fn since(recent: &Recent, host: &Host) -> Markup {
    html! {
        @match (recent.since, recent.dots.front(), &recent.last) {
            (Some(since), ..) => { "since " (moment(since, host)) ", " (span(record::now().duration_since(since).as_secs())) },
            (None, Some(oldest), Some(_)) => { "since before " (moment(oldest.due, host)) },
            _ => "not run yet",
        }
    }
}

/// The latest runs as a row of marks, the newest on the right: one path for each kind of result.
pub(super) fn strip(recent: &Recent) -> Markup {
    let kind = |dot: &Dot| if dot.left_out { "none" } else { class(dot.status.name()) };
    let kinds: Vec<&str> = recent.dots.iter().map(kind).collect();
    marks(&kinds, &format!("The last {} runs, the newest on the right", kinds.len()))
}

/// A mark for each result, the oldest first.
pub(super) fn marks(results: &[&str], label: &str) -> Markup {
    let kinds = ["pass", "warn", "fail", "error", "skip", "none"];
    let path = |wanted: &str| {
        let places = results.iter().enumerate().filter(|(_, kind)| **kind == wanted);
        let mark = |at: usize| match wanted {
            // Worse results are taller, so that they are visible without color too.
            "pass" => format!("M{} 12h5v8h-5z", at * DOT.0),
            "skip" => format!("M{} 17h5v3h-5z", at * DOT.0),
            "none" => format!("M{} 19h5v1h-5z", at * DOT.0),
            "warn" => format!("M{} 6h5v14h-5z", at * DOT.0),
            _ => format!("M{} 0h5v20h-5z", at * DOT.0),
        };
        places.map(|(at, _)| mark(at)).collect::<String>()
    };
    let counted: Vec<String> = kinds
        .iter()
        .map(|wanted| (wanted, results.iter().filter(|kind| *kind == wanted).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(wanted, count)| format!("{count} {}", if *wanted == "none" { "left out" } else { wanted }))
        .collect();
    let label = format!("{label}: {}", counted.join(", "));
    html! {
        @if !results.is_empty() {
            svg.strip role="img" aria-label=(label) width=(results.len() * DOT.0) height=(DOT.1) viewBox={ "0 0 " (results.len() * DOT.0) " " (DOT.1) } {
                @for kind in kinds {
                    @let path = path(kind);
                    @if !path.is_empty() { path class=(kind) d=(path) {} }
                }
            }
        }
    }
}

/// The first metrics with their thresholds; broken ones take precedence. `summary` has the digits and the limit of each
/// violation: also of one that only warns, and of a whole number that is too large for a metric.
pub(super) fn metrics(metrics: &[Metric], summary: &str) -> Markup {
    let mut shown: Vec<&Metric> = metrics.iter().collect();
    if shown.len() > METRICS {
        shown.sort_by_key(|metric| !metric.is_broken());
        shown.truncate(METRICS);
    }
    let left_out = metrics.len() - shown.len();
    html! {
        @if !metrics.is_empty() {
            ul.metrics {
                @for metric in shown {
                    @let said = said(summary, &metric.name);
                    li class=[metric.is_broken().then_some("bad")] {
                        span.name { (brief(&metric.name)) } " "
                        @match (&said, metric.value) {
                            (Some(said), _) => b { (said.value) },
                            (None, Some(value)) => b { (number(value)) (unit(metric)) },
                            (None, None) => b { "none" (unit(metric)) },
                        }
                        @match &said {
                            Some(said) if said.warns => {
                                @for asked in asked(metric) { " " span.asked { (asked) } }
                                " " span.asked { "warns " (said.side) " " (said.limit) }
                            }
                            Some(said) => { " " span.asked { (said.holds()) " " (said.limit) } }
                            None => { @for asked in asked(metric) { " " span.asked { (asked) } } }
                        }
                        @if metric.is_broken() { span.hidden { " (broken)" } }
                    }
                }
                @if left_out > 0 { li { "and " (left_out) " more" } }
            }
        }
    }
}

/// The value and the limit of a violation, with the digits that its message has.
struct Said<'s> {
    value: &'s str,
    limit: &'s str,
    /// `below` or `above` the limit, or `at` one that it must be below.
    side: &'static str,
    /// Whether it only warns.
    warns: bool,
}

impl Said<'_> {
    /// The sign that the limit asks for.
    fn holds(&self) -> &'static str {
        match self.side {
            "below" => "≥",
            "above" => "≤",
            _ => "<",
        }
    }
}

/// What a summary says of a metric: `orders is below its minimum: 3 < 10`.
fn said<'s>(summary: &'s str, metric: &str) -> Option<Said<'s>> {
    let signs =
        [(" is below its ", "below", " < "), (" is above its ", "above", " > "), (" is not below its ", "at", " ≥ ")];
    summary.split("; ").find_map(|message| {
        let words = message.strip_prefix(metric)?;
        let (words, side, sign) =
            signs.into_iter().find_map(|(verb, side, sign)| Some((words.strip_prefix(verb)?, side, sign)))?;
        let (of, pair) = words.split_once(": ")?;
        let (value, limit) = pair.split_once(sign)?;
        // What a change was compared with follows in parentheses.
        let limit = limit.split(" (").next().unwrap_or(limit);
        Some(Said { value, limit, side, warns: of.starts_with("warning ") })
    })
}

pub(super) fn unit(metric: &Metric) -> String {
    metric.unit.as_ref().map(|unit| format!(" {unit}")).unwrap_or_default()
}

/// `≥ 40`
pub(super) fn asked(metric: &Metric) -> Vec<String> {
    [("≥", metric.min), ("≤", metric.max), ("<", metric.below)]
        .into_iter()
        .filter_map(|(sign, limit)| Some(format!("{sign} {}", number(limit?))))
        .collect()
}
