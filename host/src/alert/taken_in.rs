//! Takes in one result: the state of its data date, and when that is looked at again.

use jiff::{SignedDuration, Timestamp};

use super::{
    Level,
    day::{Day, GivenUp, Look, State, Subject},
    episodes::closed,
    findings::{concern, findings, is_pending},
    policy::{Finding, Levels, Side},
    say::Say,
    spoken::{About, News},
    standing::Standing,
};
use crate::{
    config::{Config, Dates},
    contract::Verdict,
    record::Episode,
    run::{Reason, Run, Status},
    text::{shortened, span},
};

/// The most bytes of a reason that are told with a date that is given up.
const SHOWN: usize = 300;
/// Longer than any run, in milliseconds.
const LONGEST_RUN: u64 = 24 * 60 * 60 * 1000;

/// What one result decides.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// The sides to decide on, each as it was before.
    pub(super) sides: Vec<(About, Subject, Side)>,
    /// What is said of dates that are over without a decision, and when their incidents began.
    pub(super) over: Vec<(String, Subject, Option<Timestamp>, Say)>,
    /// The alerts that ended with that.
    pub(super) episodes: Vec<Episode>,
}

/// Takes in one result.
pub(super) fn take_in(news: News<'_>, standing: &mut Standing, config: &Config) -> Taken {
    let mut taken = Taken::default();
    if news.run().is_some_and(|run| is_older(run, standing)) {
        return taken;
    }
    standing.configured = Some(config.names(news.check()));
    match news {
        News::Validation(validation) => {
            standing.invalid.clone_from(&validation.wrong);
            standing.refused.clone_from(&validation.refused);
        }
        News::Run(run) => {
            convert(run, standing, config, &mut taken);
            if !run.past {
                standing.clean = run.error.is_none();
                if let Some(error) = &run.error {
                    standing.undecided = matches!(error, Reason::Undecided(_));
                }
                standing.judged = matches!(run.status(), Status::Pass | Status::Warn | Status::Fail);
                standing.first.get_or_insert(run.data_date);
                (standing.ran, standing.date) = (Some(run.due), Some(run.data_date));
                standing.next = run.next;
                // All that it asked for was there.
                if standing.judged {
                    standing.refused.clear();
                }
            }
        }
    }
    let unable = standing.evaluation.began.filter(|_| standing.evaluation.failing());
    for (about, finding) in findings(news, standing, config) {
        let dated = news.run().filter(|_| about == About::Data && !standing.now);
        let subject = dated.map(|run| run.data_date);
        if about == About::Data && standing.days.get(&subject).is_some_and(|day| is_closed(day, subject, &finding)) {
            continue;
        }
        let before = standing.side(about, subject, news.due(), |side| {
            let before = side.clone();
            side.observe(&finding, news.due());
            before
        });
        taken.sides.push((about, subject, before));
    }
    if let Some(began) = unable.filter(|_| !standing.evaluation.failing()) {
        able_again(standing, began, news.due());
    }
    if let Some(run) = news.run() {
        date(run, standing, config, &mut taken);
    }
    taken
}

/// The dates that it could not judge are judged now. The time in which nothing could be judged does not count.
fn able_again(standing: &mut Standing, began: Timestamp, now: Timestamp) {
    let away = now.duration_since(began).max(SignedDuration::ZERO);
    for day in standing.days_mut().values_mut() {
        let (unjudged, open) = (day.state == State::NotJudged, day.is_open());
        let Some(look) = day.look.as_mut().filter(|_| unjudged || open) else { continue };
        look.from = look.from.saturating_add(away).unwrap_or(now).min(now);
        if unjudged {
            (look.at, look.tries) = (look.at.min(now), 0);
        }
    }
}

/// Whether a finding says nothing new of what was given up. A check about now has no other dates: what is worse, or wrong
/// besides, is a new incident.
fn is_closed(day: &Day, subject: Subject, finding: &Finding) -> bool {
    let given_up = day.incident.as_ref().and_then(|incident| incident.given_up.as_ref());
    // An older host did not keep how bad it was.
    let is_more = |given_up: &GivenUp| {
        let worst = finding.levels.values().flatten().max().copied();
        given_up.level.is_some() && (worst > given_up.level || !finding.points.is_subset(&given_up.points))
    };
    let again = subject.is_none() && !finding.levels.is_empty() && given_up.is_some_and(is_more);
    day.state == State::GivenUp && !again
}

/// Whether its date was judged meanwhile by a run that began after this one, and knows better.
fn is_older(run: &Run, standing: &Standing) -> bool {
    let known = standing.days.get(&run.subject()).map_or(0, |day| day.began);
    // What seems to have begun much later was judged while a clock was ahead.
    run.began.is_some_and(|began| began < known && known - began < LONGEST_RUN)
}

/// The state of the run's date, and when it is looked at again.
fn date(run: &Run, standing: &mut Standing, config: &Config, taken: &mut Taken) {
    let recheck = config.recheck(&run.check);
    let dated = !standing.now;
    let unable = standing.evaluation.failing();
    let subject = dated.then_some(run.data_date);
    let day = standing.days_mut().entry(subject).or_insert_with(|| Day::new(run.due));
    if run.off_hours && !run.judged() {
        // The hours of a calendar say nothing about a date: it is judged after them.
        return;
    }
    if day.state == State::GivenUp && day.is_failing() {
        // It is worse than what was given up.
        day.state = State::NotJudged;
        day.change(|incident| incident.given_up = None);
    }
    // An error says nothing of what an earlier run found.
    day.began = run.began.filter(|_| run.error.is_none() || run.judged()).unwrap_or(day.began);
    day.change(|incident| incident.ack = incident.ack.take().filter(|ack| ack.holds(&incident.side, run.due)));
    let worst = day.incident.as_ref().and_then(|incident| incident.side.worst());
    let was = day.state;
    let again = |day: &Day| match day.look {
        // The look at the deadline is the first one.
        Some(look) if run.again && was != State::Pending => look.next(run.clock, &recheck),
        // Somebody asked about it: that changes nothing.
        Some(look) if run.past && !run.again => Some(look),
        _ => Look::first(run.clock, &recheck),
    };
    // While the check cannot be evaluated its dates are kept, however long that takes.
    let daily = |day: &Day| {
        let from = day.look.map_or(run.clock, |look| look.from);
        move || (unable && run.error.is_some()).then(|| Look::daily(run.clock, from, &recheck))
    };
    match run.report.as_ref().map(|report| &report.verdict) {
        Some(Verdict::Skip(_)) if !day.is_open() && day.state != State::GivenUp => {
            (day.state, day.at, day.look) = (State::Skipped, run.due, None);
        }
        _ if is_pending(run) && !day.is_open() && day.state != State::GivenUp => {
            (day.state, day.at) = (State::Pending, run.due);
            day.look = Some(Look { at: run.deadline, tries: 0, from: run.deadline });
        }
        _ if day.state == State::GivenUp => match run.status() {
            Status::Pass => over_after_all(run, subject, day, taken),
            _ => day.look = None,
        },
        _ if run.judged() => {
            (day.state, day.at) = (state(worst), run.due);
            let was_bad = matches!(was, State::Bad | State::Warned);
            day.look = if !dated || !day.is_open() {
                None
            } else if was_bad {
                again(day)
            } else {
                // Its time begins with its first bad verdict.
                Look::first(run.clock, &recheck)
            };
            if day.state == State::Good {
                day.change(|incident| incident.ack = None);
                // The first verdict may come late without anything having been wrong.
                if was_bad && dated {
                    day.late = late(run);
                }
            }
        }
        // An error says nothing about the date.
        None | Some(_) if !day.is_open() && matches!(day.state, State::NotJudged | State::Pending) => {
            (day.state, day.at) = (State::NotJudged, run.due);
            day.look = if dated { again(day).or_else(daily(day)) } else { None };
        }
        _ => day.look = if dated && day.is_open() { again(day).or_else(daily(day)) } else { None },
    }
    // Its time is over, and it is not good.
    let bad = matches!(day.state, State::Bad | State::Warned | State::NotJudged);
    if run.again && dated && bad && day.look.is_none() {
        let length = span(i64::try_from(recheck.length.as_secs()).unwrap_or(i64::MAX));
        let why = match day.state {
            State::NotJudged => {
                format!("it could not be judged within {length}: {}", shortened(&run.summary(), SHOWN))
            }
            _ if !run.judged() => {
                let last = shortened(&run.summary(), SHOWN);
                format!("it was not good again within {length}, and the last look at it was an error: {last}")
            }
            _ => format!("it was not good again within {length}"),
        };
        let unheard = unheard(run, day, config);
        give_up(&run.check, subject, day, (None, &why), run.due, taken);
        tell(unheard, (run, subject), day, &why, taken);
    }
}

/// The channels that are to hear of a date that is given up though nobody knows of it: those of its failure, or of an error.
fn unheard(run: &Run, day: &Day, config: &Config) -> Vec<String> {
    let side = day.side();
    let mut levels = Levels::new();
    match side.failing() {
        _ if side.is_told() => {}
        true => levels = side.levels,
        false => {
            let own = run.family.as_ref().map(|family| family.channel.as_str());
            concern(&mut levels, own, Level::Warning, config);
        }
    }
    levels.into_keys().collect()
}

/// Tells channels of a date that was given up.
fn tell(channels: Vec<String>, (run, subject): (&Run, Subject), day: &mut Day, why: &str, taken: &mut Taken) {
    let began = day.change(|incident| {
        let given_up = incident.given_up.as_mut()?;
        given_up.channels.extend(channels.iter().cloned());
        given_up.began
    });
    let lasted = began.map_or(0, |began| run.due.duration_since(began).as_secs().max(0));
    let said = |channel| (channel, subject, began, Say::GivenUp { lasted, why: why.to_owned() });
    taken.over.extend(channels.into_iter().map(said));
}

fn state(worst: Option<Level>) -> State {
    match worst {
        Some(Level::Critical) => State::Bad,
        Some(Level::Warning) => State::Warned,
        Some(Level::Info) | None => State::Good,
    }
}

/// A date that was given up is good after all.
fn over_after_all(run: &Run, subject: Subject, day: &mut Day, taken: &mut Taken) {
    let given_up = day.change(|incident| incident.given_up.take());
    let since = given_up.as_ref().map_or(run.due, |given_up| given_up.began.unwrap_or(given_up.at));
    let lasted = run.due.duration_since(since).as_secs().max(0);
    let began = given_up.as_ref().and_then(|given_up| given_up.began);
    let channels = given_up.map(|given_up| given_up.channels).unwrap_or_default();
    taken.over.extend(channels.into_iter().map(|channel| (channel, subject, began, Say::Recovered { lasted })));
    (day.state, day.at, day.look) = (State::Good, run.due, None);
    day.late = late(run);
}

/// How long after its deadline the run's date became good, in seconds, if it was late.
fn late(run: &Run) -> Option<i64> {
    Some(run.due.duration_since(run.deadline).as_secs()).filter(|late| *late > 0)
}

/// Ends the incident of a date that is not good. Everybody who knows of it hears that.
pub(super) fn give_up(
    check: &str,
    subject: Subject,
    day: &mut Day,
    (who, why): (Option<&str>, &str),
    at: Timestamp,
    taken: &mut Taken,
) {
    // There is nothing left to decide.
    taken.sides.retain(|(about, of, _)| (*about, *of) != (About::Data, subject));
    let side = day.side();
    let by = who.map(|who| format!(" by {who}")).unwrap_or_default();
    taken.episodes.extend(closed((check, subject), About::Data, &side, at, &format!("given up{by}: {why}")));
    let (began, said) = day.change(|incident| {
        let began = incident.side.began;
        let (level, points) = (incident.side.worst(), incident.side.found().clone());
        let said = incident.side.give_up(at, why);
        let channels = said.iter().map(|(channel, _)| channel.clone()).collect();
        (incident.ack, incident.waits) = (None, None);
        let who = who.map(str::to_owned);
        incident.given_up = Some(GivenUp { who, why: why.to_owned(), at, began, channels, level, points });
        (began, said)
    });
    taken.over.extend(said.into_iter().map(|(channel, say)| (channel, subject, began, say)));
    (day.state, day.at, day.look) = (State::GivenUp, at, None);
}

/// Moves what is remembered where the kind of the check, or the host, has changed: an incident that goes on keeps its
/// alerts. Dates mean nothing to a check about now, and the present nothing to one of dates.
fn convert(run: &Run, standing: &mut Standing, config: &Config, taken: &mut Taken) {
    let now = run.dates == Dates::Now;
    // A check that cannot run does not know what it is about.
    if !run.judged() && !standing.days.is_empty() {
        return;
    }
    standing.now = now;
    if standing.days.keys().all(|subject| subject.is_none() == now) {
        return;
    }
    let (stays, goes): (Vec<_>, Vec<_>) =
        std::mem::take(standing.days_mut()).into_iter().partition(|(subject, _)| subject.is_none() == now);
    standing.days_mut().extend(stays);
    let mut open: Vec<(Subject, Day)> = goes.into_iter().filter(|(_, day)| day.is_open() || day.is_told()).collect();
    // The newest goes on under its new name, unless it flapped and is good.
    open.sort_by_key(|(subject, day)| (day.is_open(), *subject));
    if let Some((was, day)) = open.pop() {
        let why = "from now on it is not told apart by date, or by date again";
        taken.episodes.extend(closed((&run.check, was), About::Data, &day.side(), run.due, why));
        // Of a check about now, that is the date of its last run, unless this run is of the date that is due.
        let last = standing.date.filter(|_| run.past);
        let subject = run.subject().map(|date| last.unwrap_or(date));
        let look = subject.and_then(|_| Look::first(run.clock, &config.recheck(&run.check)));
        standing.days_mut().entry(subject).or_insert(Day { look, ..day });
    }
    for (subject, mut day) in open {
        let why = "its check is about now, and no longer about dates";
        give_up(&run.check, subject, &mut day, (None, why), run.due, taken);
    }
}
