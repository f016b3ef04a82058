//! Gates: callers ask whether the data of a date may be processed, and each question is recorded with its answer.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    check::{Check, Work},
    contract::{Report, Verdict},
    host::Host,
    record::{self, Asked, Consultation},
    run::{Moment, Run, When},
};

/// Characters of a caller's name that are kept.
const CALLER: usize = 200;

/// The answer of a gate, with the fields that callers rely on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decision {
    /// The check's name.
    pub gate: String,
    /// The data date.
    pub data_date: Date,
    /// The decision.
    pub status: Answer,
    /// Whether the date may be processed.
    pub can_proceed: bool,
    /// From 0 to 1; `None` if not evaluated.
    pub quality_score: Option<f64>,
    /// One line.
    pub message: String,
    /// From 0 to 100 %; `None` if nothing was expected.
    pub completeness_pct: Option<f64>,
    /// The number of expected items.
    pub expected_count: Option<u64>,
    /// The number of them that are present.
    pub actual_count: Option<u64>,
    /// The missing items.
    pub missing_items: Vec<String>,
    /// The violations and unknown items.
    pub quality_issues: Vec<String>,
    /// Further values.
    pub quality_metadata: Map<String, Value>,
    /// The run's clock.
    pub evaluated_at: Timestamp,
    /// The plugin's name, version and digest.
    pub plugin: Option<Value>,
}

/// The decision of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Answer {
    /// The date may be processed.
    Proceed,
    /// The date may be processed, with care.
    ProceedWithWarning,
    /// The date must not be processed.
    Fail,
    /// Not evaluated, so the date must not be processed.
    NotEvaluated,
}

impl Answer {
    /// The word in the answer.
    pub fn name(self) -> &'static str {
        match self {
            Self::Proceed => "PROCEED",
            Self::ProceedWithWarning => "PROCEED_WITH_WARNING",
            Self::Fail => "FAIL",
            Self::NotEvaluated => "NOT_EVALUATED",
        }
    }

    /// Whether the date may be processed.
    pub fn can_proceed(self) -> bool {
        matches!(self, Self::Proceed | Self::ProceedWithWarning)
    }
}

impl Decision {
    /// The decision for a run of a gate. Unknown is not OK: a skipped or only partly evaluated run blocks.
    pub fn new(run: &Run) -> Self {
        let report = run.report.as_ref();
        let status = match report.map(|report| &report.verdict) {
            Some(Verdict::Fail) => Answer::Fail,
            _ if run.error.is_some() => Answer::NotEvaluated,
            Some(Verdict::Pass) => Answer::Proceed,
            Some(Verdict::Warn) => Answer::ProceedWithWarning,
            Some(Verdict::Skip(_)) | None => Answer::NotEvaluated,
        };
        let gate = report.and_then(|report| report.gate.as_ref());
        let issues = |report: &Report| report.violations.iter().map(|violation| violation.message.clone()).collect();
        Self {
            gate: run.check.clone(),
            data_date: run.data_date,
            status,
            can_proceed: status.can_proceed(),
            quality_score: gate.map(|gate| gate.score),
            message: run.summary(),
            completeness_pct: gate.and_then(|gate| gate.completeness),
            expected_count: gate.map(|gate| gate.expected),
            actual_count: gate.map(|gate| gate.actual),
            missing_items: gate.map(|gate| gate.missing.clone()).unwrap_or_default(),
            quality_issues: report.map(issues).unwrap_or_default(),
            quality_metadata: gate
                .map(|gate| gate.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect())
                .unwrap_or_default(),
            evaluated_at: run.due,
            plugin: run.plugin.as_ref().and_then(|plugin| serde_json::to_value(plugin).ok()),
        }
    }
}

/// Evaluates a gate. Hosts that are asked about one date at the same time share one evaluation.
async fn decided(host: &Host, check: &Arc<Check>, date: Date, now: Timestamp) -> anyhow::Result<Decision> {
    let record = &host.recorder.record;
    let lease = match record.take_or_hear(&format!("gate {} {date}", check.name)).await? {
        Asked::Heard(answer) => return Ok(serde_json::from_str(&answer)?),
        Asked::Mine(lease) => lease,
    };
    let decision = host.ask(check, Some(date), now, lease.clone()).await.map(|run| Decision::new(&run));
    if let Some(lease) = lease {
        let answer = decision.as_ref().ok().map(serde_json::to_string).transpose()?;
        record.give_back(&lease, answer.as_deref()).await?;
    }
    decision
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The check does not exist.
    #[error("{0}")]
    Unknown(String),
    /// The date is invalid.
    #[error("{0}")]
    Date(String),
    /// The gate could not be evaluated, or the question not recorded.
    #[error("{0}")]
    Failed(String),
}

/// The result of one evaluation, for all who wait for it.
type Evaluation = Shared<BoxFuture<'static, Result<Arc<Decision>, Arc<str>>>>;

/// The running evaluations.
#[derive(Debug, Default)]
pub struct Gates {
    pending: Arc<Mutex<HashMap<(String, Date), Evaluation>>>,
    /// The time of the last evaluation, in milliseconds; each evaluation has its own.
    last: AtomicI64,
}

impl Gates {
    /// Asks a gate about a date, by default its usual one, and records the caller and the answer. Concurrent questions
    /// about one date share one evaluation.
    pub async fn consult(
        &self,
        host: &Arc<Host>,
        gate: &str,
        date: Option<Date>,
        caller: &str,
    ) -> Result<Decision, Refusal> {
        let check = host.find(gate).map_err(Refusal::Unknown)?;
        if matches!(check.work, Work::Consultation(_)) {
            return Err(Refusal::Unknown(format!("{gate} is not a gate: it checks whether somebody asked one")));
        }
        let now = self.clock();
        let moment = Moment::of(check, &host.config, now, When { at: None, date });
        let date = moment.map_err(|error| Refusal::Date(format!("{error:#}")))?.data_date;
        let evaluation = self.evaluation(host, check, date, now);
        let decision = evaluation.await.map_err(|error| Refusal::Failed(error.to_string()))?;
        let caller: String = caller.chars().map(|c| if c.is_control() { ' ' } else { c }).take(CALLER).collect();
        let consultation = Consultation {
            gate: gate.to_owned(),
            data_date: date,
            caller,
            at: record::now(),
            decision: decision.status.name().to_owned(),
            message: decision.message.clone(),
        };
        let answer = serde_json::to_string(&*decision).unwrap_or_default();
        // Do not answer what cannot be looked up afterwards.
        let written = host.recorder.record.consulted(&consultation, &answer).await;
        written.map_err(|error| Refusal::Failed(format!("the question cannot be recorded: {error:#}")))?;
        host.recorder.metrics.consulted(gate, decision.status.name());
        tracing::info!(check = gate, caller = consultation.caller, "asked about {date}: {}", decision.status.name());
        Ok(Decision::clone(&decision))
    }

    /// Joins the running evaluation, or starts one, which completes even if nobody waits for it any more.
    fn evaluation(&self, host: &Arc<Host>, check: &Arc<Check>, date: Date, now: Timestamp) -> Evaluation {
        let key = (check.name.clone(), date);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(evaluation) = pending.get(&key) {
            return evaluation.clone();
        }
        let (host, check, all, done) = (host.clone(), check.clone(), self.pending.clone(), key.clone());
        let task = tokio::spawn(async move {
            let decision = decided(&host, &check, date, now).await;
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&done);
            decision.map(Arc::new).map_err(|error| Arc::from(format!("{error:#}")))
        });
        let pending_key = key.clone();
        let again = self.pending.clone();
        let evaluation = async move {
            task.await.unwrap_or_else(|error| {
                // A bug in the host: the next question starts a new evaluation.
                again.lock().unwrap_or_else(PoisonError::into_inner).remove(&pending_key);
                Err(Arc::from(format!("the evaluation stopped unexpectedly: {error}")))
            })
        };
        let evaluation = evaluation.boxed().shared();
        pending.insert(key, evaluation.clone());
        evaluation
    }

    /// The current time, never the same millisecond twice, since it identifies the run.
    fn clock(&self) -> Timestamp {
        let now = record::now().as_millisecond();
        let before = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
        let next = before.map_or(now, |last| now.max(last + 1));
        Timestamp::from_millisecond(next).unwrap_or_else(|_| record::now())
    }
}
