//! Runs a query as a job. The job's id is made here, so that a retried request never pays twice; a job whose run is
//! over is cancelled.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use gcp_bigquery_client::model::{
    get_query_results_response::GetQueryResultsResponse, job::Job, job_configuration::JobConfiguration,
    job_reference::JobReference, table_field_schema::TableFieldSchema, table_row::TableRow,
};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    BigQuery,
    client::Client,
    protocol::{Question, count, failure},
    values,
};
use crate::{
    capability::{calls::Calls, warehouse::allowed::Taken},
    contract::{Error, Value, warehouse::Rows},
    google::{Fault, Kind, LONGEST_WAIT, jittered},
    lanes::Stop,
    text::hex::hex,
};

/// How long the server may hold one request while the job runs.
const POLL: Duration = Duration::from_secs(10);
/// The first wait before a job is polled or started again.
const WAIT: Duration = Duration::from_millis(500);
/// The shortest time between two polls of a job, if the server does not hold the request.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Rows between two checks whether the run is over: about a millisecond.
const LOOK: usize = 256;
/// How long a cancellation may take, also on shutdown.
const CANCEL: Duration = Duration::from_secs(5);

/// The answer of a job.
pub(super) struct Answer {
    pub(super) rows: Rows,
    /// Whether it came from BigQuery's cache, at no cost.
    pub(super) cached: bool,
}

/// Why a query has no answer.
pub(super) struct NoAnswer {
    pub(super) error: Error,
    /// Whether it bills nothing: the job itself failed. One that was stopped may bill everything:
    /// <https://cloud.google.com/bigquery/docs/best-practices-costs>
    pub(super) free: bool,
}

impl From<Error> for NoAnswer {
    fn from(error: Error) -> Self {
        Self { error, free: false }
    }
}

/// Why a job has no answer.
enum Ended {
    /// The job itself failed; a new job may succeed.
    Failed(Fault),
    /// Requests about the job failed.
    Fault(Fault),
    /// The answer cannot be used.
    Unusable(Error),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl BigQuery {
    /// Runs a query with a number of columns. After a temporary failure of a job, a new job is started.
    pub(super) async fn run(
        &self,
        calls: &Arc<Calls>,
        question: &Question,
        columns: usize,
        cache: bool,
    ) -> Result<Answer, NoAnswer> {
        let deadline = calls.deadline();
        let mut wait = WAIT;
        loop {
            let fault = match self.job(calls, question, columns, cache, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Ended::Unusable(error)) => return Err(error.into()),
                Err(Ended::Fault(fault)) => return Err(self.explained(calls, question.located(fault)).into()),
                Err(Ended::Failed(fault)) => question.located(fault),
            };
            let pause = jittered(wait);
            if fault.kind != Kind::Busy || Instant::now() + pause >= deadline {
                let free = !matches!(fault.kind, Kind::Stopped | Kind::OutOfTime | Kind::TimedOut);
                return Err(NoAnswer { error: self.explained(calls, fault), free });
            }
            sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    async fn job(
        &self,
        calls: &Arc<Calls>,
        question: &Question,
        columns: usize,
        cache: bool,
        deadline: Instant,
    ) -> Result<Answer, Ended> {
        let inner = &self.0;
        let caller = &calls.caller;
        let at = self.reference(Some(id(&caller.check)?), &question.location);
        let left = deadline.saturating_duration_since(Instant::now());
        let labels = [("check", &caller.check), ("plugin", &caller.plugin), ("run", &caller.run)];
        let job = Job {
            job_reference: Some(at.clone()),
            configuration: Some(JobConfiguration {
                labels: Some(labels.map(|(key, text)| (key.to_owned(), label(text))).into()),
                job_timeout_ms: Some(left.as_millis().to_string()),
                query: Some(question.query(cache, Some(calls.budgets.query_bytes.0))),
                ..JobConfiguration::default()
            }),
            ..Job::default()
        };
        let running = inner.jobs.begin(&inner.client, &at);
        match inner.client.insert(job, deadline).await {
            Ok(begun) => {
                if let Some(fault) = failure(&begun) {
                    running.ended();
                    return Err(Ended::Failed(fault));
                }
            }
            // The earlier answer was lost; the job exists.
            Err(fault) if fault.kind == Kind::Duplicate => {}
            // A refused request has not created a job.
            Err(fault) if !fault.kind.passes() && !fault.repeated => {
                running.ended();
                return Err(Ended::Failed(fault));
            }
            Err(fault) => return Err(fault.into()),
        }
        let answer = self.results(calls, &at, columns, deadline).await;
        if !matches!(answer, Err(Ended::Fault(_))) {
            running.ended();
        }
        answer
    }

    /// All pages of a job's answer.
    async fn results(
        &self,
        calls: &Arc<Calls>,
        job: &JobReference,
        columns: usize,
        deadline: Instant,
    ) -> Result<Answer, Ended> {
        let client = &self.0.client;
        let rows =
            Client::rows(columns).min(usize::try_from(calls.budgets.rows.0).unwrap_or(usize::MAX).saturating_add(1));
        let mut taken = Pages::new(calls).map_err(Ended::Unusable)?;
        let mut wait = WAIT;
        let mut earlier: Option<Fault> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(POLL);
            let asked = Instant::now();
            let page = client.results(job, taken.next.as_deref(), left, rows, calls.permit(), deadline).await;
            let read = match page {
                Ok(page) => {
                    let (run, had) = (calls.clone(), taken);
                    calls
                        .blocking(move |stop| Ok(had.page(&page.results, &run, stop)))
                        .await
                        .map_err(Ended::Unusable)?
                }
                Err(fault) => Err(Box::new((taken, fault.into()))),
            };
            let (had, fault) = match read {
                Ok(had) if had.complete => return Ok(had.answer()),
                // It is still running, or has further pages.
                Ok(had) => {
                    if had.next.is_none() && asked.elapsed() < ASK_AGAIN {
                        sleep(ASK_AGAIN).await;
                    }
                    taken = had;
                    continue;
                }
                Err(failed) => match *failed {
                    (had, Ended::Fault(fault)) if is_unknown(&fault) => (had, Fault { kind: Kind::Busy, ..fault }),
                    (had, Ended::Fault(fault)) if fault.kind.passes() => (had, fault),
                    // Either the job failed, which bills nothing, or its answer is refused.
                    (_, Ended::Fault(fault)) => {
                        let state = client.job(job, deadline).await;
                        let failed = state.is_ok_and(|state| failure(&state).is_some());
                        return Err(if failed { Ended::Failed(fault) } else { Ended::Fault(fault) });
                    }
                    (_, ended) => return Err(ended),
                },
            };
            taken = had;
            // Report the earlier fault instead of the timeout.
            let fault = match fault.kind {
                Kind::TimedOut => earlier.take().unwrap_or(fault),
                _ => fault,
            };
            // A failed job has the same status as a busy server; ask for the job itself to tell them apart.
            let state = match client.job(job, deadline).await {
                Ok(state) => state,
                Err(unknown) if is_unknown(&unknown) => Job::default(),
                Err(_) => return Err(fault.into()),
            };
            if let Some(failure) = failure(&state) {
                return Err(Ended::Failed(failure));
            }
            let pause = fault.retry_after.unwrap_or_else(|| jittered(wait));
            if Instant::now() + pause >= deadline {
                return Err(fault.into());
            }
            sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            earlier = Some(fault);
        }
    }
}

/// Whether BigQuery does not know our job yet: it was begun, but not every server has heard of it.
fn is_unknown(fault: &Fault) -> bool {
    fault.kind == Kind::NotFound && fault.message.starts_with("Not found: Job")
}

/// The part of an answer read so far.
struct Pages {
    fields: Vec<TableFieldSchema>,
    rows: Taken,
    bytes_processed: u64,
    cached: bool,
    next: Option<String>,
    complete: bool,
}

impl Pages {
    fn new(calls: &Calls) -> Result<Self, Error> {
        let rows = Taken::new(calls)?;
        Ok(Self { fields: Vec::new(), rows, bytes_processed: 0, cached: false, next: None, complete: false })
    }

    /// Adds a page; on an error, returns the previous state.
    fn page(mut self, page: &GetQueryResultsResponse, calls: &Calls, stop: &Stop) -> Result<Self, Box<(Self, Ended)>> {
        if page.job_complete != Some(true) {
            return Ok(self);
        }
        if self.next.is_none() {
            self.fields = page.schema.iter().flat_map(|schema| &schema.fields).flatten().cloned().collect();
            self.bytes_processed = count(page.total_bytes_processed.as_ref());
            self.cached = page.cache_hit == Some(true);
        }
        let rows = page.rows.as_deref().unwrap_or_default();
        match self.add(rows, count(page.total_rows.as_ref()), calls, stop) {
            Ok(()) => {
                self.complete = page.page_token.is_none();
                self.next = page.page_token.clone();
                Ok(self)
            }
            Err(error) => Err(Box::new((self, Ended::Unusable(error)))),
        }
    }

    fn add(&mut self, rows: &[TableRow], total: u64, calls: &Calls, stop: &Stop) -> Result<(), Error> {
        let total = usize::try_from(total).unwrap_or(usize::MAX).max(self.rows.len() + rows.len());
        self.rows.announced(calls, total)?;
        for (at, row) in rows.iter().enumerate() {
            if at.is_multiple_of(LOOK) && stop.reached() {
                return Err(Error::TimedOut("query failed: the run ended before its answer was read".to_owned()));
            }
            let cells = row.columns.as_deref().unwrap_or_default();
            if cells.len() != self.fields.len() {
                let (has, wants) = (cells.len(), self.fields.len());
                return Err(Error::Unavailable(format!(
                    "query failed: BigQuery: a row has {has} values for {wants} columns"
                )));
            }
            let list = self.fields.iter().zip(cells).map(|(field, cell)| values::value(field, cell.value.as_ref()));
            self.rows.push(calls, list.collect::<Result<Vec<Value>, Error>>()?)?;
        }
        Ok(())
    }

    fn answer(self) -> Answer {
        let columns = self.fields.iter().map(values::column).collect();
        let rows = Rows { columns, values: self.rows.into_values(), bytes_processed: self.bytes_processed };
        Answer { rows, cached: self.cached }
    }
}

/// The running jobs by their ids, and the jobs that are being cancelled.
#[derive(Debug, Default, Clone)]
pub(super) struct Jobs(Arc<Mutex<Work>>);

#[derive(Debug, Default)]
struct Work {
    running: BTreeMap<String, (Client, JobReference)>,
    cancelling: Vec<JoinHandle<()>>,
}

impl Jobs {
    fn begin(&self, client: &Client, job: &JobReference) -> Running {
        let id = job.job_id.clone().unwrap_or_default();
        self.change(|work| work.running.insert(id.clone(), (client.clone(), job.clone())));
        Running { jobs: self.clone(), id }
    }

    /// Cancels all running jobs, and waits for that.
    pub(super) async fn close(&self) {
        let Work { running, cancelling } = self.change(std::mem::take);
        join_all(running.into_values().map(|(client, job)| cancel(client, job))).await;
        let _ = timeout(CANCEL, join_all(cancelling)).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Work) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Best effort: a job also ends by its `jobTimeoutMs`.
async fn cancel(client: Client, job: JobReference) {
    let _ = timeout(CANCEL, client.cancel(&job, Instant::now() + CANCEL)).await;
}

/// A running job; cancelled if this is dropped before it ends.
struct Running {
    jobs: Jobs,
    id: String,
}

impl Running {
    fn ended(&self) {
        self.jobs.change(|work| work.running.remove(&self.id));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.change(|work| {
            let runs = work.running.remove(&self.id);
            // Without a runtime the host is shutting down, and has cancelled the job itself.
            if let (Some((client, job)), Ok(runtime)) = (runs, Handle::try_current()) {
                work.cancelling.retain(|task| !task.is_finished());
                work.cancelling.push(runtime.spawn(cancel(client, job)));
            }
        });
    }
}

/// `host_phase2-raw_` and 128 bits: <https://cloud.google.com/bigquery/docs/reference/rest/v2/JobReference>
fn id(check: &str) -> Result<String, Ended> {
    let mut bytes = [0; 16];
    let random = SystemRandom::new().fill(&mut bytes);
    random.map_err(|_| {
        Ended::Unusable(Error::Unavailable("query failed: the system has no random numbers".to_owned()))
    })?;
    Ok(format!("host_{}_{}", label(check), hex(&bytes)))
}

/// Lower-case letters, digits, - and _, at most 63: <https://cloud.google.com/bigquery/docs/labels-intro#requirements>
pub(super) fn label(text: &str) -> String {
    let fitting = |c: char| match c {
        'a'..='z' | '0'..='9' | '-' | '_' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '-',
    };
    text.chars().map(fitting).take(63).collect()
}
