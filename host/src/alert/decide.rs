//! From a batch of runs to what is said of them: each check's two sides, held back by silences, calendars and failures
//! further up the pipeline.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Level, compose,
    policy::{Finding, Levels, Say, Side},
};
use crate::{
    config::{Config, Effect, Route},
    contract::Verdict,
    run::{Run, Status},
    state::{Episode, Silence},
};

/// Characters of a summary or a point that are remembered.
const REMEMBERED: usize = 1000;

/// What is remembered of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// What its data is like.
    pub data: Side,
    /// Whether it can be evaluated.
    pub evaluation: Side,
    /// Whether its last run gave a verdict.
    pub judged: bool,
    /// What the last validation found wrong with the check itself: until the next one, its results are not trusted.
    pub invalid: Vec<String>,
}

/// Of all checks, by name.
pub type Standings = BTreeMap<String, Standing>;

/// What the decision depends on besides the runs and what is remembered.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// host.toml.
    pub config: &'r Config,
    /// Those that may hold.
    pub silences: &'r [Silence],
    /// The moment of the decision: silences hold by it, calendars by the runs' own due times.
    pub now: Timestamp,
}

/// Something to say of one check in one channel.
#[derive(Debug)]
pub struct Notice<'r> {
    /// What brought it about.
    pub run: &'r Run,
    /// Which side of the check it is about.
    pub about: About,
    /// Where it is said.
    pub channel: String,
    /// What.
    pub say: Say,
    /// Failing checks that depend on this one, and what was found there.
    pub downstream: Vec<(String, String)>,
}

/// The two sides of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// What the data is like.
    Data,
    /// Whether it can be evaluated.
    Evaluation,
}

/// What a batch of runs comes to.
#[derive(Debug, Default)]
pub struct Decided<'r> {
    /// What is said, in the order of the runs.
    pub notices: Vec<Notice<'r>>,
    /// Alerts that began, changed or ended.
    pub episodes: Vec<Episode>,
    /// The checks of which something else is remembered now.
    pub touched: BTreeSet<String>,
}

/// Takes in a batch of runs, and decides what is said of them.
pub fn decide<'r>(runs: &'r [Run], standings: &mut Standings, rules: Rules<'_>) -> Decided<'r> {
    let mut decided = Decided::default();
    let before: Vec<Standing> = runs.iter().map(|run| standings.get(&run.check).cloned().unwrap_or_default()).collect();
    // All results are taken in before anything is decided: what one says of another must not depend on their order.
    for run in runs.iter().filter(|run| !run.replay) {
        let standing = standings.entry(run.check.clone()).or_default();
        match run.validation {
            true => standing.invalid.clone_from(&run.invalid),
            false => standing.judged = matches!(run.status(), Status::Pass | Status::Warn | Status::Fail),
        }
        for (about, finding) in findings(run, rules.config) {
            standing.side(about).observe(&finding, run.due);
        }
        decided.touched.insert(run.check.clone());
    }
    for (run, before) in runs.iter().zip(before).filter(|(run, _)| !run.replay) {
        let silenced = silenced(&run.check, run, rules);
        for (about, finding) in findings(run, rules.config) {
            let upstream = match about {
                About::Data => root(&run.check, standings, rules.config),
                // What could not be evaluated has a reason of its own.
                About::Evaluation => None,
            };
            let alerts = rules.config.alerts(&run.check);
            let confirm = match about {
                About::Data => alerts.confirm.0,
                // What is wrong with the check itself does not pass.
                About::Evaluation if !run.invalid.is_empty() => 1,
                About::Evaluation => alerts.confirm_errors.0,
            };
            let Some(standing) = standings.get_mut(&run.check) else { continue };
            let side = standing.side(about);
            let held =
                silenced.clone().or_else(|| upstream.map(|root| format!("listed under {root}, which it depends on")));
            let said = side.decide(&finding, run.due, confirm, &alerts, held.is_some());
            let held = held.or_else(|| {
                (side.told.is_empty()).then(|| format!("not confirmed yet: {} of {confirm} results", side.bad))
            });
            let was = match about {
                About::Data => &before.data,
                About::Evaluation => &before.evaluation,
            };
            decided.episodes.extend(episode(run, about, was, side, held));
            decided.notices.extend(said.into_iter().map(|(channel, say)| Notice {
                run,
                about,
                channel,
                say,
                downstream: Vec::new(),
            }));
        }
    }
    list_downstream(&mut decided, standings, rules);
    decided
}

impl Standing {
    fn side(&mut self, about: About) -> &mut Side {
        match about {
            About::Data => &mut self.data,
            About::Evaluation => &mut self.evaluation,
        }
    }
}

/// What a run says of each side; nothing of a side that it leaves open.
fn findings(run: &Run, config: &Config) -> Vec<(About, Finding)> {
    let mut findings = Vec::new();
    let verdict = run.report.as_ref().map(|report| &report.verdict);
    let judged = match verdict {
        Some(Verdict::Fail | Verdict::Warn) => true,
        // What is not wholly known is no pass.
        Some(Verdict::Pass) => run.error.is_none(),
        Some(Verdict::Skip(_)) | None => false,
    };
    if judged {
        findings.push((About::Data, data(run, config)));
    }
    let untrusted = || (!run.invalid.is_empty()).then(|| run.invalid.join("; "));
    match run.error.clone().or_else(untrusted) {
        Some(error) => {
            let mut levels = Levels::new();
            if let Some(family) = &run.family {
                concern(&mut levels, &family.channel, Level::Warning, config);
            }
            let points = run.invalid.iter().map(|point| cut(point)).collect();
            findings.push((About::Evaluation, Finding { levels, points, summary: cut(&error) }));
        }
        None if judged => findings.push((About::Evaluation, Finding::default())),
        None => {}
    }
    findings
}

fn data(run: &Run, config: &Config) -> Finding {
    let mut levels = Levels::new();
    for alert in compose::alerts(run).iter() {
        concern(&mut levels, &alert.channel, alert.severity.into(), config);
    }
    let violations = run.report.iter().flat_map(|report| &report.violations);
    let violated = violations.map(|violation| point(violation.metric.as_deref(), &violation.message));
    let remarks = run.alerts.iter().filter(|alert| Level::from(alert.severity) == Level::Info);
    let points = violated.chain(remarks.map(|alert| alert.title.clone())).map(|point| cut(&point)).collect();
    Finding { levels, points, summary: cut(&run.summary()) }
}

/// What is remembered of a text that can be as long as a report.
fn cut(text: &str) -> String {
    text.chars().take(REMEMBERED).collect()
}

/// Tells a channel, and those that are told of everything as severe.
fn concern(levels: &mut Levels, channel: &str, level: Level, config: &Config) {
    let route = match level {
        Level::Info => Route::Info,
        Level::Warning => Route::Warning,
        Level::Critical => Route::Critical,
    };
    let routed = config.alerts.routes.get(&route).into_iter().flatten().map(String::as_str);
    for channel in std::iter::once(channel).chain(routed) {
        levels.entry(channel.to_owned()).or_default().insert(level);
    }
}

/// What a violation is about, without the numbers that change from run to run: what stands before its colon, else its
/// metric, else its words.
fn point(metric: Option<&str>, message: &str) -> String {
    let before_colon = message.split_once(": ").map(|(subject, _)| subject);
    before_colon.or(metric).map_or_else(|| message.replace(|c: char| c.is_ascii_digit(), ""), str::to_owned)
}

/// Why nothing new is said of a check.
fn silenced(check: &str, run: &Run, rules: Rules<'_>) -> Option<String> {
    let zone = &rules.config.timezone;
    let calendar = rules.config.calendars.iter().find(|(_, calendar)| {
        calendar.effect == Effect::Silence && calendar.covers(check, run.due, run.data_date, zone)
    });
    if let Some((name, calendar)) = calendar {
        return Some(format!("silenced by calendars.{name}: {}", calendar.why));
    }
    let named = |silence: &&Silence| silence.active(rules.now) && silence.checks.iter().any(|name| name == check);
    rules.silences.iter().find(named).map(|silence| format!("silence {}: {}", silence.id, silence.why))
}

/// The failing check furthest up the pipeline that a failing check depends on, when it is as severe. A check between
/// them that passes breaks the chain; one that could not be judged does not.
fn root(check: &str, standings: &Standings, config: &Config) -> Option<String> {
    let severity = standings.get(check).and_then(|standing| standing.data.worst());
    furthest(check, severity, standings, config)
}

/// host.toml has no circle of dependencies, so this ends.
fn furthest(check: &str, severity: Option<Level>, standings: &Standings, config: &Config) -> Option<String> {
    let upstream = config.checks.get(check).map(|check| check.depends_on.as_slice()).unwrap_or_default();
    upstream.iter().find_map(|name| {
        let standing = standings.get(name)?;
        let further = || furthest(name, severity, standings, config);
        match standing.data.failing() && standing.data.worst() >= severity {
            true => further().or_else(|| Some(name.clone())),
            false if standing.judged => None,
            false => further(),
        }
    })
}

/// Puts failing checks under the message of the check that they depend on.
fn list_downstream(decided: &mut Decided<'_>, standings: &mut Standings, rules: Rules<'_>) {
    let mut under: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (check, standing) in standings.iter().filter(|(_, standing)| standing.data.failing()) {
        let run = decided.notices.first().map(|notice| notice.run);
        if run.is_none_or(|run| silenced(check, run, rules).is_some()) {
            continue;
        }
        if let Some(root) = root(check, standings, rules.config) {
            under.entry(root).or_default().push((check.clone(), standing.data.summary.clone()));
        }
    }
    for notice in &mut decided.notices {
        let bad = !matches!(notice.say, Say::Recovered { .. }) && notice.about == About::Data;
        let Some(downstream) = under.get(&notice.run.check).filter(|_| bad) else { continue };
        for (check, _) in downstream {
            if let Some(standing) = standings.get_mut(check) {
                standing.data.list(&notice.channel);
                decided.touched.insert(check.clone());
            }
        }
        notice.downstream.clone_from(downstream);
    }
}

/// What is recorded of an alert that goes on, or ended now.
fn episode(run: &Run, about: About, before: &Side, now: &Side, held: Option<String>) -> Option<Episode> {
    let (side, ended) = match (before.began, now.began) {
        (_, Some(_)) => (now, None),
        (Some(_), None) => (before, Some(run.due)),
        (None, None) => return None,
    };
    Some(Episode {
        check: run.check.clone(),
        kind: match about {
            About::Data => "failure",
            About::Evaluation => "error",
        },
        severity: side.worst().or(before.worst()).unwrap_or(Level::Info).name(),
        summary: side.summary.clone(),
        began: side.began?,
        ended,
        announced: side.announced.map(|(first, _)| first),
        held: if side.announced.is_some() { None } else { held },
    })
}
