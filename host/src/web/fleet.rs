//! The page of the hosts on the record: what each runs and does.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::{Markup, html};

use super::{
    Site,
    layout::{Frame, moment, plural},
};
use crate::{
    host::Host,
    record::{Holding, Peer},
    text::span,
};

/// Claims in the list of one host.
const SHOWN: usize = 20;

pub(super) async fn page(State(site): State<Site>) -> Response {
    let frame = match Frame::new(&site).await {
        Ok(frame) => frame,
        Err(refused) => return refused.into_response(),
    };
    let record = &frame.host().recorder.record;
    if record.member().is_none() {
        return frame.problem(StatusCode::NOT_FOUND, "this host is the only one on its record").await;
    }
    let read = async { anyhow::Ok((record.peers().await?, record.holding().await?)) };
    match read.await {
        Ok((peers, holding)) => {
            frame.page(move |_, host| ("Hosts".to_owned(), content(host, &peers, holding.as_ref()))).await
        }
        Err(error) => frame.problem(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")).await,
    }
}

fn content(host: &Host, peers: &[Peer], holding: Option<&Holding>) -> Markup {
    let own = host.recorder.record.member().map(|member| member.id.as_str()).unwrap_or_default();
    html! {
        h1 { (peers.len()) " " (plural(peers.len(), "host", "hosts")) }
        @if let Some(holding) = holding {
            p {
                "The configuration that holds is " code { (holding.digest) }
                "."
                @if holding.revision > 0 { " The highest revision seen is " (holding.revision) "." }
            }
        }
        div.scroll tabindex="0" role="region" aria-label="The hosts" {
            table {
                thead { tr { th scope="col" { "Host" } th scope="col" { "Version" } th scope="col" { "Since" } th scope="col" { "Heard of" } th scope="col" { "Runs" } th scope="col" { "Lag" } th scope="col" { "Claims now" } } }
                tbody {
                    @for peer in peers {
                        tr {
                            td { (peer.name) " " code { (peer.id) } @if peer.id == own { " (this one)" } }
                            td { (peer.version) }
                            td { (moment(peer.began, host)) }
                            td { (span(peer.silent.round() as i64)) " ago" }
                            td {
                                code { (peer.digest) }
                                @if let Some(revision) = peer.revision { " of revision " (revision) }
                                @if !peer.takes_part { ": " strong { "takes no part" } }
                            }
                            td { @if let Some(lag) = peer.lag { (format!("{lag:.1} s")) } }
                            td {
                                @if peer.claims.is_empty() { "nothing" }
                                (peer.claims.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", "))
                                @if peer.claims.len() > SHOWN { " and " (peer.claims.len() - SHOWN) " more" }
                            }
                        }
                    }
                }
            }
        }
        p.note { "Lag: by how much the latest run of a host's last ten seconds began late; empty if none began." }
    }
}
