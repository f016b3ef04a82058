//! Decides which notices a batch of runs causes, from both sides of each check; silences, calendars and failures
//! further up the pipeline hold notices back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Level,
    episodes::episodes,
    points::{beyond, form, point},
    policy::{Finding, Hold, Levels, Side, Upstream},
    remark::Remark,
    roots::{How, Root, Roots},
    say::Say,
    spoken::{About, News, Notice, Unsaid, alerts},
    standing::{Rules, Standing, Standings, Waits, holds_until, shown, silenced},
};
use crate::{
    config::{Config, Route, Time},
    contract::Verdict,
    record::Episode,
    run::{Reason, Run, Status},
};

/// Characters of a summary or a point that are kept.
const REMEMBERED: usize = 1000;
/// How the reasons of the record begin for what a silence or a calendar holds back.
const SILENCE: &str = "silence";

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
    /// Why a side of a check that is not well may be in no message.
    pub unsaid: BTreeMap<(String, About), Unsaid>,
}

/// One side of a check on which something was decided.
struct Judged<'r> {
    news: News<'r>,
    about: About,
    before: Side,
    confirm: u32,
    held: Held,
}

/// Takes in a batch of news, and decides which notices to send.
pub fn decide<'r>(batch: &[News<'r>], standings: &mut Standings, rules: Rules<'_>) -> Decided<'r> {
    let mut decided = Decided::default();
    // Take in all results before deciding anything, so that the decision does not depend on their order.
    let mut order: Vec<(usize, News<'r>, Standing, Vec<About>)> = Vec::new();
    for news in batch.iter().filter(|news| !news.is_past()) {
        let check = news.check();
        let standing = standings.entry(check.to_owned()).or_default();
        let before = standing.clone();
        let sides = take_in(*news, standing, rules.config);
        if let News::Validation(validation) = *news {
            decided.remarks.extend(Remark::new(validation, standing, rules));
        }
        decided.touched.insert(check.to_owned());
        order.push((rules.config.dependencies.depth(check), *news, before, sides));
    }
    // Upstream checks first: whether they are reported decides whether their dependents are.
    order.sort_by_key(|(depth, ..)| *depth);
    let mut roots = Roots::new(rules);
    let mut judged: Vec<Judged<'r>> = Vec::new();
    for (_, news, before, sides) in order {
        let check = news.check();
        let silenced = silenced(check, news, rules);
        let mut alerts = rules.config.alerts(check);
        if news.run().is_none() {
            // Rounds send the reminders.
            alerts.repeat_interval = Time(Duration::MAX);
        }
        for about in sides {
            let root = match about {
                About::Data => follow(check, news, standings, &mut roots, rules),
                // A run that could not be evaluated has its own reason.
                About::Evaluation => None,
            };
            let held = held(silenced.clone(), root.as_ref(), news, standings, rules);
            let Some(standing) = standings.get_mut(check) else { continue };
            let refused = standing.refused.clone();
            let confirm = match about {
                About::Data => alerts.confirm.0,
                // A validation has tried it already, or the error stays until somebody changes a file.
                About::Evaluation if !refused.is_empty() || news.run().is_some_and(Run::is_lasting) => 1,
                About::Evaluation => alerts.confirm_errors.0,
            };
            let before = match about {
                About::Data => before.data.clone(),
                About::Evaluation => before.evaluation.clone(),
            };
            let since = held_until_now(&before, standing.side(about), news.due());
            let said = standing.side(about).decide(news.due(), confirm, &alerts, &held.hold);
            let well = !standing.data.failing();
            decided.notices.extend(said.into_iter().map(|(channel, say)| Notice {
                news,
                about,
                reasons: reasons(news, &refused),
                channel,
                say,
                well,
                downstream: Vec::new(),
                root: held.elsewhere(),
                since: since.clone(),
            }));
            judged.push(Judged { news, about, before, confirm, held });
        }
    }
    let places: HashMap<&str, usize> = batch.iter().enumerate().map(|(place, news)| (news.check(), place)).collect();
    decided.notices.sort_by_key(|notice| (places.get(notice.news.check()), notice.about));
    list_downstream(&mut decided, standings, rules, &mut roots);
    let brief = decided.notices.iter().filter(|notice| notice.say.is_brief());
    let brief: BTreeSet<(&str, About)> = brief.map(|notice| (notice.news.check(), notice.about)).collect();
    for Judged { news, about, before, confirm, held } in judged {
        let Some(standing) = standings.get_mut(news.check()) else { continue };
        let side = standing.side(about);
        let line = brief.contains(&(news.check(), about));
        if side.failing() {
            let unsaid = match (&held.hold, held.follows) {
                (_, true) => Unsaid::Follows,
                (Hold::All, _) => Unsaid::Silenced,
                _ if !side.is_confirmed(confirm) => Unsaid::Unconfirmed,
                _ => Unsaid::Before(side.knowing()),
            };
            decided.unsaid.insert((news.check().to_owned(), about), unsaid);
        }
        side.held = held.reason(side, line, before.listed.is_empty(), confirm);
        decided.episodes.extend(episodes(news, about, &before, side));
    }
    decided
}

/// Since when a side is bad that a silence held back until now, and which; `None` if there was none.
fn held_until_now(before: &Side, now: &Side, at: Timestamp) -> Option<(Timestamp, String)> {
    let held = before.held.clone().filter(|held| held.starts_with(SILENCE))?;
    now.began.filter(|began| now.failing() && *began < at).map(|began| (began, held))
}

/// Takes in one result, and returns the sides that it decides.
fn take_in(news: News<'_>, standing: &mut Standing, config: &Config) -> Vec<About> {
    standing.configured = Some(config.names(news.check()));
    match news {
        News::Validation(validation) => {
            standing.invalid.clone_from(&validation.wrong);
            standing.refused.clone_from(&validation.refused);
        }
        News::Run(run) => {
            standing.clean = run.error.is_none();
            standing.judged = matches!(run.status(), Status::Pass | Status::Warn | Status::Fail);
            (standing.ran, standing.date) = (Some(run.due), Some(run.data_date));
            standing.next = run.next;
            // All that it asked for was there.
            if standing.judged {
                standing.refused.clear();
            }
        }
    }
    let mut sides = Vec::new();
    for (about, finding) in findings(news, standing, config) {
        standing.side(about).observe(&finding, news.due());
        sides.push(about);
    }
    sides
}

/// The check that speaks for a failing check; and remembers it. When that check recovers, this one has one more run to
/// follow before it is told of.
fn follow(
    check: &str,
    news: News<'_>,
    standings: &mut Standings,
    roots: &mut Roots<'_>,
    rules: Rules<'_>,
) -> Option<Root> {
    let standing = standings.get(check).filter(|standing| standing.data.failing());
    let before = standing.and_then(|standing| waits_for(check, standing, rules)).cloned();
    let root = standing.and_then(|_| roots.of(check, news, standings));
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

/// The check that one waits for, if host.toml still makes it depend on that.
fn waits_for<'s>(check: &str, standing: &'s Standing, rules: Rules<'_>) -> Option<&'s Waits> {
    standing.waits.as_ref().filter(|waits| rules.config.dependencies.is_above(&waits.root, check))
}

fn passes(check: &str, standings: &Standings) -> bool {
    standings.get(check).is_some_and(|standing| standing.judged && !standing.data.failing())
}

/// What holds back the notices about one side of a check.
#[derive(Debug, Default)]
struct Held {
    hold: Hold,
    /// The reason for a hold on all notices, in the record's words.
    why: Option<String>,
    /// Whether it has one more run to follow.
    follows: bool,
}

impl Held {
    /// The check that speaks for this one, and the channels in which it does.
    fn elsewhere(&self) -> Option<(String, Vec<String>)> {
        match &self.hold {
            Hold::Under(Upstream::Reported { root, channels, .. }) => {
                Some((root.clone(), channels.iter().cloned().collect()))
            }
            _ => None,
        }
    }

    /// Why nobody was sent an alert about a side, for the record. `line`: a channel got a line in place of one; `first`:
    /// no channel knew of it before.
    fn reason(self, side: &mut Side, line: bool, first: bool, confirm: u32) -> Option<String> {
        if side.announced.is_some() || side.began.is_none() {
            return None;
        }
        // The reason from when it was told stays.
        let stays = !side.listed.is_empty() && !first && !line || self.follows;
        match (side.held.take().filter(|_| stays), self.hold) {
            (Some(before), _) => Some(before),
            (None, Hold::Under(Upstream::Reported { root, .. })) if line => {
                Some(format!("told in one line: {root}, which it depends on, was reported before it"))
            }
            (None, Hold::Under(Upstream::Reported { root, .. })) if !side.listed.is_empty() => {
                Some(format!("listed under {root}, which it depends on"))
            }
            (None, Hold::Under(Upstream::Silenced { root, why })) if !side.listed.is_empty() => {
                Some(format!("told in one line: {root}, which it depends on, is silenced ({why})"))
            }
            (None, Hold::All) => self.why,
            (None, _) => Some(format!("not confirmed: {} of {confirm} results", side.bad)),
        }
    }
}

fn held(
    silenced_itself: Option<String>,
    root: Option<&Root>,
    news: News<'_>,
    standings: &Standings,
    rules: Rules<'_>,
) -> Held {
    if let Some(why) = silenced_itself {
        let why = if why.starts_with("calendars.") { format!("silenced by {why}") } else { why };
        return Held { hold: Hold::All, why: Some(why), ..Held::default() };
    }
    let Some(Root { check, how }) = root else { return Held::default() };
    let root = check.clone();
    let hold = match how {
        How::Reported => {
            let data = standings.get(check).map(|standing| &standing.data);
            Hold::Under(Upstream::Reported {
                root,
                at: data.and_then(|data| data.announced).map_or(news.due(), |(first, _)| first),
                channels: data.map(Side::knowing).unwrap_or_default(),
            })
        }
        How::Silenced => {
            Hold::Under(Upstream::Silenced { root, why: silenced(check, news, rules).unwrap_or_default() })
        }
        How::Follows => {
            let why = Some(format!("{check}, which it depends on, had just recovered"));
            return Held { hold: Hold::All, why, follows: true };
        }
    };
    Held { hold, ..Held::default() }
}

/// The result of some news for each side of a check; nothing for a side that the news leaves open.
fn findings(news: News<'_>, standing: &Standing, config: &Config) -> Vec<(About, Finding)> {
    let refused = &standing.refused;
    let mut findings = Vec::new();
    if let Some(run) = news.run().filter(|run| judged(run)) {
        findings.push((About::Data, data(run, config)));
    }
    let error = match news {
        News::Run(run) => run.error.as_ref().map(ToString::to_string),
        News::Validation(_) => (!refused.is_empty()).then(|| refused.join("; ")),
    };
    match error {
        Some(error) => {
            let mut levels = Levels::new();
            let own = news.family().map(|family| family.channel.as_str());
            concern(&mut levels, own, Level::Warning, config);
            // What a run said already is not news when a validation finds it too.
            let known = Some(&standing.evaluation).filter(|side| side.failing() && !side.summary.is_empty());
            let told = |fault: &&String| known.is_some_and(|side| fault.starts_with(&side.summary));
            let mut points: BTreeSet<String> =
                refused.iter().filter(|fault| !told(fault)).map(|fault| cut(fault)).collect();
            // What a validation said already is not news when a run says it too, nor what an older host told.
            let faults: Vec<String> = refused.iter().map(|fault| form(fault)).collect();
            let older = known.filter(|side| side.was_told_without_points());
            if news.run().is_some() && older.is_none_or(|side| form(&side.summary) != form(&cut(&error))) {
                let own = reasons(news, refused).into_iter().map(|reason| form(&reason));
                points.extend(own.filter(|own| !faults.iter().any(|fault| fault.starts_with(own.as_str()))));
            }
            let points = points.iter().map(|point| cut(point)).collect();
            findings.push((About::Evaluation, Finding { levels, points, summary: cut(&error), ..Finding::default() }));
        }
        None if !findings.is_empty() => findings.push((About::Evaluation, Finding::default())),
        // All that it asks for is there, and its last run was evaluated.
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

/// Why a check cannot be evaluated, one line for each reason and for each unknown item.
fn reasons(news: News<'_>, refused: &[String]) -> Vec<String> {
    match news.run().and_then(|run| run.error.as_ref()) {
        Some(Reason::Unknown(unknown)) => unknown.clone(),
        Some(error) => vec![error.to_string()],
        None => refused.to_vec(),
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
    let beyond = run.report.as_ref().map(beyond).unwrap_or_default();
    let beyond = beyond.into_iter().map(|(metric, limit)| (cut(&metric), limit)).collect();
    Finding { levels, points, beyond, summary: cut(&run.summary()) }
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

/// Lists failing checks in the message of the check that they depend on, also in the one about its recovery; and drops the
/// lines that this makes superfluous.
fn list_downstream(decided: &mut Decided<'_>, standings: &mut Standings, rules: Rules<'_>, roots: &mut Roots<'_>) {
    let Some(news) = decided.notices.first().map(|notice| notice.news) else { return };
    let mut under: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (check, standing) in standings.iter().filter(|(_, standing)| standing.data.failing()) {
        let confirmed = standing.data.is_confirmed(rules.config.alerts(check).confirm.0);
        if !confirmed || !in_force(check, standing, news, rules) || silenced(check, news, rules).is_some() {
            continue;
        }
        let reported = roots.of(check, news, standings).filter(|root| root.how == How::Reported);
        if let Some(root) = reported.map(|root| root.check).or_else(|| recovered(check, standing, standings, rules)) {
            let before = if decided.touched.contains(check) { String::new() } else { last_checked(standing, rules) };
            under.entry(root).or_default().push((check.clone(), format!("{}{before}", standing.data.summary)));
        }
    }
    // The checks of which each channel gets an alert of its own now, or a line in the message about another one.
    let mut alerted: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for notice in decided.notices.iter().filter(|notice| notice.about == About::Data && !notice.say.is_line()) {
        alerted.entry(notice.channel.clone()).or_default().insert(notice.news.check());
    }
    let mut listed: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for notice in decided.notices.iter_mut().filter(|notice| notice.about == About::Data) {
        let again = matches!(notice.say, Say::Recovered { .. } | Say::Reminder { .. });
        let Some(downstream) = under.get(notice.news.check()).filter(|_| again || !notice.say.is_line()) else {
            continue;
        };
        let (alerted, listed) = (alerted.get(&notice.channel), listed.entry(notice.channel.clone()).or_default());
        for (check, found) in downstream {
            let Some(standing) = standings.get_mut(check) else { continue };
            // A channel that got its own alert, now or before, is not told a second time.
            let alerted = alerted.is_some_and(|alerted| alerted.contains(check.as_str()));
            if alerted || !again && standing.data.is_sent(&notice.channel) {
                continue;
            }
            if !standing.data.listed.contains(&notice.channel) {
                standing.data.list(&notice.channel);
                decided.touched.insert(check.clone());
            }
            listed.insert(check);
            notice.downstream.push((check.clone(), found.clone()));
        }
    }
    let is_listed =
        |notice: &Notice<'_>| listed.get(&notice.channel).is_some_and(|listed| listed.contains(notice.news.check()));
    decided.notices.retain(|notice| !matches!(notice.say, Say::Below { .. }) || !is_listed(notice));
}

/// The run that a result is of, if that is not one of this round.
fn last_checked(standing: &Standing, rules: Rules<'_>) -> String {
    let ran = standing.ran.map(|ran| format!("last checked at {}", shown(ran, rules.config)));
    let date = standing.date.map(|date| format!("data of {date}"));
    let parts: Vec<String> = ran.into_iter().chain(date).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Whether a check's last result is its present state: a verdict of the last run that was due.
fn in_force(check: &str, standing: &Standing, news: News<'_>, rules: Rules<'_>) -> bool {
    standing.judged && holds_until(check, standing, rules.config).is_some_and(|until| until >= news.due())
}

/// The check that a failing check waited for, if that has recovered.
fn recovered(check: &str, standing: &Standing, standings: &Standings, rules: Rules<'_>) -> Option<String> {
    let mut root = &waits_for(check, standing, rules)?.root;
    // Checks may wait for each other only since host.toml changed in between.
    for _ in 0..standings.len() {
        let above = standings.get(root)?;
        match waits_for(root, above, rules).filter(|_| above.data.failing()) {
            Some(further) => root = &further.root,
            None => return passes(root, standings).then(|| root.clone()),
        }
    }
    None
}

#[cfg(test)]
mod tests;
