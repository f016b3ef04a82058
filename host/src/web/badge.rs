//! A check's badge: its name and last status, for embedding in other pages.

use axum::{
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use maud::html;

use super::{Site, api::unknown};

/// About the width of a character of 11 px Verdana, in px.
const CHARACTER: usize = 7;

pub(super) async fn badge(State(site): State<Site>, Path(name): Path<String>) -> Response {
    let host = site.host();
    if host.check(&name).is_none() {
        return unknown(&host, &name).into_response();
    }
    let status = host.recorder.board.of(&name).last.as_ref().map_or("not run", |last| last.status.name());
    (StatusCode::OK, [(header::CONTENT_TYPE, "image/svg+xml; charset=utf-8")], svg(&name, status)).into_response()
}

fn svg(name: &str, status: &str) -> String {
    let color = match status {
        "pass" => "#1a7f37",
        "warn" => "#8a5a00",
        "fail" => "#b3261e",
        "error" => "#6f3fa5",
        _ => "#57606a",
    };
    let (left, right) = (name.chars().count() * CHARACTER + 12, status.chars().count() * CHARACTER + 12);
    let width = left + right;
    let label = format!("{name}: {status}");
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(width) height="20" role="img" aria-label=(label) {
            title { (label) }
            rect width=(left) height="20" fill="#3d444d" {}
            rect x=(left) width=(right) height="20" fill=(color) {}
            g fill="#ffffff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" {
                text x=(left / 2) y="14" { (name) }
                text x=(left + right / 2) y="14" { (status) }
            }
        }
    }
    .into_string()
}
