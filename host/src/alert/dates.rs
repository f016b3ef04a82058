//! The data dates that a notice speaks of, as ranges: a check has one entry in a message, whatever the number of its dates.

use jiff::{Timestamp, civil::Date};

use crate::text::span;

/// The most ranges that are shown of one kind of dates.
const SHOWN: usize = 6;

/// The data dates of a notice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DateNews {
    /// Those that are told for the first time.
    pub new: Vec<Date>,
    /// Those that were told before, and changed.
    pub changed: Vec<Date>,
    /// Those that are over.
    pub ended: Vec<Date>,
    /// Those that were told before, and are bad as before.
    pub still: Vec<Date>,
    /// All others that are not good, also those that this channel was not told of.
    pub open: Vec<Date>,
    /// Whether some of these dates fail and others only warn.
    pub mixed: bool,
    /// Since when the oldest of those that were told before is bad.
    pub since: Option<Timestamp>,
    /// Those among them that somebody works on, and who.
    pub acknowledged: Vec<(Date, String)>,
    /// Whether it is only about the date that the run was due for, of which everybody thinks anyway.
    pub plain: bool,
}

impl DateNews {
    /// `2026-02-06 fails; 02-05 still does (since 1 day 3 h)`. `None` if the date is what everybody thinks.
    pub(super) fn sentence(&self, fails: &str, now: Timestamp) -> Option<String> {
        if self.plain {
            return None;
        }
        let mut year = None;
        let mut parts = Vec::new();
        let verb =
            |dates: &[Date], one: &str, many: &str| if dates.len() == 1 { one.to_owned() } else { many.to_owned() };
        if !self.new.is_empty() {
            let stem = fails.trim_end_matches('s');
            parts.push(format!("{} {}", ranges(&self.new, &mut year), verb(&self.new, fails, stem)));
        }
        if !self.changed.is_empty() {
            parts.push(format!("{} changed", ranges(&self.changed, &mut year)));
        }
        if !self.still.is_empty() {
            let stem = fails.trim_end_matches('s');
            let words = match (parts.is_empty(), self.still.len()) {
                (_, 1) if self.mixed => "is still not good".to_owned(),
                (_, _) if self.mixed => "are still not good".to_owned(),
                (true, 1) => format!("still {fails}"),
                (true, _) => format!("still {stem}"),
                (false, 1) if self.changed.is_empty() => "still does".to_owned(),
                (false, _) if self.changed.is_empty() => "still do".to_owned(),
                (false, 1) => format!("still {fails}"),
                (false, _) => format!("still {stem}"),
            };
            let since = self.since.map(|since| span(now.duration_since(since).as_secs()));
            let since = since.map(|since| {
                if self.still.len() == 1 { format!(" (since {since})") } else { format!(" (the oldest since {since})") }
            });
            parts.push(format!("{} {words}{}", ranges(&self.still, &mut year), since.unwrap_or_default()));
        }
        if !self.acknowledged.is_empty() {
            let mut who: Vec<&str> = self.acknowledged.iter().map(|(_, who)| who.as_str()).collect();
            who.sort_unstable();
            who.dedup();
            let dates: Vec<Date> = self.acknowledged.iter().map(|(date, _)| *date).collect();
            parts.push(format!("{} acknowledged by {}", ranges(&dates, &mut year), who.join(", ")));
        }
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}

/// `2026-02-01 to 02-12 and 02-14`. A year is named where it changes; `year` is the one that was named last.
pub fn ranges(dates: &[Date], year: &mut Option<i16>) -> String {
    let mut sorted = dates.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut found: Vec<(Date, Date)> = Vec::new();
    for date in sorted {
        match found.last_mut() {
            Some((_, last)) if last.tomorrow().is_ok_and(|next| next == date) => *last = date,
            _ => found.push((date, date)),
        }
    }
    let more = found.len().saturating_sub(SHOWN);
    // The newest ones are shown.
    let shown = found.split_off(more);
    let mut named = |date: Date| match *year == Some(date.year()) {
        true => date.strftime("%m-%d").to_string(),
        false => {
            *year = Some(date.year());
            date.to_string()
        }
    };
    let mut words: Vec<String> = Vec::new();
    for (first, last) in shown {
        let from = named(first);
        words.push(match first == last {
            true => from,
            false => format!("{from} to {}", named(last)),
        });
    }
    let last = words.pop().unwrap_or_default();
    let listed = if words.is_empty() { last } else { format!("{} and {last}", words.join(", ")) };
    match more {
        0 => listed,
        1 => format!("{listed} (and one earlier range)"),
        more => format!("{listed} (and {more} earlier ranges)"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn dates_are_told_as_ranges() {
        let days = |days: &[i8]| days.iter().map(|day| date(2026, 2, *day)).collect::<Vec<_>>();
        for (dates, expected) in [
            (days(&[6]), "2026-02-06"),
            (days(&[6, 5]), "2026-02-05 to 02-06"),
            (days(&[1, 2, 3, 14, 12, 11]), "2026-02-01 to 02-03, 02-11 to 02-12 and 02-14"),
            (vec![date(2025, 12, 31), date(2026, 1, 1)], "2025-12-31 to 2026-01-01"),
            (
                (0..10).map(|at| date(2026, 2, 1 + 2 * at)).collect(),
                "2026-02-09, 02-11, 02-13, 02-15, 02-17 and 02-19 (and 4 earlier ranges)",
            ),
        ] {
            assert_eq!(ranges(&dates, &mut None), expected);
        }
    }

    #[test]
    fn what_is_new_comes_first() {
        let now: Timestamp = "2026-02-07T11:30:00Z".parse().expect("a time");
        let dates = DateNews {
            new: vec![date(2026, 2, 6)],
            still: vec![date(2026, 2, 5)],
            since: Some("2026-02-06T08:30:00Z".parse().expect("a time")),
            ..DateNews::default()
        };
        let said = dates.sentence("fails", now).expect("a sentence");
        assert_eq!(said, "2026-02-06 fails; 02-05 still does (since 1 day 3 h)");
        let reminder = DateNews { new: Vec::new(), ..dates.clone() };
        assert_eq!(reminder.sentence("fails", now).expect("a sentence"), "2026-02-05 still fails (since 1 day 3 h)");
        assert_eq!(DateNews { plain: true, ..dates }.sentence("fails", now), None);
    }
}
