//! The host calls of one run, and the one place where each is allowed, held against the budgets, and recorded. It knows
//! no backend: whoever answers is handed in.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant as Deadline;

use super::grant;
use crate::{
    config::{Budgets, Grants, raise},
    contract::{Error, slack::Alert},
    lanes::{Allowance, Held, Permit, Stop, TooMuch},
    text::shortened,
};

/// What is kept of a call's question and error, in bytes.
const RECORDED_BYTES: usize = 8 << 10;
/// What is kept of all questions and errors of a run, in bytes: they are held in memory until the run is recorded.
const ALL_RECORDED_BYTES: usize = 1 << 20;

/// A host call that a run made.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// `warehouse.query`, `git.changes`, …
    pub name: &'static str,
    /// What was asked: the SQL, the paths, the service, the channel.
    pub asked: String,
    /// What the backend counted for it, in bytes; 0 where it does not count.
    pub bytes: u64,
    /// How long the answer took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Why there was no answer.
    pub error: Option<Unanswered>,
}

/// Why a call had no answer; as text, what it says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// The guest called it off.
    #[error("the plugin did not wait for the answer")]
    CalledOff,
    /// The guest was given an error.
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

/// On whose behalf calls are made.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// The plugin's name: grants and budgets are its.
    pub plugin: String,
    /// The check's.
    pub check: String,
    /// The run's clock.
    pub due: Timestamp,
    /// The run, in a word.
    pub run: String,
}

/// The calls of one run: what it was granted, what it asked, and what it wanted to tell people.
#[derive(Debug)]
pub struct Calls {
    pub(super) caller: Caller,
    pub(super) grants: Grants,
    pub(super) budgets: Budgets,
    permit: Permit,
    started: AtomicU32,
    under_way: Arc<AtomicU32>,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    calls: Vec<Call>,
    alerts: Vec<Alert>,
    exceeded: BTreeSet<&'static str>,
    /// The length of all questions and errors.
    texts: usize,
}

impl Calls {
    /// For one run.
    pub fn new(caller: Caller, grants: Grants, budgets: Budgets) -> Self {
        let allowance = Allowance { timeout: budgets.timeout.0, bytes: budgets.host_memory.0 };
        Self {
            permit: Permit::new(&caller.plugin, allowance),
            caller,
            grants,
            budgets,
            started: AtomicU32::new(0),
            under_way: Arc::default(),
            record: Mutex::default(),
        }
    }

    /// Asks a backend, and records that. Calls beyond the budget reach no backend and leave no record but the first.
    pub(super) async fn call<T>(
        &self,
        name: &'static str,
        asked: String,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let handed = asked.len();
        self.costly_call(name, asked, handed, answer, |_| 0).await
    }

    /// The same for a call that hands over so many bytes, which are charged to the run until it is answered, and whose answer
    /// says what it cost, in bytes.
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
        // Recorded in any case: a guest that does not wait for its answer has asked all the same.
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

    /// Counts a call as under way until what this gives is dropped.
    fn enter(&self, name: &str) -> Result<UnderWay, Error> {
        let most = self.budgets.concurrent_calls.0;
        let under_way = UnderWay(self.under_way.clone());
        match self.under_way.fetch_add(1, Ordering::Relaxed) < most {
            true => Ok(under_way),
            false => Err(self.exceeded(name, "concurrent_calls", &format!("more than {most} host calls at once"))),
        }
    }

    /// Runs blocking work for this run on another thread, until the signal that it is given; a panic there is an error here.
    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Stop) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let done = self.permit.blocking(work).await;
        done.unwrap_or_else(|| Err(Error::Unavailable("the backend stopped unexpectedly".to_owned())))
    }

    /// Until when a backend may try to answer. The run's time is counted from its first call of this.
    pub fn deadline(&self) -> Deadline {
        self.permit.deadline()
    }

    /// Whose run it is.
    pub fn plugin(&self) -> &str {
        &self.caller.plugin
    }

    /// What bounds it.
    pub fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// What all work for this run needs.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Charges bytes that the host holds for a call until they are handed over.
    pub(super) fn hold(&self, call: &str, bytes: usize) -> Result<Held, Error> {
        self.permit.hold(bytes).map_err(|full| self.too_much(call, full))
    }

    /// The error for a call for which the host would hold more than it may.
    pub(super) fn too_much(&self, call: &str, _: TooMuch) -> Error {
        let most = self.budgets.host_memory;
        self.exceeded(call, "host_memory", &format!("the host would hold more than {most} for this run at once"))
    }

    pub(super) fn allow(&self, call: &str, wish: grant::Wish<'_>) -> Result<(), Error> {
        grant::check(&self.caller.plugin, &self.grants, call, wish)
    }

    /// The error for a call that goes over a budget: what was too much, and the keys that allow more.
    pub(super) fn exceeded(&self, call: &str, budget: &'static str, what: &str) -> Error {
        self.record(|record| record.exceeded.insert(budget));
        Error::OverBudget(format!("{call} refused: {what}; {}", raise(&self.caller.plugin, budget)))
    }

    /// Whether an answer is within the budgets of a result.
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

    /// Takes an alert, and gives its number in this run.
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

    /// As much of a call's question or error as is recorded.
    fn cut(&self, text: String) -> String {
        let most = self.record(|record| {
            let most = RECORDED_BYTES.min(ALL_RECORDED_BYTES.saturating_sub(record.texts));
            record.texts += text.len().min(most);
            most
        });
        if text.len() > most { shortened(&text, most) } else { text }
    }

    /// What was asked, and what people are to be told.
    pub fn take(&self) -> (Vec<Call>, Vec<Alert>) {
        self.record(|record| (std::mem::take(&mut record.calls), std::mem::take(&mut record.alerts)))
    }

    /// The budgets of host calls that were exceeded.
    pub fn budgets_exceeded(&self) -> BTreeSet<&'static str> {
        self.record(|record| record.exceeded.clone())
    }

    fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Records a call when it is over, however that comes about.
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

/// A call that is under way.
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

    /// A guest may call off a call before it is answered: it has asked all the same.
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
