//! What people order of dates: to look again, to know that somebody works on one, to give one up.

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use super::{
    Level, Notification,
    dates::ranges,
    day::{Ack, Day, Look, State, Subject},
    mentioned::{Mentioned, Stage},
    say::Say,
    spoken::About,
    standing::Standing,
    taken_in::{Taken, give_up},
};
use crate::{config::local, record::Episode};

/// The most dates of a check that are looked at again in one round.
pub const MOST_LOOKS: usize = 20;
/// The most characters of a reason.
pub const LONGEST_REASON: usize = 500;
/// How long an acknowledgement holds, unless somebody says otherwise.
pub const ACKNOWLEDGED_FOR: &str = "3d";

/// An order about the dates of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Look at it now.
    Recheck,
    /// It is known, and somebody works on it.
    Ack {
        /// The reason.
        why: String,
        /// Until when that holds.
        until: Timestamp,
    },
    /// It is given up.
    Close {
        /// The reason.
        why: String,
        /// Whether all open dates are meant, however many, if none is named.
        #[serde(default)]
        all: bool,
    },
}

impl Wanted {
    /// What is done, for the audit trail, with times in the pipeline's zone.
    fn words(&self, zone: &TimeZone) -> String {
        match self {
            Self::Recheck => "to be looked at again at once".to_owned(),
            Self::Ack { why, until } => format!("acknowledged until {}: {why}", local(*until, zone)),
            Self::Close { why, .. } => format!("given up: {why}"),
        }
    }
}

/// What came of an order.
#[derive(Debug, Default)]
pub struct Ordered {
    /// The check and the dates that it is about.
    pub about: String,
    /// What is done, for the audit trail.
    pub words: String,
    /// The answer, in one line.
    pub answer: String,
    /// The messages to send, one a channel.
    pub messages: Vec<Notification>,
    /// The alerts that ended.
    pub episodes: Vec<Episode>,
    /// The incidents that somebody works on now.
    pub acknowledged: Vec<Mentioned>,
    /// The dates to look at now.
    pub looks: Vec<Subject>,
}

/// Carries out an order about one date, or about all open dates of a check, by somebody at a time, of a pipeline in a time
/// zone. An error says why not.
pub fn order(
    (check, standing): (&str, &mut Standing),
    date: Option<Date>,
    wanted: &Wanted,
    who: &str,
    (at, zone): (Timestamp, &TimeZone),
) -> Result<Ordered, String> {
    let subjects = subjects(check, standing, date, wanted)?;
    let dates: Vec<Date> = subjects.iter().filter_map(|subject| *subject).collect();
    let shown = if dates.is_empty() { check.to_owned() } else { format!("{check} {}", ranges(&dates, &mut None)) };
    let mut taken = Taken::default();
    let mut acknowledged = Vec::new();
    let mut looks = Vec::new();
    for subject in subjects {
        let day = standing.days_mut().entry(subject).or_insert_with(|| Day::new(at));
        match wanted {
            Wanted::Recheck => {
                let (tries, from) = day.look.map_or((0, at), |look| (look.tries, look.from));
                day.look = Some(Look { at, tries, from });
                looks.push(subject);
            }
            Wanted::Ack { why, until } => day.change(|incident| {
                acknowledged.extend(incident.side.began.map(|began| Mentioned {
                    state: format!("acknowledged by {who} until {}: {why}", local(*until, zone)),
                    acknowledged: true,
                    ..Mentioned::new((check, About::Data.kind()), subject, began, Stage::FollowUp)
                }));
                incident.ack = Some(Ack {
                    who: who.to_owned(),
                    why: why.clone(),
                    at,
                    until: *until,
                    level: incident.side.worst(),
                    points: incident.side.found().clone(),
                });
            }),
            Wanted::Close { why, .. } => give_up(check, subject, day, (Some(who), why), at, &mut taken),
        }
    }
    let answer = match wanted {
        Wanted::Recheck if looks.len() > MOST_LOOKS => {
            format!("{shown}: looked at again, the newest {MOST_LOOKS} now and the others after them")
        }
        Wanted::Recheck => format!("{shown}: looked at again now"),
        Wanted::Ack { until, .. } => {
            format!("{shown}: acknowledged by {who}; no reminders until {}", local(*until, zone))
        }
        Wanted::Close { .. } => format!("{shown}: given up by {who}; no more reminders"),
    };
    let messages = messages(check, who, &taken);
    let words = wanted.words(zone);
    Ok(Ordered { about: shown, words, answer, messages, episodes: taken.episodes, acknowledged, looks })
}

/// Forgets the dates of a check after the newest that there can be: they were judged while the clock was ahead. The open ones
/// are given up.
pub fn recall((check, standing): (&str, &mut Standing), newest: Date, at: Timestamp) -> Ordered {
    let why = "it is to come; it was judged while the clock of this host was ahead";
    let mut taken = Taken::default();
    let mut dates = Vec::new();
    for (subject, mut day) in standing.days_mut().split_off(&newest.tomorrow().ok()) {
        dates.extend(subject);
        if day.is_open() || day.is_told() {
            give_up(check, subject, &mut day, (None, why), at, &mut taken);
        }
    }
    standing.first = standing.first.filter(|first| *first <= newest);
    let answer = format!("{} forgotten: judged while the clock was ahead", ranges(&dates, &mut None));
    Ordered { answer, messages: messages(check, "this host", &taken), episodes: taken.episodes, ..Ordered::default() }
}

/// The dates that an order is about.
fn subjects(check: &str, standing: &Standing, date: Option<Date>, wanted: &Wanted) -> Result<Vec<Subject>, String> {
    if let (Some(_), true) = (date, standing.now) {
        return Err(format!("{check} is about now, and has no dates; leave the date out"));
    }
    let open: Vec<Subject> = standing.open().map(|(subject, _)| subject).collect();
    let dates: Vec<Date> = open.iter().filter_map(|subject| *subject).collect();
    let Some(date) = date else {
        return match (open.len(), wanted) {
            (0, _) if standing.evaluation.failing() => Err(format!(
                "{check} cannot be evaluated, and none of its dates is bad; `host silence {check} --for TIME --why REASON` holds its messages back"
            )),
            (0, _) if standing.now => Err(format!("{check} is well; there is nothing to do")),
            (0, _) => Err(format!("{check} has no bad date; there is nothing to do")),
            (2.., Wanted::Close { all: false, .. }) => Err(format!(
                "{check} has several bad dates: {}; name one with --date, or give up on all of them with `host close {check} --all --why REASON`",
                ranges(&dates, &mut None)
            )),
            _ => Ok(open),
        };
    };
    let day = standing.days.get(&Some(date));
    let fits = match wanted {
        Wanted::Recheck => true,
        Wanted::Ack { .. } => day.is_some_and(Day::is_open),
        Wanted::Close { .. } => day.is_some_and(|day| day.is_open() || !day.state.is_over()),
    };
    let state = day.map_or(State::NotJudged, |day| day.state).name().replace('_', " ");
    if fits {
        Ok(vec![Some(date)])
    } else {
        let bad = if dates.is_empty() { "none".to_owned() } else { ranges(&dates, &mut None) };
        Err(format!("{check} {date} is {state}, not bad; its bad dates: {bad}"))
    }
}

/// Everybody who knows of a date hears that it is given up.
fn messages(check: &str, who: &str, taken: &Taken) -> Vec<Notification> {
    let mut channels: Vec<&String> = taken.over.iter().map(|(channel, ..)| channel).collect();
    channels.sort_unstable();
    channels.dedup();
    let message = |channel: &String| {
        let own = taken.over.iter().filter(|(of, ..)| of == channel);
        let dates: Vec<Date> = own.clone().filter_map(|(_, subject, ..)| *subject).collect();
        let incidents: Vec<Mentioned> = own
            .clone()
            .filter_map(|(_, subject, began, say)| {
                Some(Mentioned::new((check, About::Data.kind()), *subject, (*began)?, Stage::of(say)))
            })
            .collect();
        let mut why = own.filter_map(|(.., say)| match say {
            Say::GivenUp { why, .. } => Some(why.as_str()),
            _ => None,
        });
        let shown = if dates.is_empty() { String::new() } else { format!("{} ", ranges(&dates, &mut None)) };
        let why = why.next_back().unwrap_or_default();
        let words = format!("{shown}given up by {who}: {why}");
        Notification {
            incidents: incidents.into_iter().map(|one| Mentioned { state: words.clone(), ..one }).collect(),
            channel: channel.clone(),
            level: Some(Level::Info),
            title: format!("{check}: {shown}given up"),
            moved: vec![(check.to_owned(), words)],
            footer: "Not a recovery: given up without a good result; no more reminders.".to_owned(),
            ..Notification::default()
        }
    };
    channels.into_iter().map(message).collect()
}
