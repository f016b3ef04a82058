//! From the runs of one round to what people read: one message for each channel and group that has something to say.

mod block_kit;
mod console;
mod delivery;

use std::collections::BTreeMap;

pub use console::shown;
pub use delivery::{Delivery, Receipt};

use crate::{
    contract::slack::{Alert, Severity},
    run::{Family, Run, Status, dates, tally},
};

/// What the host decides to send: the alerts of one round for one channel and group.
#[derive(Debug)]
pub struct Notification {
    /// Where it goes.
    pub channel: String,
    /// The family of checks it speaks of.
    pub group: String,
    /// The worst in it.
    pub severity: Severity,
    /// One line.
    pub title: String,
    /// What the plugins asked to say.
    pub alerts: Vec<Alert>,
    /// The checks that could not be evaluated, or not wholly, and why.
    pub errors: Vec<(String, String)>,
    /// One line about the rest of the group.
    pub footer: String,
}

/// The messages of a round. When all is well there are none.
pub fn notifications(runs: &[Run]) -> Vec<Notification> {
    let mut families: BTreeMap<&Family, Vec<&Run>> = BTreeMap::new();
    for run in runs {
        if let Some(family) = &run.family {
            families.entry(family).or_default().push(run);
        }
    }
    let mut notifications = Vec::new();
    for (family, runs) in families {
        // A plugin may post elsewhere than to its check's channel, if that is granted.
        let mut channels: Vec<&str> = vec![&family.channel];
        channels.extend(runs.iter().flat_map(|run| &run.alerts).map(|alert| alert.channel.as_str()));
        channels.sort_unstable();
        channels.dedup();
        for channel in channels {
            notifications.extend(notification(family, channel, &runs));
        }
    }
    notifications
}

fn notification(family: &Family, channel: &str, runs: &[&Run]) -> Option<Notification> {
    let alerts: Vec<Alert> =
        runs.iter().flat_map(|run| &run.alerts).filter(|alert| alert.channel == channel).cloned().collect();
    // What could not be evaluated belongs to the check's own channel; the host speaks for it.
    let errors: Vec<(String, String)> = runs
        .iter()
        .filter(|_| channel == family.channel)
        .flat_map(|run| {
            // What is not known is a list; each of it has a line of its own.
            let unknown =
                run.report.as_ref().map(|report| report.unknown.clone()).filter(|unknown| !unknown.is_empty());
            let reasons = unknown.unwrap_or_else(|| run.error.iter().cloned().collect());
            reasons.into_iter().map(|reason| (run.check.clone(), reason))
        })
        .collect();
    if alerts.is_empty() && errors.is_empty() {
        return None;
    }
    let severity = alerts.iter().map(|alert| alert.severity).max_by_key(rank);
    let error_severity = (!errors.is_empty()).then_some(Severity::Warning);
    Some(Notification {
        channel: channel.to_owned(),
        group: family.group.clone(),
        severity: severity.into_iter().chain(error_severity).max_by_key(rank).unwrap_or(Severity::Warning),
        title: title(family, runs, &alerts, &errors),
        alerts,
        errors,
        footer: footer(runs),
    })
}

fn title(family: &Family, runs: &[&Run], alerts: &[Alert], errors: &[(String, String)]) -> String {
    match (runs, alerts, errors) {
        ([_], [only], _) => only.title.clone(),
        ([_], [], [(check, _)]) => format!("{check} could not be evaluated"),
        _ => format!("{}: {}", family.group, tally(runs.iter().copied())),
    }
}

/// `Data of 2026-02-05. Passed: phase1-scrapers, …`
fn footer(runs: &[&Run]) -> String {
    let mut parts = vec![format!("Data of {}.", dates(runs.iter().copied()))];
    for (status, word) in [(Status::Pass, "Passed"), (Status::Skip, "Skipped")] {
        let names: Vec<&str> = runs.iter().filter(|run| run.status() == status).map(|run| run.check.as_str()).collect();
        if !names.is_empty() {
            parts.push(format!("{word}: {}.", names.join(", ")));
        }
    }
    parts.join(" ")
}

fn rank(severity: &Severity) -> u8 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Critical => 2,
    }
}

fn mark(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "🔵",
        Severity::Warning => "🟠",
        Severity::Critical => "🔴",
    }
}
