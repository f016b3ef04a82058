//! Runs a query as a job. The job's id is made here, so that a retried request never pays twice; a job whose run is
//! over is cancelled.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    BigQuery,
    protocol::{Field, Job, Question, Results, count},
    values,
};
use crate::{
    capability::{calls::Calls, warehouse::allowed::Taken},
    contract::{Error, Value, warehouse::Rows},
    google::{Fault, Google, Kind, Request},
    lanes::Stop,
    text::{encoded, hex::hex},
};

/// How long the server may hold one request while the job runs.
const POLL: Duration = Duration::from_secs(10);
/// Rows of one page; BigQuery also ends a page at 20 MB.
const PAGE: u32 = 50_000;
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
    /// Runs a query. After a temporary failure of a job, a new job is started.
    pub(super) async fn run(&self, calls: &Arc<Calls>, question: &Question, cache: bool) -> Result<Answer, Error> {
        let deadline = calls.deadline();
        let mut wait = WAIT;
        loop {
            let fault = match self.job(calls, question, cache, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Ended::Unusable(error)) => return Err(error),
                Err(Ended::Fault(fault)) => return Err(self.explained(calls, question.located(fault))),
                Err(Ended::Failed(fault)) => question.located(fault),
            };
            let pause = wait.mul_f64(fastrand::f64());
            if fault.kind != Kind::Busy || Instant::now() + pause >= deadline {
                return Err(self.explained(calls, fault));
            }
            sleep(pause).await;
            wait *= 2;
        }
    }

    async fn job(
        &self,
        calls: &Arc<Calls>,
        question: &Question,
        cache: bool,
        deadline: Instant,
    ) -> Result<Answer, Ended> {
        let inner = &self.0;
        let caller = &calls.caller;
        let id = id(&caller.check)?;
        let left = deadline.saturating_duration_since(Instant::now());
        let most = calls.budgets.query_bytes.0;
        let body = json!({
            "jobReference": { "projectId": inner.project(), "jobId": id, "location": inner.location },
            "configuration": {
                "labels": {
                    "check": label(&caller.check),
                    "plugin": label(&caller.plugin),
                    "run": label(&caller.run),
                },
                "jobTimeoutMs": left.as_millis().to_string(),
                "query": question.query(cache, Some(most)),
            },
        });
        let location = encoded(&inner.location);
        let job = format!("{}/jobs/{id}", inner.url);
        let running = inner.jobs.begin(&inner.google, format!("{job}/cancel?location={location}"));
        match self.call(Request::post(format!("{}/jobs", inner.url), body).charged(calls.permit()), deadline).await {
            Ok(answer) => {
                let begun: Job = serde_json::from_slice(&answer).map_err(|error| Fault::garbled(&error))?;
                if let Some(fault) = begun.failure() {
                    running.ended();
                    return Err(Ended::Failed(fault));
                }
            }
            // The earlier answer was lost; the job exists.
            Err(fault) if fault.kind == Kind::Duplicate => {}
            // A refused request has not created a job.
            Err(fault) if !fault.kind.passes() => {
                running.ended();
                return Err(Ended::Failed(fault));
            }
            Err(fault) => return Err(fault.into()),
        }
        let answer = self.results(calls, &id, &job, deadline).await;
        if !matches!(answer, Err(Ended::Fault(_))) {
            running.ended();
        }
        answer
    }

    /// All pages of a job's answer.
    async fn results(&self, calls: &Arc<Calls>, id: &str, job: &str, deadline: Instant) -> Result<Answer, Ended> {
        let inner = &self.0;
        let rows = calls.budgets.rows.0.saturating_add(1).min(PAGE);
        let location = encoded(&inner.location);
        let first = format!(
            "{}/queries/{id}?location={location}&maxResults={rows}&formatOptions.useInt64Timestamp=true",
            inner.url
        );
        let mut taken = Pages::new(calls).map_err(Ended::Unusable)?;
        let mut wait = WAIT;
        let mut earlier: Option<Fault> = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).min(POLL);
            let page = match &taken.next {
                Some(token) => format!("{first}&pageToken={}", encoded(token)),
                None => format!("{first}&timeoutMs={}", left.as_millis()),
            };
            let asked = Instant::now();
            let read = match inner.google.once(&Request::get(page).charged(calls.permit()), deadline).await {
                Ok(body) => {
                    let (run, had) = (calls.clone(), taken);
                    calls.blocking(move |stop| Ok(had.page(&body, &run, stop))).await.map_err(Ended::Unusable)?
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
                    (had, Ended::Fault(fault)) if fault.kind.passes() => (had, fault),
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
            let status = Request::get(format!("{job}?location={location}&fields=status"));
            let Ok(job) = self.call(status, deadline).await else { return Err(fault.into()) };
            let job: Job = serde_json::from_slice(&job).map_err(|error| Fault::garbled(&error))?;
            if let Some(failure) = job.failure() {
                return Err(Ended::Failed(failure));
            }
            let pause = fault.retry_after.unwrap_or_else(|| wait.mul_f64(fastrand::f64()));
            if Instant::now() + pause >= deadline {
                return Err(fault.into());
            }
            sleep(pause).await;
            wait *= 2;
            earlier = Some(fault);
        }
    }
}

/// The part of an answer read so far.
struct Pages {
    fields: Vec<Field>,
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
    fn page(mut self, body: &[u8], calls: &Calls, stop: &Stop) -> Result<Self, Box<(Self, Ended)>> {
        let results: Results<'_> = match serde_json::from_slice(body) {
            Ok(results) => results,
            Err(error) => return Err(Box::new((self, Fault::garbled(&error).into()))),
        };
        if !results.job_complete {
            return Ok(self);
        }
        if self.next.is_none() {
            self.fields = results.schema.fields;
            self.bytes_processed = count(results.total_bytes_processed.as_ref());
            self.cached = results.cache_hit;
        }
        match self.add(&results.rows, count(results.total_rows.as_ref()), calls, stop) {
            Ok(()) => {
                self.complete = results.page_token.is_none();
                self.next = results.page_token;
                Ok(self)
            }
            Err(error) => Err(Box::new((self, Ended::Unusable(error)))),
        }
    }

    fn add(&mut self, rows: &[super::protocol::Row<'_>], total: u64, calls: &Calls, stop: &Stop) -> Result<(), Error> {
        let total = usize::try_from(total).unwrap_or(usize::MAX).max(self.rows.len() + rows.len());
        self.rows.announced(calls, total)?;
        for (at, row) in rows.iter().enumerate() {
            if at.is_multiple_of(LOOK) && stop.reached() {
                return Err(Error::TimedOut("query failed: the run ended before its answer was read".to_owned()));
            }
            if row.f.len() != self.fields.len() {
                let (has, wants) = (row.f.len(), self.fields.len());
                return Err(Error::Unavailable(format!(
                    "query failed: BigQuery: a row has {has} values for {wants} columns"
                )));
            }
            let list = self.fields.iter().zip(&row.f).map(|(field, cell)| values::value(field, &cell.v));
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

/// The running jobs, each by the address that cancels it, and the jobs that are being cancelled.
#[derive(Debug, Default, Clone)]
pub(super) struct Jobs(Arc<Mutex<Work>>);

#[derive(Debug, Default)]
struct Work {
    running: BTreeMap<String, Google>,
    cancelling: Vec<JoinHandle<()>>,
}

impl Jobs {
    fn begin(&self, google: &Google, cancel: String) -> Running {
        self.change(|work| work.running.insert(cancel.clone(), google.clone()));
        Running { jobs: self.clone(), cancel }
    }

    /// Cancels all running jobs, and waits for that.
    pub(super) async fn close(&self) {
        let Work { running, cancelling } = self.change(std::mem::take);
        join_all(running.into_iter().map(|(address, google)| cancel(google, address))).await;
        let _ = timeout(CANCEL, join_all(cancelling)).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Work) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Best effort: a job also ends by its `jobTimeoutMs`.
async fn cancel(google: Google, address: String) {
    let request = Request::post(address, json!({}));
    let _ = timeout(CANCEL, google.call(request, Instant::now() + CANCEL)).await;
}

/// A running job; cancelled if this is dropped before it ends.
struct Running {
    jobs: Jobs,
    cancel: String,
}

impl Running {
    fn ended(&self) {
        self.jobs.change(|work| work.running.remove(&self.cancel));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.jobs.change(|work| {
            let runs = work.running.remove(&self.cancel);
            // Without a runtime the host is shutting down, and has cancelled the job itself.
            if let (Some(google), Ok(runtime)) = (runs, Handle::try_current()) {
                work.cancelling.retain(|task| !task.is_finished());
                work.cancelling.push(runtime.spawn(cancel(google, self.cancel.clone())));
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
