//! Faults that are injected over thirty days, and whether messages about them are true: from the faults alone, and from the
//! messages as they are stored, so that no rule of the alert policy is taken on trust. It uses nothing of `host::alert`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::support::CANARIES;

/// From when to when, in hours from the start, a check has a fault.
pub(super) struct Episode {
    pub(super) check: &'static str,
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A threshold is broken.
    Fails,
    /// It fails in every other round.
    Flaps,
    /// It cannot be evaluated.
    Errors,
    /// There is nothing to judge.
    Skips,
}

const fn episode(check: &'static str, from: f64, to: f64, fault: Fault) -> Episode {
    Episode { check, from, to, fault }
}

/// The incidents that PIPELINE.md describes, over a month.
pub(super) const EPISODES: &[Episode] = &[
    // One threshold breach that lasted: a message every half hour buried a real gap.
    episode("phase4-precompute", 30.0, 78.0, Fault::Fails),
    // The real gap, meanwhile.
    episode("phase2-raw", 50.0, 56.0, Fault::Fails),
    // A three-day outage at the source, which everything after it feels.
    episode("phase1-scrapers", 120.0, 192.0, Fault::Fails),
    episode("phase2-raw", 120.5, 192.5, Fault::Fails),
    episode("phase3-analytics", 121.0, 193.0, Fault::Fails),
    episode("phase4-precompute", 121.5, 193.5, Fault::Fails),
    episode("phase5-predictions", 122.0, 194.0, Fault::Fails),
    episode("phase6-publishing", 122.0, 194.0, Fault::Fails),
    // A backend that hiccups once, and one that is away for a morning.
    episode("phase3-analytics", 240.0, 240.5, Fault::Errors),
    episode("phase5-predictions", 260.0, 265.0, Fault::Errors),
    // A feed that flaps for a day.
    episode("phase6-publishing", 300.0, 324.0, Fault::Flaps),
    // The off-season: nothing to judge for a week.
    episode("phase2-raw", 400.0, 568.0, Fault::Skips),
    episode("phase3-analytics", 400.0, 568.0, Fault::Skips),
    // A short one at the end.
    episode("phase3-analytics", 600.0, 601.0, Fault::Fails),
];

/// The channel of all checks.
pub(super) const CHANNEL: &str = "#canary-alerts";
/// The length of the simulation, in hours.
pub(super) const HOURS: f64 = 30.0 * 24.0;
/// The time between two rounds.
const ROUND: f64 = 0.5;
/// `repeat_interval` of the sample.
const REPEAT: f64 = 4.0;
/// A flapping check is steady after this time without a change.
const STEADY: f64 = 2.0;

/// The start of the simulation.
pub(super) fn start() -> Timestamp {
    "2026-01-05T05:00:00Z".parse().unwrap()
}

/// What a check's run at an hour finds.
pub(super) fn fault(check: &str, hours: f64) -> Option<Fault> {
    let odd = (hours / ROUND) as i64 % 2 != 0;
    let found = EPISODES.iter().find(|one| one.check == check && (one.from..one.to).contains(&hours))?.fault;
    (found != Fault::Flaps || !odd).then_some(found)
}

fn fails(check: &str, hours: f64) -> bool {
    matches!(fault(check, hours), Some(Fault::Fails | Fault::Flaps))
}

/// Each canary of the sample depends on the one before it, and so on those before that.
fn is_above(upstream: &str, check: &str) -> bool {
    let place = |name: &str| CANARIES.iter().position(|canary| *canary == name);
    place(upstream) < place(check)
}

/// Whether a check that begins to fail is below one that failed in the round before, with none between them that is well.
fn fails_above(check: &str, hours: f64) -> bool {
    let place = CANARIES.iter().position(|canary| *canary == check).unwrap();
    let above = CANARIES[..place].iter().rev().take_while(|canary| fails(canary, hours));
    above.last().is_some_and(|root| fails(root, hours - ROUND))
}

/// The hour since which a check that is well now was bad without a good result in between.
fn bad_since(check: &str, hours: f64, bad: impl Fn(Option<Fault>) -> Option<bool>) -> f64 {
    let (mut first, mut at) = (hours, hours - ROUND);
    while at >= 0.0 {
        match bad(fault(check, at)) {
            Some(true) => first = at,
            Some(false) => break,
            // A round that decides nothing.
            None => {}
        }
        at -= ROUND;
    }
    first
}

/// Whether a result is bad data; `None` if it says nothing about the data.
fn bad_data(fault: Option<Fault>) -> Option<bool> {
    match fault {
        None => Some(false),
        Some(Fault::Fails | Fault::Flaps) => Some(true),
        Some(Fault::Errors | Fault::Skips) => None,
    }
}

/// Whether a check could not be evaluated.
fn error(fault: Option<Fault>) -> Option<bool> {
    Some(fault == Some(Fault::Errors))
}

/// The hours in a text as `4 h 30 min` or `2 days 3 h`, and how much its last unit leaves open.
fn duration(text: &str) -> Option<(f64, f64)> {
    let words: Vec<&str> = text.split([' ', ',', ':', '.']).collect();
    let (mut hours, mut open) = (0.0, 0.0);
    for pair in words.chunks(2) {
        let [number, unit] = pair else { break };
        let Ok(number) = number.parse::<f64>() else { break };
        (hours, open) = match *unit {
            "day" | "days" => (hours + 24.0 * number, 24.0),
            "h" => (hours + number, if hours > 0.0 { 1.0 } else { 1.0 / 60.0 }),
            "min" => (hours + number / 60.0, 1.0 / 60.0),
            "s" => (hours + number / 3600.0, 1.0 / 3600.0),
            _ => break,
        };
    }
    (open > 0.0).then_some((hours, if hours >= 24.0 { 1.0 } else { open }))
}

/// Whether a text after a word says this many hours.
fn says(text: &str, before: &str, hours: f64) -> bool {
    let said = text.split(before).nth(1).and_then(duration);
    said.is_some_and(|(said, open)| said <= hours + 0.01 && hours < said + open + 0.01)
}

/// What a channel was told of a check, at an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// An alert of its own.
    Bad,
    /// A line in place of an alert.
    Line,
    /// Named in a message about another check.
    Listed,
    /// It flaps.
    Flaps,
    Error,
    Recovered,
    Evaluable,
}

/// Everything false in the messages, and everything that they leave out; each message with its hour.
pub(super) fn judge(messages: &[(f64, Value)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut told: BTreeMap<&str, Vec<(f64, Kind)>> = BTreeMap::new();
    let mut rounds = BTreeSet::new();
    for (hours, message) in messages {
        let channel = message["channel"].as_str().unwrap();
        if channel != CHANNEL {
            wrong.push(format!("false at {hours}: no check is of {channel}: {message}"));
        }
        if !rounds.insert((hours.to_bits(), channel)) {
            wrong.push(format!("false at {hours}: a second message in one round: {message}"));
        }
        let mut noted = Vec::new();
        for problem in falsehoods(*hours, message, &mut noted) {
            wrong.push(format!("false at {hours}: {problem}: {message}"));
        }
        for (check, kind) in noted {
            told.entry(check).or_default().push((*hours, kind));
        }
    }
    for episode in EPISODES {
        let of_it = told.get(episode.check).cloned().unwrap_or_default();
        wrong.extend(omissions(episode, &of_it).map(|gap| format!("missing: {} {gap}", episode.check)));
    }
    wrong
}

/// The pairs of a list in a message.
fn pairs<'m>(message: &'m Value, list: &str) -> Vec<(&'static str, &'m str)> {
    let pairs = message[list].as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().map(|pair| (known(&pair[0]), pair[1].as_str().unwrap())).collect()
}

/// The check of this name; an unknown one fails the test.
fn known(name: &Value) -> &'static str {
    CANARIES.into_iter().find(|canary| name == *canary).unwrap_or_else(|| panic!("{name} is no check"))
}

/// What is false in a message; `noted` is what it tells.
fn falsehoods(hours: f64, message: &Value, noted: &mut Vec<(&'static str, Kind)>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |so: bool, what: String| wrong.extend((!so).then_some(what));
    for alert in message["alerts"].as_array().unwrap() {
        let (name, note) = (known(&alert["check"]), alert["note"].as_str().unwrap_or_default());
        check(fails(name, hours), format!("{name} does not fail"));
        check(alert["found"] == "records", format!("{name}: found {}", alert["found"]));
        let since = bad_since(name, hours + ROUND, bad_data);
        if note.starts_with("Ongoing") {
            let from = start() + SignedDuration::from_mins((since * 60.0) as i64);
            let from = from.to_zoned(TimeZone::get("America/New_York").unwrap()).strftime("%Y-%m-%d %H:%M").to_string();
            check(says(note, "Ongoing for ", hours - since), format!("{name}: {note}, but since {since}"));
            check(note.contains(&from), format!("{name}: {note}, but since {from}"));
        }
        let flaps = note.starts_with("Flapping");
        let flapping = |one: &Episode| one.check == name && one.fault == Fault::Flaps;
        let in_it = EPISODES.iter().any(|one| flapping(one) && (one.from..one.to + STEADY).contains(&hours));
        check(!flaps || in_it, format!("{name} does not flap"));
        let known_notes = ["", "Ongoing", "Flapping"];
        check(
            known_notes.iter().any(|begin| note.is_empty() || !begin.is_empty() && note.starts_with(begin)),
            note.into(),
        );
        noted.push((name, if flaps { Kind::Flaps } else { Kind::Bad }));
        for (below, found) in pairs(alert, "downstream") {
            check(fails(below, hours), format!("{below} is listed and does not fail"));
            check(is_above(name, below), format!("{below} does not depend on {name}"));
            check(found == "records", format!("{below}: {found}"));
            noted.push((below, Kind::Listed));
        }
    }
    for (name, text) in pairs(message, "below") {
        let (found, root) = text.split_once("; it depends on ").unwrap_or_default();
        let (root, at) = root.split_once(", which was reported at ").unwrap_or_default();
        check(fails(name, hours) && found == "records", format!("{name} does not fail: {text}"));
        check(fails(root, hours) && is_above(root, name), format!("{name} does not depend on it: {text}"));
        let since = start() + SignedDuration::from_secs((bad_since(root, hours, bad_data) * 3600.0) as i64);
        let zone = TimeZone::get("America/New_York").unwrap();
        let shown = since.to_zoned(zone).strftime("%Y-%m-%d %H:%M %Z").to_string();
        check(at == shown, format!("{root} was reported at {shown}: {text}"));
        noted.push((name, Kind::Line));
    }
    for (name, text) in pairs(message, "moved") {
        check(
            fails(name, hours) && text.starts_with("not well, and depends on "),
            format!("{name} is not bad: {text}"),
        );
        noted.push((name, Kind::Listed));
    }
    for (name, text) in pairs(message, "errors") {
        check(fault(name, hours) == Some(Fault::Errors), format!("{name} can be evaluated"));
        let since = bad_since(name, hours + ROUND, error);
        let reason = text.contains("the backend is away");
        let ongoing = text.starts_with("Ongoing") && says(text, "Ongoing for ", hours - since);
        check(reason || ongoing, format!("{name}: {text}"));
        noted.push((name, Kind::Error));
    }
    for (name, text) in pairs(message, "recoveries") {
        check(fault(name, hours).is_none(), format!("{name} is not well"));
        let evaluable = text.starts_with("can be evaluated again");
        let since = if evaluable { bad_since(name, hours, error) } else { bad_since(name, hours, bad_data) };
        let flapped = |one: &&Episode| one.check == name && one.fault == Fault::Flaps && one.from < hours;
        let flapped = EPISODES.iter().filter(flapped).any(|one| hours <= one.to + STEADY + ROUND);
        let lasted = says(text, "after ", hours - since);
        check(lasted || flapped, format!("{name}: {text}, but since {since}"));
        noted.push((name, if evaluable { Kind::Evaluable } else { Kind::Recovered }));
    }
    for list in ["held", "closed"] {
        check(pairs(message, list).is_empty(), format!("nothing is silenced or removed: {}", message[list]));
    }
    let count = |so: &dyn Fn(Option<Fault>) -> bool| CANARIES.iter().filter(|name| so(fault(name, hours))).count();
    let counts = [
        (" failed", count(&|fault| matches!(fault, Some(Fault::Fails | Fault::Flaps)))),
        (" passed", count(&|fault| fault.is_none())),
        (" not evaluated", count(&|fault| fault == Some(Fault::Errors))),
        (" skipped", count(&|fault| fault == Some(Fault::Skips))),
    ];
    let title = message["title"].as_str().unwrap();
    for (word, truth) in counts {
        let said = title.split(word).next().filter(|_| title.contains(word)).and_then(|text| text.rsplit(' ').next());
        check(said.is_none_or(|said| said == truth.to_string()), format!("{title}: {truth}{word}"));
    }
    let none = |list: &str| pairs(message, list).is_empty();
    let well = none("moved") && none("below") && message["alerts"] == Value::Array(Vec::new());
    let green = message["level"].is_null();
    check(green == (well && pairs(message, "errors").is_empty()), format!("the colour: {}", message["level"]));
    check(green || !title.contains("recovered") || !well, title.to_owned());
    let footer = message["footer"].as_str().unwrap();
    for name in CANARIES {
        let passed = footer.split("Passed: ").nth(1).and_then(|rest| rest.split('.').next()).unwrap_or_default();
        let passed = passed.split(", ").any(|one| one == name);
        check(!passed || fault(name, hours).is_none(), format!("{footer}: {name}"));
    }
    wrong
}

/// What the messages about a check leave out of an episode.
fn omissions(episode: &Episode, told: &[(f64, Kind)]) -> impl Iterator<Item = String> {
    let Episode { check, from, to, fault } = *episode;
    let between = |first: f64, last: f64, kinds: &[Kind]| {
        told.iter().any(|(at, kind)| (first..=last).contains(at) && kinds.contains(kind))
    };
    let mut gaps = Vec::new();
    let mut need = |so: bool, what: String| gaps.extend((!so).then_some(what));
    // The hours at which something was told of it, each once.
    let hours = |kind: Kind, from: f64, to: f64| {
        let mut hours: Vec<f64> =
            told.iter().filter(|(at, of)| *of == kind && (from..=to).contains(at)).map(|(at, _)| *at).collect();
        hours.dedup();
        hours
    };
    let too_often = |kind: Kind| hours(kind, from, to).windows(2).any(|pair| pair[1] - pair[0] < REPEAT);
    match fault {
        Fault::Fails => {
            // What fails below a failing check is told in a line, or in the message about that.
            let bad = [Kind::Bad, Kind::Line, Kind::Listed];
            need(between(from, from, &bad), format!("fails from {from}, not told"));
            let below = fails_above(check, from);
            need(hours(Kind::Line, from, to).len() == usize::from(below), format!("a line at {from}: {below}"));
            let mut last = from;
            while last + REPEAT < to {
                need(between(last + ROUND, last + REPEAT, &bad), format!("fails, no reminder from {last}"));
                last += REPEAT;
            }
            need(!too_often(Kind::Bad), format!("fails from {from}, told more often than every {REPEAT} hours"));
            need(between(to, to, &[Kind::Recovered]), format!("is well from {to}, not told"));
            let ends = told.iter().filter(|(at, kind)| (from..=to).contains(at) && *kind == Kind::Recovered);
            need(ends.count() == 1, format!("is told to be well more than once from {from} to {to}"));
        }
        Fault::Flaps => {
            let known = told.iter().find(|(at, kind)| (from..=from + STEADY).contains(at) && *kind == Kind::Flaps);
            need(known.is_some(), format!("flaps from {from}, not told"));
            // Until then each change is told.
            let mut at = from;
            while at < known.map_or(from, |(at, _)| *at) {
                let kind = if fails(check, at) { Kind::Bad } else { Kind::Recovered };
                need(between(at, at, &[kind]), format!("{kind:?} at {at}, not told"));
                at += ROUND;
            }
            need(between(to, to + STEADY, &[Kind::Recovered]), format!("is steady after {to}, not told"));
            let all = told.iter().filter(|(at, _)| (from..=to + STEADY).contains(at)).count();
            need(all <= 6, format!("flaps, and {all} messages say so"));
            let (known, over) = (hours(Kind::Flaps, from, to), hours(Kind::Recovered, to, to + STEADY + REPEAT));
            need((known.len(), over.len()) == (1, 1), format!("flaps from {from}: {known:?}, {over:?}"));
        }
        Fault::Errors => {
            // One may be a hiccup; two in a row are told.
            let told_of = between(from, to, &[Kind::Error]);
            need(told_of == (to - from > ROUND), format!("cannot be evaluated from {from} to {to}: told {told_of}"));
            if told_of {
                need(between(from + ROUND, from + ROUND, &[Kind::Error]), format!("is told of late after {from}"));
                let mut last = from + ROUND;
                while last + REPEAT < to {
                    need(between(last + ROUND, last + REPEAT, &[Kind::Error]), format!("no reminder from {last}"));
                    last += REPEAT;
                }
                need(!too_often(Kind::Error), format!("told more often than every {REPEAT} hours after {from}"));
                let over = hours(Kind::Evaluable, from, to + REPEAT);
                need(over == [to], format!("can be evaluated from {to}, told at {over:?}"));
            }
        }
        Fault::Skips => {
            let said = told.iter().filter(|(at, _)| (from..to).contains(at)).count();
            need(said == 0, format!("is skipped, and {said} messages are about it"));
        }
    }
    gaps.into_iter()
}
