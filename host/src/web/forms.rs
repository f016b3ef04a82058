//! The forms of the page: start and end silences, as in the API, and say what an alert was.

use axum::{
    Form,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{Site, api::begin_silence, caller::who, layout};
use crate::{
    record::{LONGEST_WHY, Label},
    text::encoded,
};

/// Who did it, for the audit trail: whoever uses the page has its token, and a name only if the browser was given one.
pub(super) const PAGE: &str = "the page";

/// A request for a silence.
#[derive(Debug, Deserialize)]
pub(super) struct Silence {
    #[serde(rename = "for")]
    length: String,
    why: String,
}

pub(super) async fn silence(
    State(site): State<Site>,
    Path(name): Path<String>,
    headers: HeaderMap,
    form: Form<Silence>,
) -> Response {
    let who = who(&headers, PAGE);
    match begin_silence(&site.host(), std::slice::from_ref(&name), &form.length, &form.why, &who).await {
        Ok(_) => to(&site, &format!("/checks/{}#silences", encoded(&name))),
        Err(refused) => layout::problem(&site, refused.status, &refused.error).await,
    }
}

/// The page to return to.
#[derive(Debug, Deserialize)]
pub(super) struct From {
    check: String,
}

pub(super) async fn end_silence(
    State(site): State<Site>,
    Path(id): Path<i64>,
    headers: HeaderMap,
    form: Form<From>,
) -> Response {
    let host = site.host();
    match host.recorder.record.expire(id, crate::record::now(), &who(&headers, PAGE)).await {
        // Only a page of this host.
        Ok(_) if host.check(&form.check).is_some() => to(&site, &format!("/checks/{}#silences", encoded(&form.check))),
        Ok(_) => to(&site, "/"),
        Err(error) => layout::problem(&site, StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

/// What somebody says that an alert was.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    label: String,
    why: String,
}

pub(super) async fn label(
    State(site): State<Site>,
    Path(id): Path<i64>,
    headers: HeaderMap,
    form: Form<Said>,
) -> Response {
    let wrong = async |status, text: &str| layout::problem(&site, status, text).await;
    let Some(label) = Label::named(&form.label) else {
        return wrong(StatusCode::BAD_REQUEST, "label: write real, false or noise").await;
    };
    let why = form.why.split_whitespace().collect::<Vec<_>>().join(" ");
    if why.is_empty() || why.chars().count() > LONGEST_WHY {
        let text = format!("why: give a reason of at most {LONGEST_WHY} characters, for others to read");
        return wrong(StatusCode::BAD_REQUEST, &text).await;
    }
    let host = site.host();
    let record = &host.recorder.record;
    let labelled = async {
        let Some(alert) = record.alert(id).await? else { return Ok::<_, anyhow::Error>(None) };
        record.label(id, label, &why, (&who(&headers, PAGE), crate::record::now())).await?;
        Ok(Some(alert.check))
    };
    match labelled.await {
        // Only a page of this host.
        Ok(Some(check)) if host.check(&check).is_some() => to(&site, &format!("/checks/{}#alerts", encoded(&check))),
        Ok(Some(_)) => to(&site, "/"),
        Ok(None) => wrong(StatusCode::NOT_FOUND, &format!("there is no alert {id}")).await,
        Err(error) => wrong(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

/// Leads to a page of this host, below the path that a proxy serves it at.
pub(super) fn to(site: &Site, path: &str) -> Response {
    Redirect::to(&format!("{}{path}", site.host().config.web.prefix())).into_response()
}
