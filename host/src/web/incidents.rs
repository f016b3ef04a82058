//! The open incidents of all checks: one entry a check, whatever the number of its dates, the oldest first.

use jiff::{Timestamp, civil::Date};
use maud::{Markup, html};

use super::{
    layout::{brief, link, moment, plural, status},
    mark::Mark,
    orders::{self, Place},
};
use crate::{
    alert::{Ack, Day, Subject, ranges},
    host::Host,
    recorder::Seen,
    text::{encoded, span},
};

/// Entries in the list.
const SHOWN: usize = 50;

/// What is open of one check.
pub(super) struct Open {
    check: String,
    /// When the oldest of it turned bad.
    began: Option<Timestamp>,
    /// The bad dates; empty for a check about now, and for one that cannot be evaluated.
    dates: Vec<Date>,
    /// The sign of the worst date; `None` if it cannot be evaluated.
    mark: Option<Mark>,
    summary: String,
    /// Why nobody was sent an alert of its own, if so.
    held: Option<String>,
    acknowledged: Vec<(Vec<Date>, Ack)>,
}

impl Open {
    /// How many incidents that is.
    pub(super) fn count(&self) -> usize {
        self.dates.len().max(1)
    }
}

/// The open incidents, the oldest first.
pub(super) fn incidents(host: &Host, now: Timestamp) -> Vec<Open> {
    let mut open: Vec<Open> = Vec::new();
    for check in &host.checks {
        let recent = host.recorder.board.of(&check.name);
        open.extend(bad(&check.name, &recent.seen, now));
        open.extend(unevaluated(&check.name, &recent.seen));
    }
    open.sort_by(|one, other| (one.began, &one.check).cmp(&(other.began, &other.check)));
    open
}

/// What is wrong with the data of a check.
fn bad(check: &str, seen: &Seen, now: Timestamp) -> Option<Open> {
    let days: Vec<(Subject, &Day)> = seen.open().collect();
    let (_, newest) = days.iter().max_by_key(|(subject, day)| (day.at, *subject))?;
    let (_, worst) = days.iter().max_by_key(|(_, day)| (day.acknowledged(now).is_none(), day.state))?;
    let mut acknowledged: Vec<(Vec<Date>, Ack)> = Vec::new();
    for (subject, ack) in days.iter().filter_map(|(subject, day)| Some((subject, day.acknowledged(now)?))) {
        let same = |(_, other): &&mut (Vec<Date>, Ack)| {
            (&other.who, &other.why, other.until) == (&ack.who, &ack.why, ack.until)
        };
        match acknowledged.iter_mut().find(same) {
            Some((dates, _)) => dates.extend(*subject),
            None => acknowledged.push((subject.iter().copied().collect(), ack.clone())),
        }
    }
    let side = newest.side();
    Some(Open {
        check: check.to_owned(),
        began: days.iter().filter_map(|(_, day)| day.side().began).min(),
        dates: days.iter().filter_map(|(subject, _)| *subject).collect(),
        mark: Some(Mark::of(worst, now)),
        summary: side.summary,
        held: side.held,
        acknowledged,
    })
}

/// Why a check cannot be evaluated.
fn unevaluated(check: &str, seen: &Seen) -> Option<Open> {
    let side = &seen.unevaluated.as_ref()?.side;
    Some(Open {
        check: check.to_owned(),
        began: side.began,
        dates: Vec::new(),
        mark: None,
        summary: side.summary.clone(),
        held: side.held.clone(),
        acknowledged: Vec::new(),
    })
}

/// The list; nothing without incidents.
pub(super) fn list(host: &Host, open: &[Open], now: Timestamp) -> Markup {
    html! {
        @if !open.is_empty() {
            h2 #incidents { "Open incidents" }
            ul.incidents { @for one in open.iter().take(SHOWN) { (entry(host, one, now)) } }
            @if open.len() > SHOWN {
                @let more = open.len() - SHOWN;
                p { "and " (more) " more " (plural(more, "check", "checks")) ", below" }
            }
        }
    }
}

fn entry(host: &Host, open: &Open, now: Timestamp) -> Markup {
    let name = encoded(&open.check);
    html! {
        li {
            @match open.mark { Some(mark) => (mark.shown()), None => (status("not evaluated")) } " "
            (link(&open.check)) " "
            @match open.dates.as_slice() {
                [] => {}
                [date] => { a href={ "/checks/" (name) "/dates/" (date) } { (date) } " " }
                dates => { a href={ "/checks/" (name) "#dates" } { (ranges(dates, &mut None)) } " " }
            }
            @if let Some(began) = open.began {
                "since " (moment(began, host)) " (" (span(now.duration_since(began).as_secs())) ")"
            }
            ": " (brief(&open.summary))
            @if let Some(held) = &open.held { " (no alert of its own; " (held) ")" }
            @for (dates, ack) in &open.acknowledged {
                p.facts {
                    @if !dates.is_empty() && dates.len() < open.dates.len() { (ranges(dates, &mut None)) " " }
                    (acknowledged(ack, host))
                }
            }
            @if open.mark.is_some() {
                details {
                    summary { "Look again, acknowledge" @if open.count() == 1 { ", give up" } span.hidden { ": " (open.check) } }
                    @let place = Place::of(&open.dates);
                    (orders::look_again(&open.check, place))
                    (orders::acknowledge(&open.check, place))
                    @if open.count() == 1 { (orders::give_up(&open.check, place)) }
                }
            }
        }
    }
}

/// `acknowledged by ana until …: the vendor reloads it`
pub(super) fn acknowledged(ack: &Ack, host: &Host) -> Markup {
    html! { "acknowledged by " (ack.who) " until " (moment(ack.until, host)) ": " (brief(&ack.why)) }
}
