//! Decides which notices a batch of runs causes, from both sides of each check; silences, calendars and failures
//! further up the pipeline hold notices back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Level,
    policy::{Finding, Levels, Side},
    roots::Roots,
    spoken::{About, News, Notice, alerts},
    standing::{Rules, Standing, Standings, silenced},
};
use crate::{
    config::{Config, Route},
    contract::Verdict,
    record::Episode,
    run::{Reason, Run, Status},
};

/// Characters of a summary or a point that are kept.
const REMEMBERED: usize = 1000;

/// The decision on a batch of runs.
#[derive(Debug, Default)]
pub struct Decided<'r> {
    /// The notices to send, in the order of the runs.
    pub notices: Vec<Notice<'r>>,
    /// Alerts that began, changed or ended.
    pub episodes: Vec<Episode>,
    /// The checks whose standing changed.
    pub touched: BTreeSet<String>,
}

/// Takes in a batch of news, and decides which notices to send.
pub fn decide<'r>(batch: &[News<'r>], standings: &mut Standings, rules: Rules<'_>) -> Decided<'r> {
    let mut decided = Decided::default();
    let before: Vec<Standing> =
        batch.iter().map(|news| standings.get(news.check()).cloned().unwrap_or_default()).collect();
    // Take in all results before deciding anything, so that the decision does not depend on their order.
    for news in batch.iter().filter(|news| !news.is_past()) {
        let standing = standings.entry(news.check().to_owned()).or_default();
        standing.configured = rules.config.names(news.check());
        match news {
            News::Validation(validation) => standing.invalid.clone_from(&validation.wrong),
            News::Run(run) => {
                standing.clean = run.error.is_none();
                standing.judged = matches!(run.status(), Status::Pass | Status::Warn | Status::Fail);
                standing.ran = Some(run.due);
            }
        }
        for (about, finding) in findings(*news, standing, rules.config) {
            standing.side(about).observe(&finding, news.due());
        }
        decided.touched.insert(news.check().to_owned());
    }
    // Upstream checks first: whether they are reported decides whether their dependents are.
    let depth = |news: &News<'_>| rules.config.dependencies.depth(news.check());
    let mut order: Vec<(usize, News<'r>, Standing)> =
        batch.iter().zip(before).map(|(news, before)| (depth(news), *news, before)).collect();
    order.sort_by_key(|(depth, ..)| *depth);
    let mut roots = Roots::new(rules);
    for (_, news, before) in order.into_iter().filter(|(_, news, _)| !news.is_past()) {
        let check = news.check();
        let silenced = silenced(check, news, rules);
        let Some(now) = standings.get(check) else { continue };
        let (invalid, found) = (now.invalid.clone(), findings(news, now, rules.config));
        for (about, finding) in found {
            let upstream = match about {
                About::Data => roots.of(check, news, standings),
                // A run that could not be evaluated has its own reason.
                About::Evaluation => None,
            };
            let alerts = rules.config.alerts(check);
            let confirm = match about {
                About::Data => alerts.confirm.0,
                // A fault of the check itself is not a pass.
                About::Evaluation if !invalid.is_empty() => 1,
                About::Evaluation => alerts.confirm_errors.0,
            };
            let Some(standing) = standings.get_mut(check) else { continue };
            let side = standing.side(about);
            let held =
                silenced.clone().or_else(|| upstream.map(|root| format!("listed under {root}, which it depends on")));
            let said = side.decide(&finding, news.due(), confirm, &alerts, held.is_some());
            let held = held.or_else(|| {
                (side.told.is_empty()).then(|| format!("not confirmed yet: {} of {confirm} results", side.bad))
            });
            let was = match about {
                About::Data => &before.data,
                About::Evaluation => &before.evaluation,
            };
            decided.episodes.extend(episodes(news, about, was, side, held));
            let well = !standing.data.failing();
            decided.notices.extend(said.into_iter().map(|(channel, say)| Notice {
                news,
                about,
                reasons: reasons(news, &invalid),
                channel,
                say,
                well,
                downstream: Vec::new(),
            }));
        }
    }
    let place = |check: &str| batch.iter().position(|news| news.check() == check);
    decided.notices.sort_by_key(|notice| (place(notice.news.check()), notice.about));
    list_downstream(&mut decided, standings, rules, &mut roots);
    decided
}

/// The result of some news for each side of a check; `None` for a side that the news leaves open.
fn findings(news: News<'_>, standing: &Standing, config: &Config) -> Vec<(About, Finding)> {
    let invalid = &standing.invalid;
    let mut findings = Vec::new();
    if let Some(run) = news.run().filter(|run| judged(run)) {
        findings.push((About::Data, data(run, config)));
    }
    let error = news.run().and_then(|run| run.error.as_ref()).map(ToString::to_string);
    let untrusted = || (!invalid.is_empty()).then(|| invalid.join("; "));
    match error.or_else(untrusted) {
        Some(error) => {
            let mut levels = Levels::new();
            let own = news.family().map(|family| family.channel.as_str());
            concern(&mut levels, own, Level::Warning, config);
            let points = invalid.iter().map(|point| cut(point)).collect();
            findings.push((About::Evaluation, Finding { levels, points, summary: cut(&error) }));
        }
        None if !findings.is_empty() => findings.push((About::Evaluation, Finding::default())),
        // The check itself is sound, and its last run was evaluated.
        None if news.run().is_none() && standing.judged && standing.clean => {
            findings.push((About::Evaluation, Finding::default()));
        }
        None => {}
    }
    findings
}

/// Whether a run gave a verdict on the data. A pass with unknown items does not count.
fn judged(run: &Run) -> bool {
    match run.report.as_ref().map(|report| &report.verdict) {
        Some(Verdict::Fail | Verdict::Warn) => true,
        Some(Verdict::Pass) => run.error.is_none(),
        Some(Verdict::Skip(_)) | None => false,
    }
}

/// Why a check cannot be evaluated or trusted, one line for each reason and for each unknown item.
fn reasons(news: News<'_>, invalid: &[String]) -> Vec<String> {
    match news.run().and_then(|run| run.error.as_ref()) {
        Some(Reason::Unknown(unknown)) => unknown.clone(),
        Some(error) => vec![error.to_string()],
        None => invalid.to_vec(),
    }
}

fn data(run: &Run, config: &Config) -> Finding {
    let mut levels = Levels::new();
    for alert in alerts(run).iter() {
        concern(&mut levels, Some(&alert.channel), alert.severity.into(), config);
    }
    let violations = run.report.iter().flat_map(|report| &report.violations);
    let violated = violations.map(|violation| point(violation.metric.as_deref(), &violation.message));
    let remarks = run.alerts.iter().filter(|alert| Level::from(alert.severity) == Level::Info);
    let points = violated.chain(remarks.map(|alert| alert.title.clone())).map(|point| cut(&point)).collect();
    Finding { levels, points, summary: cut(&run.summary()) }
}

/// The part to keep of a text that can be as long as a report.
fn cut(text: &str) -> String {
    text.chars().take(REMEMBERED).collect()
}

/// Adds a level for a channel, if there is one, and for the channels that `alerts.routes` adds for its severity.
fn concern(levels: &mut Levels, channel: Option<&str>, level: Level, config: &Config) {
    let route = match level {
        Level::Info => Route::Info,
        Level::Warning => Route::Warning,
        Level::Critical => Route::Critical,
    };
    let routed = config.alerts.routes.get(&route).into_iter().flatten().map(String::as_str);
    for channel in channel.into_iter().chain(routed) {
        levels.entry(channel.to_owned()).or_default().insert(level);
    }
}

/// The subject of a violation, without the numbers that change from run to run: its metric if the message begins with
/// it, else the text before the colon, else the metric, else the message without digits.
fn point(metric: Option<&str>, message: &str) -> String {
    let leading = metric.filter(|metric| message.starts_with(&format!("{metric} ")));
    let before_colon = message.split_once(": ").map(|(subject, _)| subject);
    let subject = leading.or(before_colon).or(metric);
    subject.map_or_else(|| message.replace(|c: char| c.is_ascii_digit(), ""), str::to_owned)
}

/// Lists failing checks in the message of the check that they depend on.
fn list_downstream(decided: &mut Decided<'_>, standings: &mut Standings, rules: Rules<'_>, roots: &mut Roots<'_>) {
    let mut under: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (check, standing) in standings.iter().filter(|(_, standing)| standing.data.failing()) {
        let news = decided.notices.first().map(|notice| notice.news);
        if news.is_none_or(|news| silenced(check, news, rules).is_some()) {
            continue;
        }
        if let Some(root) = news.and_then(|news| roots.of(check, news, standings)) {
            under.entry(root).or_default().push((check.clone(), standing.data.summary.clone()));
        }
    }
    for notice in &mut decided.notices {
        let bad = !notice.say.ends() && notice.about == About::Data;
        let Some(downstream) = under.get(notice.news.check()).filter(|_| bad) else { continue };
        for (check, _) in downstream {
            if let Some(standing) = standings.get_mut(check) {
                standing.data.list(&notice.channel);
                decided.touched.insert(check.clone());
            }
        }
        notice.downstream.clone_from(downstream);
    }
}

/// The record of an alert that ends since its check is gone.
pub(super) fn closed(check: &str, about: About, side: &Side, at: Timestamp, why: &str) -> Option<Episode> {
    Some(Episode {
        check: check.to_owned(),
        kind: about.kind(),
        severity: side.worst().or(side.told_worst()).unwrap_or(Level::Info).name(),
        summary: format!("{} (ended: {why})", side.summary),
        began: side.began?,
        ended: Some(at),
        announced: side.announced.map(|(first, _)| first),
        held: None,
    })
}

/// The record of an alert that has just ended, and of one that is active.
fn episodes(news: News<'_>, about: About, before: &Side, now: &Side, held: Option<String>) -> Vec<Episode> {
    let record = |side: &Side, ended: Option<Timestamp>, held: Option<String>| {
        Some(Episode {
            check: news.check().to_owned(),
            kind: about.kind(),
            severity: side.worst().or(before.worst()).or(side.told_worst()).unwrap_or(Level::Info).name(),
            summary: side.summary.clone(),
            began: side.began?,
            ended,
            announced: side.announced.map(|(first, _)| first),
            held: if side.announced.is_some() { None } else { held },
        })
    };
    let ended = (before.began != now.began).then(|| record(before, Some(news.due()), held.clone())).flatten();
    ended.into_iter().chain(record(now, None, held)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::{
        alert::Say,
        check::Family,
        contract::{Report, Violation},
    };

    fn at(round: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(30 * round)
    }

    /// `.` passes, `f` fails, `e` errs, `s` is skipped.
    fn run(check: &str, result: char, round: i64) -> Run {
        let verdict = match result {
            'f' => Some(Verdict::Fail),
            's' => Some(Verdict::Skip("a holiday".to_owned())),
            '.' => Some(Verdict::Pass),
            _ => None,
        };
        let violation = Violation { metric: None, message: "rows is below its minimum: 0 < 1".to_owned() };
        let failing = result == 'f';
        Run {
            check: check.to_owned(),
            plugin: None,
            due: at(round),
            data_date: jiff::civil::date(1969, 12, 31),
            attempt: 1,
            past: false,
            report: verdict.map(|verdict| Report {
                verdict,
                summary: String::new(),
                metrics: Vec::new(),
                violations: failing.then_some(violation).into_iter().collect(),
                unknown: Vec::new(),
                gate: None,
            }),
            error: (result == 'e').then(|| Reason::NotFound("query failed".to_owned())),
            duration: Duration::ZERO,
            calls: Vec::new(),
            log: String::new(),
            alerts: Vec::new(),
            family: Some(Family { channel: "#a".to_owned(), group: "canaries".to_owned() }),
            untold: None,
            exceeded: Default::default(),
        }
    }

    /// A dependent check is held back only while the upstream failure is reported. `up` and `down` are the results of
    /// the two checks, one character a round, a space for no run; the last column is the round in which `down` is first
    /// reported.
    #[test]
    fn a_failure_is_held_back_only_while_its_root_speaks() {
        let plain = "[checks.down]\ndepends_on = ['up']\n";
        let patient = "[checks.up]\nalerts = { confirm = 99 }\n[checks.down]\ndepends_on = ['up']\n";
        for (why, up, down, config, told) in [
            ("both fail", "ffffff", "ffffff", plain, None),
            ("it comes later", ".fffff", "..ffff", plain, None),
            ("the root recovers", "fff...", "ffffff", plain, Some(3)),
            ("the root cannot be judged any more", "ffeeee", "ffffff", plain, Some(2)),
            ("the root is skipped", "ffssss", "ffffff", plain, Some(2)),
            ("the root is not announced itself", "ffffff", "ffffff", patient, Some(0)),
            ("the root is not run any more", "ff              ", "ffffffffffffffff", plain, Some(10)),
        ] {
            let config = Config::parse(config).expect("a configuration");
            let mut standings = Standings::new();
            let mut first = None;
            for (round, (up, down)) in (0..).zip(up.chars().zip(down.chars())) {
                // Ordered by name: the dependent check first.
                let runs: Vec<Run> = [("down", down), ("up", up)]
                    .into_iter()
                    .filter(|(_, result)| *result != ' ')
                    .map(|(check, result)| run(check, result, round))
                    .collect();
                let rules = Rules { config: &config, silences: &[], now: at(round) };
                let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
                let decided = decide(&news, &mut standings, rules);
                let own = decided.notices.iter().any(|notice| {
                    notice.news.check() == "down" && notice.about == About::Data && notice.say == Say::Began
                });
                first = first.or(own.then_some(round));
            }
            assert_eq!(first, told, "{why}");
        }
    }

    /// In 100 layers, each check depends on every check of the layer above, and all fail. That the decision knows this
    /// costs little, and each check is listed under one of the first layer.
    #[test]
    fn a_thousand_checks_in_a_hundred_layers_are_decided_at_once() {
        let name = |layer: usize, at: usize| format!("c{layer:03}-{at}");
        let mut text = String::new();
        for (layer, at) in (0..100).flat_map(|layer| (0..10).map(move |at| (layer, at))) {
            let above: Vec<String> = (0..10).filter(|_| layer > 0).map(|other| name(layer - 1, other)).collect();
            text += &format!("[checks.{}]\ndepends_on = {above:?}\n", name(layer, at));
        }
        let runs: Vec<Run> = (0..100)
            .rev()
            .flat_map(|layer| (0..10).map(move |at| (layer, at)))
            .map(|(layer, at)| run(&name(layer, at), 'f', 0))
            .collect();
        let news: Vec<News<'_>> = runs.iter().map(News::Run).collect();
        let took = |text: &str| {
            let config = Config::parse(text).expect("a configuration");
            let tried = (0..3).map(|_| {
                let mut standings = Standings::new();
                let began = std::time::Instant::now();
                let decided = decide(&news, &mut standings, Rules { config: &config, silences: &[], now: at(0) });
                let took = began.elapsed();
                let listed: usize = decided.notices.iter().map(|notice| notice.downstream.len()).sum();
                (took, decided.notices.len(), listed)
            });
            tried.min().unwrap_or_default()
        };
        let (without, alone, _) = took("");
        let (with, told, listed) = took(&text);
        assert_eq!((alone, told, listed), (1000, 10, 990));
        assert!(with < without + Duration::from_millis(50), "{with:?} instead of {without:?}");
    }
}
