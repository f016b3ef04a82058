//! A query as a job: its id is made here, so that a request that is sent again never pays twice; a job whose run is over
//! is cancelled.

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

/// How long one request waits for a job to end, at the server.
const POLL: Duration = Duration::from_secs(10);
/// Rows of one page; BigQuery ends a page at 20 MB in any case.
const PAGE: u32 = 50_000;
/// The first wait before a job is asked about or begun again.
const WAIT: Duration = Duration::from_millis(500);
/// What lies at least between two questions whether a job has ended, when the server does not wait itself.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Rows that are read between two looks whether the run is over: a millisecond's.
const LOOK: usize = 256;
/// How long a cancellation may take, also when the host ends.
const CANCEL: Duration = Duration::from_secs(5);

/// What a job answered.
pub(super) struct Answer {
    pub(super) rows: Rows,
    /// Whether it came from BigQuery's cache, at no cost.
    pub(super) cached: bool,
}

/// Why a job gave no answer.
enum Ended {
    /// The job itself failed; another one may not.
    Failed(Fault),
    /// It cannot be asked any more.
    Fault(Fault),
    /// Its answer cannot be used.
    Unusable(Error),
}

impl From<Fault> for Ended {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl BigQuery {
    /// Runs a query. A job that fails for a reason that passes is followed by another one.
    pub(super) async fn run(&self, calls: &Arc<Calls>, question: &Question, cache: bool) -> Result<Answer, Error> {
        let deadline = calls.deadline();
        let mut wait = WAIT;
        loop {
            let fault = match self.job(calls, question, cache, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Ended::Unusable(error)) => return Err(error),
                Err(Ended::Fault(fault)) => return Err(self.explained(calls, fault)),
                Err(Ended::Failed(fault)) => fault,
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
            "jobReference": { "projectId": inner.project, "jobId": id, "location": inner.location },
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
            // An answer was lost, and the job is there.
            Err(fault) if fault.kind == Kind::Duplicate => {}
            // What is refused is no job.
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
                // It still runs, or has further pages.
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
            // That the time was up is not what was wrong.
            let fault = match fault.kind {
                Kind::TimedOut => earlier.take().unwrap_or(fault),
                _ => fault,
            };
            // A job that failed is answered like a server that is busy; only the job itself tells which.
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

/// What was read of an answer.
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

    /// Takes in a page; gives back what there was when it cannot be read.
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

/// The jobs that run, each by the address that cancels it, and those that are being cancelled.
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

    /// Cancels all that run, and waits until it is done.
    pub(super) async fn close(&self) {
        let Work { running, cancelling } = self.change(std::mem::take);
        join_all(running.into_iter().map(|(address, google)| cancel(google, address))).await;
        let _ = timeout(CANCEL, join_all(cancelling)).await;
    }

    fn change<T>(&self, change: impl FnOnce(&mut Work) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// It is best effort: a job ends on its own by its `jobTimeoutMs`.
async fn cancel(google: Google, address: String) {
    let request = Request::post(address, json!({}));
    let _ = timeout(CANCEL, google.call(request, Instant::now() + CANCEL)).await;
}

/// A job that runs, and is cancelled when this is dropped before it ended.
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
            // Without a runtime the host is on its way out, and has cancelled it itself.
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
