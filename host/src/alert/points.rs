//! What a result finds wrong, in words that stay the same while its numbers change: so that only news is told again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contract::{Metric, Report};

/// Words after a number that belong to it.
const UNITS: [&str; 12] = ["ms", "s", "min", "h", "day", "days", "B", "KiB", "MiB", "GiB", "TiB", "%"];

/// The limit that a metric is beyond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beyond {
    /// Its minimum.
    Below,
    /// Its maximum.
    Above,
}

impl Beyond {
    /// `below its minimum`
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Below => "below its minimum",
            Self::Above => "above its maximum",
        }
    }
}

/// The limit that each metric with a violation is beyond: by its words, or by its numbers.
pub(super) fn beyond(report: &Report) -> BTreeMap<String, Beyond> {
    let found = report.violations.iter().filter_map(|violation| {
        let name = violation.metric.as_ref()?;
        let said = violation.message.strip_prefix(name.as_str()).and_then(|words| {
            let sides = [(" is below its ", Beyond::Below), (" is above its ", Beyond::Above)];
            sides.into_iter().find(|(side, _)| words.starts_with(side)).map(|(_, side)| side)
        });
        let counted = || report.metrics.iter().find(|metric| metric.name == *name).and_then(outside);
        Some((name.clone(), said.or_else(counted)?))
    });
    found.collect()
}

fn outside(metric: &Metric) -> Option<Beyond> {
    let value = metric.value?;
    let above = metric.max.is_some_and(|max| value > max) || metric.below.is_some_and(|limit| value >= limit);
    let below = metric.min.is_some_and(|min| value < min);
    if below { Some(Beyond::Below) } else { above.then_some(Beyond::Above) }
}

/// A reason without its numbers and times, which change from run to run: words that begin with a digit, and their units.
pub(super) fn form(reason: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut after_number = false;
    for word in reason.split_whitespace() {
        let bare = word.trim_matches(|character: char| !character.is_alphanumeric() && character != '%');
        let number = bare.starts_with(|first: char| first.is_ascii_digit());
        if !(number || after_number && UNITS.contains(&bare)) {
            kept.push(word);
        }
        after_number = number;
    }
    kept.join(" ")
}

/// The subject of a violation, without the numbers that change from run to run: its metric if the message begins with
/// it, else the text before the colon. A metric can have several violations, as `schema: no column id` or `game 7 has no box
/// score`: then the words are the subject, but no numbers. Without a metric it is the message without digits.
pub(super) fn point(metric: Option<&str>, message: &str) -> String {
    let before_colon = message.split_once(": ").map(|(subject, _)| subject).filter(|subject| Some(*subject) != metric);
    match (metric, before_colon) {
        (Some(metric), _) if message.starts_with(&format!("{metric} ")) => metric.to_owned(),
        (_, Some(subject)) => subject.to_owned(),
        (Some(_), None) => {
            let words = message.split(' ').filter(|word| word.parse::<f64>().is_err());
            words.collect::<Vec<_>>().join(" ")
        }
        (None, None) => message.replace(|c: char| c.is_ascii_digit(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_reason_has_no_numbers_and_times() {
        let same = |one, other| form(one) == form(other);
        assert!(same("no answer within 1.2 s at [1:324]", "no answer within 900 ms at [1:7]"));
        assert!(same("down since 2026-11-25T06:00:00Z (3 times)", "down since 2026-11-26T06:30:00Z (14 times)"));
        assert!(same("Bad DATE value: \"2026-11-26 06:00:00\"", "Bad DATE value: \"2026-11-27 06:30:00\""));
        assert!(!same("dataset d2 is not granted", "dataset d3 is not granted"), "a digit in a name is its own");
        assert!(!same("no such table: a", "no such table: b"));
    }
}
