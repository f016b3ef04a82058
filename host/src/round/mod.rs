//! A round: checks that are due together, which run concurrently and are recorded and reported together.

mod task;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::{Result, bail};
use jiff::{Timestamp, civil::Date};
use tokio::{
    sync::{mpsc::UnboundedSender, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    alert::{MOST_LOOKS, Notification, Subject},
    check::Check,
    host::Host,
    record::{self, Lease},
    recorder::{Expected, Looking, Settled},
    run::{COUNTED, Moment, Run, Status, When, dates},
    schedule::Turn,
};

use task::{Over, Scheduled, Task};

/// For checks whose plugin could not be loaded, so that their group is not known.
const NO_GROUP: &str = "without a group";
/// The most dates that are looked at again in one round, of all checks.
const MOST_AT_ONCE: usize = 1000;
/// How often to look whether another host has the result of a check on which one of this round depends.
const ELSEWHERE: Duration = Duration::from_secs(1);
/// The most names in a line of the log.
const NAMED: usize = 8;

/// The result of a round.
#[derive(Default)]
pub struct Round {
    /// The runs, in the order of the checks.
    pub runs: Vec<Run>,
    /// The messages to send, each with its id.
    pub messages: Vec<(String, Notification)>,
    /// The error if runs were not recorded; then no messages are sent.
    pub unrecorded: Option<String>,
}

/// How the runs of a round wait for room.
#[derive(Debug, Clone, Copy)]
enum Wait<'l> {
    /// Not at all: a caller waits for the result.
    Never,
    /// In turn.
    Turn,
    /// In turn, and few at a time, so that runs which are due need not wait for them.
    Look(&'l Looking),
}

/// The connection of scheduled rounds to the service.
#[derive(Debug, Clone)]
pub struct Occasion {
    /// Becomes true at shutdown: runs that have not started do not start.
    pub closing: watch::Receiver<bool>,
    /// When the host ends, even if runs are still running.
    pub deadline: watch::Receiver<bool>,
    /// Receives each check whose turn is over.
    pub over: UnboundedSender<String>,
}

impl Host {
    /// Runs checks concurrently, records them, and queues their messages: once all have ended, or, if some take long,
    /// first for those that ended within `group_wait`.
    pub async fn round(&self, which: &[usize], now: Timestamp, when: When) -> Result<Round> {
        let checks = || which.iter().filter_map(|at| self.checks.get(*at));
        let moments = checks().map(|check| Ok((check.clone(), Moment::of(check, &self.config, now, when)?)));
        let (due, refused): (Vec<_>, Vec<Result<_>>) = moments.partition(Result::is_ok);
        let others = refused.len().saturating_sub(1);
        match (refused.into_iter().find_map(Result::err), others) {
            (None, _) => {
                let due = due.into_iter().flatten().map(|(check, moment)| (check, moment, None)).collect();
                self.perform(due, None, Wait::Turn).await
            }
            (Some(error), 0) => Err(error),
            (Some(error), others) => {
                bail!("{error:#}; {others} more checks have no such date either: choose with --check")
            }
        }
    }

    /// Looks at dates again that are due for it: bad ones, and expected ones that nobody judged; at most some of each check.
    /// `at` is the runs' clock, if not the present.
    pub async fn look_again(
        &self,
        which: &[usize],
        at: Option<Timestamp>,
        occasion: Option<Occasion>,
    ) -> Result<Round> {
        // The hosts of another configuration do this.
        if !self.recorder.record.takes_part() {
            return Ok(Round::default());
        }
        let now = at.unwrap_or_else(record::now);
        if at.is_none() {
            self.recorder.recall(&self.config, now).await?;
        }
        // The next time will do.
        let Some(choosing) = self.recorder.choose() else { return Ok(Round::default()) };
        let mut dates: Vec<(usize, (String, Subject))> = Vec::new();
        let mut expected = Expected::default();
        let busy = self.recorder.looked_at();
        for check in which.iter().filter_map(|at| self.checks.get(*at)).filter(|check| !check.waits) {
            let looks = self.recorder.looks(check, &self.config, now, &mut expected).await;
            self.recorder.metrics.dates(&check.name, looks.open, looks.unjudged);
            // One round a check: a slow one delays no other.
            if !busy.contains(&check.name) {
                dates.extend(looks.now.into_iter().map(|subject| (check.name.clone(), subject)).enumerate());
            }
        }
        // The first dates of all checks come before the second ones of any.
        dates.sort_by_key(|(place, _)| *place);
        dates.truncate(MOST_AT_ONCE);
        let dates: Vec<(String, Subject)> = dates.into_iter().map(|(_, date)| date).collect();
        let (dates, leases) = self.only_this_host(dates).await?;
        let looking = Looking::new(&self.recorder, dates);
        drop(choosing);
        let round = self.look(&looking, None, at, occasion, &leases).await;
        self.give_back(&leases).await;
        round
    }

    /// Of some dates those of checks at whose dates no other host looks now, and the claims that keep it so.
    async fn only_this_host(
        &self,
        dates: Vec<(String, Subject)>,
    ) -> Result<(Vec<(String, Subject)>, BTreeMap<String, Lease>)> {
        if self.recorder.record.member().is_none() {
            return Ok((dates, BTreeMap::new()));
        }
        let leases = self.claim_looks(&dates).await?;
        // What another host has just found is not looked at again.
        self.recorder.catch_up(None).await?;
        let still = self.recorder.still_due(dates, &leases, &self.config).await;
        Ok((still, leases))
    }

    /// Gives the looks of checks back. What the record does not hear of is free when its lease ends.
    async fn give_back(&self, leases: &BTreeMap<String, Lease>) {
        for lease in leases.values() {
            if let Err(error) = self.recorder.record.give_back(lease, None).await {
                tracing::warn!("other hosts look at its dates once the lease of this one ends: {error:#}");
            }
        }
    }

    /// Claims the looks of checks, as far as no other host has them.
    async fn claim_looks(&self, dates: &[(String, Subject)]) -> Result<BTreeMap<String, Lease>> {
        let names: BTreeSet<&String> = dates.iter().map(|(name, _)| name).collect();
        let mut leases = BTreeMap::new();
        for name in names {
            if let Some(lease) = self.recorder.record.take_on(&format!("looks {name}")).await? {
                leases.insert(name.clone(), lease);
            }
        }
        Ok(leases)
    }

    /// Looks at dates that somebody asked for, also if they are being looked at: the data may have changed since that began.
    pub async fn look_now(&self, dates: Vec<(String, Subject)>, occasion: Occasion) -> Result<Round> {
        let looking = Looking::new(&self.recorder, dates.clone());
        // Somebody asked: it is done without a claim rather than not at all.
        let leases = self.claim_looks(&dates).await.unwrap_or_default();
        let round = self.look(&looking, Some(&dates), None, Some(occasion), &leases).await;
        self.give_back(&leases).await;
        round
    }

    /// Looks at the dates in `looking`, or at those that somebody asked for; at most some of each check, the first ones. `leases` are the
    /// claims under which that is done, by check.
    async fn look(
        &self,
        looking: &Looking,
        asked: Option<&[(String, Subject)]>,
        at: Option<Timestamp>,
        occasion: Option<Occasion>,
        leases: &BTreeMap<String, Lease>,
    ) -> Result<Round> {
        let dates = asked.unwrap_or(&looking.dates);
        let asked = asked.is_some();
        let now = at.unwrap_or_else(|| self.recorder.look_clock());
        let mut due = Vec::new();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let pending = self.recorder.pending(dates).await;
        for (name, date) in dates {
            let Some(check) = self.check(name).filter(|check| !check.waits) else { continue };
            // One that is after the newest date, since host.toml has another `data_date` now, waits until it has come.
            let Ok(moment) = Moment::of(check, &self.config, now, When { at, date: *date }) else { continue };
            let count = counts.entry(name).or_default();
            // The hours of a calendar say nothing about a date: it waits until they are over, unless somebody asks for it.
            if moment.off_hours && !asked || *count == MOST_LOOKS {
                continue;
            }
            *count += 1;
            let skip = moment.skip.filter(|_| !moment.off_hours);
            // The look at its deadline is the first judgement of a date.
            let recheck = moment.past && !pending.contains(&(name.as_str(), *date));
            let moment = Moment { skip, off_hours: false, ..moment };
            let lease = leases.get(name).cloned();
            due.push((check.clone(), Moment { again: true, recheck, lease, ..moment }, None));
        }
        if due.is_empty() {
            return Ok(Round::default());
        }
        let dates = due.len();
        tracing::info!("looking again at {dates} {}", if dates == 1 { "date" } else { "dates" });
        let queue = if asked { Wait::Turn } else { Wait::Look(looking) };
        self.perform(due, occasion, queue).await
    }

    /// Counts the dates of all checks, so that the metrics are right before the first round.
    pub async fn count_dates(&self) {
        let mut expected = Expected::default();
        for check in &self.checks {
            let looks = self.recorder.looks(check, &self.config, record::now(), &mut expected).await;
            self.recorder.metrics.dates(&check.name, looks.open, looks.unjudged);
        }
    }

    /// Runs one check for a caller who waits for the result, without queueing. Returns the run, or an error if it could
    /// not be recorded. `now` is the run's clock, unless the date is an earlier one than usual.
    /// `lease` is the claim of the question, if several hosts may be asked it.
    pub async fn ask(
        &self,
        check: &Arc<Check>,
        date: Option<Date>,
        now: Timestamp,
        lease: Option<Lease>,
    ) -> Result<Run> {
        let moment = Moment::of(check, &self.config, now, When { at: None, date })?;
        // The caller wants an answer, whatever the calendars say.
        let moment = Moment { skip: None, off_hours: false, lease, ..moment };
        let mut round = self.perform(vec![(check.clone(), moment, None)], None, Wait::Never).await?;
        match (round.unrecorded, round.runs.pop()) {
            (Some(problem), _) => bail!("{problem}"),
            (None, Some(run)) => Ok(run),
            (None, None) => {
                bail!("another host took the question over, since this one did not renew its claim in time; ask again")
            }
        }
    }

    /// The same for checks at their due times, with their `[scheduler]` settings. `left_out` are due times without a
    /// run.
    pub async fn scheduled(&self, turns: Vec<Turn>, occasion: Occasion) -> Result<Round> {
        // However this ends, the turns are over then, and the next ones come.
        let over = |turn: &Turn| Over { check: turn.check.clone(), tell: occasion.over.clone() };
        let mut overs: HashMap<String, Over> =
            turns.iter().filter(|turn| turn.left_out.is_none()).map(|turn| (turn.check.clone(), over(turn))).collect();
        // The hosts of another configuration do this.
        if !self.recorder.record.takes_part() {
            return Ok(Round::default());
        }
        let mut due = Vec::new();
        let mut left_out = Vec::new();
        for turn in turns {
            // A reload has removed the check.
            let Some(check) = self.check(&turn.check) else { continue };
            let moment = Moment::of(check, &self.config, turn.due, When::default())?;
            let moment = Moment { clock: turn.due.max(record::now()), ..moment };
            match turn.left_out {
                None => due.push((check.clone(), moment, overs.remove(&turn.check))),
                Some(why) => {
                    let span = tracing::info_span!("run", check = check.name, run = moment.id());
                    span.in_scope(|| tracing::warn!("{why}"));
                    self.recorder.metrics.left_out(&check.name);
                    left_out.push(check.left_out(&moment, why, turn.overlaps));
                }
            }
        }
        self.recorder.settle(&self.config, left_out).await;
        self.perform(due, Some(occasion), Wait::Turn).await
    }

    /// Runs checks at their moments; those that were due at theirs say when their turns are over.
    async fn perform(
        &self,
        due: Vec<(Arc<Check>, Moment, Option<Over>)>,
        occasion: Option<Occasion>,
        queue: Wait<'_>,
    ) -> Result<Round> {
        let moments: BTreeSet<Timestamp> = due.iter().map(|(_, moment, _)| moment.due).collect();
        let earlier = match self.recorder.record.member() {
            None => self.recorder.record.attempts(&moments).await?,
            // They are numbered when they are recorded.
            Some(_) => HashMap::new(),
        };
        // One task each, so that a computing guest does not delay the others. All end with this round.
        let mut tasks = JoinSet::new();
        let mut running = HashMap::new();
        for (check, mut moment, over) in due {
            moment.attempt +=
                earlier.get(&(check.name.clone(), moment.data_date, moment.due)).copied().unwrap_or_default();
            let lease = Arc::<OnceLock<Lease>>::default();
            let task = Task {
                check: check.clone(),
                moment: moment.clone(),
                lease: lease.clone(),
                backends: self.backends.clone(),
                slots: (!matches!(queue, Wait::Never)).then(|| self.slots.clone()),
                looks: matches!(queue, Wait::Look(_)) && moment.recheck,
                closing: occasion.as_ref().map(|occasion| occasion.closing.clone()),
                recorder: self.recorder.clone(),
                scheduled: over.map(|over| Scheduled { pace: self.config.pace(&check.name), over }),
            };
            running.insert(tasks.spawn(task.perform()).id(), (check, moment, lease));
        }
        let mut round = Round::default();
        let mut ended: Vec<Run> = Vec::new();
        let mut first_ended = None;
        let asked_to_go = |occasion: &Option<Occasion>| occasion.as_ref().is_some_and(|one| *one.closing.borrow());
        // What depends on a check that another host runs waits for its result too.
        let mut elsewhere: BTreeSet<String> = BTreeSet::new();
        while !running.is_empty() || !ended.is_empty() {
            let wait = first_ended.map(|first| first + self.config.alerts.group_wait.0);
            let run = tokio::select! {
                run = tasks.join_next_with_id(), if !running.is_empty() => run,
                () = sleep_until(wait.unwrap_or_else(Instant::now)), if wait.is_some() && !running.is_empty() => None,
                () = sleep(ELSEWHERE), if running.is_empty() && !elsewhere.is_empty() => None,
                () = passed(&occasion), if !running.is_empty() => {
                    let dropped = running.values().map(|(check, ..)| check.name.as_str()).collect::<Vec<_>>().join(", ");
                    tracing::warn!("cancelled by shutdown: {dropped}");
                    tasks.shutdown().await;
                    running.clear();
                    None
                }
                else => None,
            };
            match run {
                Some(Ok((id, runs))) => drop(running.remove(&id).map(|_| ended.extend(runs))),
                // A bug in the host is an error of that check, like everything else.
                Some(Err(error)) => {
                    let broken = running.remove(&error.id());
                    ended.extend(broken.map(|(check, moment, lease)| {
                        let lease = lease.get().cloned().or_else(|| moment.lease.clone());
                        check.broken(&Moment { lease, ..moment }, error.to_string())
                    }));
                }
                None => {}
            }
            first_ended = first_ended.or_else(|| Some(Instant::now()));
            let waited = first_ended.is_some_and(|first| first.elapsed() >= self.config.alerts.group_wait.0);
            if running.is_empty() || waited || asked_to_go(&occasion) {
                elsewhere = match asked_to_go(&occasion) {
                    true => BTreeSet::new(),
                    // A record that does not answer keeps nothing waiting.
                    false => self.recorder.record.running_elsewhere(&moments).await.unwrap_or_default(),
                };
                let here = running.values().map(|(check, ..)| check.name.as_str());
                let awaited: BTreeSet<&str> = here.chain(elsewhere.iter().map(String::as_str)).collect();
                // Report upstream failures first.
                let below = self.config.dependencies.below(&awaited);
                let (batch, later) = ended.into_iter().partition(|run: &Run| !below.contains(run.check.as_str()));
                ended = later;
                first_ended = None;
                let settled: Vec<(String, Option<Date>)> =
                    batch.iter().map(|run: &Run| (run.check.clone(), run.subject())).collect();
                // Nothing of this round waits for what runs elsewhere.
                if ended.is_empty() {
                    elsewhere.clear();
                }
                round.add(self.recorder.settle(&self.config, batch).await);
                if let Wait::Look(looking) = queue {
                    looking.release(&settled);
                }
            }
        }
        let order: HashMap<&str, usize> =
            self.checks.iter().enumerate().map(|(at, check)| (check.name.as_str(), at)).collect();
        round.runs.sort_by_key(|run| (order.get(run.check.as_str()).copied(), Reverse(run.data_date)));
        if !matches!(queue, Wait::Never) {
            for (group, line) in round.by_group() {
                tracing::info!(group, "{group}: {line}");
            }
        }
        Ok(round)
    }
}

/// `all 6 checks passed, data of 2026-02-05`; `1 failed (phase2-raw), 5 passed, data of 2026-02-05`
fn in_words(runs: &[&Run]) -> String {
    let parts: Vec<String> = COUNTED
        .iter()
        .filter_map(|(status, word)| {
            let names: Vec<&str> =
                runs.iter().filter(|run| run.status() == *status).map(|run| run.check.as_str()).collect();
            match (names.len(), status) {
                (0, _) => None,
                (1, _) if runs.len() == 1 => Some(format!("1 check {word}")),
                (count, _) if count == runs.len() => Some(format!("all {count} checks {word}")),
                (count, Status::Pass | Status::Skip) => Some(format!("{count} {word}")),
                (count, _) => Some(format!("{count} {word} ({})", listed(&names))),
            }
        })
        .collect();
    format!("{}, data of {}", parts.join(", "), dates(runs.iter().copied()))
}

/// `a, b, c, d, e, f, g, h and 992 more`
pub(crate) fn listed(names: &[&str]) -> String {
    crate::text::listed(names, NAMED)
}

/// Waits until the host ends, even if runs are still running; for ever without a signal.
async fn passed(occasion: &Option<Occasion>) {
    match occasion {
        // The sender only goes away with the host.
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

    /// Whether nothing ran, and nothing should have been recorded.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.unrecorded.is_none()
    }

    /// Each group and its result, for a search in the log: `all 6 checks passed, data of 2026-02-05`.
    pub fn by_group(&self) -> Vec<(&str, String)> {
        let mut groups: BTreeMap<&str, Vec<&Run>> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| !run.again) {
            let group = run.family.as_ref().map_or(NO_GROUP, |family| family.group.as_str());
            groups.entry(group).or_default().push(run);
        }
        groups.into_iter().map(|(group, runs)| (group, in_words(&runs))).collect()
    }

    /// Merges the runs of a later batch.
    pub fn join(&mut self, later: Self) {
        self.runs.extend(later.runs);
        // Sort by the order of the checks.
        self.runs.sort_by(|one, other| one.check.cmp(&other.check));
        self.messages.extend(later.messages);
        self.unrecorded = self.unrecorded.take().or(later.unrecorded);
    }

    /// The worst exit code of the runs that were due; 3 also if runs were not recorded.
    pub fn exit_code(&self) -> u8 {
        let worst = self.runs.iter().filter(|run| !run.again).map(Run::exit_code).max().unwrap_or_default();
        if self.unrecorded.is_some() { 3 } else { worst }
    }
}
