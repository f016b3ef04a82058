//! Whether a check notices what goes wrong: what it reads is copied into the embedded engine, made wrong in small ways, one at a time,
//! and the check runs on each. How many it catches is its mutation score.

mod copy;
mod dated;
mod named;
mod operators;
mod rows;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};
use tokio::{sync::Mutex, task::JoinSet};

use super::{
    Side, Trial, good_before,
    knobs::{Knob, knobs, limit},
};
use crate::{
    capability::{
        Backends, Event, GoodDates, Played, Taping, Unanswered, altered, deployed, listed, repositories,
        warehouse::scratch,
    },
    config::{Config, Warehouse},
    contract::{Error, Metric},
    record::{self, MutationScore, Record},
    run::{Moment, Run, Status, Tapes},
};
use copy::Copy;
use named::columns;
use operators::{How, Mutant, mutants, of_answers};
use rows::{difference, dump};

/// The largest tape of the original run, in bytes.
const TAPE: usize = 256 << 20;
/// The largest share of queries that the embedded engine cannot run, if there is to be a score.
const UNMUTABLE: f64 = 0.2;

/// A check, and where its data are copied to.
pub struct Mutate {
    /// The check.
    pub trial: Trial,
    /// The host's record.
    pub record: Record,
    /// Counts what copying bills.
    pub costs: Record,
    /// The most bytes of the copy.
    pub most: usize,
}

/// What came of a mutant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Its name.
    pub name: String,
    /// In words.
    pub what: String,
    /// What came of it.
    pub result: Caught,
    /// What the check said, or what would catch it.
    pub why: String,
}

/// What came of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Caught {
    /// Nobody would have been told.
    Missed,
    /// People would have been told.
    Caught,
    /// It changed no answer.
    Equivalent,
}

/// All mutants of a check.
#[derive(Debug, Clone)]
pub struct Mutated {
    /// The date.
    pub moment: Moment,
    /// The mutants.
    pub tried: Vec<Tried>,
    /// Queries that the embedded engine cannot run, with the reason.
    pub unmutable: Vec<String>,
    /// Why there is no score, if so.
    pub no_score: Option<String>,
    /// What was copied: the table, and since which date.
    pub copied: Vec<String>,
}

impl Mutated {
    /// How many of the mutants that changed an answer were caught, and how many changed one.
    pub fn score(&self) -> (usize, usize) {
        let count = |of: Caught| self.tried.iter().filter(|tried| tried.result == of).count();
        (count(Caught::Caught), count(Caught::Caught) + count(Caught::Missed))
    }

    /// Caught of counted, from 0 to 1.
    pub fn share(&self) -> Option<f64> {
        let (caught, counted) = self.score();
        (counted > 0 && self.no_score.is_none()).then(|| caught as f64 / counted as f64)
    }
}

/// The check on its own data: the run, what it asked and was answered, and the columns that its queries name.
struct Original {
    run: Run,
    live: Arc<Backends>,
    events: Vec<Event>,
    queries: Vec<String>,
    good: Vec<jiff::civil::Date>,
    columns: BTreeSet<String>,
}

/// The directory with the copy, and one beside it for each mutant that runs.
struct Stage {
    directory: tempfile::TempDir,
    datasets: Vec<String>,
}

impl Stage {
    fn pristine(&self) -> PathBuf {
        self.directory.path().join("copy")
    }

    fn file(&self, place: &Path, dataset: &str) -> PathBuf {
        place.join(format!("{dataset}.db"))
    }

    /// A place for a mutant, with a copy of the dataset that it changes and the other ones as they are.
    fn copied(&self, mutant: usize, changed: &str) -> std::io::Result<PathBuf> {
        let place = self.directory.path().join(format!("mutant-{mutant}"));
        fs::create_dir(&place)?;
        for dataset in &self.datasets {
            let (from, to) = (self.file(&self.pristine(), dataset), self.file(&place, dataset));
            if dataset == changed {
                fs::copy(from, to)?;
            } else {
                fs::hard_link(from, to)?;
            }
        }
        Ok(place)
    }
}

impl Mutate {
    /// The newest date on which the check passed, by its record; else the newest for which it was due.
    pub async fn date(&self) -> Result<jiff::civil::Date> {
        let newest = self.trial.newest()?;
        let good = good_before(&self.record, &self.trial, newest.tomorrow()?).await?;
        Ok(good.first().copied().unwrap_or(newest))
    }

    fn backends(&self, config: &Config, good: &[jiff::civil::Date], taping: Taping) -> Arc<Backends> {
        let backends = Backends::trying(config, &self.record, self.costs.clone());
        Arc::new(backends.with_good_dates(GoodDates::Given(good.to_vec())).with_taping(taping))
    }

    async fn run_on(&self, backends: &Arc<Backends>, moment: &Moment) -> Run {
        self.trial.check.run(backends, &self.record, moment.clone()).await
    }

    /// The check on its own data.
    async fn original(&self, moment: &Moment) -> Result<Original> {
        let (check, date) = (&self.trial.check.name, moment.data_date);
        let good = good_before(&self.record, &self.trial, date).await?;
        let live = self.backends(&self.trial.config, &good, Taping::Record(TAPE));
        let run = self.run_on(&live, moment).await;
        if !matches!(run.status(), Status::Pass | Status::Warn) {
            let (status, summary) = (run.status().name(), run.summary());
            bail!("{check} says {status} for {date}: {summary}; name a date that is good with --date");
        }
        let events = run.tapes.plugin.as_ref().map(|tape| tape.events.clone()).unwrap_or_default();
        let asked = run.calls.iter().filter(|call| call.name == "warehouse.query").map(|call| call.asked.clone());
        let mut queries: Vec<String> = asked.collect();
        queries.sort();
        queries.dedup();
        let columns = columns(&queries, self.trial.config.warehouse_project().as_deref())?;
        Ok(Original { run, live, events, queries, good, columns })
    }

    /// Copies, checks the copy, and tries every mutant; only those whose name has `only` in it, if that is given.
    pub async fn run(&self, moment: Moment, only: Option<&str>, step: impl Fn(usize, usize)) -> Result<Mutated> {
        let Original { run: original, live, events, queries, good, columns } = self.original(&moment).await?;
        let stage = Stage { directory: scratch::directory()?, datasets: Vec::new() };
        fs::create_dir(stage.pristine())?;
        let copy =
            Copy::make(&self.trial, &live, &moment, &queries, &listed(&events), (self.most, &stage.pristine())).await?;
        live.close().await;
        let datasets: BTreeSet<String> =
            copy.tables.iter().map(|table| table.path.dataset.clone()).chain(copy.listed.iter().cloned()).collect();
        let stage = Arc::new(Stage { datasets: datasets.into_iter().collect(), ..stage });
        let config = self.copied_config(&stage.pristine());
        let unmutated = self.run_on(&self.backends(&config, &good, Taping::Record(TAPE)), &moment).await;
        let unmutable = unmutable(&original, &unmutated);
        let mut mutated = Mutated {
            moment: moment.clone(),
            tried: Vec::new(),
            no_score: no_score(&original, &unmutated, &unmutable, queries.len()),
            unmutable,
            copied: copy.tables.iter().map(copied).collect(),
        };
        if mutated.no_score.is_some() {
            return Ok(mutated);
        }
        let open = |dataset: &str| {
            let file = stage.file(&stage.pristine(), dataset);
            Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        };
        let mut all = mutants(&copy, &columns, &moment, open)?;
        all.extend(of_answers(&deployed(&events), &repositories(&events)));
        if let Some(only) = only {
            let names: Vec<String> = all.iter().map(|mutant| mutant.name.clone()).collect();
            all.retain(|mutant| mutant.name.contains(only));
            if all.is_empty() {
                let parts = names.iter().flat_map(|name| name.split(['/', '.']));
                bail!("no mutant has {only} in its name{}", crate::config::nearest(only, parts));
            }
        }
        let metrics: BTreeSet<String> = metrics(&original).iter().map(|metric| metric.name.clone()).collect();
        let knobs = knobs(&self.trial, &self.record, &moment, &metrics).await;
        let answers = Arc::new(answers(&unmutated));
        let (before, mut slow) = (metrics_of(&unmutated), Vec::new());
        for (mut tried, run) in
            self.try_all(&stage, all, (&moment, &good, &events), (&unmutated, &answers), step).await?
        {
            // Whatever it said by then, on a quicker machine it may say another thing.
            if run.exceeded.contains("timeout") || run.exceeded.contains("cpu") {
                slow.push(tried.name);
                continue;
            }
            if tried.result == Caught::Missed {
                tried.why = advice(&run, &before, &knobs);
            }
            mutated.tried.push(tried);
        }
        if !slow.is_empty() {
            let slow = slow.join(", ");
            mutated.no_score = Some(format!(
                "the run took longer than its budgets with {slow}; raise budgets.timeout and budgets.cpu"
            ));
        }
        Ok(mutated)
    }

    /// Runs the check on each mutant, several at a time. Returns what came of each, with its run.
    async fn try_all(
        &self,
        stage: &Arc<Stage>,
        all: Vec<Mutant>,
        (moment, good, events): (&Moment, &[jiff::civil::Date], &[Event]),
        (unmutated, answers): (&Run, &Arc<Vec<Answered>>),
        step: impl Fn(usize, usize),
    ) -> Result<Vec<(Tried, Run)>> {
        let count = all.len();
        let waiting = Arc::new(Mutex::new(all.into_iter().enumerate()));
        let mut workers = JoinSet::new();
        let (done, mut finished) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(count.max(1)) {
            let (trial, record, costs) = (self.trial.clone(), self.record.clone(), self.costs.clone());
            let (waiting, done, stage, answers) = (waiting.clone(), done.clone(), stage.clone(), answers.clone());
            let (moment, good, events) = (moment.clone(), good.to_vec(), events.to_vec());
            let unmutated = Found::of(unmutated);
            let own = Self { trial, record, costs, most: self.most };
            workers.spawn(async move {
                loop {
                    let Some((at, mutant)) = waiting.lock().await.next() else { return Ok::<_, anyhow::Error>(()) };
                    let run = match &mutant.how {
                        How::Sql(dataset, _, statements) => {
                            // A place of its own: the engine keeps what it has read of a file.
                            let place = stage.copied(at, dataset)?;
                            apply(&stage.file(&place, dataset), statements)?;
                            let config = own.copied_config(&place);
                            let run = own.run_on(&own.backends(&config, &good, Taping::Record(TAPE)), &moment).await;
                            fs::remove_dir_all(place)?;
                            run
                        }
                        How::Altered(fault) => {
                            let played = Played::new(&altered(&events, fault), true);
                            let config = own.copied_config(&stage.pristine());
                            let backends = own.backends(&config, &good, Taping::Replay(Arc::new(played)));
                            own.run_on(&backends, &moment).await
                        }
                    };
                    let changed = match &mutant.how {
                        How::Altered(fault) => altered(&events, fault) != events,
                        How::Sql(..) => self::answers(&run) != *answers,
                    };
                    let tried = tried(mutant, &run, &unmutated, changed);
                    // The rows are not needed any more.
                    let run = Run { tapes: Tapes::default(), ..run };
                    let _ = done.send((at, (tried, run)));
                }
            });
        }
        drop(done);
        let mut all = Vec::with_capacity(count);
        while let Some(one) = finished.recv().await {
            all.push(one);
            step(all.len(), count);
        }
        while let Some(worker) = workers.join_next().await {
            worker.context("a worker stopped unexpectedly")??;
        }
        all.sort_by_key(|(at, _)| *at);
        Ok(all.into_iter().map(|(_, tried)| tried).collect())
    }

    /// The same configuration, with the copy as its warehouse.
    fn copied_config(&self, place: &Path) -> Config {
        let project = self.trial.config.warehouse_project();
        let config = (*self.trial.config).clone();
        Config { warehouse: Some(Warehouse::Sqlite { path: place.to_owned(), project }), ..config }
    }

    /// Keeps the score for the check's page and the report.
    pub async fn keep(&self, mutated: &Mutated) -> Result<()> {
        let (caught, counted) = mutated.score();
        let score = MutationScore {
            check: self.trial.check.name.clone(),
            date: mutated.moment.data_date,
            tried: self.trial.digest(),
            at: record::now(),
            caught: caught as u64,
            counted: counted as u64,
            mutants: serde_json::to_string(&mutated.tried)?,
        };
        self.record.note_score(&score).await
    }

    /// The rows that a mutant changes: `-` as they were, `+` as they are.
    pub async fn rows(&self, moment: Moment, name: &str) -> Result<String> {
        let check = &self.trial.check.name;
        let Original { live, events, queries, columns, .. } = self.original(&moment).await?;
        let directory = scratch::directory()?;
        let place = directory.path();
        let copy = Copy::make(&self.trial, &live, &moment, &queries, &listed(&events), (self.most, place)).await?;
        live.close().await;
        let open = |dataset: &str| Connection::open(place.join(format!("{dataset}.db")));
        let mut all = mutants(&copy, &columns, &moment, open)?;
        all.extend(of_answers(&deployed(&events), &repositories(&events)));
        let Some(mutant) = all.iter().find(|mutant| mutant.name == name) else {
            let names = all.iter().map(|mutant| mutant.name.as_str());
            bail!("{check} has no mutant {name}{}", crate::config::nearest(name, names));
        };
        match &mutant.how {
            How::Altered(_) => Ok(format!("{}\n", mutant.what)),
            How::Sql(dataset, table, statements) => {
                let connection = open(dataset)?;
                let before = dump(&connection, table, &columns)?;
                statements.iter().try_for_each(|statement| connection.execute_batch(statement))?;
                Ok(format!("{}\n{}", mutant.what, difference(&before, &dump(&connection, table, &columns)?)))
            }
        }
    }
}

/// Changes a copy.
fn apply(file: &Path, statements: &[String]) -> Result<()> {
    let connection = scratch::open(file)?;
    statements.iter().try_for_each(|statement| connection.execute_batch(statement))?;
    connection.execute_batch("COMMIT")?;
    Ok(())
}

/// What a run was answered: the call, the question and the answer of each.
type Answered = (String, String, Option<Vec<u8>>);

fn answers(run: &Run) -> Vec<Answered> {
    let events = run.tapes.skip.iter().chain(&run.tapes.plugin).flat_map(|tape| &tape.events);
    let mut answers: Vec<Answered> =
        events.map(|event| (event.name.clone(), event.question.clone(), event.answer.clone())).collect();
    answers.sort();
    answers
}

fn metrics(run: &Run) -> Vec<Metric> {
    run.report.iter().flat_map(|report| report.metrics.clone()).collect()
}

fn metrics_of(run: &Run) -> BTreeMap<String, Metric> {
    metrics(run).into_iter().map(|metric| (metric.name.clone(), metric)).collect()
}

/// The queries that the warehouse answers and the embedded engine does not.
fn unmutable(original: &Run, copy: &Run) -> Vec<String> {
    let failed = copy.calls.iter().filter_map(|call| match &call.error {
        Some(Unanswered::Error(error @ (Error::Invalid(_) | Error::NotFound(_)))) => {
            Some((&call.asked, error.message()))
        }
        _ => None,
    });
    let answered = |asked: &String| original.calls.iter().any(|call| call.asked == *asked && call.error.is_none());
    failed.filter(|(asked, _)| answered(asked)).map(|(asked, why)| format!("{asked}: {why}")).collect()
}

/// Why the copy says nothing about the original.
fn no_score(original: &Run, copy: &Run, unmutable: &[String], queries: usize) -> Option<String> {
    if unmutable.len() as f64 > UNMUTABLE * queries as f64 {
        return Some(format!(
            "the embedded engine cannot run {} of its {queries} queries: {}",
            unmutable.len(),
            unmutable.first().map(String::as_str).unwrap_or_default()
        ));
    }
    if original.status() != copy.status() {
        return Some(format!(
            "on a copy of its data the check says {} instead of {}: {}",
            copy.status().name(),
            original.status().name(),
            copy.summary()
        ));
    }
    let (then, now) = (metrics(original), metrics(copy));
    let other = then.iter().find(|metric| !now.contains(metric));
    let value = |metric: Option<&Metric>| {
        metric.and_then(|metric| metric.value).map_or_else(|| "no value".to_owned(), crate::text::number)
    };
    other.map(|metric| {
        let found = now.iter().find(|found| found.name == metric.name);
        let (is, was) = (value(found), value(Some(metric)));
        format!("on a copy of its data {} is {is} instead of {was}", metric.name)
    })
}

fn copied(table: &copy::Copied) -> String {
    let name = format!("{}.{}", table.path.dataset, table.path.table);
    match (table.since, &table.dated) {
        (Some(since), _) => format!("{name} since {since}"),
        (None, Some(_)) => name,
        // Its mutants are of all rows, as those of a list of teams must be.
        (None, None) => format!("{name} (no row has the date in a column that the check compares with it)"),
    }
}

/// The status of a run, and what has a violation.
#[derive(Debug, Clone)]
struct Found(Status, BTreeSet<String>);

impl Found {
    fn of(run: &Run) -> Self {
        let violations = run.report.iter().flat_map(|report| &report.violations);
        let names = violations.map(|one| one.metric.clone().unwrap_or_else(|| one.message.clone()));
        Self(run.status(), names.collect())
    }
}

/// What came of a mutant.
fn tried(mutant: Mutant, run: &Run, unmutated: &Found, changed: bool) -> Tried {
    let Mutant { name, what, .. } = mutant;
    let found = Found::of(run);
    let (status, (before, known)) = (found.0, (unmutated.0, &unmutated.1));
    let (result, why) = match status {
        // Of a check that warns already, another violation counts.
        Status::Fail | Status::Error | Status::Warn if status > before || !found.1.is_subset(known) => {
            (Caught::Caught, format!("{}: {}", status.name(), run.summary()))
        }
        _ if !changed => (Caught::Equivalent, "no answer changes".to_owned()),
        _ => (Caught::Missed, String::new()),
    };
    Tried { name, what, result, why }
}

/// What would catch a mutant: its metrics that changed, and the settings that limit them.
fn advice(run: &Run, before: &BTreeMap<String, Metric>, knobs: &[Knob]) -> String {
    if run.status() == Status::Skip {
        return format!("the check skips the date: {}", run.summary());
    }
    let now = metrics(run);
    let changed = now.iter().filter_map(|metric| {
        let then = before.get(&metric.name)?;
        (then.value != metric.value).then_some((metric, then.value, metric.value))
    });
    let changed: Vec<String> = changed
        .map(|(metric, was, is)| {
            // A value that is gone breaks a limit on either side.
            let side = if is < was { Side::Low } else { Side::High };
            let words = |value: Option<f64>| value.map_or_else(|| "no value".to_owned(), crate::text::number);
            let moved = format!("{} {} instead of {}", metric.name, words(is), words(was));
            let knob = knobs.iter().find(|knob| knob.metric == metric.name && knob.side == side);
            match (knob, limit(metric, side)) {
                (Some(knob), None) => format!("{moved}: set {}", knob.path),
                (Some(knob), Some(_)) => format!("{moved}: {} is too loose for it", knob.path),
                (None, _) => format!("{moved}: no setting limits it"),
            }
        })
        .collect();
    match changed.is_empty() {
        true => "none of its metrics changes".to_owned(),
        false => changed.join("; "),
    }
}
