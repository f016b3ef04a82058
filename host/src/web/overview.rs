//! The list of checks with their last results, the worst first.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Site,
    layout::{Frame, alert, brief, class, link, metrics, moment, plural, refreshed, since, status, strip},
};
use crate::{check::Check, host::Host, record::PastAlert, recorder::Recent};

/// Open alerts in the list.
const ALERTS: u32 = 50;

/// The filter and refresh of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// `bad` shows only checks that do not pass.
    show: String,
    /// Part of a name.
    name: String,
    /// The refresh interval, in seconds.
    refresh: Option<u32>,
}

/// The results, from worst to best.
const ORDER: [(&str, &str); 6] = [
    ("fail", "failed"),
    ("error", "not evaluated"),
    ("warn", "warned"),
    ("none", "not run yet"),
    ("pass", "passed"),
    ("skip", "skipped"),
];

pub(super) async fn page(State(site): State<Site>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    // Ignore an invalid query.
    let wanted = wanted.map(|Query(wanted)| wanted).unwrap_or_default();
    let refresh = wanted.refresh;
    let frame = match Frame::new(&site).await {
        Ok(frame) => frame,
        Err(refused) => return refused.into_response(),
    };
    let answer = match frame.host().recorder.record.open_alerts(ALERTS + 1).await {
        Ok(alerts) => frame.opened().page(move |site, host| content(site, host, &wanted, &alerts)).await,
        Err(error) => frame.problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    };
    refreshed(answer, refresh)
}

fn content(site: &Site, host: &Host, wanted: &Wanted, alerts: &[PastAlert]) -> (String, Markup) {
    let mut all: Vec<(usize, &Check, Arc<Recent>)> = host
        .checks
        .iter()
        .map(|check| {
            let recent = host.recorder.board.of(&check.name);
            let result = recent.last.as_ref().map_or("none", |last| class(last.status.name()));
            let rank = ORDER.iter().position(|(name, _)| *name == result).unwrap_or_default();
            (rank, check.as_ref(), recent)
        })
        .collect();
    all.sort_by_key(|(rank, ..)| *rank);
    let counted: Vec<String> = ORDER
        .iter()
        .enumerate()
        .map(|(at, (_, word))| (all.iter().filter(|(rank, ..)| *rank == at).count(), word))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let title = if counted.is_empty() { "No checks".to_owned() } else { counted.join(", ") };
    let bad = |rank: usize| rank < 3;
    let shown: Vec<&(usize, &Check, Arc<Recent>)> = all
        .iter()
        .filter(|(rank, check, _)| (wanted.show != "bad" || bad(*rank)) && check.name.contains(wanted.name.trim()))
        .collect();
    let content = html! {
        h1 { (title) }
        form.filter method="get" action="/checks" role="search" {
            label { "Name " input type="search" name="name" value=(wanted.name) autocomplete="off"; }
            label.choice { input type="checkbox" name="show" value="bad" checked[wanted.show == "bad"]; " Only problems" }
            button { "Show" }
        }
        @if shown.is_empty() && !all.is_empty() { p { "No check matches. " a href="/checks" { "Show all" } } }
        @if shown.len() < all.len() && !shown.is_empty() {
            p { (shown.len()) " of " (all.len()) " " (plural(all.len(), "check", "checks")) ". " a href="/checks" { "Show all" } }
        }
        @if !alerts.is_empty() {
            h2 #alerts { "Open alerts" }
            ul.alerts { @for entry in alerts.iter().take(ALERTS as usize) { (alert(entry, true, host)) } }
            @if alerts.len() > ALERTS as usize { p { "More of them are in the API." } }
            h2 { "Checks" }
        }
        ul.checks { @for (_, check, recent) in shown { (line(site, host, check, recent)) } }
    };
    (title, content)
}

fn line(site: &Site, host: &Host, check: &Check, recent: &Recent) -> Markup {
    let result = recent.last.as_ref().map_or("not run yet", |last| last.status.name());
    html! {
        li class={ "check " (class(result)) } {
            div.head { h2 { (link(&check.name)) } (status(result)) (strip(recent)) }
            @if let Some(last) = &recent.last { p.summary { (brief(&last.summary)) } (metrics(&last.metrics, &last.summary)) }
            p.facts {
                (since(recent, host)) " · "
                @match site.service().next(&check.name) { Some(next) => { "next " (moment(next, host)) }, None => "never due" }
                @if let Some(last) = &recent.last { " · data of " (last.data_date) }
                @if let Some(ready) = check.plugin() { " · " (ready.plugin.file.name) " " (ready.plugin.file.version) }
            }
            @if let Some(remark) = recent.remarks.first() {
                p.facts { "Remark: " (brief(remark)) @if recent.remarks.len() > 1 { " (and " (recent.remarks.len() - 1) " more)" } }
            }
        }
    }
}
