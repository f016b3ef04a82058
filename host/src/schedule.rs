//! When checks are due: each follows its own cron expression in its own time zone, and what is due at the same moment
//! is one round.

use std::sync::Arc;

use jiff::Timestamp;

use crate::check::Check;

/// The next round: the moment, and which of the checks are due then. None when nothing is ever due.
pub fn next_round(checks: &[Arc<Check>], after: Timestamp) -> Option<(Timestamp, Vec<usize>)> {
    let due = |check: &Arc<Check>| check.schedule.next(after, &check.zone.rules());
    let dues: Vec<(usize, Timestamp)> =
        checks.iter().enumerate().filter_map(|(at, check)| Some((at, due(check)?))).collect();
    let first = dues.iter().map(|(_, due)| *due).min()?;
    let checks = dues.into_iter().filter(|(_, due)| *due == first).map(|(at, _)| at).collect();
    Some((first, checks))
}
