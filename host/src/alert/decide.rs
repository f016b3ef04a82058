//! Decides which notices a batch of runs causes, from both sides of each check; silences, calendars and failures
//! further up the pipeline hold notices back.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    Level,
    policy::{Finding, Hold, Levels, Say, Side},
    remark::Remark,
    roots::{How, Root, Roots},
    spoken::{About, News, Notice, alerts},
    standing::{Rules, Standing, Standings, Waits, silenced},
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
    /// Remarks on checks that are new.
    pub remarks: Vec<Remark<'r>>,
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
        take_in(*news, standing, rules.config);
        if let News::Validation(validation) = *news {
            decided.remarks.extend(Remark::new(validation, standing, rules));
        }
        decided.touched.insert(news.check().to_owned());
    }
    // Upstream checks first: whether they are reported decides whether their dependents are.
    let depth = |news: &News<'_>| rules.config.dependencies.depth(news.check());
    let mut order: Vec<(usize, News<'r>, Standing)> =
        batch.iter().zip(before).map(|(news, before)| (depth(news), *news, before)).collect();
    order.sort_by_key(|(depth, ..)| *depth);
    let mut roots = Roots::new(rules);
    let mut judged: Vec<(News<'r>, About, Side, Option<Root>)> = Vec::new();
    for (_, news, before) in order.into_iter().filter(|(_, news, _)| !news.is_past()) {
        let check = news.check();
        let silenced = silenced(check, news, rules);
        let Some(now) = standings.get(check) else { continue };
        let (invalid, found) = (now.invalid.clone(), findings(news, now, rules.config));
        for (about, finding) in found {
            let root = match about {
                About::Data => follow(check, news, standings, &mut roots),
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
            let held = held(silenced.clone(), root.as_ref(), news, standings, rules);
            let Some(standing) = standings.get_mut(check) else { continue };
            let side = standing.side(about);
            let mut said = side.decide(&finding, news.due(), confirm, &alerts, &held.hold);
            let told_in_a_line = held.line.is_some() && side.is_confirmed(confirm);
            if let Some(line) = held.line.filter(|_| told_in_a_line) {
                for channel in side.unaware() {
                    side.list(&channel);
                    said.push((channel, line.clone()));
                }
            }
            side.held = match held.why {
                _ if side.announced.is_some() || side.began.is_none() => None,
                // The reason from before the recovery stays.
                Some(_) if held.follows && side.held.is_some() => side.held.take(),
                Some(why) if told_in_a_line || !held.silenced => Some(why),
                _ => Some(format!("not confirmed: {} of {confirm} results", side.bad)),
            };
            let was = match about {
                About::Data => before.data.clone(),
                About::Evaluation => before.evaluation.clone(),
            };
            judged.push((news, about, was, root));
            let well = !standing.data.failing();
            decided.notices.extend(said.into_iter().map(|(channel, say)| Notice {
                news,
                about,
                reasons: reasons(news, &invalid),
                channel,
                say,
                well,
                downstream: Vec::new(),
                root: held.elsewhere.clone(),
            }));
        }
    }
    let place = |check: &str| batch.iter().position(|news| news.check() == check);
    decided.notices.sort_by_key(|notice| (place(notice.news.check()), notice.about));
    list_downstream(&mut decided, standings, rules, &mut roots);
    for (news, about, before, root) in judged {
        let Some(standing) = standings.get_mut(news.check()) else { continue };
        let side = standing.side(about);
        if let Some(root) = root.filter(|root| root.how == How::Reported && side.listed.is_empty()) {
            let unlisted = format!("{}, which it depends on, was reported before it", root.check);
            side.held = side.held.as_ref().map(|_| unlisted);
        }
        decided.episodes.extend(episodes(news, about, &before, side));
    }
    decided
}

/// Takes in one result.
fn take_in(news: News<'_>, standing: &mut Standing, config: &Config) {
    standing.configured = config.names(news.check());
    match news {
        News::Validation(validation) => standing.invalid.clone_from(&validation.wrong),
        News::Run(run) => {
            standing.clean = run.error.is_none();
            standing.judged = matches!(run.status(), Status::Pass | Status::Warn | Status::Fail);
            standing.ran = Some(run.due);
            standing.next = run.next;
        }
    }
    for (about, finding) in findings(news, standing, config) {
        standing.side(about).observe(&finding, news.due());
    }
}

/// The check that speaks for a failing check; and remembers it. When that check recovers, this one has one more run to
/// follow before it is told of.
fn follow(check: &str, news: News<'_>, standings: &mut Standings, roots: &mut Roots<'_>) -> Option<Root> {
    let failing = standings.get(check).is_some_and(|standing| standing.data.failing());
    let root = if failing { roots.of(check, news, standings) } else { None };
    let before = standings.get(check).and_then(|standing| standing.waits.clone()).filter(|_| failing);
    let (root, waits) = match (root, before) {
        (Some(root), _) => (Some(root.clone()), Some(Waits { root: root.check, recovered: false })),
        (None, Some(Waits { root, recovered: false })) if passes(&root, standings) => {
            (Some(Root { check: root.clone(), how: How::Follows }), Some(Waits { root, recovered: true }))
        }
        (None, _) => (None, None),
    };
    if let Some(standing) = standings.get_mut(check) {
        standing.waits = waits;
    }
    root
}

fn passes(check: &str, standings: &Standings) -> bool {
    standings.get(check).is_some_and(|standing| standing.judged && !standing.data.failing())
}

/// What holds back the notices about one side of a check.
#[derive(Debug, Default)]
struct Held {
    hold: Hold,
    /// The reason, in the record's words.
    why: Option<String>,
    /// The line that every channel gets in place of an alert, if one does.
    line: Option<Say>,
    /// The check that speaks for it, and the channels in which it does.
    elsewhere: Option<(String, Vec<String>)>,
    /// Whether the check that it depends on is silenced.
    silenced: bool,
    /// Whether it has one more run to follow.
    follows: bool,
}

fn held(
    silenced_itself: Option<String>,
    root: Option<&Root>,
    news: News<'_>,
    standings: &Standings,
    rules: Rules<'_>,
) -> Held {
    if let Some(why) = silenced_itself {
        return Held { hold: Hold::All, why: Some(why), ..Held::default() };
    }
    let Some(Root { check, how }) = root else { return Held::default() };
    match how {
        How::Reported => {
            let told = standings.get(check).map(|standing| standing.data.knowing()).unwrap_or_default();
            Held {
                why: Some(format!("listed under {check}, which it depends on")),
                elsewhere: Some((check.clone(), told.iter().cloned().collect())),
                hold: Hold::Elsewhere(told),
                ..Held::default()
            }
        }
        How::Silenced => {
            let silence = silenced(check, news, rules).unwrap_or_default();
            Held {
                hold: Hold::All,
                why: Some(format!("told in a line, since {check}, which it depends on, is silenced: {silence}")),
                line: Some(Say::Held { root: check.clone(), why: silence }),
                silenced: true,
                ..Held::default()
            }
        }
        How::Follows => Held {
            hold: Hold::All,
            why: Some(format!("{check}, which it depends on, had just recovered")),
            follows: true,
            ..Held::default()
        },
    }
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

/// Lists failing checks in the message of the check that they depend on, also in the one about its recovery.
fn list_downstream(decided: &mut Decided<'_>, standings: &mut Standings, rules: Rules<'_>, roots: &mut Roots<'_>) {
    let Some(news) = decided.notices.first().map(|notice| notice.news) else { return };
    let mut under: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (check, standing) in standings.iter().filter(|(_, standing)| standing.data.failing()) {
        if silenced(check, news, rules).is_some() {
            continue;
        }
        let reported = roots.of(check, news, standings).filter(|root| root.how == How::Reported);
        if let Some(root) = reported.map(|root| root.check).or_else(|| recovered(standing, standings)) {
            under.entry(root).or_default().push((check.clone(), standing.data.summary.clone()));
        }
    }
    for notice in decided.notices.iter_mut().filter(|notice| notice.about == About::Data) {
        let speaks = !notice.say.is_line() || matches!(notice.say, Say::Recovered { .. });
        let Some(downstream) = under.get(notice.news.check()).filter(|_| speaks) else { continue };
        for (check, _) in downstream {
            if let Some(standing) = standings.get_mut(check) {
                standing.data.list(&notice.channel);
                decided.touched.insert(check.clone());
            }
        }
        notice.downstream.clone_from(downstream);
    }
}

/// The check that a failing check waited for, if that has recovered.
fn recovered(standing: &Standing, standings: &Standings) -> Option<String> {
    let mut root = &standing.waits.as_ref()?.root;
    // Checks may wait for each other only since host.toml changed in between.
    for _ in 0..standings.len() {
        let above = standings.get(root)?;
        match above.waits.as_ref().filter(|_| above.data.failing()) {
            Some(further) => root = &further.root,
            None => return passes(root, standings).then(|| root.clone()),
        }
    }
    None
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
        held: side.held.clone().filter(|_| side.announced.is_none()),
    })
}

/// The record of an alert that has just ended, and of one that is active.
fn episodes(news: News<'_>, about: About, before: &Side, now: &Side) -> Vec<Episode> {
    let record = |side: &Side, ended: Option<Timestamp>| {
        Some(Episode {
            check: news.check().to_owned(),
            kind: about.kind(),
            severity: side.worst().or(before.worst()).or(side.told_worst()).unwrap_or(Level::Info).name(),
            summary: side.summary.clone(),
            began: side.began?,
            ended,
            announced: side.announced.map(|(first, _)| first),
            held: side.held.clone().filter(|_| side.announced.is_none()),
        })
    };
    let ended = (before.began != now.began).then(|| record(before, Some(news.due()))).flatten();
    ended.into_iter().chain(record(now, None)).collect()
}

#[cfg(test)]
mod tests;
