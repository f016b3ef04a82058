//! A check proves its worth: what it says of past dates, which limits its history supports, and which faults it notices.

mod backtest;
mod knobs;
mod mutate;
mod report;
mod tune;

pub use backtest::{Backtest, Day, Stopped, dates, strip};
pub use knobs::Side;
pub use mutate::{Caught, Mutate, Mutated, Tried};
pub use report::{Figured, OfCheck, Report, ToMend, Unread};
pub use tune::{Confirm, Figures, MONTH, Proposal, Share, TooFew, Tune, Tuned, interval};

use std::{collections::BTreeSet, sync::Arc};

use anyhow::{Result, bail};
use jiff::{Timestamp, civil::Date};
use serde_json::Value;

use crate::{
    check::{Check, Ready, Work},
    config::{Config, Skip, SkipAtMost},
    package::Digest,
    record::{self, BacktestsOf, Record},
    run::{Moment, Outcome, Status, When, first_due},
};

/// Digits of the digest of a trial.
const SHOWN: usize = 16;
/// Good dates that are read.
const MOST: u32 = 10_000;
/// The most days between two due times.
const LONGEST: usize = 400;

/// A check as it is tried: on other dates, with other settings, on other data. Nothing of it is recorded as a run or told.
#[derive(Clone)]
pub struct Trial {
    /// The configuration.
    pub config: Arc<Config>,
    /// The check.
    pub check: Arc<Check>,
    /// Whether somebody tries other settings than those of host.toml: what it says counts only for others that do.
    pub what_if: bool,
}

/// The newest dates before one that a check judged good, by its record and by what it said of past dates when it asked the same; where both
/// know a date, the latter counts.
async fn good_before(record: &Record, trial: &Trial, before: Date) -> Result<Vec<Date>> {
    let (check, asks) = (&trial.check.name, trial.asks());
    let mut good: BTreeSet<Date> = record.good_dates(check, before, MOST).await?.into_iter().collect();
    let tried = record.backtests(check, BacktestsOf::Alike(&asks), Timestamp::MIN).await?;
    for tried in tried.into_iter().filter(|tried| tried.date < before) {
        let Ok(outcome) = serde_json::from_str::<Outcome>(&tried.outcome) else { continue };
        match outcome.status() {
            Status::Pass | Status::Warn => good.insert(tried.date),
            _ => good.remove(&tried.date),
        };
    }
    Ok(good.into_iter().rev().collect())
}

fn digest(of: &str) -> String {
    Digest::of(of.as_bytes()).digits().chars().take(SHOWN).collect()
}

/// Settings without their numbers, and without what is empty then.
fn without_numbers(settings: Value) -> Value {
    match settings {
        Value::Object(object) => {
            let kept = object.into_iter().map(|(key, value)| (key, without_numbers(value)));
            kept.filter(|(_, value)| !value.is_null() && value.as_object().is_none_or(|object| !object.is_empty()))
                .collect()
        }
        Value::Number(_) => Value::Null,
        other => other,
    }
}

impl Trial {
    /// A check that is tried. An error if it cannot run, or has no plugin.
    pub fn new(config: Arc<Config>, check: &Check) -> Result<Self> {
        let ready = match &check.work {
            Work::Plugin(ready) => ready,
            Work::Unable(why) => bail!("{} cannot run: {why}", check.name),
            Work::Consultation(gate) => bail!("{} asks nothing: it watches whether {gate} was asked", check.name),
        };
        // What it skipped in its recorded past says nothing about the dates that are tried.
        let skip = ready.skip.clone().map(|skip| Skip { at_most: SkipAtMost(None), ..skip });
        let ready = Ready { skip, ..ready.again() };
        Ok(Self { config, check: Arc::new(check.working(Work::Plugin(Box::new(ready)))), what_if: false })
    }

    /// What its check needs to run.
    fn ready(&self) -> &Ready {
        match &self.check.work {
            Work::Plugin(ready) => ready,
            Work::Consultation(_) | Work::Unable(_) => unreachable!("a trial has a plugin"),
        }
    }

    /// The settings, a JSON object.
    pub fn settings(&self) -> Value {
        serde_json::from_str(&self.ready().settings).unwrap_or_default()
    }

    /// The same check with other settings; an error if its plugin does not take them.
    pub async fn with_settings(&self, settings: &Value) -> Result<Self> {
        let plugin = self.ready().plugin.clone();
        let wrong = plugin.mistakes(settings).await?;
        if !wrong.is_empty() {
            bail!("settings: {}", wrong.join("; "));
        }
        let settings = settings.to_string();
        let ready = Ready { settings, ..self.ready().again() };
        let check = self.check.working(Work::Plugin(Box::new(ready)));
        Ok(Self { check: Arc::new(check), ..self.clone() })
    }

    /// The same check, whose queries may bill so much in all.
    #[must_use]
    pub fn billing(&self, most: u64) -> Self {
        let mut ready = self.ready().again();
        ready.budgets.bytes_per_day.0 = usize::try_from(most).unwrap_or(usize::MAX);
        Self { check: Arc::new(self.check.working(Work::Plugin(Box::new(ready)))), ..self.clone() }
    }

    /// A digest of all that decides what it says of a date: plugin, settings, clock, budgets, calendars.
    pub fn digest(&self) -> String {
        digest(&format!("{} {}", self.basis(), self.ready().settings))
    }

    /// A digest of all that decides what it asks about a date, whatever its limits: the same without the numbers among its settings.
    pub fn asks(&self) -> String {
        digest(&format!("{} {} {}", self.what_if, self.basis(), without_numbers(self.settings())))
    }

    /// All that decides what it says but its settings.
    fn basis(&self) -> String {
        let (check, ready) = (&self.check, self.ready());
        let mut budgets = ready.budgets.clone();
        // How much may be billed decides only how far it gets.
        budgets.bytes_per_day = self.config.budgets(&ready.plugin.file.name).bytes_per_day;
        let own = self.config.checks.get(&check.name);
        format!(
            "{} {:?} {} {} {:?} {budgets:?} {:?} {:?} {} {:?} {:?} {:?} {:?}",
            ready.plugin.file.digest,
            ready.skip,
            check.schedule,
            check.zone.name(),
            check.data_date,
            own.and_then(|own| own.expect_by.as_ref()),
            self.config.calendars,
            self.config.timezone.name(),
            ready.grants,
            self.config.warehouse,
            self.config.git,
            self.config.deployments,
        )
    }

    /// The most bytes that its queries may bill in a day.
    pub fn most_bytes(&self) -> u64 {
        self.ready().budgets.bytes_per_day.0 as u64
    }

    /// The newest date for which it was due.
    pub fn newest(&self) -> Result<Date> {
        let now = record::now();
        let mut date = Moment::usual(now, self.check.data_date, &self.config.timezone)?.data_date;
        // A check that is due once a week: the newest is at most that long ago.
        for _ in 0..LONGEST {
            if self.moment(date)?.due <= now {
                break;
            }
            date = date.yesterday()?;
        }
        Ok(date)
    }

    /// The run about a date as it is due: the check's first due time for it, or for a check of the day itself its last one on that day.
    pub fn moment(&self, date: Date) -> Result<Moment> {
        let (check, config) = (&self.check, &self.config);
        let at = |due: Timestamp| Moment::of(check, config, due, When { at: Some(due), date: Some(date) });
        let bounds = Moment::new(Timestamp::UNIX_EPOCH, date, &config.timezone)?;
        let due = match check.data_date.days_back() {
            0 => check.schedule.last(bounds.day_end, &check.zone.rules()).filter(|due| *due >= bounds.day_start),
            _ => None,
        };
        match due.or_else(|| first_due(check, date, &config.timezone)) {
            Some(due) => at(due),
            None => bail!("{} is never due for {date}", check.name),
        }
    }
}
