//! The first page: every check by its last data dates, and above them the open incidents, the oldest first.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, civil::Date};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;

use super::{
    Site,
    incidents::{self, incidents},
    layout::{Frame, class, link, plural, refreshed},
    mark::{LEGEND, Mark, NOT_JUDGED},
};
use crate::{
    check::{Check, Work},
    host::Host,
    recorder::{Expected, Recent, Seen},
    text::encoded,
};

/// How many dates are shown: the fewest, the default, and the most.
const DATES: [usize; 3] = [14, 30, 60];
/// The cells of a row that the tab key reaches. The page of its check lists all of its dates.
const TAB_STOPS: usize = 5;
/// The group of checks without one.
const NO_GROUP: &str = "other";

/// What is asked of the page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    /// How many dates.
    dates: String,
    /// `bad` shows only checks that are not well.
    show: String,
    /// Part of a name.
    name: String,
    /// The refresh interval, in seconds.
    refresh: Option<u32>,
}

/// A check and its dates.
struct Row<'h> {
    check: &'h Check,
    recent: Arc<Recent>,
    /// A mark for each date of the board; `None` where nothing is expected or known.
    marks: Vec<Option<Mark>>,
}

pub(super) async fn page(State(site): State<Site>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    // Ignore an invalid query.
    let wanted = wanted.map(|Query(wanted)| wanted).unwrap_or_default();
    let refresh = wanted.refresh;
    let frame = match Frame::new(&site).await {
        Ok(frame) => frame,
        Err(refused) => return refused.into_response(),
    };
    refreshed(frame.opened().page(move |_, host| content(host, &wanted)).await, refresh)
}

fn content(host: &Host, wanted: &Wanted) -> (String, Markup) {
    let now = crate::record::now();
    let dates = shown_dates(host, wanted, now);
    let groups = groups(host, &dates, now);
    let all: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
    let name = wanted.name.trim();
    let is_shown = |row: &Row<'_>| (wanted.show != "bad" || !row.is_well()) && row.check.name.contains(name);
    let open = incidents(host, now);
    let count: usize = open.iter().map(incidents::Open::count).sum();
    let title = match count {
        0 => "No open incidents".to_owned(),
        count => format!("{count} open {}", plural(count, "incident", "incidents")),
    };
    let unjudged = groups.iter().flat_map(|(_, rows)| rows).flat_map(|row| &row.marks);
    let unjudged = unjudged.filter(|mark| **mark == Some(NOT_JUDGED)).count();
    let groups: Vec<(&str, Vec<Row<'_>>)> = groups
        .into_iter()
        .map(|(group, rows)| (group, rows.into_iter().filter(is_shown).collect::<Vec<_>>()))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let shown: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
    let content = html! {
        h1 { (title) }
        (incidents::list(host, &open, now))
        h2 #board { "Dates" }
        form.filter method="get" action="/" role="search" {
            label { "Name " input type="search" name="name" value=(wanted.name) autocomplete="off"; }
            label { "Dates " select name="dates" {
                @for count in DATES { option value=(count) selected[count == dates.len()] { (count) } }
            } }
            label.choice { input type="checkbox" name="show" value="bad" checked[wanted.show == "bad"]; " Only problems" }
            button { "Show" }
        }
        p {
            @if shown < all { (shown) " of " (all) " " (plural(all, "check", "checks")) ". " a href="/" { "Show all" } ". " }
            @if unjudged > 0 { (unjudged) " expected " (plural(unjudged, "date is", "dates are")) " not judged. " }
            a href="/checks" { "The checks with their last results" }
        }
        @if shown > 0 { (grid(&groups, &dates)) (legend()) }
    };
    (title, content)
}

/// The dates of the board, the oldest first: up to the newest that a check has judged or will judge.
fn shown_dates(host: &Host, wanted: &Wanted, now: Timestamp) -> Vec<Date> {
    let [fewest, usual, most] = DATES;
    let count = wanted.dates.trim().parse().map_or(usual, |count: usize| count.clamp(fewest, most));
    let today = now.to_zoned(host.config.timezone.rules()).date();
    let judged = |check: &Arc<Check>| host.recorder.board.of(&check.name).seen.days.keys().copied().max().flatten();
    let newest = host.checks.iter().filter_map(judged).filter(|date| *date <= today).max();
    let newest = newest.into_iter().chain(today.yesterday().ok()).max().unwrap_or(today);
    let mut dates: Vec<Date> = std::iter::successors(Some(newest), |date| date.yesterday().ok()).take(count).collect();
    dates.reverse();
    dates
}

/// The checks by group, in the order of the pipeline: upstream first.
fn groups<'h>(host: &'h Host, dates: &[Date], now: Timestamp) -> Vec<(&'h str, Vec<Row<'h>>)> {
    let mut checks: Vec<(usize, &Check)> =
        host.checks.iter().map(|check| (depth(host, check), check.as_ref())).collect();
    checks.sort_by_key(|(depth, check)| (*depth, check.name.as_str()));
    let mut expected = Expected::default();
    let mut groups: Vec<(&str, Vec<Row<'_>>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, check) in checks {
        let group = check.family.as_ref().map_or(NO_GROUP, |family| family.group.as_str());
        let place = *places.entry(group).or_insert_with(|| {
            groups.push((group, Vec::new()));
            groups.len() - 1
        });
        if let Some((_, rows)) = groups.get_mut(place) {
            rows.push(Row::new(host, check, (dates, now), &mut expected));
        }
    }
    groups
}

/// How far down the pipeline a check is; who watches a gate stands beside it.
fn depth(host: &Host, check: &Check) -> usize {
    let of = match &check.work {
        Work::Consultation(gate) => gate,
        Work::Plugin(_) | Work::Unable(_) => &check.name,
    };
    host.config.dependencies.depth(of)
}

impl<'h> Row<'h> {
    fn new(host: &Host, check: &'h Check, when: (&[Date], Timestamp), expected: &mut Expected) -> Self {
        let recent = host.recorder.board.of(&check.name);
        let marks = marks(host, (check, &recent.seen), when, expected);
        Self { check, recent, marks }
    }

    /// The last result, in a word.
    fn last(&self) -> &'static str {
        self.recent.last.as_ref().map_or("not run yet", |last| last.status.name())
    }

    fn is_well(&self) -> bool {
        let good = self.marks.iter().flatten().all(|mark| !mark.needs_a_look());
        good && self.recent.seen.open().next().is_none() && matches!(class(self.last()), "pass" | "skip")
    }
}

fn marks(
    host: &Host,
    (check, seen): (&Check, &Seen),
    (dates, now): (&[Date], Timestamp),
    expected: &mut Expected,
) -> Vec<Option<Mark>> {
    let Some(first) = dates.first().filter(|_| !seen.is_about_now(check)) else { return Vec::new() };
    let known = |date: &Date| seen.days.get(&Some(*date)).map(|day| Mark::of(day, now));
    let mut marks: Vec<Option<Mark>> = dates.iter().map(known).collect();
    if marks.iter().any(Option::is_none) {
        let unjudged: BTreeSet<Date> =
            seen.unjudged(check, &host.config, (now, *first), expected).into_iter().collect();
        for (date, mark) in dates.iter().zip(&mut marks) {
            *mark = mark.or_else(|| unjudged.contains(date).then_some(NOT_JUDGED));
        }
    }
    marks
}

fn grid(groups: &[(&str, Vec<Row<'_>>)], dates: &[Date]) -> Markup {
    let named: Vec<String> = dates.iter().map(Date::to_string).collect();
    let mut months: Vec<(String, usize)> = Vec::new();
    for date in dates {
        let month = date.strftime("%Y-%m").to_string();
        match months.last_mut() {
            Some((last, count)) if *last == month => *count += 1,
            _ => months.push((month, 1)),
        }
    }
    html! {
        div.scroll.grid tabindex="0" role="region" aria-labelledby="board" {
            table {
                thead {
                    tr {
                        td {}
                        @for (month, count) in &months { th scope="colgroup" colspan=(count) { (month) } }
                        td {}
                    }
                    tr {
                        th scope="col" { "Check" }
                        @for date in dates { th scope="col" { i { (date.strftime("%Y-%m-").to_string()) } (date.strftime("%d").to_string()) } }
                        th scope="col" { "Last" }
                    }
                }
                @for (group, rows) in groups {
                    tbody {
                        @if groups.len() > 1 { tr { th.group scope="rowgroup" colspan=(dates.len() + 2) { span { (group) } } } }
                        @for row in rows { (line(row, &named)) }
                    }
                }
            }
        }
    }
}

fn line(row: &Row<'_>, dates: &[String]) -> Markup {
    let name = encoded(&row.check.name);
    let last = row.last();
    html! {
        tr {
            th scope="row" { (link(&row.check.name)) }
            @if row.marks.is_empty() { td.now colspan=(dates.len()) { "about now, not about one date" } }
            (PreEscaped(cells(row, dates, &name)))
            td class={ "last " (class(last)) } { i { (last) } }
        }
    }
}

/// The cells of a check, written without detours: there are thirty thousand of them on a large page. Names are encoded, and
/// all else is our own.
fn cells(row: &Row<'_>, dates: &[String], name: &str) -> String {
    let mut stops = row.marks.iter().flatten().filter(|mark| mark.needs_a_look()).count();
    let mut text = String::with_capacity(row.marks.len() * (90 + name.len()));
    for (date, mark) in dates.iter().zip(&row.marks) {
        let Some(mark) = mark else {
            text.push_str("<td></td>");
            continue;
        };
        let stop = mark.needs_a_look() && {
            stops -= 1;
            stops < TAB_STOPS
        };
        let reached = if stop { "" } else { " tabindex=\"-1\"" };
        let (class, word) = (mark.class, mark.word);
        text.push_str("<td class=\"");
        text.push_str(class);
        text.push_str("\"><a href=\"/checks/");
        text.push_str(name);
        text.push_str("/dates/");
        text.push_str(date);
        text.push('"');
        text.push_str(reached);
        text.push_str("><i>");
        text.push_str(word);
        text.push_str("</i></a></td>");
    }
    text
}

fn legend() -> Markup {
    html! {
        ul.legend aria-label="What the signs mean" {
            @for mark in LEGEND { li { span class={ "mark " (mark.class) } {} " " (mark.word) } }
        }
    }
}
