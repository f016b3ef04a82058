//! One entry of a message for all data dates of a check about which the same is to be said.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::{Timestamp, civil::Date};

use super::{
    Level,
    dates::DateNews,
    day::{Day, Subject},
    mentioned::{Mentioned, Stage},
    say::Say,
    spoken::{About, News, Notice},
    standing::Standing,
};
use crate::run::Run;

/// What is to be said of one side and one date, in one channel.
#[derive(Debug)]
pub(super) struct Spoken<'r> {
    pub(super) news: News<'r>,
    pub(super) about: About,
    pub(super) subject: Subject,
    pub(super) channel: String,
    pub(super) say: Say,
    pub(super) reasons: Vec<String>,
    pub(super) root: Option<(String, Vec<String>)>,
    pub(super) since: Option<(Timestamp, String)>,
    /// When its incident began.
    pub(super) began: Option<Timestamp>,
}

impl Spoken<'_> {
    /// Whether its date was judged now.
    fn has_run(&self) -> bool {
        self.news.run().is_some_and(|run| run.subject() == self.subject)
    }

    /// What it is said with in one entry: alerts with alerts, and each kind of line with its like.
    fn group(&self) -> (About, String, String) {
        let kind = match &self.say {
            Say::Held { root, .. } | Say::Below { root, .. } => format!("{} {root}", self.say.name()),
            say if say.is_line() => say.name().to_owned(),
            _ => String::new(),
        };
        (self.about, self.channel.clone(), kind)
    }

    /// What stands first in an entry, the most important first.
    fn rank(&self) -> (u8, bool, Subject) {
        let rank = match self.say {
            Say::Flapping { .. } => 4,
            Say::Began => 3,
            Say::Changed { .. } => 2,
            _ => 1,
        };
        (rank, self.has_run(), self.subject)
    }
}

/// The entries of one check.
pub(super) fn entries<'r>(spoken: Vec<Spoken<'r>>, news: News<'r>, standing: &Standing) -> Vec<Notice<'r>> {
    let mut groups: BTreeMap<(About, String, String), Vec<Spoken<'r>>> = BTreeMap::new();
    for one in spoken {
        groups.entry(one.group()).or_default().push(one);
    }
    groups.into_values().filter_map(|group| entry(group, news, standing)).collect()
}

fn entry<'r>(mut group: Vec<Spoken<'r>>, news: News<'r>, standing: &Standing) -> Option<Notice<'r>> {
    group.sort_by_key(|one| Reverse(one.rank()));
    let dates = dates(&group, news, standing);
    let subjects: BTreeSet<Subject> = group.iter().map(|one| one.subject).collect();
    let sides = subjects.iter().filter_map(|subject| Some(&standing.days.get(subject)?.incident.as_ref()?.side));
    let level = sides.filter_map(|side| side.worst()).max();
    let check = news.check();
    let mentioned = |one: &Spoken<'_>| {
        Some(Mentioned::new((check, one.about.kind()), one.subject, one.began?, Stage::of(&one.say)))
    };
    let incidents = group.iter().filter_map(mentioned).collect();
    let main = group.into_iter().next()?;
    let incident = standing.days.get(&main.subject).and_then(|day| day.incident.as_ref());
    let summary = incident.map(|incident| incident.side.summary.clone()).unwrap_or_default();
    Some(Notice {
        news: main.news,
        about: main.about,
        subject: main.subject,
        dates: match main.about {
            About::Data => dates,
            About::Evaluation => DateNews { plain: true, open: dates.open, ..DateNews::default() },
        },
        state: (level, summary),
        reasons: main.reasons,
        channel: main.channel,
        say: main.say,
        well: standing.open().next().is_none(),
        downstream: Vec::new(),
        root: main.root,
        incidents,
        since: main.since,
    })
}

/// The dates of an entry, and those that its channel knows of besides.
fn dates(group: &[Spoken<'_>], news: News<'_>, standing: &Standing) -> DateNews {
    let mut dates = DateNews::default();
    for one in group {
        let Some(date) = one.subject else { continue };
        match &one.say {
            Say::Reminder { .. } => dates.still.push(date),
            // A channel that never heard of it hears of a failure.
            Say::Changed { before: Some(_), .. } => dates.changed.push(date),
            say if say.is_over() => dates.ended.push(date),
            _ => dates.new.push(date),
        }
    }
    let Some(channel) = group.first().map(|one| one.channel.as_str()) else { return dates };
    let here: BTreeSet<Subject> = group.iter().map(|one| one.subject).collect();
    let knows = |day: &Day| day.incident.as_ref().is_some_and(|incident| incident.side.knows_of_it(channel));
    let others = || standing.open().filter(|(subject, _)| !here.contains(subject));
    dates.open = others().filter_map(|(subject, _)| subject).collect();
    let besides = others().filter(|(_, day)| knows(day));
    for (date, day) in besides.filter_map(|(subject, day)| Some((subject?, day))) {
        match day.acknowledged(news.due()) {
            Some(ack) => dates.acknowledged.push((date, ack.who.clone())),
            None => dates.still.push(date),
        }
    }
    let worst = |date: &Date| standing.days.get(&Some(*date))?.incident.as_ref()?.side.worst();
    let levels: BTreeSet<Level> = dates.new.iter().chain(&dates.still).filter_map(worst).collect();
    dates.mixed = levels.len() > 1;
    let began = |date: &Date| standing.days.get(&Some(*date))?.incident.as_ref()?.side.began;
    dates.since = dates.still.iter().filter_map(began).min();
    let usual = news.run().filter(|run| !run.past).and_then(Run::subject);
    dates.plain = here.iter().all(|subject| subject.is_none() || *subject == usual)
        && dates.acknowledged.is_empty()
        && dates.still.iter().all(|date| Some(*date) == usual);
    dates
}
