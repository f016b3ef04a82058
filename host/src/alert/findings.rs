//! What a result says about each side of a check: its data, and whether it can be evaluated.

use std::collections::BTreeSet;

use super::{
    Level,
    day::Day,
    points::{beyond, form, point},
    policy::{Finding, Levels},
    spoken::{About, News, alerts},
    standing::Standing,
};
use crate::{
    config::{Config, Route},
    contract::Verdict,
    run::{Reason, Run},
};

/// Characters of a summary or a point that are kept.
const REMEMBERED: usize = 1000;
/// Bytes of all points of a result that are kept.
const POINTS_BYTES: usize = 16 << 10;

/// The result of some news for each side of a check; nothing for a side that the news leaves open.
pub(super) fn findings(news: News<'_>, standing: &Standing, config: &Config) -> Vec<(About, Finding)> {
    let refused = &standing.refused;
    let mut findings = Vec::new();
    if let Some(run) = news.run().filter(|run| run.judged()) {
        let finding = data(run, config);
        // What is expected later is not told yet; an incident that goes on is.
        let open = standing.days.get(&run.subject()).is_some_and(Day::is_open);
        if open || !is_pending(run) {
            findings.push((About::Data, finding));
        }
    }
    // Whether a check can be evaluated is decided by the runs for the date that is due.
    if news.run().is_some_and(|run| run.past) {
        return findings;
    }
    let error = match news {
        News::Run(run) => run.error.as_ref().filter(|_| !is_pending(run)).map(ToString::to_string),
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
        None if news.run().is_some_and(judged_or_pending) => findings.push((About::Evaluation, Finding::default())),
        // It is known again whether to skip it.
        None if standing.undecided && news.run().is_some_and(|run| run.plugin.is_some()) => {
            findings.push((About::Evaluation, Finding::default()));
        }
        // All that it asks for is there, and its last run was evaluated.
        None if news.run().is_none() && standing.judged && standing.clean => {
            findings.push((About::Evaluation, Finding::default()));
        }
        None => {}
    }
    findings
}

fn judged_or_pending(run: &Run) -> bool {
    run.judged() || is_pending(run)
}

/// Whether a bad or empty result comes before the data is expected.
pub(super) fn is_pending(run: &Run) -> bool {
    let empty = || matches!(run.error, Some(Reason::Unknown(_))) && run.calls.iter().all(|call| call.error.is_none());
    let bad = || matches!(run.report.as_ref().map(|report| &report.verdict), Some(Verdict::Fail | Verdict::Warn));
    run.early && (bad() && run.error.is_none() || empty())
}

/// Why a check cannot be evaluated, one line for each reason and for each unknown item.
pub(super) fn reasons(news: News<'_>, refused: &[String]) -> Vec<String> {
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
    let points = violated.chain(remarks.map(|alert| alert.title.clone())).map(|point| cut(&point));
    // One for each date is kept, of which there may be many.
    let room = |left: &mut usize, point: String| {
        *left = left.checked_sub(point.len())?;
        Some(point)
    };
    let points = points.scan(POINTS_BYTES, room).collect();
    let beyond = run.report.as_ref().map(beyond).unwrap_or_default();
    let beyond = beyond.into_iter().map(|(metric, limit)| (cut(&metric), limit)).collect();
    Finding { levels, points, beyond, summary: cut(&run.summary()) }
}

/// The part to keep of a text that can be as long as a report.
fn cut(text: &str) -> String {
    text.chars().take(REMEMBERED).collect()
}

/// Adds a level for a channel, if there is one, and for the channels that `alerts.routes` adds for its severity.
pub(super) fn concern(levels: &mut Levels, channel: Option<&str>, level: Level, config: &Config) {
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
