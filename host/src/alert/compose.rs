//! Composes messages from notices: one message a channel for a batch of runs.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    Level, Notification, Told,
    policy::Say,
    spoken::{About, Notice, alerts},
};
use crate::{
    check::Family,
    contract::slack::Alert,
    run::{Run, Status, dates, tally},
};

/// The messages for the notices, at most one a channel. `runs` are the runs of the batch, and `zone` is the pipeline's.
/// `page` is the address of the host's page, if it has one.
pub fn compose(notices: &[Notice<'_>], runs: &[Run], zone: &TimeZone, page: Option<&str>) -> Vec<Notification> {
    let mut channels: BTreeMap<&str, Vec<&Notice<'_>>> = BTreeMap::new();
    for notice in notices {
        channels.entry(&notice.channel).or_default().push(notice);
    }
    let made = channels.into_iter().map(|(channel, notices)| Notification {
        page: page.map(str::to_owned),
        ..notification(channel, &notices, runs, zone)
    });
    made.collect()
}

fn notification(channel: &str, notices: &[&Notice<'_>], runs: &[Run], zone: &TimeZone) -> Notification {
    let level = notices.iter().filter_map(|notice| level(notice)).max();
    let mut made = Notification { channel: channel.to_owned(), level, ..Notification::default() };
    for notice in notices {
        let check = notice.news.check().to_owned();
        match (&notice.say, notice.about) {
            (Say::Recovered { lasted }, about) => {
                let (ending, lasted) = (Ending::of(notice), span(*lasted));
                let words = ending.words();
                let text = match (about, notice.news.run()) {
                    (_, None) => format!("{words} after {lasted}"),
                    (About::Evaluation, Some(run)) => format!("{words}, after {lasted}: {}", run.status().name()),
                    (About::Data, Some(run)) if ending == Ending::Moved => {
                        format!("{words}, after {lasted}: {}", run.summary())
                    }
                    (About::Data, Some(run)) => format!("{words} after {lasted}: {}", run.summary()),
                };
                made.recoveries.push((check, text));
            }
            (say, About::Evaluation) => {
                let note = note(say, notice.news.due(), zone);
                made.errors.extend(notice.reasons.iter().map(|reason| (check.clone(), reason.clone())));
                made.errors.extend(note.map(|note| (check, note)));
            }
            (say, About::Data) => {
                let alerts = relevant(notice, channel);
                let last = alerts.len().saturating_sub(1);
                for (at, alert) in alerts.into_iter().enumerate() {
                    // List dependent checks once, under the last alert.
                    let downstream = if at == last { notice.downstream.clone() } else { Vec::new() };
                    made.alerts.push(Told {
                        check: check.clone(),
                        alert,
                        note: note(say, notice.news.due(), zone),
                        downstream,
                    });
                }
            }
        }
    }
    // The worst first.
    made.alerts.sort_by_key(|told| Reverse(Level::from(told.alert.severity)));
    made.title = title(notices, runs);
    made.footer = footer(notices, runs);
    made
}

/// The alerts for a channel: those posted to it; if there are none, those routed to it by severity.
fn relevant(notice: &Notice<'_>, channel: &str) -> Vec<Alert> {
    let Some(run) = notice.news.run() else { return Vec::new() };
    let all = alerts(run);
    let own: Vec<Alert> = all.iter().filter(|alert| alert.channel == channel).cloned().collect();
    if own.is_empty() { all.into_owned() } else { own }
}

/// The change since the previous message.
fn note(say: &Say, at: Timestamp, zone: &TimeZone) -> Option<String> {
    match say {
        Say::Began | Say::Recovered { .. } => None,
        Say::Changed { before, new } => {
            let was = before.map(|level| format!("Previously {}.", level.name()));
            let new = (!new.is_empty()).then(|| format!("New: {}.", new.join(", ")));
            let parts: Vec<String> = was.into_iter().chain(new).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        }
        Say::Reminder { since } => {
            let lasted = span(at.duration_since(*since).as_secs());
            Some(format!("Ongoing for {lasted}, since {}.", since.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z")))
        }
        Say::Flapping { changes, window } => Some(format!(
            "Flapping: {changes} changes within {}. No further alerts until it has been stable for {}.",
            span(*window),
            span(window / 2)
        )),
    }
}

/// The title: the result of each family of checks, the worst first.
fn title(notices: &[&Notice<'_>], runs: &[Run]) -> String {
    let mut families: BTreeMap<Option<&Family>, Vec<&Notice<'_>>> = BTreeMap::new();
    for notice in notices {
        families.entry(notice.news.family()).or_default().push(notice);
    }
    let mut titles: Vec<(Reverse<Option<Level>>, String)> = families
        .into_iter()
        .map(|(family, notices)| {
            let runs: Vec<&Run> = runs.iter().filter(|run| run.family.as_ref() == family).collect();
            let worst = notices.iter().filter_map(|notice| level(notice)).max();
            let flaps = notices.iter().any(|notice| matches!(notice.say, Say::Flapping { .. }));
            let flapping = if flaps { " (flapping)" } else { "" };
            (Reverse(worst), family_title(family, &notices, &runs) + flapping)
        })
        .collect();
    titles.sort();
    let said = titles.into_iter().map(|(_, title)| title).collect::<Vec<_>>().join("; ");
    match notices.iter().all(|notice| matches!(notice.say, Say::Reminder { .. })) {
        true => format!("Reminder: {said}"),
        false => said,
    }
}

fn family_title(family: Option<&Family>, notices: &[&Notice<'_>], runs: &[&Run]) -> String {
    // Only a validation, no runs.
    if runs.is_empty() {
        let names: BTreeSet<&str> = notices.iter().map(|notice| notice.news.check()).collect();
        return format!("Validation: {}", names.into_iter().collect::<Vec<_>>().join(", "));
    }
    let tally = || format!("{}: {}", family.map_or("plugins", |family| &family.group), tally(runs.iter().copied()));
    let bad: Vec<&&Notice<'_>> = notices.iter().filter(|notice| !recovered(notice)).collect();
    match (bad.as_slice(), runs) {
        ([], _) => {
            // The list of names that follows its verb comes last.
            let parts = [Ending::Recovered, Ending::Evaluable, Ending::Moved].into_iter().filter_map(|ending| {
                let ended = notices.iter().filter(|notice| Ending::of(notice) == ending);
                ending.title(&ended.map(|notice| notice.news.check()).collect::<Vec<_>>())
            });
            parts.collect::<Vec<_>>().join(", ")
        }
        ([only], [run]) if only.about == About::Evaluation && run.error.is_none() => {
            format!("{} cannot be trusted", run.check)
        }
        ([only], [run]) if only.about == About::Evaluation => format!("{} could not be evaluated", run.check),
        ([only], [_]) => match relevant(only, &only.channel).as_slice() {
            [alert] => alert.title.clone(),
            _ => tally(),
        },
        _ => tally(),
    }
}

/// The level of a notice; `None` for good news.
fn level(notice: &Notice<'_>) -> Option<Level> {
    match notice.about {
        _ if recovered(notice) => None,
        About::Data => relevant(notice, &notice.channel).iter().map(|alert| Level::from(alert.severity)).max(),
        About::Evaluation => Some(Level::Warning),
    }
}

/// How an alert ended for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Recovered,
    /// The check can be evaluated again.
    Evaluable,
    /// The check still fails or warns, but its alert now belongs to other channels.
    Moved,
}

impl Ending {
    fn of(notice: &Notice<'_>) -> Self {
        match (notice.about, notice.news.run().map(Run::status)) {
            (About::Evaluation, _) => Self::Evaluable,
            (About::Data, Some(Status::Fail | Status::Warn)) => Self::Moved,
            (About::Data, _) => Self::Recovered,
        }
    }

    /// The words after a check's name.
    fn words(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Evaluable => "can be evaluated again",
            Self::Moved => "no longer concerns this channel",
        }
    }

    /// `a, b recovered`; `None` without checks.
    fn title(self, checks: &[&str]) -> Option<String> {
        match (self, checks) {
            (_, []) => None,
            (Self::Moved, [_, _, ..]) => Some(format!("no longer concern this channel: {}", checks.join(", "))),
            _ => Some(format!("{} {}", checks.join(", "), self.words())),
        }
    }
}

fn recovered(notice: &Notice<'_>) -> bool {
    matches!(notice.say, Say::Recovered { .. })
}

/// `Data of 2026-02-05. Passed: phase1-scrapers, …`
fn footer(notices: &[&Notice<'_>], runs: &[Run]) -> String {
    let families: Vec<Option<&Family>> = notices.iter().map(|notice| notice.news.family()).collect();
    let concerned = || runs.iter().filter(|run| families.contains(&run.family.as_ref()));
    if runs.is_empty() {
        return "This is about the check, its grants or its tables, not about one date's data; `host validate` shows \
                the details."
            .to_owned();
    }
    let mut parts = vec![format!("Data of {}.", dates(concerned()))];
    for (status, word) in [(Status::Pass, "Passed"), (Status::Skip, "Skipped")] {
        let said = |run: &&Run| notices.iter().any(|notice| notice.news.check() == run.check);
        let names: Vec<&str> =
            concerned().filter(|run| run.status() == status && !said(run)).map(|run| run.check.as_str()).collect();
        if !names.is_empty() {
            parts.push(format!("{word}: {}.", names.join(", ")));
        }
    }
    parts.join(" ")
}

/// A duration in at most two units: `3 h 30 min`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = match (days, hours, minutes) {
        (0, 0, 0) => vec![(seconds, "s")],
        (0, 0, minutes) => vec![(minutes, "min")],
        (0, hours, minutes) => vec![(hours, "h"), (minutes, "min")],
        (1, hours, _) => vec![(1, "day"), (hours, "h")],
        (days, hours, _) => vec![(days, "days"), (hours, "h")],
    };
    let shown = parts.iter().enumerate().filter(|(at, (number, _))| *at == 0 || *number > 0);
    shown.map(|(_, (number, unit))| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
}
