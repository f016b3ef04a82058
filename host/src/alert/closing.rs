//! Ends the alerts of checks that are gone, so that none goes on for ever and no later check of the same name recovers from
//! it. Everybody who was told hears the reason once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date};

use super::{
    Level, Notification,
    dates::ranges,
    day::Subject,
    episodes::closed,
    mentioned::{Mentioned, Stage},
    policy::Side,
    spoken::About,
    standing::{Standing, Standings, shown},
};
use crate::{config::Config, record::Episode, text::span};

/// The reason if host.toml no longer has the check.
const REMOVED: &str = "removed from host.toml";
/// The reason if the check had no entry in host.toml.
const NO_FILE: &str = "its plugin is no longer among the files";

/// The reason if the record, from an earlier version, does not have it.
const UNKNOWN: &str = "neither host.toml nor a plugin's file has this check any more";

/// The end of the alerts of some checks.
#[derive(Debug, Default)]
pub struct Closed {
    /// The messages to send, one a channel.
    pub messages: Vec<Notification>,
    /// The alerts that ended.
    pub episodes: Vec<Episode>,
    /// The checks that are gone.
    pub checks: Vec<String>,
}

/// Forgets the checks that are gone, and ends their alerts now, `at`. `known` are all checks of host.toml and of the plugins'
/// files. A check that only a file made is gone if nothing of host.toml names it; or if `whole`, which is when the files are all
/// that this host ever runs.
pub fn close(
    standings: &mut Standings,
    known: &BTreeSet<String>,
    config: &Config,
    whole: bool,
    at: Timestamp,
) -> Closed {
    let mut made = Closed::default();
    let mut messages: BTreeMap<String, Notification> = BTreeMap::new();
    let gone = |name: &String, standing: &Standing| {
        !known.contains(name) && (standing.configured == Some(true) || whole || !config.grants.contains_key(name))
    };
    let gone: Vec<String> =
        standings.iter().filter(|(name, standing)| gone(name, standing)).map(|(name, _)| name.clone()).collect();
    for name in gone {
        let Some(standing) = standings.remove(&name) else { continue };
        let why = match standing.configured {
            Some(true) => REMOVED,
            Some(false) => NO_FILE,
            None => UNKNOWN,
        };
        // Nothing is known of its state since it last ran, though the alert goes on until now.
        let ran = standing.ran.unwrap_or(at);
        for (subject, day) in standing.told_or_open() {
            made.episodes.extend(closed((&name, subject), About::Data, &day.side(), at.max(ran), why));
        }
        made.episodes.extend(closed((&name, None), About::Evaluation, &standing.evaluation, at.max(ran), why));
        for (channel, words) in endings(&standing, ran, why, config) {
            let message = messages.entry(channel.clone()).or_insert_with(|| Notification {
                channel: channel.clone(),
                level: Some(Level::Info),
                footer: "Not a recovery: this is no longer checked.".to_owned(),
                ..Notification::default()
            });
            message.incidents.extend(mentioned((&name, &standing), &channel, &words));
            message.closed.push((name.clone(), words));
        }
        made.checks.push(name);
    }
    made.messages = messages.into_values().collect();
    for message in &mut made.messages {
        let names: Vec<String> = message.checks().into_iter().collect();
        message.title = format!("No longer checked: {}", names.join(", "));
    }
    made
}

/// The incidents of a check that a channel knows of.
fn mentioned((check, standing): (&str, &Standing), channel: &str, words: &str) -> Vec<Mentioned> {
    let dates = standing.told_or_open().map(|(subject, day)| (About::Data, subject, day.side()));
    let all = dates.chain([(About::Evaluation, None, standing.evaluation.clone())]);
    let known = all.filter(|(_, _, side)| side.knowing().contains(channel));
    known
        .filter_map(|(about, subject, side)| {
            let one = Mentioned::new((check, about.kind()), subject, side.began?, Stage::GivenUp);
            Some(Mentioned { state: words.to_owned(), ..one })
        })
        .collect()
}

/// What each channel that knows of the check's alerts hears of their end, one line for its dates and one for its errors.
fn endings(standing: &Standing, ran: Timestamp, why: &str, config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut dates: BTreeMap<String, Vec<(Subject, Side)>> = BTreeMap::new();
    for (subject, day) in standing.told_or_open() {
        let side = day.side();
        for channel in side.knowing() {
            dates.entry(channel).or_default().push((subject, side.clone()));
        }
    }
    for (channel, sides) in dates {
        let Some((newest, side)) = sides.last() else { continue };
        let others: Vec<Date> = sides.iter().filter_map(|(subject, _)| *subject).collect();
        let of = match (newest, others.len()) {
            (Some(_), 2..) => format!(" ({})", ranges(&others, &mut None)),
            _ => String::new(),
        };
        found.push((channel, ended(&format!("not well{of}"), side, ran, why, config)));
    }
    let evaluation = &standing.evaluation;
    found.extend(
        evaluation
            .knowing()
            .into_iter()
            .map(|channel| (channel, ended("could not be evaluated", evaluation, ran, why, config))),
    );
    found
}

/// The end in words that follow the check's name. `ran` is when it last ran, `last` its state then.
fn ended(last: &str, side: &Side, ran: Timestamp, why: &str, config: &Config) -> String {
    let (checked, lasted) = (shown(ran, config), side.lasted(ran));
    // One run shows no duration.
    let lasted = if lasted.is_positive() { format!(", and for {} until then", span(lasted)) } else { String::new() };
    format!("{why}; {last} when last checked, at {checked}{lasted}: {}", side.summary)
}
