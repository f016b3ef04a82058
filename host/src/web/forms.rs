//! The forms of the page: start and end silences, as in the API.

use axum::{
    Form,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
};
use serde::Deserialize;

use super::{Site, api::begin_silence, caller::who, layout};
use crate::text::encoded;

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

/// Leads to a page of this host, below the path that a proxy serves it at.
pub(super) fn to(site: &Site, path: &str) -> Response {
    Redirect::to(&format!("{}{path}", site.host().config.web.prefix())).into_response()
}
