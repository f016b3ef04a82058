//! The headline of a message: how many checks of each status there are, and where those are that the message does not show.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    decide::Decided,
    spoken::{About, Notice, Unsaid},
};
use crate::{
    check::Family,
    run::{COUNTED, Run, Status},
};

/// `2 failed (1 silenced), 1 passed`, the worst first: the runs of a family, and those of the checks that the message lists.
pub(super) fn tally(channel: &str, family: Option<&Family>, runs: &[Run], decided: &Decided<'_>) -> String {
    let mine = || decided.notices.iter().filter(|notice| notice.channel == channel);
    let shown: BTreeSet<&str> = mine().flat_map(named).collect();
    let of_family = || mine().filter(|notice| notice.news.family() == family);
    let listed: BTreeSet<&str> = of_family().flat_map(listed).collect();
    let told: BTreeSet<&str> = decided.notices.iter().flat_map(named).collect();
    // One of a family that has a headline of its own is counted there.
    let elsewhere = |run: &Run| mine().any(|notice| notice.news.family() == run.family.as_ref());
    let counted = |run: &&Run| run.family.as_ref() == family || listed.contains(run.check.as_str()) && !elsewhere(run);
    let mut parts = Vec::new();
    // Of a check that judged several dates, the worst counts.
    let mut worst: BTreeMap<&str, &Run> = BTreeMap::new();
    for run in runs.iter().filter(counted) {
        let known = worst.entry(run.check.as_str()).or_insert(run);
        *known = if run.status() > known.status() { run } else { known };
    }
    for (status, word) in COUNTED {
        let runs: Vec<&Run> = worst.values().copied().filter(|run| run.status() == status).collect();
        if runs.is_empty() {
            continue;
        }
        let mut elsewhere: BTreeMap<&str, usize> = BTreeMap::new();
        if !matches!(status, Status::Pass | Status::Skip) {
            for run in runs.iter().filter(|run| !shown.contains(run.check.as_str())) {
                if let Some(place) = place(run, channel, &told, decided) {
                    *elsewhere.entry(place).or_default() += 1;
                }
            }
        }
        let all = elsewhere.values().any(|count| *count == runs.len());
        let elsewhere: Vec<String> = elsewhere
            .into_iter()
            .map(|(place, count)| if all { place.to_owned() } else { format!("{count} {place}") })
            .collect();
        let elsewhere = if elsewhere.is_empty() { String::new() } else { format!(" ({})", elsewhere.join(", ")) };
        parts.push(format!("{} {word}{elsewhere}", runs.len()));
    }
    // Those that are listed without a run of this round.
    let absent = listed.iter().filter(|check| !runs.iter().any(|run| run.check == **check)).count();
    if absent > 0 {
        parts.push(format!("{absent} not well when last checked"));
    }
    parts.join(", ")
}

/// The checks that a notice is about.
fn named<'n>(notice: &'n Notice<'_>) -> impl Iterator<Item = &'n str> {
    std::iter::once(notice.news.check()).chain(listed(notice))
}

fn listed<'n>(notice: &'n Notice<'_>) -> impl Iterator<Item = &'n str> {
    notice.downstream.iter().map(|(check, _)| check.as_str())
}

/// Where a run is that a channel's message does not show.
fn place(run: &Run, channel: &str, told: &BTreeSet<&str>, decided: &Decided<'_>) -> Option<&'static str> {
    if told.contains(run.check.as_str()) {
        return Some("told elsewhere");
    }
    let (about, subject) = match run.status() {
        Status::Error => (About::Evaluation, None),
        _ => (About::Data, run.subject()),
    };
    Some(match decided.unsaid.get(&(run.check.clone(), about, subject))? {
        Unsaid::Silenced => "silenced",
        Unsaid::Unconfirmed => "waiting for confirmation",
        Unsaid::Follows => "waiting for its next run",
        Unsaid::Later => "told later",
        Unsaid::Before(channels) if channels.contains(channel) => "told before",
        Unsaid::Before(_) => "told elsewhere",
    })
}
