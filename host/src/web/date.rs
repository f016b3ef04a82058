//! One data date of a check: its state, what people can do about it, and its runs. And the list of such dates on the page of
//! their check.

use std::collections::BTreeSet;

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use jiff::{Timestamp, civil::Date};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    Site,
    api::unknown,
    incidents::acknowledged,
    layout::{Frame, brief, link, moment},
    mark::{Mark, NOT_JUDGED},
    orders::{self, Place},
    runs::{self, LISTED, LISTED_BYTES},
};
use crate::{
    alert::{self, Day, Subject},
    check::Check,
    host::Host,
    record::{self, Included, PastRun, Record},
    recorder::{Expected, Seen, answered},
    text::{encoded, span},
};

/// How many days back a check's page lists dates that were never judged.
const BACK: i64 = 60;

/// The order whose answer is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ordered {
    order: Option<i64>,
}

impl Ordered {
    /// The query of a page; an invalid one asks for nothing.
    pub(super) fn of(query: Result<Query<Self>, QueryRejection>) -> Self {
        query.map(|Query(ordered)| ordered).unwrap_or_default()
    }

    /// What came of the order.
    pub(super) async fn answer(&self, record: &Record) -> anyhow::Result<Option<Result<String, String>>> {
        let Some(id) = self.order else { return Ok(None) };
        record.answer(id).await?.as_deref().map(answered).transpose()
    }
}

/// What came of an order, on the page that follows it.
pub(super) fn said(answer: Option<&Result<String, String>>) -> Markup {
    html! {
        @match answer {
            Some(Ok(done)) => { p.answer role="status" { (done) } },
            Some(Err(why)) => { p.answer.bad role="status" { "Refused: " (why) } },
            None => {}
        }
    }
}

pub(super) async fn page(
    State(site): State<Site>,
    Path((name, date)): Path<(String, String)>,
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
    let Ok(date) = date.parse::<Date>() else {
        return frame.problem(StatusCode::NOT_FOUND, &format!("`{date}` is not a date")).await;
    };
    let record = &host.recorder.record;
    let included = Included { report: true, calls: true, most: LISTED_BYTES };
    let read = async {
        let runs = record.runs_about(Some(&name), Some(date), LISTED, included).await?;
        anyhow::Ok((runs, Ordered::of(query).answer(record).await?))
    };
    match read.await {
        Ok((runs, answer)) => {
            let plugin = check.plugin().map(|ready| ready.plugin.file.name.clone());
            let title = format!("{name} {date}");
            let work = move |_: &Site, host: &Host| (title, content(host, &check, date, &runs, answer.as_ref()));
            frame.about(plugin.as_deref()).page(work).await
        }
        Err(error) => frame.problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

fn content(
    host: &Host,
    check: &Check,
    date: Date,
    past: &[PastRun],
    answer: Option<&Result<String, String>>,
) -> Markup {
    let now = record::now();
    let seen = host.recorder.board.of(&check.name).seen.clone();
    let day = seen.days.get(&Some(date));
    let missing = || seen.unjudged(check, &host.config, (now, date), &mut Expected::default()).contains(&date);
    html! {
        div.head {
            h1 { (link(&check.name)) " " (date) }
            @match day {
                Some(day) => (Mark::of(day, now).shown()),
                None => @if missing() { (NOT_JUDGED.shown()) },
            }
        }
        (said(answer))
        @if let Some(day) = day { (facts(host, day, now)) }
        @if seen.is_about_now(check) {
            p { "This check is about now, not about one date; its incident is on " (link(&check.name)) "." }
        } @else {
            h2 #orders { "What to do" }
            @let place = Place::Date(date);
            (orders::look_again(&check.name, place))
            @if day.is_some_and(Day::is_open) { (orders::acknowledge(&check.name, place)) }
            @if day.is_some_and(|day| day.is_open() || !day.state.is_over()) { (orders::give_up(&check.name, place)) }
        }
        h2 #runs { "Runs" }
        @if past.is_empty() { p { "No run about this date is recorded." } } @else { (runs::table(host, past)) }
    }
}

fn facts(host: &Host, day: &Day, now: Timestamp) -> Markup {
    let side = day.side();
    let given_up = day.incident.as_ref().and_then(|incident| incident.given_up.as_ref());
    html! {
        dl.facts {
            @if let Some(began) = side.began.filter(|_| day.is_open()) {
                dt { "Bad since" } dd { (moment(began, host)) ", " (span(now.duration_since(began).as_secs())) }
            }
            @if !side.summary.is_empty() { dt { "Last result" } dd { (brief(&side.summary)) } }
            @if let Some(late) = day.late { dt { "Late" } dd { "good " (span(late)) " after its data was expected" } }
            @if let Some(look) = day.look { dt { "Looked at again" } dd { (moment(look.at, host)) } }
            @if let Some(ack) = day.acknowledged(now).filter(|_| day.is_open()) { dt { "Known" } dd { (acknowledged(ack, host)) } }
            @if let Some(given_up) = given_up {
                dt { "Given up" }
                dd {
                    (moment(given_up.at, host))
                    @if let Some(who) = &given_up.who { " by " (who) } ": " (brief(&given_up.why))
                }
            }
        }
    }
}

/// The dates of a check that are not simply good, with what people can do about them.
pub(super) fn dates(host: &Host, check: &Check, seen: &Seen) -> Markup {
    let now = record::now();
    let back = now.to_zoned(host.config.timezone.rules()).date().saturating_sub(jiff::Span::new().days(BACK));
    let unjudged: BTreeSet<Date> =
        seen.unjudged(check, &host.config, (now, back), &mut Expected::default()).into_iter().collect();
    let mut listed: Vec<(Subject, Option<&Day>)> = seen
        .days
        .iter()
        .filter(|(subject, day)| **subject >= Some(back) || day.is_open() || subject.is_none())
        .filter(|(_, day)| day.late.is_some() || !matches!(day.state, alert::State::Good | alert::State::Skipped))
        .map(|(subject, day)| (*subject, Some(day)))
        .collect();
    listed.extend(
        unjudged.into_iter().filter(|date| !seen.days.contains_key(&Some(*date))).map(|date| (Some(date), None)),
    );
    listed.sort_by_key(|(subject, _)| std::cmp::Reverse(*subject));
    let open = seen.open().count();
    // What is shown is given up, whatever turns bad meanwhile.
    let one = seen.open().next().and_then(|(subject, _)| subject).map_or(Place::Open, Place::Date);
    let about_now = seen.is_about_now(check);
    html! {
        @if listed.is_empty() {
            p { @if about_now { "It is well." } @else { "All dates that were judged are good." } }
        } @else {
            div.scroll.dates tabindex="0" role="region" aria-label="Dates" {
                table {
                    thead { tr { th scope="col" { "Data of" } th scope="col" { "State" } th scope="col" { "Bad since" } th scope="col" { "Last result" } th scope="col" { "Looked at again" } } }
                    tbody { @for (subject, day) in listed { (line(host, check, subject, day, now)) } }
                }
            }
        }
        @if open > 0 {
            @if open > 1 { p { "For all " (open) " bad dates:" } }
            (orders::look_again(&check.name, Place::Open))
            (orders::acknowledge(&check.name, Place::Open))
            @if open == 1 { (orders::give_up(&check.name, one)) }
        }
    }
}

fn line(host: &Host, check: &Check, subject: Subject, day: Option<&Day>, now: Timestamp) -> Markup {
    let mark = day.map_or(NOT_JUDGED, |day| Mark::of(day, now));
    let incident = day.and_then(|day| day.incident.as_deref());
    let side = incident.map(|incident| &incident.side);
    html! {
        tr {
            td {
                @match subject {
                    Some(date) => { a href={ "/checks/" (encoded(&check.name)) "/dates/" (date) } { (date) } },
                    None => "now",
                }
            }
            td { (mark.shown()) }
            td { @if let Some(began) = side.filter(|_| day.is_some_and(Day::is_open)).and_then(|side| side.began) { (moment(began, host)) } }
            td {
                @if let Some(side) = side { (brief(&side.summary)) }
                @if let Some(ack) = day.filter(|day| day.is_open()).and_then(|day| day.acknowledged(now)) { p.facts { (acknowledged(ack, host)) } }
                @if let Some(given_up) = incident.and_then(|incident| incident.given_up.as_ref()) { p.facts { "given up" @if let Some(who) = &given_up.who { " by " (who) } ": " (brief(&given_up.why)) } }
                @if let Some(late) = day.and_then(|day| day.late) { p.facts { "good " (span(late)) " after its data was expected" } }
            }
            td { @if let Some(look) = day.and_then(|day| day.look) { (moment(look.at, host)) } }
        }
    }
}
