//! What is remembered of each check, and the rules that its alerts follow; shared by `decide` and `roots`.

use std::{collections::BTreeMap, sync::Arc};

use jiff::{SignedDuration, Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

use super::{
    day::{At, Day, Days, State, Subject, Waits},
    policy::Side,
    spoken::About,
};
use crate::{
    config::{Config, Effect, local},
    record::Silence,
};

/// The remembered state of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// Its data dates, each with its state. Recorded in rows of their own.
    #[serde(skip)]
    pub days: Days,
    /// When a message last told of its dates.
    pub announced: Option<Timestamp>,
    /// Whether it can be evaluated.
    pub evaluation: Side,
    /// Whether it is about now.
    pub now: bool,
    /// The state of its data in a record of an older host, which had one for all dates.
    #[serde(skip_serializing)]
    pub data: Option<Side>,
    /// The check that spoke for it then, if one did.
    #[serde(skip_serializing)]
    pub waits: Option<Waits>,
    /// The first data date that it judged on its schedule.
    pub first: Option<Date>,
    /// Whether its last run gave a verdict.
    pub judged: bool,
    /// Whether its last run left nothing unknown.
    pub clean: bool,
    /// Whether its last error was that nobody knew whether to skip it: then a skip ends the error.
    pub undecided: bool,
    /// Whether host.toml had it when it last ran; otherwise only a plugin's file made it. `None` in a record from before
    /// this was known.
    pub configured: Option<bool>,
    /// When it last ran.
    pub ran: Option<Timestamp>,
    /// The data date of that run.
    pub date: Option<Date>,
    /// When it is due next after that, if it is known.
    pub next: Option<Timestamp>,
    /// Why the last validation found that no data can make the check fail, or pass.
    pub invalid: Vec<String>,
    /// What the last validation found that the check asks for and cannot have; until a run of it can be evaluated.
    pub refused: Vec<String>,
    /// The remarks of the last validation that were told, with those in `invalid`.
    pub remarks: Vec<String>,
    /// The remarks of the last validation that a silence held back.
    pub unheard: Vec<String>,
}

/// The standings of all checks, by name.
pub type Standings = BTreeMap<String, Standing>;

/// The other inputs of the decision, besides the runs and the standings.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'r> {
    /// host.toml.
    pub config: &'r Config,
    /// The silences that may be active.
    pub silences: &'r [Silence],
    /// Whether dates are looked at again after this batch.
    pub looks: bool,
    /// The time of the decision, for silences; calendars use the runs' own due times.
    pub now: Timestamp,
}

impl Standing {
    /// The channels that know of an alert which is not over.
    pub fn channels(&self) -> impl Iterator<Item = &String> {
        let incidents = || self.days.values().filter_map(|day| day.incident.as_ref());
        let sides = incidents().map(|incident| &incident.side).chain([&self.evaluation]);
        // They hear if it is good after all.
        let given_up = incidents().filter_map(|incident| incident.given_up.as_ref());
        let told = sides.flat_map(|side| side.told.keys().chain(&side.listed));
        told.chain(given_up.flat_map(|given_up| &given_up.channels))
    }

    /// The incidents that are open, by date.
    pub fn open(&self) -> impl Iterator<Item = (Subject, &Day)> {
        self.days.iter().filter(|(_, day)| day.is_open()).map(|(subject, day)| (*subject, day))
    }

    /// The incidents of which somebody has yet to hear: those that are open, and those that flapped and are good.
    pub(super) fn told_or_open(&self) -> impl Iterator<Item = (Subject, &Day)> {
        self.days.iter().filter(|(_, day)| day.is_open() || day.is_told()).map(|(subject, day)| (*subject, day))
    }

    /// Which incident of this check speaks about a data date: that of the date, or while a newer date was not judged yet,
    /// that of the last one.
    pub(super) fn subject(&self, date: Date) -> Subject {
        let last = self.date.filter(|last| *last < date && !self.days.contains_key(&Some(date)));
        (!self.now).then_some(last.unwrap_or(date))
    }

    /// The state of its alerts at a data date, if anything is wrong there.
    pub(super) fn failing_at(&self, date: Date) -> Option<&Side> {
        let day = self.days.get(&self.subject(date)).filter(|day| day.is_open())?;
        day.incident.as_ref().map(|incident| &incident.side)
    }

    /// The check that speaks for it at a date, if one does.
    pub(super) fn waits_at(&self, date: Date) -> Option<&Waits> {
        self.days.get(&self.subject(date))?.incident.as_ref()?.waits.as_ref()
    }

    /// Whether its verdict on a date is good.
    pub(super) fn passes(&self, date: Date) -> bool {
        match self.is_current(date) {
            true => self.judged && self.failing_at(date).is_none() && !self.is_given_up(date),
            false => self.days.get(&self.subject(date)).is_some_and(|day| day.state == State::Good),
        }
    }

    fn is_given_up(&self, date: Date) -> bool {
        self.days.get(&self.subject(date)).is_some_and(|day| day.state == State::GivenUp)
    }

    /// Whether its last run was about a date, or about now.
    fn is_current(&self, date: Date) -> bool {
        self.now || self.date.is_some() && self.subject(date) == self.date
    }

    /// Whether its last result about a date is a verdict.
    pub(super) fn is_judged(&self, date: Date) -> bool {
        let known = || self.days.get(&Some(date)).is_some_and(|day| day.state != State::NotJudged);
        if self.is_current(date) { self.judged } else { known() }
    }

    /// The faults in the check itself, as far as they are not refuted.
    pub fn faults(&self) -> Vec<String> {
        self.refused.iter().chain(&self.invalid).cloned().collect()
    }

    /// The remarks of the last validation, told or not.
    pub fn all_remarks(&self) -> Vec<String> {
        self.remarks.iter().chain(&self.unheard).cloned().collect()
    }

    /// Whether its last verdict on a date is its present state: that of its last run, or of the one before an error that may
    /// be a hiccup.
    pub(super) fn stands(&self, check: &str, date: Date, config: &Config) -> bool {
        let hiccup = || !self.evaluation.is_confirmed(config.alerts(check).confirm_errors.0);
        self.is_judged(date) || self.is_current(date) && !self.clean && self.evaluation.failing() && hiccup()
    }

    /// Its data dates, to change them.
    pub fn days_mut(&mut self) -> &mut BTreeMap<Subject, Day> {
        Arc::make_mut(&mut self.days)
    }

    /// Changes one side of it. A blank incident is forgotten.
    pub(super) fn side<T>(
        &mut self,
        about: About,
        subject: Subject,
        at: Timestamp,
        change: impl FnOnce(&mut Side) -> T,
    ) -> T {
        match about {
            About::Data => {
                let day = self.days_mut().entry(subject).or_insert_with(|| Day::new(at));
                day.change(|incident| change(&mut incident.side))
            }
            About::Evaluation => change(&mut self.evaluation),
        }
    }
}

/// Until when a check's last result is its present state: when the run that is due next must be over.
pub(super) fn holds_until(check: &str, standing: &Standing, config: &Config) -> Option<Timestamp> {
    let ran = standing.ran?;
    let pace = config.pace(check);
    let plugin = config.plugin_of(check).unwrap_or(check);
    let run = config.budgets(plugin).timeout.0;
    let length = pace.jitter + run + (pace.retry_wait + run) * pace.retries;
    match standing.next {
        Some(next) => next.checked_add(SignedDuration::try_from(length).ok()?).ok(),
        None => ran.checked_add(SignedDuration::try_from(config.alerts(check).repeat_interval.0).ok()?).ok(),
    }
}

/// The silence or calendar that holds back a check's alerts, if any.
pub(super) fn silenced(check: &str, at: At, rules: Rules<'_>) -> Option<String> {
    let zone = &rules.config.timezone;
    let calendar = rules
        .config
        .calendars
        .iter()
        .find(|(_, calendar)| calendar.effect == Effect::Silence && calendar.covers(check, at.due, at.date, zone));
    if let Some((name, calendar)) = calendar {
        return Some(format!("calendars.{name}: {}", calendar.why));
    }
    let named = |silence: &&Silence| silence.active(rules.now) && silence.checks.iter().any(|name| name == check);
    rules.silences.iter().find(named).map(|silence| format!("silence {}: {}", silence.id, silence.why))
}

/// A time in the pipeline's zone, for people.
pub(super) fn shown(at: Timestamp, config: &Config) -> String {
    local(at, &config.timezone.rules())
}
