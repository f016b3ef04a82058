//! How many runs in a row must be bad before people are told, from runs that were bad and then well again by themselves.

use jiff::Timestamp;
use serde::Serialize;

use crate::text::counted;

/// The least time that says anything about a month, in days.
const LEAST: f64 = 14.0;
/// The most that is proposed.
const MOST: usize = 10;
const DAY: f64 = 24.0 * 60.0 * 60.0;

/// `alerts.confirm` of a check, as its recorded runs support it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confirm {
    /// The value now.
    pub now: usize,
    /// The proposed value; `None` if it stays.
    pub proposed: Option<usize>,
    /// Why.
    pub why: String,
}

/// Bad runs in a row about one date that nobody says was bad, until it was well again.
#[derive(Debug, Clone, Default)]
pub(super) struct Spells {
    /// Of dates that were not known to be bad: how long each was, in runs.
    pub(super) over: Vec<usize>,
    /// Of dates that were bad: the longest of each.
    pub(super) real: Vec<usize>,
    /// The first and the last run.
    pub(super) seen: Option<(Timestamp, Timestamp)>,
}

impl Spells {
    /// The runs of one date, the oldest first: whether each was bad. `bad` is whether the date is known to be bad.
    pub(super) fn take(&mut self, runs: &[(Timestamp, bool)], bad: bool) {
        let mut length = 0;
        let mut longest = 0;
        for (at, is_bad) in runs {
            let (first, last) = self.seen.unwrap_or((*at, *at));
            self.seen = Some((first.min(*at), last.max(*at)));
            length = if *is_bad { length + 1 } else { 0 };
            longest = longest.max(length);
        }
        if bad {
            self.real.push(longest);
            return;
        }
        for some in runs.chunk_by(|(_, one), (_, other)| one == other) {
            let ends = some.last() != runs.last();
            if ends && some.first().is_some_and(|(_, is_bad)| *is_bad) {
                self.over.push(some.len());
            }
        }
    }

    /// The least value from `now` on with which no more than some alarms a month are over by themselves.
    pub(super) fn propose(&self, now: usize, alarms: f64, month: f64) -> Confirm {
        let stays = |why: String| Confirm { now, proposed: None, why };
        let Some((first, last)) = self.seen else { return stays("no run of its schedule is recorded".to_owned()) };
        let days = last.duration_since(first).as_secs_f64() / DAY;
        if days < LEAST {
            return stays(format!("its recorded runs cover {days:.0} days; {LEAST:.0} are needed"));
        }
        let told = |confirm: usize| self.over.iter().filter(|length| **length >= confirm).count();
        let rate = |confirm: usize| told(confirm) as f64 / days * month;
        let words = |confirm: usize| {
            let of = if confirm == 1 { "1 bad run".to_owned() } else { format!("{confirm} bad runs in a row") };
            format!("{:.1} alarms a month after {of} were over by themselves", rate(confirm))
        };
        let Some(confirm) = (now..=MOST.max(now)).find(|confirm| rate(*confirm) <= alarms) else {
            return stays(format!("{}; waiting longer does not help", words(now)));
        };
        if confirm == now {
            return stays(words(now));
        }
        match self.real.iter().filter(|length| (now..confirm).contains(*length)).count() {
            0 => Confirm { now, proposed: Some(confirm), why: format!("{}, {}", words(now), words(confirm)) },
            missed => stays(format!(
                "{}; with {confirm}, people would not have heard of {}",
                words(now),
                counted(missed, "bad date", "bad dates")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    fn runs(text: &str, day: i64) -> Vec<(Timestamp, bool)> {
        let at = |hour: i64| Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day + hour);
        text.chars().zip(0..).map(|(run, hour)| (at(hour), run == 'F')).collect()
    }

    #[test]
    fn what_is_over_by_itself_is_waited_for() {
        let mut spells = Spells::default();
        for day in 0..30 {
            spells.take(&runs(if day % 3 == 0 { "..F..." } else { "......" }, day), false);
        }
        let tuned = spells.propose(1, 1.0, 30.0);
        assert_eq!((tuned.now, tuned.proposed), (1, Some(2)), "{}", tuned.why);
        assert_eq!(spells.propose(2, 1.0, 30.0).proposed, None);
        // A bad date with a single bad run would be missed.
        spells.take(&runs("F....", 31), true);
        let tuned = spells.propose(1, 1.0, 30.0);
        assert!(
            tuned.proposed.is_none() && tuned.why.contains("people would not have heard of 1 bad date"),
            "{}",
            tuned.why
        );
        // Runs that are bad until the end were not over.
        let mut stay = Spells::default();
        (0..30).for_each(|day| stay.take(&runs("..FFF", day), false));
        assert_eq!(stay.propose(1, 1.0, 30.0).proposed, None);
        assert!(Spells::default().propose(1, 1.0, 30.0).why.contains("no run"));
    }
}
