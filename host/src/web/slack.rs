//! Presses of the buttons in the bot's messages. Slack has no token of the host; it signs what it sends. It waits 3 seconds:
//! <https://docs.slack.dev/interactivity/handling-user-interaction>

use std::{sync::Arc, time::Duration};

use axum::{
    Form,
    body::{Body, to_bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    Site,
    api::{Refused, refused},
    not_allowed,
};
use crate::{
    alert::{ACKNOWLEDGE, Proof},
    host::Host,
    recorder::Press,
    text::printable,
};

/// The largest body, in bytes. It has the whole message, encoded for a form.
const BODY: usize = 512 << 10;
/// How long it may take to arrive, and after that the order until Slack is answered. The order goes on.
const BODY_TIME: Duration = Duration::from_secs(1);
const ORDER_TIME: Duration = Duration::from_millis(1500);
/// Characters of a user's name.
const NAME: usize = 40;
/// Characters of Slack's ids.
const ID: usize = 32;

/// The body: a form with one field.
#[derive(Debug, Deserialize)]
struct Sent {
    payload: String,
}

/// What happened: <https://docs.slack.dev/reference/interaction-payloads/block_actions-payload>
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    container: Container,
    actions: Vec<Action>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct User {
    id: String,
    username: String,
    name: String,
}

/// Where the message is.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    channel_id: String,
    message_ts: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Action {
    action_id: String,
    value: Option<String>,
}

pub(super) async fn actions(State(site): State<Site>, request: Request) -> Response {
    let host = site.host();
    if !host.recorder.delivery.has_buttons() {
        return refused(StatusCode::NOT_FOUND, "messages have no buttons here").into_response();
    }
    if request.method() != Method::POST {
        return not_allowed(request).await;
    }
    match received(&host, request).await {
        Ok(presses) => {
            let carried_out = tokio::spawn(carry_out(host, presses));
            let _ = tokio::time::timeout(ORDER_TIME, carried_out).await;
            StatusCode::OK.into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// The presses in a request, each with the user's id, if it comes from Slack.
async fn received(host: &Host, request: Request) -> Result<Vec<(Press, String)>, Refused> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| text(&parts.headers, name);
    let kind = text("content-type").split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a press of a button in Slack is a form"));
    }
    let body = match tokio::time::timeout(BODY_TIME, to_bytes(body, BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, format!("a body of more than {BODY} B"))),
        Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    };
    let (timestamp, signature) = (text("x-slack-request-timestamp"), text("x-slack-signature"));
    host.recorder
        .delivery
        .accept(Proof { timestamp, signature, body: &body })
        .map_err(|why| refused(StatusCode::UNAUTHORIZED, why))?;
    let unreadable = || refused(StatusCode::BAD_REQUEST, "not a press of a button in Slack");
    let form = Form::<Sent>::from_request(Request::from_parts(parts, Body::from(body)), &()).await;
    let Form(Sent { payload }) = form.map_err(|_| unreadable())?;
    presses(serde_json::from_str(&payload).map_err(|_| unreadable())?).ok_or_else(unreadable)
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The presses of `Acknowledge`; `None` if nobody did it. A link is reported too, and needs nothing.
fn presses(Interaction { kind, user, container, actions }: Interaction) -> Option<Vec<(Press, String)>> {
    let is_id = |id: &str| (1..=ID).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_alphanumeric());
    if kind != "block_actions" || !is_id(&user.id) {
        return None;
    }
    let who = who(&user);
    let press = |action: Action| {
        let own = action.action_id.starts_with(ACKNOWLEDGE);
        own.then(|| Press {
            channel: container.channel_id.clone(),
            ts: container.message_ts.clone(),
            check: action.value.unwrap_or_default(),
            who: who.clone(),
        })
    };
    // Slack reports one action at a time.
    Some(actions.into_iter().take(1).filter_map(press).map(|press| (press, user.id.clone())).collect())
}

/// A user's name and id, printable on one line.
fn who(User { id, username, name }: &User) -> String {
    let name = printable(if username.is_empty() { name } else { username });
    let name: String = name.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(NAME).collect();
    if name.is_empty() { format!("Slack user {id}") } else { format!("{name} (Slack user {id})") }
}

async fn carry_out(host: Arc<Host>, presses: Vec<(Press, String)>) {
    for (press, user) in presses {
        let done = match host.check(&press.check) {
            Some(_) => host.recorder.press(&host.config, &press).await,
            None => Ok(Err("This host no longer has the check.".to_owned())),
        };
        let why = match done {
            // The message says it.
            Ok(Ok(())) => continue,
            Ok(Err(why)) => why,
            Err(error) => {
                tracing::error!("an acknowledgement by {} cannot be recorded: {error:#}", press.who);
                "This could not be recorded; press it again later, or use `host ack`.".to_owned()
            }
        };
        tracing::info!("nothing was acknowledged by {}: {why}", press.who);
        host.recorder.delivery.whisper(&press.channel, &user, &why).await;
    }
}
