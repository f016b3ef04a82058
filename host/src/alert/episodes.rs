//! The alerts of the record: when each began and ended, and what it was about.

use jiff::Timestamp;

use super::{Level, day::Subject, policy::Side, spoken::About};
use crate::record::Episode;

/// The record of an alert that ends for another reason than a good result.
pub(super) fn closed(of: (&str, Subject), about: About, side: &Side, at: Timestamp, why: &str) -> Option<Episode> {
    Some(Episode {
        check: of.0.to_owned(),
        date: of.1,
        kind: about.kind(),
        severity: side.worst().or(side.told_worst()).unwrap_or(Level::Info).name(),
        summary: format!("{} (ended: {why})", side.summary),
        began: side.began?,
        ended: Some(at),
        announced: side.announced.map(|(first, _)| first),
        held: side.held.clone().filter(|_| side.announced.is_none()),
    })
}

/// The record of an alert that has just ended, at a time, and of one that is active.
pub(super) fn episodes(of: (&str, Subject), about: About, before: &Side, now: &Side, at: Timestamp) -> Vec<Episode> {
    let record = |side: &Side, ended: Option<Timestamp>| {
        Some(Episode {
            check: of.0.to_owned(),
            date: of.1,
            kind: about.kind(),
            severity: side.worst().or(before.worst()).or(side.told_worst()).unwrap_or(Level::Info).name(),
            summary: side.summary.clone(),
            began: side.began?,
            ended,
            announced: side.announced.map(|(first, _)| first),
            held: side.held.clone().filter(|_| side.announced.is_none()),
        })
    };
    let ended = (before.began != now.began).then(|| record(before, Some(at))).flatten();
    ended.into_iter().chain(record(now, None)).collect()
}
