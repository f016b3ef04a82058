//! One run's way to the backends: what it was granted, what it asked, and what it wanted to tell people.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::Semaphore;

use super::{Backends, grant};
use crate::{
    config::{Budgets, Grants},
    contract::{Error, slack::Alert},
};

/// What is kept of a call's question and error, in bytes.
const RECORDED_BYTES: usize = 8 << 10;
/// The largest alert, in bytes of JSON: many times what Slack shows.
const ALERT_BYTES: usize = 256 << 10;
/// Host calls of one run that are under way at once: more than any check asks, and few enough to leave threads to others.
const CONCURRENT: usize = 48;

/// A host call that a run made.
#[derive(Debug, Clone, Serialize)]
pub struct Call {
    /// `warehouse.query`, `git.changes`, …
    pub name: &'static str,
    /// What was asked: the SQL, the paths, the service, the channel.
    pub asked: String,
    /// How long the answer took.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Why there was no answer.
    pub error: Option<String>,
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// What one run may reach. When it is dropped, what it still asks is called off.
#[derive(Debug)]
pub struct Session {
    pub(super) plugin: String,
    pub(super) grants: Grants,
    pub(super) budgets: Budgets,
    pub(super) backends: Arc<Backends>,
    started: AtomicU32,
    concurrent: Semaphore,
    over: Arc<AtomicBool>,
    record: Mutex<Record>,
}

#[derive(Debug, Default)]
struct Record {
    calls: Vec<Call>,
    alerts: Vec<Alert>,
}

impl Session {
    /// For one run of a plugin.
    pub fn new(plugin: &str, grants: Grants, budgets: Budgets, backends: Arc<Backends>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            grants,
            budgets,
            backends,
            started: AtomicU32::new(0),
            concurrent: Semaphore::new(CONCURRENT),
            over: Arc::default(),
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
        let earlier = self.started.fetch_add(1, Ordering::Relaxed);
        if earlier > self.budgets.calls {
            return Err(self.too_many_calls(name));
        }
        // Closed never; were it, the call would go ahead.
        let _permit = self.concurrent.acquire().await;
        let started = Instant::now();
        let answer = if earlier == self.budgets.calls { Err(self.too_many_calls(name)) } else { answer.await };
        let error = answer.as_ref().err().map(|error| error.message().to_owned());
        let call = Call { name, asked: cut(asked), duration: started.elapsed(), error: error.map(cut) };
        self.record(|record| record.calls.push(call));
        answer
    }

    pub(super) fn allow(&self, call: &str, wish: grant::Wish<'_>) -> Result<(), Error> {
        grant::check(&self.plugin, &self.grants, call, wish)
    }

    fn too_many_calls(&self, name: &str) -> Error {
        Error::OverBudget(format!(
            "{name} refused: more than {} host calls in one run; {}",
            self.budgets.calls,
            self.raise("calls")
        ))
    }

    /// The keys that allow more.
    pub(super) fn raise(&self, budget: &str) -> String {
        format!("raise budgets.{budget}, or grants.{}.budgets.{budget}, in host.toml", self.plugin)
    }

    /// Takes an alert, and gives its number in this run.
    pub(super) fn alert(&self, alert: Alert) -> Result<usize, Error> {
        let most = self.budgets.alerts;
        let size = serde_json::to_string(&alert).map_or(usize::MAX, |text| text.len());
        if size > ALERT_BYTES {
            return Err(Error::OverBudget(format!(
                "post refused: the alert takes {size} bytes, and {ALERT_BYTES} are the most"
            )));
        }
        self.record(|record| {
            if record.alerts.len() >= most as usize {
                let raise = self.raise("alerts");
                return Err(Error::OverBudget(format!("post refused: more than {most} alerts in one run; {raise}")));
            }
            record.alerts.push(alert);
            Ok(record.alerts.len())
        })
    }

    /// Becomes true when the run is over, so that work on another thread can stop.
    pub(super) fn over(&self) -> Arc<AtomicBool> {
        self.over.clone()
    }

    /// What was asked, and what people are to be told.
    pub fn take(&self) -> (Vec<Call>, Vec<Alert>) {
        self.record(|record| (std::mem::take(&mut record.calls), std::mem::take(&mut record.alerts)))
    }

    fn record<T>(&self, change: impl FnOnce(&mut Record) -> T) -> T {
        change(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls off what is still asked.
    pub fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

fn cut(mut text: String) -> String {
    if text.len() > RECORDED_BYTES {
        let end = (0..=RECORDED_BYTES).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Runs blocking work on a thread of its own; a panic there is an error here.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::Unavailable(format!("the backend stopped unexpectedly: {error}"))))
}
