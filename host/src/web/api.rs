//! The JSON API, described in `openapi.json` beside this file; a test compares the two.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{Path, Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use jiff::civil::Date;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Site, caller::who};
use crate::{
    alert::Dated,
    check::{Check, Work, no_such_check},
    config::{Bytes as Size, Time},
    gate::{Answer, Refusal},
    host::Host,
    record::{self, Included},
};

/// Where it was done, for the audit trail.
pub(super) const API: &str = "the API";
/// The largest body that is read, in bytes.
const BODY: usize = 64 << 10;
/// How long it may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// The maximum number of entries of one answer.
const MOST: u32 = 1000;
/// The maximum size of included parts in one answer, in bytes.
const LONG: usize = 8 << 20;
/// Metrics of each check in the list of all checks; a single check has all of them.
const LISTED_METRICS: usize = 50;

/// An error response, as JSON.
#[derive(Debug)]
pub(super) struct Refused {
    /// The status code.
    pub(super) status: StatusCode,
    /// The message: what is wrong, where, and what to do.
    pub(super) error: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.error }))).into_response()
    }
}

pub(super) fn refused(status: StatusCode, error: impl Into<String>) -> Refused {
    Refused { status, error: error.into() }
}

/// The response if the record cannot be read.
pub(super) fn unreadable(error: &anyhow::Error) -> Refused {
    tracing::error!("a request cannot be answered: {error:#}");
    refused(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}"))
}

/// Renders an answer as JSON on another thread.
async fn listed<T: serde::Serialize + Send + 'static>(
    site: &Site,
    name: &'static str,
    entries: impl Future<Output = anyhow::Result<T>>,
) -> Result<Response, Refused> {
    let turn = site.turn().await?;
    let entries = entries.await.map_err(|error| unreadable(&error))?;
    turn.render(None, move || Json(BTreeMap::from([(name, entries)])).into_response()).await
}

/// Query parameters of lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    check: Option<String>,
    limit: Option<u32>,
}

/// Query parameters of the list of runs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedRuns {
    check: Option<String>,
    limit: Option<u32>,
    date: Option<Date>,
    /// `report`, `calls`, or both with a comma.
    #[serde(default)]
    include: String,
}

type Asked<T> = Result<Query<T>, QueryRejection>;

fn asked<T>(asked: Asked<T>) -> Result<T, Refused> {
    asked.map(|Query(wanted)| wanted).map_err(|error| refused(StatusCode::BAD_REQUEST, error.body_text()))
}

fn limit(wanted: Option<u32>) -> Result<u32, Refused> {
    match wanted.unwrap_or(100) {
        limit @ 1..=MOST => Ok(limit),
        _ => Err(refused(StatusCode::BAD_REQUEST, format!("limit: write 1 to {MOST}"))),
    }
}

fn included(wanted: &str) -> Result<Included, Refused> {
    let mut included = Included { most: LONG, ..Included::default() };
    for word in wanted.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "report" => included.report = true,
            "calls" => included.calls = true,
            other => {
                let text = format!("include: unknown value `{other}`; write report, calls, or report,calls");
                return Err(refused(StatusCode::BAD_REQUEST, text));
            }
        }
    }
    Ok(included)
}

/// One check in the API, with at most `metrics` metrics.
fn described(site: &Site, host: &Host, check: &Check, metrics: usize) -> Value {
    let recent = host.recorder.board.of(&check.name);
    let ready = check.plugin();
    let all = recent.last.as_ref().map(|last| last.metrics.as_slice());
    json!({
        "name": check.name,
        "status": recent.last.as_ref().map(|last| last.status),
        "since": recent.since,
        "summary": recent.last.as_ref().map(|last| &last.summary),
        "due": recent.last.as_ref().map(|last| last.due),
        "data_date": recent.last.as_ref().map(|last| last.data_date),
        "metrics": all.map(|all| all.iter().take(metrics).collect::<Vec<_>>()),
        "metrics_left_out": all.map_or(0, |all| all.len().saturating_sub(metrics)),
        "next_due": site.service().next(&check.name),
        "schedule": check.schedule.to_string(),
        "timezone": check.zone.name(),
        "plugin": ready.map(|ready| &ready.plugin.file),
        "channel": check.family.as_ref().map(|family| &family.channel),
        "watches": match &check.work { Work::Consultation(gate) => Some(gate), _ => None },
        "cannot_run": check.unable(),
        "invalid": recent.invalid,
        "remarks": recent.remarks,
    })
}

pub(super) async fn checks(State(site): State<Site>) -> Result<Response, Refused> {
    let turn = site.turn().await?;
    let work = move || {
        let host = site.host();
        let described = |check: &Arc<Check>| described(&site, &host, check, LISTED_METRICS);
        let checks: Vec<Value> = host.checks.iter().map(described).collect();
        Json(json!({ "checks": checks, "configuration_refused": site.service().refused() })).into_response()
    };
    turn.render(None, work).await
}

pub(super) async fn check(State(site): State<Site>, Path(name): Path<String>) -> Result<Response, Refused> {
    let turn = site.turn().await?;
    let host = site.host();
    let check = host.check(&name).cloned().ok_or_else(|| unknown(&host, &name))?;
    let plugin = check.plugin().map(|ready| ready.plugin.file.name.clone());
    let work = move || {
        let mut described = described(&site, &host, &check, usize::MAX);
        // Only here: with a thousand checks it would dominate the answer.
        if let Some(fields) = described.as_object_mut() {
            fields.insert("recent".to_owned(), json!(host.recorder.board.of(&check.name).dots));
        }
        Json(described).into_response()
    };
    turn.render(plugin.as_deref(), work).await
}

/// The response for an unknown check.
pub(super) fn unknown(host: &Host, name: &str) -> Refused {
    let names = host.checks.iter().map(|check| check.name.as_str());
    refused(StatusCode::NOT_FOUND, no_such_check(name, names))
}

pub(super) async fn runs(State(site): State<Site>, query: Asked<WantedRuns>) -> Result<Response, Refused> {
    let wanted = asked(query)?;
    let (limit, included) = (limit(wanted.limit)?, included(&wanted.include)?);
    let turn = site.turn().await?;
    let host = site.host();
    let runs = host.recorder.record.runs_about(wanted.check.as_deref(), wanted.date, limit, included).await;
    let runs = runs.map_err(|error| unreadable(&error))?;
    if let Some(read) = runs.iter().position(|run| run.unread) {
        let most = Size(LONG);
        let text = match read {
            0 => format!("include: the newest run alone is larger than {most}"),
            read => {
                format!("limit: the included parts of {} runs are larger than {most}; write {read} or less", read + 1)
            }
        };
        return Err(refused(StatusCode::BAD_REQUEST, text));
    }
    turn.render(None, move || Json(json!({ "runs": runs })).into_response()).await
}

/// Query parameters of the list of dates.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WantedDates {
    check: Option<String>,
    #[serde(default)]
    open: bool,
    limit: Option<u32>,
}

pub(super) async fn dates(State(site): State<Site>, query: Asked<WantedDates>) -> Result<Response, Refused> {
    let wanted = asked(query)?;
    let limit = usize::try_from(limit(wanted.limit)?).unwrap_or(usize::MAX);
    let turn = site.turn().await?;
    let work = move || {
        let (host, now) = (site.host(), record::now());
        let checks = host.checks.iter().filter(|check| wanted.check.as_ref().is_none_or(|name| check.name == *name));
        let mut dates: Vec<Dated> = Vec::new();
        for check in checks {
            let recent = host.recorder.board.of(&check.name);
            let days = recent.seen.days.iter().rev().filter(|(_, day)| !wanted.open || day.is_open());
            dates.extend(days.map(|(subject, day)| Dated::new(&check.name, *subject, day, now)));
        }
        dates.sort_by(|one, other| (other.data_date, &one.check).cmp(&(one.data_date, &other.check)));
        let left_out = dates.len().saturating_sub(limit);
        dates.truncate(limit);
        Json(json!({ "dates": dates, "left_out": left_out })).into_response()
    };
    turn.render(None, work).await
}

pub(super) async fn alerts(State(site): State<Site>, query: Asked<Wanted>) -> Result<Response, Refused> {
    let wanted = asked(query)?;
    let limit = limit(wanted.limit)?;
    let host = site.host();
    listed(&site, "alerts", host.recorder.record.alerts(wanted.check.as_deref(), limit)).await
}

pub(super) async fn messages(State(site): State<Site>, query: Asked<Wanted>) -> Result<Response, Refused> {
    let wanted = asked(query)?;
    let limit = limit(wanted.limit)?;
    let host = site.host();
    listed(&site, "messages", host.recorder.record.messages(wanted.check.as_deref(), limit)).await
}

pub(super) async fn consultations(State(site): State<Site>, query: Asked<Wanted>) -> Result<Response, Refused> {
    let wanted = asked(query)?;
    let limit = limit(wanted.limit)?;
    let host = site.host();
    listed(&site, "consultations", host.recorder.record.consultations(wanted.check.as_deref(), limit)).await
}

pub(super) async fn silences(State(site): State<Site>) -> Result<Response, Refused> {
    let host = site.host();
    listed(&site, "silences", host.recorder.record.silences(Some(record::now()))).await
}

/// The hosts that share the record; none if this one is alone.
pub(super) async fn hosts(State(site): State<Site>) -> Result<Response, Refused> {
    let host = site.host();
    listed(&site, "hosts", host.recorder.record.peers()).await
}

/// Reads a request's body, within limits on size and time.
pub(super) async fn bounded(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY)).await {
        Ok(Ok(bytes)) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Ok(Err(_)) => refused(StatusCode::PAYLOAD_TOO_LARGE, format!("a body of more than {BODY} B")).into_response(),
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time").into_response(),
    }
}

/// Parses a JSON body; an empty body is the default.
pub(super) fn parsed<T: DeserializeOwned + Default>(bytes: &Bytes) -> Result<T, Refused> {
    match bytes.is_empty() {
        true => Ok(T::default()),
        false => serde_json::from_slice(bytes)
            .map_err(|error| refused(StatusCode::BAD_REQUEST, format!("the body: {error}"))),
    }
}

/// A question to a gate.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Question {
    date: Option<Date>,
    caller: Option<String>,
}

pub(super) async fn consult(
    State(site): State<Site>,
    Path(name): Path<String>,
    headers: HeaderMap,
    content: Bytes,
) -> Response {
    let question: Question = match parsed(&content) {
        Ok(question) => question,
        Err(refused) => return refused.into_response(),
    };
    let header = || headers.get("x-caller").and_then(|caller| caller.to_str().ok()).map(str::to_owned);
    let agent = || headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(str::to_owned);
    let caller = question.caller.or_else(header).or_else(agent).unwrap_or_else(|| "unnamed".to_owned());
    match site.service().gates.consult(&site.host(), &name, question.date, &caller).await {
        // Not evaluated is an error status, so that a caller who only checks the status does not proceed.
        Ok(decision) if decision.status == Answer::NotEvaluated => {
            (StatusCode::SERVICE_UNAVAILABLE, Json(decision)).into_response()
        }
        Ok(decision) => Json(decision).into_response(),
        Err(Refusal::Unknown(error)) => refused(StatusCode::NOT_FOUND, error).into_response(),
        Err(Refusal::Date(error)) => refused(StatusCode::BAD_REQUEST, error).into_response(),
        Err(Refusal::Failed(error)) => {
            let answer = json!({ "gate": name, "status": "NOT_EVALUATED", "can_proceed": false, "message": error });
            (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
        }
    }
}

/// A request for a silence.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewSilence {
    checks: Vec<String>,
    #[serde(rename = "for")]
    length: String,
    why: String,
}

pub(super) async fn silence(State(site): State<Site>, headers: HeaderMap, content: Bytes) -> Response {
    let wanted: NewSilence = match parsed(&content) {
        Ok(wanted) => wanted,
        Err(refused) => return refused.into_response(),
    };
    match begin_silence(&site.host(), &wanted.checks, &wanted.length, &wanted.why, &who(&headers, API)).await {
        Ok(id) => (StatusCode::CREATED, Json(json!({ "id": id }))).into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Starts a silence, and returns its number.
pub(super) async fn begin_silence(
    host: &Host,
    checks: &[String],
    length: &str,
    why: &str,
    who: &str,
) -> Result<i64, Refused> {
    let wrong = |text: String| refused(StatusCode::BAD_REQUEST, text);
    if checks.is_empty() {
        return Err(wrong("checks: name at least one".to_owned()));
    }
    if let Some(check) = checks.iter().find(|check| host.check(check).is_none()) {
        return Err(unknown(host, check));
    }
    if why.trim().is_empty() {
        return Err(wrong("why: give a reason".to_owned()));
    }
    let length: Time = length.parse().map_err(|error| wrong(format!("for: {error}")))?;
    let now = record::now();
    let ends = now.checked_add(length.0).map_err(|_| wrong("for: that is too long".to_owned()))?;
    let by = (who, &host.config.timezone.rules());
    host.recorder.record.silence(checks, why.trim(), (now, ends), by).await.map_err(|error| unreadable(&error))
}

pub(super) async fn end_silence(State(site): State<Site>, Path(id): Path<i64>, headers: HeaderMap) -> Response {
    match site.host().recorder.record.expire(id, record::now(), &who(&headers, API)).await {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => refused(StatusCode::NOT_FOUND, format!("silence {id} is not active")).into_response(),
        Err(error) => unreadable(&error).into_response(),
    }
}

pub(super) async fn reload(State(site): State<Site>) -> Response {
    site.service().reload().await;
    match site.service().refused() {
        None => Json(json!({ "reloaded": true })).into_response(),
        Some(wrong) => refused(StatusCode::UNPROCESSABLE_ENTITY, wrong.reason).into_response(),
    }
}

pub(super) async fn metrics(State(site): State<Site>) -> Response {
    let host = site.host();
    match host.recorder.record.count_undelivered(record::now()).await {
        Ok(undelivered) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], host.recorder.metrics.text(undelivered, site.service().owed()))
                .into_response()
        }
        Err(error) => unreadable(&error).into_response(),
    }
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], include_str!("openapi.json")).into_response()
}
