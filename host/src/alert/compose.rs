//! Composes messages from notices: one message a channel for a batch of runs.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    Level, Notification, Told,
    dates::{DateNews, ranges},
    decide::Decided,
    mentioned::Mentioned,
    say::Say,
    spoken::{About, Notice, alerts},
    unsaid::tally,
};
use crate::{
    check::Family,
    config::local,
    contract::slack::{Alert, Severity},
    run::{Run, Status},
    text::{shortened, span},
};

/// The most bytes of what a run found, for the preview.
const FOUND: usize = 1000;

/// The messages for the notices of a decision, at most one a channel. `runs` are the runs of the batch, and `zone` is the pipeline's.
/// `page` is the address of the host's page, if it has one.
pub fn compose(decided: &Decided<'_>, runs: &[Run], zone: &TimeZone, page: Option<&str>) -> Vec<Notification> {
    let mut channels: BTreeMap<&str, Vec<&Notice<'_>>> = BTreeMap::new();
    for notice in &decided.notices {
        channels.entry(&notice.channel).or_default().push(notice);
    }
    let made = channels.into_iter().map(|(channel, notices)| Notification {
        page: page.map(str::to_owned),
        ..notification(channel, &notices, runs, (decided, zone))
    });
    made.collect()
}

fn notification(
    channel: &str,
    notices: &[&Notice<'_>],
    runs: &[Run],
    (decided, zone): (&Decided<'_>, &TimeZone),
) -> Notification {
    let level = notices.iter().filter_map(|notice| level(notice)).max();
    let mut made = Notification { channel: channel.to_owned(), level, ..Notification::default() };
    for notice in notices {
        let check = notice.news.check().to_owned();
        let state = match (&notice.say, notice.about) {
            (Say::Held { root, why }, _) => {
                let found = found(notice);
                let text = format!("{found}; it depends on {root}, which is not well either and is silenced ({why})");
                made.held.push((check, text));
                found
            }
            (Say::Below { root, at }, _) => {
                let found = found(notice);
                let at = local(*at, zone);
                made.below.push((check, format!("{found}; it depends on {root}, which was reported at {at}")));
                found
            }
            (Say::Moved { .. } | Say::GivenUp { .. } | Say::Recovered { .. }, _) => {
                let still = notice.downstream.iter().map(|(below, found)| {
                    (below.clone(), format!("not well, and depends on {check}, which has recovered: {found}"))
                });
                made.moved.extend(still);
                let ending = Ending::of(notice);
                let list = if ending.is_well() { &mut made.recoveries } else { &mut made.moved };
                let ended = ended(notice, ending);
                list.push((check, ended.clone()));
                ended
            }
            (_, About::Evaluation) => {
                let note = note(notice, zone);
                made.errors.extend(notice.reasons.iter().map(|reason| (check.clone(), reason.clone())));
                made.errors.extend(note.map(|note| (check, note)));
                format!("could not be evaluated: {}", notice.reasons.join("; "))
            }
            (_, About::Data) => {
                let alerts = relevant(notice, channel);
                let last = alerts.len().saturating_sub(1);
                let found = shortened(&found(notice), FOUND);
                for (at, alert) in alerts.into_iter().enumerate() {
                    // List dependent checks once, under the last alert.
                    let downstream = if at == last { notice.downstream.clone() } else { Vec::new() };
                    let (check, found, note) = (check.clone(), found.clone(), noted(notice, zone));
                    made.alerts.push(Told { check, alert, found, note, downstream });
                }
                match notice.dates.sentence(fails(notice.state.0, 1), notice.news.due()) {
                    Some(dates) => format!("{dates}: {found}"),
                    None => found,
                }
            }
        };
        made.incidents.extend(mentioned(notice, &state, zone));
    }
    if !made.moved.is_empty() {
        made.level = made.level.max(Some(Level::Info));
    }
    // The worst first.
    made.alerts.sort_by_key(|told| Reverse(Level::from(told.alert.severity)));
    made.reminder = notices.iter().all(|notice| matches!(notice.say, Say::Reminder { .. }));
    made.title = title(channel, notices, runs, decided);
    if made.reminder {
        made.title = format!("Reminder: {}", made.title);
    }
    made.footer = footer(notices, runs);
    made
}

/// The incidents that a notice is about, and how they stand.
fn mentioned(notice: &Notice<'_>, state: &str, zone: &TimeZone) -> impl Iterator<Item = Mentioned> {
    let at = local(notice.news.due(), zone);
    let over = format!("{state} ({at})");
    notice.incidents.iter().map(move |one| {
        let state = if one.stage.is_over() { &over } else { state };
        Mentioned { state: state.to_owned(), ..one.clone() }
    })
}

/// What the main date of a notice was found to be, in one line.
fn found(notice: &Notice<'_>) -> String {
    notice.run().map_or_else(|| notice.state.1.clone(), Run::summary)
}

/// The alerts for a channel: those posted to it; if there are none, those routed to it by severity. A date that was not
/// judged now has one by the host.
fn relevant(notice: &Notice<'_>, channel: &str) -> Vec<Alert> {
    if notice.news.run().is_none() {
        return Vec::new();
    }
    let Some(run) = notice.run() else { return remembered(notice).into_iter().collect() };
    let all = alerts(run);
    let own: Vec<Alert> = all.iter().filter(|alert| alert.channel == channel).cloned().collect();
    if own.is_empty() { all.into_owned() } else { own }
}

/// An alert about dates that were not judged now: what was found when they last were.
fn remembered(notice: &Notice<'_>) -> Option<Alert> {
    let (level, summary) = &notice.state;
    let severity = match (*level)? {
        Level::Critical => Severity::Critical,
        Level::Warning => Severity::Warning,
        Level::Info => Severity::Info,
    };
    Some(Alert {
        channel: notice.channel.clone(),
        severity,
        title: "When last judged".to_owned(),
        summary: summary.clone(),
        sections: Vec::new(),
        steps: Vec::new(),
    })
}

/// `2026-02-04 to 02-05 fail`
fn standing(notice: &Notice<'_>) -> String {
    let DateNews { new, changed, still, .. } = &notice.dates;
    let dates: Vec<Date> = [new, changed, still].into_iter().flatten().copied().collect();
    match dates.as_slice() {
        [] => fails(notice.state.0, 1).to_owned(),
        dates => format!("{} {}", ranges(dates, &mut None), fails(notice.state.0, dates.len())),
    }
}

/// `fails`, `fail`, `warns`, `warn`
fn fails(level: Option<Level>, dates: usize) -> &'static str {
    match (level, dates) {
        (Some(Level::Critical), 1) => "fails",
        (Some(Level::Critical), _) => "fail",
        (_, 1) => "warns",
        _ => "warn",
    }
}

/// How an alert ended for this channel, in words that follow the check's name.
fn ended(notice: &Notice<'_>, ending: Ending) -> String {
    let about = match notice.about {
        About::Data => found(notice),
        About::Evaluation => notice.reasons.join("; "),
    };
    // Which dates it is about, and which are still bad.
    let dates = (!notice.dates.plain && !notice.dates.ended.is_empty()).then(|| ranges(&notice.dates.ended, &mut None));
    let still = match notice.dates.open.as_slice() {
        [] => String::new(),
        open => format!("; {} {} still not good", ranges(open, &mut None), if open.len() == 1 { "is" } else { "are" }),
    };
    match &notice.say {
        Say::Moved { before, now, to } => {
            let still = match (notice.about, ending, now) {
                (About::Evaluation, ..) => "still cannot be evaluated".to_owned(),
                (About::Data, Ending::Eased, _) => {
                    let before = before.map_or("so severe", Level::name);
                    let now = if *now == Some(Level::Warning) { "warns" } else { "is not well" };
                    format!("no longer {before}, but it still {now}")
                }
                (About::Data, _, now) => {
                    let dates = if notice.dates.plain { &[][..] } else { &notice.dates.new };
                    let of = if dates.is_empty() { String::new() } else { format!("{} ", ranges(dates, &mut None)) };
                    format!("{of}still {}", fails(*now, dates.len().max(1)))
                }
            };
            format!("{still}; further alerts go to {}: {about}", to.join(", "))
        }
        Say::GivenUp { lasted, why } => {
            let dates = dates.unwrap_or_else(|| notice.news.data_date().to_string());
            // One that was never judged did not last.
            let lasted = if *lasted > 0 { format!(" after {}", span(*lasted)) } else { String::new() };
            format!("{dates} given up{lasted}: {why}{still}")
        }
        Say::Recovered { lasted } => {
            let lasted = span(*lasted);
            match (notice.about, notice.run()) {
                (About::Data, run) if dates.is_some() => {
                    let (many, dates) = (notice.dates.ended.len() > 1, dates.unwrap_or_default());
                    let are = if many { "are good again, one of them" } else { "is good again" };
                    let found = run.map(|run| format!(": {}", run.summary())).unwrap_or_default();
                    format!("{dates} {are} after {lasted}{found}{still}")
                }
                (About::Data, Some(run)) if is_empty(run) => {
                    format!("recovered after {lasted}, with no rows left to check: {}", run.summary())
                }
                (About::Data, Some(run)) => format!("recovered after {lasted}: {}{still}", run.summary()),
                (About::Data, None) => format!("recovered after {lasted}"),
                (About::Evaluation, Some(run)) => {
                    format!("can be evaluated again, after {lasted}: {}{still}", run.status().name())
                }
                (About::Evaluation, None) => format!("can be evaluated again after {lasted}"),
            }
        }
        _ => String::new(),
    }
}

/// Whether a check of a table found no rows, in which nothing is wrong.
fn is_empty(run: &Run) -> bool {
    let metrics = run.report.iter().flat_map(|report| &report.metrics);
    metrics.into_iter().any(|metric| metric.name == "row_count" && metric.value == Some(0.0))
}

/// The change since the previous message, and the failing check that this one depends on.
fn noted(notice: &Notice<'_>, zone: &TimeZone) -> Option<String> {
    let root = notice.root.as_ref().map(|(root, channels)| {
        format!("It depends on {root}, which is not well either and is reported in {}.", channels.join(", "))
    });
    let fails = fails(notice.state.0, 1);
    let dates = notice.dates.sentence(fails, notice.news.due()).map(|dates| format!("{dates}."));
    // A reminder says so with its dates.
    let note = note(notice, zone).filter(|_| dates.is_none() || !matches!(notice.say, Say::Reminder { .. }));
    let parts: Vec<String> = dates.into_iter().chain(note).chain(root).collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// The change since the previous message.
fn note(notice: &Notice<'_>, zone: &TimeZone) -> Option<String> {
    match &notice.say {
        Say::Began => notice
            .since
            .as_ref()
            .map(|(since, held)| format!("{} No alert until now: {held}.", ongoing(notice, *since, zone))),
        Say::Held { .. } | Say::Below { .. } | Say::Moved { .. } | Say::GivenUp { .. } | Say::Recovered { .. } => None,
        Say::Changed { new, .. } if notice.about == About::Evaluation => {
            (!new.is_empty()).then(|| "another reason than was told before".to_owned())
        }
        Say::Changed { before, new } => {
            let was = before.filter(|before| Some(*before) != level(notice));
            let was = was.map(|was| format!("Previously {}.", was.name()));
            let new = (!new.is_empty()).then(|| format!("New: {}.", new.join(", ")));
            let parts: Vec<String> = was.into_iter().chain(new).collect();
            (!parts.is_empty()).then(|| parts.join(" "))
        }
        Say::Reminder { since } => Some(ongoing(notice, *since, zone)),
        Say::Flapping { changes, window } => Some(format!(
            "Flapping: {changes} changes within {}. No further alerts until it has been stable for {}.",
            span(*window),
            span(window / 2)
        )),
    }
}

fn ongoing(notice: &Notice<'_>, since: Timestamp, zone: &TimeZone) -> String {
    let lasted = span(notice.news.due().duration_since(since).as_secs());
    format!("Ongoing for {lasted}, since {}.", local(since, zone))
}

/// The title: the result of each family of checks, the worst first.
fn title(channel: &str, notices: &[&Notice<'_>], runs: &[Run], decided: &Decided<'_>) -> String {
    let mut families: BTreeMap<Option<&Family>, Vec<&Notice<'_>>> = BTreeMap::new();
    for notice in notices {
        families.entry(notice.news.family()).or_default().push(notice);
    }
    let mut titles: Vec<(Reverse<Option<Level>>, String)> = families
        .into_iter()
        .map(|(family, notices)| {
            let tally = || {
                let group = family.map_or("plugins", |family| &family.group);
                format!("{group}: {}", tally(channel, family, runs, decided))
            };
            let runs: Vec<&Run> = runs.iter().filter(|run| run.family.as_ref() == family).collect();
            let worst = notices.iter().filter_map(|notice| level(notice)).max();
            let flaps = notices.iter().any(|notice| matches!(notice.say, Say::Flapping { .. }));
            let flapping = if flaps { " (flapping)" } else { "" };
            (Reverse(worst), family_title(&notices, &runs, tally) + flapping)
        })
        .collect();
    titles.sort();
    titles.into_iter().map(|(_, title)| title).collect::<Vec<_>>().join("; ")
}

fn family_title(notices: &[&Notice<'_>], runs: &[&Run], tally: impl Fn() -> String) -> String {
    // Only a validation, no runs.
    if runs.is_empty() {
        let names: BTreeSet<&str> = notices.iter().map(|notice| notice.news.check()).collect();
        return format!("Validation: {}", names.into_iter().collect::<Vec<_>>().join(", "));
    }
    let bad: Vec<&&Notice<'_>> = notices.iter().filter(|notice| !notice.say.is_line()).collect();
    // Dates that were not judged now are in no count of this round.
    let earlier: Vec<&&Notice<'_>> = bad.iter().copied().filter(|notice| notice.run().is_none()).collect();
    match (bad.as_slice(), runs) {
        ([], _) => Ending::title(notices),
        _ if earlier.len() == bad.len() && bad.len() <= 2 => {
            let titles = earlier.iter().map(|notice| format!("{}: {}", notice.news.check(), standing(notice)));
            titles.collect::<Vec<_>>().join(", ")
        }
        _ if !earlier.is_empty() => {
            format!("{}; earlier dates of {} are not well", tally(), counted(earlier.len(), "check"))
        }
        ([only], [run]) if only.about == About::Evaluation => format!("{} could not be evaluated", run.check),
        ([only], [_]) if only.run().is_some() => match relevant(only, &only.channel).as_slice() {
            [alert] => alert.title.clone(),
            _ => tally(),
        },
        _ => tally(),
    }
}

/// `1 check`, `2 checks`
fn counted(count: usize, what: &str) -> String {
    crate::text::counted(count, what, &format!("{what}s"))
}

/// The level of a notice; `None` for good news.
fn level(notice: &Notice<'_>) -> Option<Level> {
    match notice.about {
        About::Data if matches!(notice.say, Say::Below { .. }) => worst(notice),
        _ if notice.say.is_line() => (!Ending::of(notice).is_well()).then_some(Level::Info),
        About::Data => worst(notice),
        About::Evaluation => Some(Level::Warning),
    }
}

/// The level of the worst alert for its channel.
fn worst(notice: &Notice<'_>) -> Option<Level> {
    relevant(notice, &notice.channel).iter().map(|alert| Level::from(alert.severity)).max()
}

/// How an alert ended for a channel, or was held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Recovered,
    /// The date is good again, and others are not.
    RecoveredOne,
    /// The date is not good, and is not looked at any more.
    GivenUp,
    /// The check can be evaluated again, and its data is good as far as it is known.
    Evaluable,
    /// The check can be evaluated again, and its data is bad.
    EvaluableOnly,
    /// The alert is less severe, and no longer concerns this channel.
    Eased,
    /// The alert now belongs to other channels.
    Moved,
    /// Not over: no alert of its own, since the check that it depends on is silenced.
    Held,
    /// Not over: no alert of its own, since the check that it depends on was reported.
    Below,
}

impl Ending {
    fn of(notice: &Notice<'_>) -> Self {
        match (&notice.say, notice.about) {
            (Say::Held { .. }, _) => Self::Held,
            (Say::Below { .. }, _) => Self::Below,
            (Say::GivenUp { .. }, _) => Self::GivenUp,
            (Say::Moved { before, now, .. }, _) if now < before => Self::Eased,
            (Say::Moved { .. }, _) => Self::Moved,
            (_, About::Evaluation) if !notice.well => Self::EvaluableOnly,
            (_, About::Evaluation) => Self::Evaluable,
            (_, About::Data) if notice.dates.open.is_empty() => Self::Recovered,
            (_, About::Data) => Self::RecoveredOne,
        }
    }

    /// Whether all is well now.
    fn is_well(self) -> bool {
        matches!(self, Self::Recovered | Self::Evaluable)
    }

    /// `c: less severe, still not well; a, b recovered`
    fn title(notices: &[&Notice<'_>]) -> String {
        let all = [
            Self::Below,
            Self::Held,
            Self::GivenUp,
            Self::Eased,
            Self::Moved,
            Self::EvaluableOnly,
            Self::RecoveredOne,
            Self::Recovered,
            Self::Evaluable,
        ];
        let parts = all.into_iter().filter_map(|ending| {
            let ended = notices.iter().filter(|notice| Self::of(notice) == ending);
            let checks: Vec<&str> = ended.clone().map(|notice| notice.news.check()).collect();
            let several = ended.clone().any(|notice| notice.dates.ended.len() > 1);
            let words = match ending {
                _ if checks.is_empty() => return None,
                Self::Below => ": not well either",
                Self::Held => " held back",
                Self::GivenUp if several => ": bad dates are given up",
                Self::GivenUp => ": a bad date is given up",
                Self::RecoveredOne if several => ": dates are good again, but not all",
                Self::RecoveredOne => ": a date is good again, but not all",
                Self::Recovered => " recovered",
                Self::Evaluable => " can be evaluated again",
                Self::EvaluableOnly => ": can be evaluated again, still not well",
                Self::Eased => ": less severe, still not well",
                Self::Moved => ": still not well, now in another channel",
            };
            Some(format!("{}{words}", checks.join(", ")))
        });
        parts.collect::<Vec<_>>().join("; ")
    }
}

/// `Data of 2026-02-05. Passed: phase1-scrapers, …`
fn footer(notices: &[&Notice<'_>], runs: &[Run]) -> String {
    let families: Vec<Option<&Family>> = notices.iter().map(|notice| notice.news.family()).collect();
    let concerned = || runs.iter().filter(|run| families.contains(&run.family.as_ref()));
    if runs.is_empty() {
        return "This is about the check, its grants or its tables, not about one date's data.".to_owned();
    }
    let dates: Vec<Date> = concerned().map(|run| run.data_date).collect();
    let mut parts = vec![format!("Data of {}.", ranges(&dates, &mut None))];
    for (status, word) in [(Status::Pass, "Passed"), (Status::Skip, "Skipped")] {
        let said = |run: &&Run| notices.iter().any(|notice| notice.news.check() == run.check);
        let of = concerned().filter(|run| run.status() == status && !said(run));
        let mut names: Vec<&str> = of.map(|run| run.check.as_str()).collect();
        names.dedup();
        if !names.is_empty() {
            parts.push(format!("{word}: {}.", names.join(", ")));
        }
    }
    parts.join(" ")
}
