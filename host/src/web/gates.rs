//! The page of the gates: their last answers, and who asked.

use std::collections::BTreeSet;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::{
    Site,
    layout::{Frame, brief, class, link, moment, status},
};
use crate::{host::Host, record::Consultation};

/// Questions in the list.
const SHOWN: u32 = 200;

pub(super) async fn page(State(site): State<Site>) -> Response {
    let frame = match Frame::new(&site).await {
        Ok(frame) => frame,
        Err(refused) => return refused.into_response(),
    };
    match frame.host().recorder.record.consultations(None, SHOWN).await {
        Ok(asked) => frame.page(move |_, host| ("Gates".to_owned(), content(host, &asked))).await,
        Err(error) => frame.problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

fn content(host: &Host, asked: &[Consultation]) -> Markup {
    let consulted: BTreeSet<&str> = asked.iter().map(|one| one.gate.as_str()).collect();
    let is_gate = |name: &str, group: Option<&str>| {
        let expected = host.config.checks.get(name).is_some_and(|check| check.expect_consult.is_some());
        expected || consulted.contains(name) || group == Some("gates")
    };
    let gates: Vec<_> = host
        .checks
        .iter()
        .filter(|check| check.plugin().is_some())
        .filter(|check| is_gate(&check.name, check.family.as_ref().map(|family| family.group.as_str())))
        .collect();
    html! {
        h1 { "Gates" }
        @if gates.is_empty() { p { "None of the checks is a gate." } }
        ul.checks {
            @for check in &gates {
                @let recent = host.recorder.board.of(&check.name);
                @let result = recent.last.as_ref().map_or("not run yet", |last| last.status.name());
                @let newest = asked.iter().find(|one| one.gate == check.name);
                li class={ "check " (class(result)) } {
                    div.head { h2 { (link(&check.name)) } (status(result)) }
                    @if let Some(last) = &recent.last { p.summary { (brief(&last.summary)) } }
                    p.facts {
                        @match newest {
                            Some(one) => { "Last asked by " b { (one.caller) } " at " (moment(one.at, host)) " about " (one.data_date) ": " (status(&one.decision)) },
                            None => "Nobody asked yet.",
                        }
                        @if let Some(expected) = host.config.checks.get(&check.name).and_then(|own| own.expect_consult.as_ref()) {
                            " Somebody must ask by " code { (expected) } "."
                        }
                    }
                }
            }
        }
        h2 { "Who asked" }
        @if asked.is_empty() {
            p {
                "Nobody yet. "
                @if let Some(gate) = gates.first() {
                    code { (host.config.command(&format!("host gate {}", gate.name))) } " asks, and so does "
                    code { "POST /api/v1/gates/" (gate.name) } "."
                }
            }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Who asked" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Gate" } th scope="col" { "Data of" } th scope="col" { "Caller" } th scope="col" { "Answer" } th scope="col" { "Why" } } }
                    tbody {
                        @for one in asked {
                            tr {
                                td { (moment(one.at, host)) }
                                td { (link(&one.gate)) }
                                td { (one.data_date) }
                                td { (one.caller) }
                                td { (status(&one.decision)) }
                                td { (brief(&one.message)) }
                            }
                        }
                    }
                }
            }
        }
    }
}
