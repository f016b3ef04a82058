//! Takes in one result: the state of its data date, and when that is looked at again.

use jiff::Timestamp;

use super::{
    Level,
    day::{Day, Look, State, Subject},
    episodes::closed,
    findings::{findings, is_pending, judged},
    policy::Side,
    say::Say,
    spoken::{About, News},
    standing::Standing,
};
use crate::{
    config::{Config, Dates},
    contract::Verdict,
    record::Episode,
    run::{Reason, Run, Status},
    text::span,
};

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
    standing.configured = Some(config.names(news.check()));
    match news {
        News::Validation(validation) => {
            standing.invalid.clone_from(&validation.wrong);
            standing.refused.clone_from(&validation.refused);
        }
        News::Run(run) => {
            convert(run, standing, &mut taken);
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
    for (about, finding) in findings(news, standing, config) {
        let dated = news.run().filter(|_| about == About::Data && !standing.now);
        let subject = dated.map(|run| run.data_date);
        if about == About::Data && standing.days.get(&subject).is_some_and(|day| day.state == State::GivenUp) {
            continue;
        }
        let before = standing.side(about, subject, news.due(), |side| {
            let before = side.clone();
            side.observe(&finding, news.due());
            before
        });
        taken.sides.push((about, subject, before));
    }
    if let Some(run) = news.run() {
        date(run, standing, config, &mut taken);
    }
    taken
}

/// The state of the run's date, and when it is looked at again.
fn date(run: &Run, standing: &mut Standing, config: &Config, taken: &mut Taken) {
    let recheck = config.recheck(&run.check);
    let dated = !standing.now;
    let subject = dated.then_some(run.data_date);
    let day = standing.days.entry(subject).or_insert_with(|| Day::new(run.due));
    let worst = day.incident.as_ref().and_then(|incident| incident.side.worst());
    let again = |day: &Day| match day.look {
        Some(look) if run.again => look.next(run.due, &recheck),
        // Somebody asked about it: that changes nothing.
        Some(look) if run.past => Some(look),
        _ => Look::first(run.due, &recheck),
    };
    match run.report.as_ref().map(|report| &report.verdict) {
        Some(Verdict::Skip(_)) if !day.is_open() && day.state != State::GivenUp => {
            (day.state, day.at, day.look) = (State::Skipped, run.due, None);
        }
        _ if is_pending(run) && !day.is_open() => {
            (day.state, day.at) = (State::Pending, run.due);
            day.look = Some(Look { at: run.deadline, tries: 0, from: run.deadline });
        }
        _ if day.state == State::GivenUp => match run.status() {
            Status::Pass => over_after_all(run, subject, day, taken),
            _ => day.look = None,
        },
        _ if judged(run) => {
            let before = day.state;
            (day.state, day.at) = (state(worst), run.due);
            day.look = if day.is_open() && dated { again(day) } else { None };
            // The first verdict may come late without anything having been wrong.
            let was_bad = matches!(before, State::Bad | State::Warned);
            if day.state == State::Good && was_bad && dated {
                day.late = Some(run.due.duration_since(run.deadline).as_secs()).filter(|late| *late > 0);
            }
        }
        // An error says nothing about the date.
        None | Some(_) if !day.is_open() && matches!(day.state, State::NotJudged | State::Pending) => {
            (day.state, day.at) = (State::NotJudged, run.due);
            day.look = if dated { again(day) } else { None };
        }
        _ => day.look = if dated && day.is_open() { again(day) } else { None },
    }
    // Its time is over, and it is not good.
    let bad = matches!(day.state, State::Bad | State::Warned | State::NotJudged);
    if run.again && dated && bad && day.look.is_none() {
        let length = span(i64::try_from(recheck.length.as_secs()).unwrap_or(i64::MAX));
        let what = if day.state == State::NotJudged { "could not be judged" } else { "was not good again" };
        give_up(&run.check, subject, day, (None, &format!("it {what} within {length}")), run.due, taken);
    }
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
    day.late = Some(run.due.duration_since(run.deadline).as_secs()).filter(|late| *late > 0);
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
        let said = incident.side.give_up(at, why);
        let channels = said.iter().map(|(channel, _)| channel.clone()).collect();
        (incident.ack, incident.waits) = (None, None);
        incident.given_up =
            Some(super::day::GivenUp { who: who.map(str::to_owned), why: why.to_owned(), at, began, channels });
        (began, said)
    });
    taken.over.extend(said.into_iter().map(|(channel, say)| (channel, subject, began, say)));
    (day.state, day.at, day.look) = (State::GivenUp, at, None);
}

/// Moves what is remembered where the kind of the check, or the host, has changed: an incident that goes on keeps its
/// alerts. Dates mean nothing to a check about now, and the present nothing to one of dates.
fn convert(run: &Run, standing: &mut Standing, taken: &mut Taken) {
    let now = run.dates == Dates::Now;
    // A check that cannot run does not know what it is about.
    if !judged(run) && !standing.days.is_empty() {
        return;
    }
    standing.now = now;
    if standing.days.keys().all(|subject| subject.is_none() == now) {
        return;
    }
    let (stays, goes): (Vec<_>, Vec<_>) =
        std::mem::take(&mut standing.days).into_iter().partition(|(subject, _)| subject.is_none() == now);
    standing.days = stays.into_iter().collect();
    let mut open: Vec<(Subject, Day)> = goes.into_iter().filter(|(_, day)| day.is_open()).collect();
    // The newest goes on under its new name.
    if let Some((was, day)) = open.pop() {
        let why = "from now on it is not told apart by date, or by date again";
        taken.episodes.extend(closed((&run.check, was), About::Data, &day.side(), run.due, why));
        standing.days.entry(run.subject()).or_insert(Day { look: None, ..day });
    }
    for (subject, mut day) in open {
        let why = "its check is about now, and no longer about dates";
        give_up(&run.check, subject, &mut day, (None, why), run.due, taken);
    }
}
