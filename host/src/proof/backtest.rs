//! What a check says of past dates: the warehouse is asked about each as if it were then. What was asked is kept, so that a backtest
//! that was stopped goes on where it was.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp, civil::Date};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Trial, good_before};
use crate::{
    alert::{Notification, would_say},
    capability::{Answers, Backends, Clock, GoodDates, Grade, Judged, Rehearsal, Unanswered},
    config::Warehouse,
    contract::Error,
    record::{self, Backtested, BacktestsOf, Record},
    run::{Moment, Outcome, Run, Status},
};

/// How long an answer counts when a backtest goes on.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// Dates that a warehouse elsewhere is asked about at a time.
const AT_ONCE: usize = 8;
/// The most dates of one backtest: ten years.
const MOST: usize = 3660;

/// A check, the dates it is tried on, and where its answers are kept.
pub struct Backtest {
    /// The check.
    pub trial: Trial,
    /// Keeps the answers, and has the good dates before the first one.
    pub record: Record,
    /// Where queries are counted, against the limit.
    pub costs: Record,
    /// Whether all is asked again, also what was asked in the last day.
    pub again: bool,
}

/// What a check says of one date.
#[derive(Debug)]
pub struct Day {
    /// The data date.
    pub date: Date,
    /// When the check is due for it.
    pub due: Timestamp,
    /// When the warehouse was asked.
    pub asked: Timestamp,
    /// What that billed, in bytes.
    pub bytes: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The run, for the alerts.
    run: Option<Run>,
}

/// Why a backtest ended before its last date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// The first date that was not asked about.
    pub at: Date,
    /// Why.
    pub why: String,
}

impl Day {
    /// The worst status that applies.
    pub fn status(&self) -> Status {
        self.outcome.status()
    }

    fn grade(&self) -> Grade {
        match self.status() {
            Status::Pass => Grade::Good,
            Status::Warn => Grade::Warned,
            Status::Skip | Status::Fail | Status::Error => Grade::Other,
        }
    }
}

/// The dates from one to another, both included. An error if there are too many, or none.
pub fn dates(from: Date, to: Date) -> Result<Vec<Date>> {
    if from > to {
        bail!("--from {from} is after --to {to}");
    }
    let all = std::iter::successors(Some(from), |date| date.tomorrow().ok()).take_while(|date| *date <= to);
    let dates: Vec<Date> = all.take(MOST + 1).collect();
    if dates.len() > MOST {
        bail!("more than {MOST} dates from {from} to {to}; ask about fewer");
    }
    Ok(dates)
}

/// A character for each date, a line for each month: the days stand below each other.
pub fn strip(days: &[(Date, Status)]) -> Vec<(String, String)> {
    let mut months: Vec<(String, String)> = Vec::new();
    for (date, status) in days {
        let month = date.strftime("%Y-%m").to_string();
        if months.last().is_none_or(|(last, _)| *last != month) {
            months.push((month, String::new()));
        }
        let Some((_, line)) = months.last_mut() else { continue };
        let at = usize::try_from(date.day() - 1).unwrap_or_default();
        line.extend(std::iter::repeat_n(' ', at.saturating_sub(line.chars().count())));
        line.push(match status {
            Status::Pass => '·',
            Status::Skip => 's',
            Status::Warn => 'w',
            Status::Fail => 'F',
            Status::Error => '?',
        });
    }
    months
}

impl Backtest {
    /// The moments of some dates; an error for one whose time has not come. Dates that its schedule never judges are left out, unless
    /// they are `named`.
    pub fn moments(&self, dates: &[Date], named: bool) -> Result<Vec<Moment>> {
        let now = record::now();
        let moments = dates.iter().map(|date| {
            let moment = self.trial.moment(*date)?;
            if moment.due > now {
                bail!("{} is not due for {date} before {}; ask about earlier dates", self.trial.check.name, moment.due);
            }
            Ok(moment)
        });
        let all: Vec<Moment> = moments.collect::<Result<_>>()?;
        Ok(all.into_iter().filter(|moment| named || !moment.past).collect())
    }

    /// What was asked in the last day, by date.
    pub async fn kept(&self) -> Result<BTreeMap<Date, Backtested>> {
        if self.again {
            return Ok(BTreeMap::new());
        }
        let since = record::now().checked_sub(FRESH)?;
        let digest = self.trial.digest();
        let kept = self.record.backtests(&self.trial.check.name, BacktestsOf::Exactly(&digest), since).await?;
        Ok(kept.into_iter().map(|found| (found.date, found)).collect())
    }

    fn backends(&self, good: GoodDates) -> Arc<Backends> {
        Arc::new(Backends::trying(&self.trial.config, &self.record, self.costs.clone()).with_good_dates(good))
    }

    /// About how many bytes the queries of some moments bill, by dry runs, which are free; 0 with the embedded engine.
    pub async fn estimate(&self, moments: &[Moment], step: impl Fn(usize)) -> Result<u64> {
        if !matches!(self.trial.config.warehouse, Some(Warehouse::BigQuery { .. })) {
            return Ok(0);
        }
        let backends = self.backends(GoodDates::None);
        let mut tasks = JoinSet::new();
        let room = Arc::new(Semaphore::new(AT_ONCE));
        for moment in moments.iter().filter(|moment| moment.skip.is_none()).cloned() {
            let (trial, backends, room) = (self.trial.clone(), backends.clone(), room.clone());
            tasks.spawn(async move {
                // The semaphore is never closed.
                let _room = room.acquire().await;
                let Moment { due, data_date: date, day_start, day_end, .. } = moment;
                let clock = Clock { due, date, day: (day_start, day_end) };
                let rehearsal = Arc::new(Rehearsal::new(Answers::High, clock, Vec::new(), Arc::default()));
                let budgets = trial.ready().budgets.clone();
                let (run, _) = trial.check.rehearse(trial.ready(), &backends, budgets, &moment, &rehearsal).await;
                let skip = trial.check.skip_cost(trial.ready(), &backends, &moment, &rehearsal).await;
                let problem = rehearsal.problems().into_iter().next();
                let bytes: u64 = run.calls.iter().map(|call| call.bytes).sum::<u64>() + skip;
                match problem {
                    Some(problem) => Err(problem.error),
                    None => Ok(bytes),
                }
            });
        }
        let (mut bytes, mut done) = (0u64, 0);
        while let Some(estimated) = tasks.join_next().await {
            match estimated.context("an estimate stopped unexpectedly")? {
                Ok(more) => bytes = bytes.saturating_add(more),
                Err(error) => bail!("{}", error.message()),
            }
            done += 1;
            step(done);
        }
        backends.close().await;
        Ok(bytes)
    }

    /// Asks about some moments, the oldest first, several at a time; what was asked in the last day is not asked again. Each answer is
    /// kept as it comes.
    pub async fn run(&self, moments: &[Moment], step: impl Fn(usize)) -> Result<(Vec<Day>, Option<Stopped>)> {
        let mut kept = self.kept().await?;
        let name = &self.trial.check.name;
        let (tried, asks) = (self.trial.digest(), self.trial.asks());
        let last = moments.last().map(|moment| moment.data_date).context("no date to ask about")?;
        // Of dates that are tried, only what is found now counts.
        let before = good_before(&self.record, &self.trial, last).await?;
        let judged = Arc::new(Judged::new(before, moments.iter().map(|moment| moment.data_date)));
        let backends = self.backends(GoodDates::Tried(judged.clone()));
        let mut days: Vec<Day> = Vec::with_capacity(moments.len());
        let mut open = Vec::new();
        for moment in moments {
            match kept.remove(&moment.data_date).map(|found| self.day(moment, found)).transpose()? {
                // What it was compared with may be another thing once the dates before it are asked about.
                Some(day) if open.is_empty() || !day.outcome.asks_dates() => {
                    judged.note(day.date, day.grade());
                    days.push(day);
                }
                _ => open.push(moment.clone()),
            }
        }
        step(days.len());
        // The first by itself: it shows whether a date needs those before it.
        let mut stopped = None;
        let mut gap: Option<Date> = None;
        let (mut at_once, mut one_by_one) = (1, false);
        let mut rest = open.as_slice();
        while !rest.is_empty() && stopped.is_none() {
            let (some, later) = rest.split_at(at_once.min(rest.len()));
            rest = later;
            let mut tasks = JoinSet::new();
            for moment in some.iter().cloned() {
                let (trial, record, backends) = (self.trial.clone(), self.record.clone(), backends.clone());
                let judged = judged.clone();
                tasks.spawn(async move {
                    let run = trial.check.run(&backends, &record, moment.clone()).await;
                    let found = Found::of(run, &moment);
                    judged.note(moment.data_date, found.day.grade());
                    found
                });
            }
            let mut asks_dates = false;
            while let Some(found) = tasks.join_next().await {
                let found = found.context("a run stopped unexpectedly")?;
                asks_dates |= found.asks_dates;
                match found.unanswered {
                    Unanswerable::OverLimit(why) => {
                        let at = found.day.date;
                        let earlier = |stopped: &Stopped| stopped.at <= at;
                        if !stopped.as_ref().is_some_and(earlier) {
                            stopped = Some(Stopped { at, why });
                        }
                        continue;
                    }
                    // Another time it may answer.
                    Unanswerable::ForNow => gap = Some(gap.map_or(found.day.date, |gap| gap.min(found.day.date))),
                    // What is compared with good dates does not stay if one of them is not known.
                    Unanswerable::No if found.asks_dates && gap.is_some_and(|gap| gap < found.day.date) => {}
                    Unanswerable::No => {
                        self.record.note_backtest(name, (&tried, &asks), &found.day.kept(&self.trial)?).await?
                    }
                }
                days.push(found.day);
                step(days.len());
            }
            one_by_one |= asks_dates;
            at_once = if one_by_one { 1 } else { self.at_once() };
        }
        backends.close().await;
        days.sort_by_key(|day| day.date);
        if let Some(Stopped { at, .. }) = &stopped {
            days.retain(|day| day.date < *at);
        }
        Ok((days, stopped))
    }

    fn at_once(&self) -> usize {
        match self.trial.config.warehouse {
            Some(Warehouse::BigQuery { .. }) => AT_ONCE,
            _ => std::thread::available_parallelism().map_or(1, |cores| cores.get() * 2),
        }
    }

    fn day(&self, moment: &Moment, found: Backtested) -> Result<Day> {
        let outcome: Outcome = serde_json::from_str(&found.outcome).context("a kept answer of a backtest")?;
        let run = Some(self.trial.check.ran(moment, &outcome));
        Ok(Day { date: found.date, due: found.due, asked: found.asked, bytes: found.bytes, outcome, run })
    }

    /// The messages that people would have had, by the policy of today, each with the due time of its round.
    pub fn messages(&self, days: &mut [Day]) -> Vec<(Timestamp, Notification)> {
        would_say(&self.trial.config, days.iter_mut().filter_map(|day| day.run.take()).collect())
    }
}

/// A run about a date, as it ended.
struct Found {
    day: Day,
    asks_dates: bool,
    unanswered: Unanswerable,
}

/// Whether a date could not be asked about.
enum Unanswerable {
    No,
    /// A backend did not answer.
    ForNow,
    /// The limit of bytes was reached: the error.
    OverLimit(String),
}

impl Found {
    fn of(run: Run, moment: &Moment) -> Self {
        let error = |call: &crate::capability::Call| match &call.error {
            Some(Unanswered::Error(error)) => Some(error.clone()),
            _ => None,
        };
        let errors: Vec<Error> = run.calls.iter().filter_map(error).collect();
        let is_over = |error: &&Error| matches!(error, Error::OverBudget(_));
        let over = errors.iter().find(is_over).filter(|_| run.exceeded.contains("bytes_per_day"));
        let unanswered = match over {
            Some(error) => Unanswerable::OverLimit(error.message().to_owned()),
            // Another grant, another budget or another moment may answer.
            None if !errors.is_empty() => Unanswerable::ForNow,
            None => Unanswerable::No,
        };
        let bytes = run.calls.iter().map(|call| call.bytes).sum();
        let day = Day {
            date: moment.data_date,
            due: moment.due,
            asked: record::now(),
            bytes,
            outcome: Outcome::brief(&run),
            run: Some(run),
        };
        let asks_dates = day.outcome.asks_dates();
        Self { day, asks_dates, unanswered }
    }
}

impl Day {
    fn kept(&self, trial: &Trial) -> Result<Backtested> {
        Ok(Backtested {
            date: self.date,
            due: self.due,
            asked: self.asked,
            bytes: self.bytes,
            outcome: serde_json::to_string(&self.outcome)?,
            settings: trial.settings().to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        text.parse().expect("a date")
    }

    #[test]
    fn days_stand_below_each_other() {
        let days = [
            (date("2026-01-30"), Status::Pass),
            (date("2026-01-31"), Status::Fail),
            (date("2026-02-01"), Status::Skip),
            (date("2026-02-04"), Status::Error),
        ];
        let lines = strip(&days);
        let january = format!("{}·F", " ".repeat(29));
        assert_eq!(lines, [("2026-01".to_owned(), january), ("2026-02".to_owned(), "s  ?".to_owned())]);
    }

    #[test]
    fn dates_are_counted_and_bounded() {
        assert_eq!(dates(date("2026-02-27"), date("2026-03-01")).expect("dates").len(), 3);
        assert!(dates(date("2026-03-01"), date("2026-02-27")).is_err());
        assert!(dates(date("1990-01-01"), date("2026-02-27")).is_err());
    }
}
