//! What a check says of past dates, as a page of its own.

use jiff::{Timestamp, civil::Date};
use maud::{Markup, html};

use super::{
    chart::{Point, chart},
    layout::{alone, marks, moment},
};
use crate::{
    config::Config,
    contract::Report,
    host::Host,
    plugin::WarnLimits,
    proof::Caught,
    record::{Backtested, MutationScore},
    run::{Outcome, Status},
    text::shortened,
};

/// The maximum number of charts.
const CHARTS: usize = 60;
/// Missed mutants that are listed.
const MISSED: usize = 50;
/// Dates in a line.
const LINE: usize = 92;
/// Bytes of a text in a table.
const BRIEF: usize = 600;

/// What a check says of a date.
#[derive(Debug)]
pub struct Tried {
    /// The data date.
    pub date: Date,
    /// When the check was due for it.
    pub due: Timestamp,
    /// The worst status that applies.
    pub status: Status,
    /// Its report.
    pub report: Option<Report>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
}

impl Tried {
    /// From what is kept.
    fn kept(found: &Backtested) -> Option<Self> {
        let outcome: Outcome = serde_json::from_str(&found.outcome).ok()?;
        let (report, error) = (outcome.report(), outcome.error().map(str::to_owned));
        Some(Self { date: found.date, due: found.due, status: outcome.status(), report, error })
    }
}

/// A page that needs nothing else: the dates as a strip, charts of the metrics, what is not well, and the messages.
pub fn backtest(
    check: &str,
    config: &Config,
    days: &[Tried],
    (messages, words): (&[(Timestamp, String)], String),
) -> String {
    let range = days.first().zip(days.last());
    let content = html! {
                    h1 { (check) " on past dates" }
                    @if let Some((first, last)) = range { p.facts { "Data of " (first.date) " to " (last.date) } }
                    (strip(days))
                    h2 { "Metrics" }
                    (charts(config, check, days))
                    h2 { "Not well" }
                    (not_well(days))
                    h2 { "Messages" }
                    p { (words) "." }
                    ul { @for (due, title) in messages { li { (due) " " (title) } } }
    };
    alone(&format!("{check} on past dates"), &content)
}

/// What proves a check, on its page: its mutation score, and what it says of past dates. `digest` is that of the check as it is now.
pub(super) fn proof(
    host: &Host,
    check: &str,
    (score, digest): (Option<&MutationScore>, Option<&str>),
    tried: &[Backtested],
) -> Markup {
    let days: Vec<Tried> = tried.iter().filter_map(Tried::kept).collect();
    html! {
        @if score.is_some() || !days.is_empty() { h2 #proof { "Proof" } }
        @if let Some(score) = score { (mutants(host, score, digest == Some(score.tried.as_str()))) }
        @if let Some((first, last)) = days.first().zip(days.last()) {
            p { "What it says of the data of " (first.date) " to " (last.date) ", asked until " (moment(tried.iter().map(|one| one.asked).max().unwrap_or(last.due), host)) "." }
            (strip(&days))
            (not_well(&days))
            details { summary { "Its metrics on these dates" } (charts(&host.config, check, &days)) }
        }
    }
}

fn mutants(host: &Host, score: &MutationScore, is_current: bool) -> Markup {
    let all: Vec<crate::proof::Tried> = serde_json::from_str(&score.mutants).unwrap_or_default();
    let missed: Vec<_> = all.iter().filter(|one| one.result == Caught::Missed).collect();
    html! {
        p {
            "Of " (score.counted) " faults in a copy of the data of " (score.date) " it caught " b { (score.caught) }
            @if let Some(share) = score.share() { ", a mutation score of " (format!("{share:.2}")) } ". Tried at " (moment(score.at, host)) "."
            @if !is_current { " It had other settings or another version then." }
        }
        @if !missed.is_empty() {
            details {
                summary { "The " (missed.len()) " that it missed" }
                ul { @for one in missed.iter().take(MISSED) { li { (one.what) ": " (shortened(&one.why, BRIEF)) } } }
            }
        }
    }
}

/// A mark for each date, in lines of about three months.
pub(super) fn strip(days: &[Tried]) -> Markup {
    html! {
        @for some in days.chunks(LINE) {
            @let kinds: Vec<&str> = some.iter().map(|day| day.status.name()).collect();
            @if let Some((first, last)) = some.first().zip(some.last()) {
                p { (marks(&kinds, &format!("{} to {}", first.date, last.date))) " " (first.date) " to " (last.date) }
            }
        }
    }
}

/// A chart of each metric over the dates.
pub(super) fn charts(config: &Config, check: &str, days: &[Tried]) -> Markup {
    let zone = config.timezone.rules();
    let settings =
        config.checks.get(check).and_then(|own| serde_json::to_value(&own.settings).ok()).unwrap_or_default();
    let mut charted: Vec<(String, Vec<Point>)> = Vec::new();
    for day in days {
        for metric in day.report.iter().flat_map(|report| &report.metrics) {
            // At the beginning of its date, so that the axis is one of dates.
            let at = day.date.to_zoned(zone.clone()).map_or(day.due, |start| start.timestamp());
            let known = charted.iter().position(|(name, _)| *name == metric.name);
            let room = charted.len() < CHARTS;
            match known.and_then(|place| charted.get_mut(place)) {
                Some((_, points)) => points.push((at, metric.clone())),
                None if room => charted.push((metric.name.clone(), vec![(at, metric.clone())])),
                None => {}
            }
        }
    }
    html! {
        div.charts { @for (name, points) in &charted { (chart(name, points, WarnLimits::of(&settings, name), &zone)) } }
    }
}

fn not_well(days: &[Tried]) -> Markup {
    let wrong: Vec<&Tried> =
        days.iter().filter(|day| matches!(day.status, Status::Fail | Status::Warn | Status::Error)).collect();
    let what = |day: &Tried| {
        let violations = day.report.iter().flat_map(|report| &report.violations).map(|one| one.message.clone());
        shortened(&violations.chain(day.error.clone()).collect::<Vec<_>>().join("; "), BRIEF)
    };
    html! {
        @if wrong.is_empty() { p { "Each date passes or is skipped." } } @else {
            table {
                thead { tr { th { "Data of" } th { "Status" } th { "What" } } }
                tbody { @for day in wrong { tr { td { (day.date) } td { (day.status.name()) } td { (what(day)) } } } }
            }
        }
    }
}
