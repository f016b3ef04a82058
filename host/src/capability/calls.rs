//! The host calls of one run. Each call is checked against grants and budgets and recorded here, and nowhere else. It
//! does not depend on the backends: the caller passes the future that answers.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::{Timestamp, civil::Date};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::Instant as Deadline;

use super::{
    evidence::{Collected, Evidence},
    grant,
    tape::{Question, Tape, Taped, Taping, Timer},
};
use crate::{
    config::{Budgets, Grants, raise},
    contract::{Error, Value, slack::Alert},
    googlesql::TablePath,
    lanes::{Allowance, Held, Pace, Permit, Stop, TooMuch},
    text::shortened,
};

/// Bytes that are kept of a call's question and error.
const RECORDED_BYTES: usize = 8 << 10;
/// Bytes that are kept of all questions and errors of a run, since they stay in memory until the run is recorded.
const ALL_RECORDED_BYTES: usize = 1 << 20;

/// A host call of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// `warehouse.query`, `git.changes`, …
    pub name: &'static str,
    /// The question: the SQL, the paths, the service, the channel.
    pub asked: String,
    /// The bytes that the backend counted; 0 if it does not count.
    pub bytes: u64,
    /// The time until the answer.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// The error, if it failed.
    pub error: Option<Unanswered>,
}

/// Why a call failed; as text, the message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// The guest dropped the call.
    #[error("the plugin did not wait for the answer")]
    CalledOff,
    /// The guest got an error.
    #[error("{}", .0.message())]
    Error(Error),
}

impl Serialize for Unanswered {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes a duration as seconds.
pub(crate) fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// The run on whose behalf calls are made.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The plugin's name, for grants and budgets.
    pub plugin: String,
    /// The check's.
    pub check: String,
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// By when the data of that date is expected; no later than the run's clock.
    pub deadline: Timestamp,
    /// Whether a date is looked at again, and not because the check is due.
    pub again: bool,
    /// The run's id.
    pub run: String,
}

/// The calls of one run, with its grants, its questions and its alerts.
#[derive(Debug)]
pub struct Calls {
    pub(super) caller: Caller,
    pub(super) grants: Grants,
    pub(super) budgets: Budgets,
    permit: Permit,
    started: AtomicU32,
    under_way: Arc<AtomicU32>,
    record: Mutex<Record>,
    pub(super) tape: Taped,
}

#[derive(Debug, Default)]
struct Record {
    calls: Vec<Call>,
    alerts: Vec<Alert>,
    evidence: Collected,
    exceeded: BTreeSet<&'static str>,
    /// The total length of all questions and errors.
    texts: usize,
}

impl Calls {
    /// For one run of a check that has no pace yet.
    pub fn new(caller: Caller, grants: Grants, budgets: Budgets) -> Self {
        Self::paced(caller, grants, budgets, &Pace::default(), Taping::Off)
    }

    /// For one run, at the pace of its check.
    pub fn paced(caller: Caller, grants: Grants, budgets: Budgets, pace: &Pace, taping: Taping) -> Self {
        let allowance = Allowance { timeout: budgets.timeout.0, bytes: budgets.host_memory.0 };
        Self {
            permit: Permit::paced(&caller.plugin, allowance, pace),
            caller,
            grants,
            budgets,
            started: AtomicU32::new(0),
            under_way: Arc::default(),
            record: Mutex::default(),
            tape: Taped::new(taping),
        }
    }

    /// Asks a backend, and records the call. Calls over the budget do not reach the backend; only the first is
    /// recorded. In a replay the answer is the recorded one, if the question is `permitted` today.
    pub(super) async fn ask<T: Serialize + DeserializeOwned>(
        &self,
        name: &'static str,
        asked: String,
        question: Question,
        permitted: Result<(), Error>,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        // Boxed: the futures of backends are large, and a guest's stack, on which they begin, is small.
        let answer = Box::pin(self.tape.ask(name, || question, || permitted, Box::pin(answer)));
        self.call(name, asked, answer).await
    }

    /// Records a call that the host itself answers.
    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        asked: String,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let handed = asked.len();
        self.costly_call(name, asked, handed, answer, |_| 0).await
    }

    /// The same for a call with `handed` bytes, which are charged to the run until the answer, and whose answer has a
    /// cost in bytes.
    pub(super) async fn costly_call<T>(
        &self,
        name: &'static str,
        asked: String,
        handed: usize,
        answer: impl Future<Output = Result<T, Error>>,
        bytes: impl FnOnce(&T) -> u64,
    ) -> Result<T, Error> {
        let earlier = self.started.fetch_add(1, Ordering::Relaxed);
        let most = self.budgets.calls.0;
        let too_many = || Err(self.exceeded(name, "calls", &format!("more than {most} host calls in one run")));
        if earlier > most {
            return too_many();
        }
        // Record it also when the guest does not wait for the answer.
        let mut recording = Recording { calls: self, started: Instant::now(), call: None };
        let error = Some(Unanswered::CalledOff);
        let asked = self.cut(asked);
        recording.call = Some(Call { name, asked, bytes: 0, duration: Duration::ZERO, error });
        let answer = match self.enter(name) {
            _ if earlier == most => too_many(),
            Ok(_under_way) => match self.hold(name, handed) {
                Ok(_held) => answer.await,
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Some(call) = &mut recording.call {
            let cut = |message| self.cut(message);
            call.error = answer.as_ref().err().map(|error| Unanswered::Error(error.clone().reworded(cut)));
            call.bytes = answer.as_ref().map_or(0, bytes);
        }
        answer
    }

    /// Counts a call as running until the returned guard is dropped.
    fn enter(&self, name: &str) -> Result<UnderWay, Error> {
        let most = self.budgets.concurrent_calls.0;
        let under_way = UnderWay(self.under_way.clone());
        match self.under_way.fetch_add(1, Ordering::Relaxed) < most {
            true => Ok(under_way),
            false => Err(self.exceeded(name, "concurrent_calls", &format!("more than {most} host calls at once"))),
        }
    }

    /// Runs blocking work for this run on another thread, with a stop signal; a panic there is an error here.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.permit.blocking(work).await;
        done.unwrap_or_else(|| Err(Error::Unavailable("the backend stopped unexpectedly".to_owned())))
    }

    /// The deadline for backends. The run's time counts from the first call of this.
    pub fn deadline(&self) -> Deadline {
        self.permit.deadline()
    }

    /// The run on whose behalf calls are made.
    pub fn plugin(&self) -> &str {
        &self.caller.plugin
    }

    /// Its budgets.
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// The permit for all work for this run.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Charges bytes that the host holds for a call until the guest takes them.
    pub(super) fn hold(&self, call: &str, bytes: usize) -> Result<Held, Error> {
        self.permit.hold(bytes).map_err(|full| self.too_much(call, full))
    }

    /// The error for a call that exceeds `host_memory`.
    pub(super) fn too_much(&self, call: &str, _: TooMuch) -> Error {
        let most = self.budgets.host_memory;
        self.exceeded(call, "host_memory", &format!("the host would hold more than {most} for this run at once"))
    }

    pub(super) fn allow(&self, call: &str, wish: grant::Wish<'_>) -> Result<(), Error> {
        grant::check(&self.caller.plugin, &self.grants, call, wish)
    }

    /// Whether a table is granted by its own name, as a view.
    pub(super) fn is_view(&self, table: &TablePath) -> bool {
        grant::is_view(&self.grants, table)
    }

    /// The error for a call that exceeds a budget: the amount, and the keys that raise it.
    pub(super) fn exceeded(&self, call: &str, budget: &'static str, what: &str) -> Error {
        self.has_exceeded(budget);
        Error::OverBudget(format!("{call} refused: {what}; {}", raise(&self.caller.plugin, budget)))
    }

    /// Notes that a budget was exceeded.
    pub(super) fn has_exceeded(&self, budget: &'static str) {
        self.record(|record| record.exceeded.insert(budget));
    }

    /// Rejects an answer over the budgets for results.
    pub(super) fn within(&self, call: &str, rows: usize, bytes: usize) -> Result<(), Error> {
        if rows > self.budgets.rows.0 as usize {
            return Err(self.exceeded(call, "rows", &format!("the answer has more than {} rows", self.budgets.rows)));
        }
        if bytes > self.budgets.result_bytes.0 {
            let most = self.budgets.result_bytes;
            return Err(self.exceeded(call, "result_bytes", &format!("the answer is larger than {most}")));
        }
        Ok(())
    }

    /// Accepts an alert, and returns its number in this run.
    pub(super) fn alert(&self, alert: Alert) -> Result<usize, Error> {
        let (most, largest) = (self.budgets.alerts.0, self.budgets.alert_bytes);
        let size = serde_json::to_string(&alert).map_or(usize::MAX, |text| text.len());
        if size > largest.0 {
            return Err(self.exceeded("post", "alert_bytes", &format!("an alert of {size} B, more than {largest}")));
        }
        let taken = self.record(|record| {
            (record.alerts.len() < most as usize).then(|| {
                record.alerts.push(alert);
                record.alerts.len()
            })
        });
        taken.ok_or_else(|| self.exceeded("post", "alerts", &format!("more than {most} alerts in one run")))
    }

    /// Adds rows of evidence; only their number unless they may be shown.
    pub(super) fn add_evidence(
        &self,
        metric: String,
        columns: Vec<String>,
        rows: Vec<Vec<Value>>,
        shown: bool,
    ) -> Result<(), Error> {
        self.record(|record| record.evidence.add(&metric, columns, rows, &self.budgets, shown))
    }

    /// Says how many rows of evidence there are of a metric.
    pub(super) fn total_evidence(&self, metric: &str, rows: u64, shown: bool) {
        self.record(|record| record.evidence.total(metric, rows, &self.budgets, shown));
    }

    /// The part of a call's question or error that is recorded.
    fn cut(&self, text: String) -> String {
        let most = self.record(|record| {
            let most = RECORDED_BYTES.min(ALL_RECORDED_BYTES.saturating_sub(record.texts));
            record.texts += text.len().min(most);
            most
        });
        if text.len() > most { shortened(&text, most) } else { text }
    }

    /// The calls and the alerts.
    pub fn take(&self) -> (Vec<Call>, Vec<Alert>) {
        self.record(|record| (std::mem::take(&mut record.calls), std::mem::take(&mut record.alerts)))
    }

    /// Begins a timer of the guest.
    pub fn timer(&self, length: Duration) -> Timer {
        self.tape.timer(length)
    }

    /// Waits until a timer is over.
    pub async fn wait(&self, timer: &mut Timer) {
        self.tape.wait(timer).await;
    }

    /// Runs the guest, and hands it the answers one at a time; `None` if it is replayed, and waits for one that the recorded run did
    /// not get.
    pub async fn conduct<F: Future>(&self, guest: F) -> Option<F::Output> {
        self.tape.conduct(guest).await
    }

    /// What was asked and answered; `None` if that is not recorded.
    pub fn take_tape(&self) -> Option<Tape> {
        self.tape.take()
    }

    /// The evidence.
    pub fn take_evidence(&self) -> Vec<Evidence> {
        self.record(|record| record.evidence.take())
    }

    /// The budgets of host calls that were exceeded.
    pub fn budgets_exceeded(&self) -> BTreeSet<&'static str> {
        self.record(|record| record.exceeded.clone())
    }

    fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Records a call when it ends, in whatever way.
struct Recording<'c> {
    calls: &'c Calls,
    started: Instant,
    call: Option<Call>,
}

impl Drop for Recording<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let call = Call { duration: self.started.elapsed(), ..call };
            self.calls.record(|record| record.calls.push(call));
        }
    }
}

/// A running call.
struct UnderWay(Arc<AtomicU32>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// A guest may drop a call before the answer; the call is recorded all the same.
    #[tokio::test]
    async fn a_call_that_is_called_off_is_recorded() {
        let calls = Calls::new(Caller::default(), Grants::default(), Budgets::default());
        let call = calls.call("git.latest", "scrapers".to_owned(), pending::<Result<(), Error>>());
        assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err());
        let (recorded, _) = calls.take();
        assert_eq!((recorded.len(), recorded[0].asked.as_str()), (1, "scrapers"));
        assert_eq!(recorded[0].error, Some(Unanswered::CalledOff));
        assert_eq!(calls.under_way.load(Ordering::Relaxed), 0);
    }
}
