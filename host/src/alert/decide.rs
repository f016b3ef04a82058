//! Decides which notices a batch of news causes, from both sides of each check and each of its data dates; silences, calendars
//! and failures further up the pipeline hold notices back.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use jiff::Timestamp;

use super::{
    Level,
    day::{At, Day, Subject, Waits},
    downstream::list_downstream,
    entries::{Spoken, entries},
    episodes::episodes,
    findings::reasons,
    held::{Held, held},
    policy::{Hold, Side, due_again},
    remark::Remark,
    roots::{How, Root, Roots, waits_for},
    say::Said,
    spoken::{About, News, Notice, Unsaid},
    standing::{Rules, Standing, Standings, silenced},
    taken_in::{Taken, take_in},
};
use crate::{config::Alerts, record::Episode, run::Run};

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
    pub unsaid: BTreeMap<(String, About, Subject), Unsaid>,
}

/// One side of a check on which something was decided.
struct Judged<'r> {
    news: News<'r>,
    about: About,
    subject: Subject,
    before: Side,
    confirm: u32,
    held: Held,
}

/// What is decided of one check.
struct Deciding<'a, 'r, 'c> {
    check: &'a str,
    /// The news that stands for it: the newest.
    news: News<'r>,
    alerts: Alerts,
    rules: Rules<'c>,
    spoken: Vec<Spoken<'r>>,
    /// The dates that have news.
    done: BTreeSet<Subject>,
    judged: &'a mut Vec<Judged<'r>>,
}

/// Takes in a batch of news, and decides which notices to send.
pub fn decide<'r>(batch: &[News<'r>], standings: &mut Standings, rules: Rules<'_>) -> Decided<'r> {
    let mut decided = Decided::default();
    // Take in all results before deciding anything, so that the decision does not depend on their order.
    let mut checks: BTreeMap<&'r str, Vec<(News<'r>, Taken)>> = BTreeMap::new();
    for news in batch.iter().filter(|news| !news.is_idle()) {
        let check = news.check();
        let standing = standings.entry(check.to_owned()).or_default();
        let mut taken = take_in(*news, standing, rules.config);
        // A clock that was set back must not prevent reminders.
        standing.announced = standing.announced.map(|last| last.min(news.due()));
        decided.episodes.append(&mut taken.episodes);
        if let News::Validation(validation) = *news {
            decided.remarks.extend(Remark::new(validation, standing, rules));
        }
        decided.touched.insert(check.to_owned());
        checks.entry(check).or_default().push((*news, taken));
    }
    // Upstream checks first: whether they are reported decides whether their dependents are.
    let mut order: Vec<&'r str> = checks.keys().copied().collect();
    order.sort_by_key(|check| rules.config.dependencies.depth(check));
    let mut roots = Roots::new(rules);
    let mut judged: Vec<Judged<'r>> = Vec::new();
    for check in order {
        let group = checks.remove(check).unwrap_or_default();
        let Some(news) = group.iter().map(|(news, _)| *news).max_by_key(|news| (news.at(), news.run().is_some()))
        else {
            continue;
        };
        let alerts = rules.config.alerts(check);
        let mut deciding =
            Deciding { check, news, alerts, rules, spoken: Vec::new(), done: BTreeSet::new(), judged: &mut judged };
        let known = known(standings.get(check));
        deciding.group(group, &known, standings, &mut roots);
        if news.run().is_some() {
            deciding.others(Some(&known), standings, &mut roots);
            // A message is sent anyway: the further bad dates are in it, so that changes of others never put them off.
            if deciding.spoken.iter().any(|one| one.about == About::Data && !one.say.is_line()) {
                deciding.done.clear();
                deciding.others(None, standings, &mut roots);
            }
            deciding.remind(standings, &mut roots);
        }
        let Some(standing) = standings.get_mut(check) else { continue };
        if deciding.spoken.iter().any(|one| one.about == About::Data && !one.say.is_brief() && !one.say.is_over()) {
            standing.announced = Some(news.clock());
        }
        decided.notices.extend(entries(deciding.spoken, news, standing));
    }
    let places: HashMap<&str, usize> = batch.iter().enumerate().map(|(place, news)| (news.check(), place)).collect();
    decided.notices.sort_by_key(|notice| (places.get(notice.news.check()), notice.about));
    list_downstream(&mut decided.notices, &mut decided.touched, standings, (rules, &mut roots));
    record(&mut decided, judged, standings);
    decided
}

/// Records why nobody is told of what, and the alerts that began, changed or ended.
fn record(decided: &mut Decided<'_>, judged: Vec<Judged<'_>>, standings: &mut Standings) {
    let brief = decided.notices.iter().filter(|notice| notice.say.is_brief());
    let brief: BTreeSet<(&str, About, Subject)> =
        brief.map(|notice| (notice.news.check(), notice.about, notice.subject)).collect();
    for Judged { news, about, subject, before, confirm, held } in judged {
        let check = news.check();
        let Some(standing) = standings.get_mut(check) else { continue };
        let line = brief.contains(&(check, about, subject));
        let (unsaid, made) = standing.side(about, subject, news.due(), |side| {
            let unsaid = side.failing().then(|| match (&held.hold, held.follows) {
                (_, true) => Unsaid::Follows,
                (Hold::All, _) => Unsaid::Silenced,
                _ if !side.is_confirmed(confirm) => Unsaid::Unconfirmed,
                _ if side.knowing().is_empty() => Unsaid::Later,
                _ => Unsaid::Before(side.knowing()),
            });
            side.held = held.reason(side, line, before.listed.is_empty(), confirm);
            (unsaid, episodes((check, subject), about, &before, side, news.due()))
        });
        decided.unsaid.extend(unsaid.map(|unsaid| ((check.to_owned(), about, subject), unsaid)));
        decided.episodes.extend(made);
    }
}

impl<'r> Deciding<'_, 'r, '_> {
    /// Decides on the sides that the news of this check concern.
    fn group(
        &mut self,
        group: Vec<(News<'r>, Taken)>,
        known: &[(Subject, Level)],
        standings: &mut Standings,
        roots: &mut Roots<'_>,
    ) {
        for (news, taken) in group {
            self.spoken.extend(taken.over.into_iter().map(|(channel, subject, began, say)| Spoken {
                news,
                about: About::Data,
                subject,
                channel,
                say,
                reasons: Vec::new(),
                root: None,
                since: None,
                began,
            }));
            for (about, subject, before) in taken.sides {
                self.done.extend((about == About::Data).then_some(subject));
                let refused = standings.get(self.check).map(|standing| standing.refused.clone()).unwrap_or_default();
                let confirm = match about {
                    About::Data => self.alerts.confirm.0,
                    // A validation has tried it already, or the error stays until somebody changes a file.
                    About::Evaluation if !refused.is_empty() || news.run().is_some_and(Run::is_lasting) => 1,
                    About::Evaluation => self.alerts.confirm_errors.0,
                };
                let told = match about {
                    About::Data => self.told_lately(known, subject, standings),
                    About::Evaluation => None,
                };
                self.side((news, about, subject), before, (confirm, told), standings, roots);
            }
        }
    }

    /// The worst level of the other dates that were told, if that was less than `repeat_interval` ago.
    fn told_lately(&self, known: &[(Subject, Level)], subject: Subject, standings: &Standings) -> Option<Level> {
        let last = standings.get(self.check)?.announced?;
        let rest = self.news.due().duration_since(last);
        let lately = Duration::try_from(rest).is_ok_and(|rest| rest < self.alerts.repeat_interval.0);
        lately.then(|| known.iter().filter(|(other, _)| *other != subject).map(|(_, level)| *level).max())?
    }

    /// The dates without news that nobody was told of: what held them back may be over. And those that flapped and are good.
    /// `known` is what was told of before; `None` if a message is sent anyway.
    fn others(&mut self, known: Option<&[(Subject, Level)]>, standings: &mut Standings, roots: &mut Roots<'_>) {
        let Some(standing) = standings.get(self.check) else { return };
        let mut waiting: Vec<(Subject, Side)> = Vec::new();
        for (subject, day) in standing.told_or_open().filter(|(subject, _)| !self.done.contains(subject)) {
            let Some(side) = day.incident.as_ref().map(|incident| &incident.side) else { continue };
            let waits = known.is_some() && self.is_next(standing, subject, day);
            let new = !side.is_told() && side.is_confirmed(self.alerts.confirm.0) && !waits;
            let told = self.told_lately(known.unwrap_or_default(), subject, standings);
            let further = told.is_some_and(|told| side.worst() <= Some(told));
            // One that flapped and is good may be steady now.
            if !day.is_open() || new && !further {
                waiting.push((subject, side.clone()));
            }
        }
        let confirm = self.alerts.confirm.0;
        for (subject, before) in waiting {
            self.side((self.news, About::Data, subject), before, (confirm, None), standings, roots);
        }
    }

    /// Whether a date is looked at again next, after this batch: it may be good then.
    fn is_next(&self, standing: &Standing, subject: Subject, day: &Day) -> bool {
        // In a window of a calendar nobody looks.
        let last = self.news.run().is_some_and(|run| run.again || run.off_hours);
        // One after the newest date, since host.toml has another `data_date` now, waits until it has come.
        let has_come = subject <= standing.date || subject.is_none();
        self.rules.looks && !last && has_come && day.look.is_some_and(|look| look.at <= self.news.due())
    }

    /// Decides on one side.
    fn side(
        &mut self,
        (news, about, subject): (News<'r>, About, Subject),
        before: Side,
        (confirm, told): (u32, Option<Level>),
        standings: &mut Standings,
        roots: &mut Roots<'_>,
    ) {
        let (check, rules) = (self.check, self.rules);
        let at = At { due: news.due(), date: subject.unwrap_or(news.data_date()) };
        let root = match about {
            About::Data => follow(check, at, standings, roots, rules),
            // A run that could not be evaluated has its own reason.
            About::Evaluation => None,
        };
        let held = held(silenced(check, at, rules), root.as_ref(), at, standings, rules);
        let Some(standing) = standings.get_mut(check) else { return };
        let refused = standing.refused.clone();
        let (alerts, hold) = (&self.alerts, &held.hold);
        // A due time that was missed is told of now.
        let clock = if about == About::Evaluation { news.clock() } else { at.due };
        // Rounds send the reminders.
        let reminds = about == About::Evaluation && news.run().is_some();
        let (said, since, began) = standing.side(about, subject, at.due, |side| {
            let bad_since = side.began;
            let since = held_until_now(&before, side, at.due);
            let mut said = side.decide(clock, confirm, alerts, hold, told);
            if said.is_empty() && reminds {
                said = side.remind(clock, side.last_announced(), alerts, hold);
            }
            (said, since, before.began.or(bad_since))
        });
        self.say(said, (news, about, subject), &held, (since, &refused, began));
        self.judged.push(Judged { news, about, subject, before, confirm, held });
    }

    /// Reminds of the dates that were told, once for all of them, unless something else is said of them now. Nobody is
    /// reminded of a date that somebody works on.
    fn remind(&mut self, standings: &mut Standings, roots: &mut Roots<'_>) {
        if self.spoken.iter().any(|one| one.about == About::Data && !one.say.is_line()) {
            return;
        }
        let Some(standing) = standings.get(self.check) else { return };
        let (last, at) = (standing.announced, self.news.at());
        if !due_again(last, at.due, &self.alerts) {
            return;
        }
        let open: Vec<(Subject, &Day)> =
            standing.open().filter(|(_, day)| day.acknowledged(at.due).is_none()).collect();
        if open.iter().any(|(subject, day)| self.is_next(standing, *subject, day)) {
            return;
        }
        let open: Vec<Subject> = open.into_iter().map(|(subject, _)| subject).collect();
        for subject in open {
            let at = At { date: subject.unwrap_or(at.date), ..at };
            let root = roots.of(self.check, at, standings);
            let held = held(silenced(self.check, at, self.rules), root.as_ref(), at, standings, self.rules);
            let Some(standing) = standings.get_mut(self.check) else { return };
            let (alerts, hold) = (&self.alerts, &held.hold);
            let (before, said) = standing.side(About::Data, subject, at.due, |side| {
                let before = side.clone();
                (before, side.remind(at.due, last, alerts, hold))
            });
            if !said.is_empty() {
                let about = (self.news, About::Data, subject);
                self.say(said, about, &held, (None, &[], before.began));
                let confirm = self.alerts.confirm.0;
                self.judged.push(Judged { news: self.news, about: About::Data, subject, before, confirm, held });
            }
        }
    }

    fn say(
        &mut self,
        said: Said,
        (news, about, subject): (News<'r>, About, Subject),
        held: &Held,
        (since, refused, began): (Option<(Timestamp, String)>, &[String], Option<Timestamp>),
    ) {
        self.spoken.extend(said.into_iter().map(|(channel, say)| Spoken {
            news,
            about,
            subject,
            channel,
            say,
            reasons: reasons(news, refused),
            root: held.elsewhere(),
            since: since.clone(),
            began,
        }));
    }
}

/// The dates that some channel knows of, and the worst level that it was told.
fn known(standing: Option<&Standing>) -> Vec<(Subject, Level)> {
    let open = standing.into_iter().flat_map(Standing::open);
    open.filter_map(|(subject, day)| {
        let side = &day.incident.as_ref()?.side;
        side.is_told().then_some((subject, side.told_worst().or(side.worst())?))
    })
    .collect()
}

/// Since when a side is bad that a silence held back until now, and which; `None` if there was none.
fn held_until_now(before: &Side, now: &Side, at: Timestamp) -> Option<(Timestamp, String)> {
    let held = before.held.clone().filter(|held| held.starts_with(SILENCE))?;
    now.began.filter(|began| now.failing() && *began < at).map(|began| (began, held))
}

/// The check that speaks for a failing check; and remembers it. When that check recovers, this one has one more run to
/// follow before it is told of.
fn follow(check: &str, at: At, standings: &mut Standings, roots: &mut Roots<'_>, rules: Rules<'_>) -> Option<Root> {
    let standing = standings.get(check).filter(|standing| standing.failing_at(at.date).is_some());
    let before = standing.and_then(|standing| waits_for(check, standing, at, rules)).cloned();
    let root = standing.and_then(|_| roots.of(check, at, standings));
    let passes = |root: &str| standings.get(root).is_some_and(|standing| standing.passes(at.date));
    let (root, waits) = match (root, before) {
        (Some(root), _) => (Some(root.clone()), Some(Waits { root: root.check, recovered: false })),
        (None, Some(Waits { root, recovered: false })) if passes(&root) => {
            (Some(Root { check: root.clone(), how: How::Follows }), Some(Waits { root, recovered: true }))
        }
        (None, _) => (None, None),
    };
    if let Some(standing) = standings.get_mut(check) {
        let subject = standing.subject(at.date);
        if let Some(day) = standing.days_mut().get_mut(&subject) {
            day.change(|incident| incident.waits = waits);
        }
    }
    root
}

#[cfg(test)]
mod by_date;
#[cfg(test)]
mod tests;
