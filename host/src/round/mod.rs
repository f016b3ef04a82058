//! A round: checks that are due together, run side by side, recorded and told of together.

mod task;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use anyhow::{Result, bail};
use jiff::{Timestamp, civil::Date};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    alert::Notification,
    check::Check,
    host::Host,
    recorder::Settled,
    run::{Moment, Run, When},
    schedule::Turn,
};

use task::{Over, Scheduled, Task};

/// What a round came to.
#[derive(Default)]
pub struct Round {
    /// In the order of the checks.
    pub runs: Vec<Run>,
    /// What is to be said: the message's id, and the message.
    pub messages: Vec<(String, Notification)>,
    /// Why runs were not recorded, when they were not; then nothing is said of them.
    pub unrecorded: Option<String>,
}

/// What starts rounds at their due times, and what hears of them.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// Becomes true when the host is asked to go: what has not begun then does not begin.
    pub closing: watch::Receiver<bool>,
    /// When the host goes, whatever still runs.
    pub deadline: watch::Receiver<bool>,
    /// Hears of each check whose turn is over.
    pub over: UnboundedSender<String>,
}

impl Host {
    /// Runs checks side by side, each in the order of `which`, records them, and puts what there is to say into the
    /// outbox: once when all have ended, or, when some take long, of those that ended within `group_wait` first.
    pub async fn round(&self, which: &[usize], now: Timestamp, when: When) -> Result<Round> {
        let mut due = Vec::new();
        for check in which.iter().filter_map(|at| self.checks.get(*at)) {
            due.push((check.clone(), Moment::of(check, &self.config, now, when)?));
        }
        self.perform(due, None, false).await
    }

    /// Runs one check for somebody who waits for what it says of a date, without queueing. Gives the run; an error when
    /// it could not be recorded. `now` is the run's clock, unless the date is of the past.
    pub async fn ask(&self, check: &Arc<Check>, date: Option<Date>, now: Timestamp) -> Result<Run> {
        let moment = Moment::of(check, &self.config, now, When { at: None, date })?;
        // Who asks wants to know, whatever the calendar says.
        let moment = Moment { skip: None, ..moment };
        let mut round = self.perform(vec![(check.clone(), moment)], None, true).await?;
        match (round.unrecorded, round.runs.pop()) {
            (Some(problem), _) => bail!("{problem}"),
            (None, Some(run)) => Ok(run),
            (None, None) => bail!("the check did not run"),
        }
    }

    /// The same for checks at their due time, as their `[scheduler]` says. `left_out` are due times at which nothing runs.
    pub async fn scheduled(&self, turns: Vec<Turn>, occasion: Occasion) -> Result<Round> {
        let mut due = Vec::new();
        let mut left_out = Vec::new();
        for turn in turns {
            // One that a reload took away.
            let Some(check) = self.check(&turn.check) else { continue };
            let moment = Moment::of(check, &self.config, turn.due, When::default())?;
            match turn.left_out {
                None => due.push((check.clone(), moment)),
                Some(why) => {
                    let span = tracing::info_span!("run", check = check.name, run = moment.id());
                    span.in_scope(|| tracing::warn!("{why}"));
                    self.recorder.metrics.left_out(&check.name);
                    left_out.push(check.left_out(&moment, why));
                }
            }
        }
        self.recorder.settle(&self.config, left_out).await;
        self.perform(due, Some(occasion), false).await
    }

    /// `awaited` is a round that somebody waits for.
    async fn perform(
        &self,
        due: Vec<(Arc<Check>, Moment)>,
        occasion: Option<Occasion>,
        awaited: bool,
    ) -> Result<Round> {
        let moments: BTreeSet<Timestamp> = due.iter().map(|(_, moment)| moment.due).collect();
        let earlier = self.recorder.record.attempts(&moments).await?;
        // A task each, so that a guest that computes takes no time from the others. All end with this round.
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        for (check, mut moment) in due {
            moment.attempt +=
                earlier.get(&(check.name.clone(), moment.data_date, moment.due)).copied().unwrap_or_default();
            let task = Task {
                check: check.clone(),
                moment: moment.clone(),
                backends: self.backends.clone(),
                slots: (!awaited).then(|| self.slots.clone()),
                recorder: self.recorder.clone(),
                scheduled: occasion.as_ref().map(|occasion| Scheduled {
                    pace: self.config.pace(&check.name),
                    closing: occasion.closing.clone(),
                    over: Over { check: check.name.clone(), tell: occasion.over.clone() },
                }),
            };
            running.insert(tasks.spawn(task.perform()).id(), (check, moment));
        }
        let mut round = Round::default();
        let mut ended: Vec<Run> = Vec::new();
        let mut first_ended = None;
        let asked_to_go = |occasion: &Option<Occasion>| occasion.as_ref().is_some_and(|one| *one.closing.borrow());
        while !running.is_empty() || !ended.is_empty() {
            let wait = first_ended.map(|first| first + self.config.alerts.group_wait.0);
            let run = tokio::select! {
                run = tasks.join_next_with_id(), if !running.is_empty() => run,
                () = sleep_until(wait.unwrap_or_else(Instant::now)), if wait.is_some() && !running.is_empty() => None,
                () = passed(&occasion), if !running.is_empty() => {
                    let dropped = running.values().map(|(check, _)| check.name.as_str()).collect::<Vec<_>>().join(", ");
                    tracing::warn!("cancelled by shutdown: {dropped}");
                    tasks.shutdown().await;
                    running.clear();
                    None
                }
                else => None,
            };
            match run {
                Some(Ok((id, runs))) => drop(running.remove(&id).map(|_| ended.extend(runs))),
                // A panic of the host's own is an error of that check, as everything else is.
                Some(Err(error)) => {
                    let broken = running.remove(&error.id());
                    ended.extend(broken.map(|(check, moment)| check.broken(&moment, error.to_string())));
                }
                None => {}
            }
            first_ended = first_ended.or_else(|| Some(Instant::now()));
            let waited = first_ended.is_some_and(|first| first.elapsed() >= self.config.alerts.group_wait.0);
            if running.is_empty() || waited || asked_to_go(&occasion) {
                let awaited: BTreeSet<&str> = running.values().map(|(check, _)| check.name.as_str()).collect();
                let (batch, later) = ended.into_iter().partition(|run: &Run| !self.awaits(&run.check, &awaited));
                ended = later;
                first_ended = None;
                round.add(self.recorder.settle(&self.config, batch).await);
            }
        }
        let order: HashMap<&str, usize> =
            self.checks.iter().enumerate().map(|(at, check)| (check.name.as_str(), at)).collect();
        round.runs.sort_by_key(|run| order.get(run.check.as_str()).copied());
        Ok(round)
    }

    /// Whether a check depends on one of these, also at several removes: what is wrong there is said first.
    fn awaits(&self, check: &str, running: &BTreeSet<&str>) -> bool {
        let upstream = self.config.checks.get(check).map(|check| check.depends_on.as_slice()).unwrap_or_default();
        upstream.iter().any(|name| running.contains(name.as_str()) || self.awaits(name, running))
    }
}

/// Waits until the host goes, whatever still runs; for ever when nothing asks it to.
async fn passed(occasion: &Option<Occasion>) {
    match occasion {
        // It only goes away with the host.
        Some(occasion) => drop(occasion.deadline.clone().wait_for(|over| *over).await),
        None => std::future::pending().await,
    }
}

impl Round {
    fn add(&mut self, settled: Settled) {
        self.runs.extend(settled.runs);
        self.messages.extend(settled.messages);
        self.unrecorded = settled.unrecorded.or(self.unrecorded.take());
    }

    /// With the runs of a later one.
    pub fn join(&mut self, later: Self) {
        self.runs.extend(later.runs);
        // The order of the checks.
        self.runs.sort_by(|one, other| one.check.cmp(&other.check));
        self.messages.extend(later.messages);
        self.unrecorded = self.unrecorded.take().or(later.unrecorded);
    }

    /// The worst of the runs; 3 too when they were not recorded.
    pub fn exit_code(&self) -> u8 {
        let worst = self.runs.iter().map(Run::exit_code).max().unwrap_or_default();
        if self.unrecorded.is_some() { 3 } else { worst }
    }
}
