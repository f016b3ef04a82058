//! Ends the alerts of checks that are gone, so that none goes on for ever and no later check of the same name recovers from
//! it. Everybody who was told hears the reason once.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Level, Notification,
    compose::span,
    episodes::closed,
    policy::Side,
    spoken::About,
    standing::{Standing, Standings, shown},
};
use crate::{config::Config, record::Episode};

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
        for (about, side) in [(About::Data, &standing.data), (About::Evaluation, &standing.evaluation)] {
            made.episodes.extend(closed(&name, about, side, at.max(ran), why));
            for channel in side.knowing() {
                let message = messages.entry(channel.clone()).or_insert_with(|| Notification {
                    channel,
                    level: Some(Level::Info),
                    footer: "Not a recovery: this is no longer checked.".to_owned(),
                    ..Notification::default()
                });
                message.closed.push((name.clone(), ended(about, side, ran, why, config)));
            }
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

/// The end in words that follow the check's name. `ran` is when it last ran.
fn ended(about: About, side: &Side, ran: Timestamp, why: &str, config: &Config) -> String {
    let last = match about {
        About::Data => "not well",
        About::Evaluation => "could not be evaluated",
    };
    let (checked, lasted) = (shown(ran, config), side.lasted(ran));
    // One run shows no duration.
    let lasted = if lasted.is_positive() { format!(", and for {} until then", span(lasted)) } else { String::new() };
    format!("{why}; {last} when last checked, at {checked}{lasted}: {}", side.summary)
}
