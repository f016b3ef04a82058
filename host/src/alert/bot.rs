//! Slack's Web API with a bot token: posting, updating, and what each of its errors asks for. It answers with status 200
//! and says in the text whether the request succeeded: <https://docs.slack.dev/apis/web-api/#evaluating_responses>

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    block_kit::escape,
    exchange::{Answer, Exchange, Posted, Received, SHOWN},
    sources::Secret,
};

/// The usual address of the Web API.
const ADDRESS: &str = "https://slack.com/api";
/// The scope without which nothing can be posted: <https://docs.slack.dev/reference/methods/chat.postMessage>
const NEEDED: &str = "chat:write";
/// The scope with which no public channel has to invite the app: <https://docs.slack.dev/reference/scopes/chat.write.public>
const PUBLIC: &str = "chat:write.public";

/// The bot.
#[derive(Debug)]
pub(super) struct Bot {
    token: Secret,
    /// The app's signing secret. With it, messages have buttons.
    signing: Option<Secret>,
    address: String,
}

/// Where to post a message.
#[derive(Debug, Clone, Copy)]
pub struct Target<'t> {
    /// The channel's name.
    pub channel: &'t str,
    /// The id that the channel of this name had when it was last posted to.
    pub known: Option<&'t str>,
    /// The thread.
    pub thread: Option<Thread<'t>>,
}

/// A thread to reply to.
#[derive(Debug, Clone, Copy)]
pub struct Thread<'t> {
    /// The id of its channel.
    pub channel: &'t str,
    /// The time of its first message.
    pub ts: &'t str,
    /// Whether the reply is also shown in the channel.
    pub broadcast: bool,
}

/// The text of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    ok: bool,
    error: String,
    /// With `missing_scope`.
    needed: String,
    provided: String,
    channel: String,
    ts: String,
    message: Sent,
    response_metadata: More,
    /// Of `auth.test`.
    user: String,
    team: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Sent {
    thread_ts: Option<String>,
}

/// What is wrong in detail.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct More {
    messages: Vec<String>,
}

/// What follows from an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Follow {
    Again,
    Plainly,
    WithoutThread,
    SetAside,
}

impl Bot {
    pub(super) fn new(token: Secret, signing: Option<Secret>, endpoint: &crate::config::Endpoint) -> Self {
        Self { token, signing, address: endpoint.or(ADDRESS) }
    }

    pub(super) fn signing_secret(&self) -> Option<String> {
        self.signing.as_ref().map(Secret::text)
    }

    /// Posts a message. A channel that was renamed is found by the id that it had.
    /// `configured` is the channel's id in host.toml.
    pub(super) async fn post(
        &self,
        exchange: &Exchange,
        Target { channel, known, thread }: Target<'_>,
        configured: Option<&str>,
        (id, payload): (&str, &Value),
    ) -> Answer {
        let mut arguments = payload.clone();
        if let (Some(thread), Some(fields)) = (thread, arguments.as_object_mut()) {
            fields.insert("thread_ts".to_owned(), json!(thread.ts));
            fields.insert("reply_broadcast".to_owned(), json!(thread.broadcast));
        }
        let first = thread.map(|thread| thread.channel).or(configured).unwrap_or(channel);
        let thread = thread.map(|thread| thread.ts);
        let (answer, error) = self.posted(exchange, (channel, first), thread, id, &mut arguments).await;
        match known {
            Some(known) if error == "channel_not_found" && first == channel => {
                let (answer, _) = self.posted(exchange, (channel, known), thread, id, &mut arguments).await;
                if let Answer::Taken(_) = answer {
                    tracing::warn!(
                        "{channel}: Slack knows no channel of this name; posted to {known}, which had it: rename it in host.toml too, or set slack.channels.\"{channel}\".id"
                    );
                }
                answer
            }
            _ => answer,
        }
    }

    /// Posts to a channel's name or id. Also returns the error's name.
    async fn posted(
        &self,
        exchange: &Exchange,
        (channel, to): (&str, &str),
        thread: Option<&str>,
        id: &str,
        arguments: &mut Value,
    ) -> (Answer, String) {
        if let Some(fields) = arguments.as_object_mut() {
            fields.insert("channel".to_owned(), json!(to));
        }
        match self.call(exchange, "chat.postMessage", id, arguments).await {
            Err(answer) => (answer, String::new()),
            Ok((said, received)) if !said.ok => (meaning(&said, &received, channel, thread), said.error),
            Ok((said, _)) => (Answer::Taken(place(&said, thread)), String::new()),
        }
    }

    /// Replaces the text of a message.
    pub(super) async fn update(
        &self,
        exchange: &Exchange,
        (channel, ts): (&str, &str),
        id: &str,
        payload: &Value,
    ) -> Answer {
        let mut arguments = payload.clone();
        if let Some(fields) = arguments.as_object_mut() {
            fields.insert("channel".to_owned(), json!(channel));
            fields.insert("ts".to_owned(), json!(ts));
            // Unlike in a new message, names and addresses would become links:
            // <https://docs.slack.dev/reference/methods/chat.update>
            fields.insert("parse".to_owned(), json!("none"));
        }
        match self.call(exchange, "chat.update", id, &arguments).await {
            Err(answer) => answer,
            Ok((said, received)) if !said.ok => meaning(&said, &received, channel, Some(ts)),
            Ok(_) => Answer::Taken(None),
        }
    }

    /// Tells one user of a channel something that nobody else sees:
    /// <https://docs.slack.dev/reference/methods/chat.postEphemeral>
    pub(super) async fn whisper(&self, exchange: &Exchange, (channel, user): (&str, &str), text: &str) -> Answer {
        let arguments = json!({ "channel": channel, "user": user, "text": escape(text) });
        match self.call(exchange, "chat.postEphemeral", "", &arguments).await {
            Err(answer) => answer,
            Ok((said, received)) if !said.ok => meaning(&said, &received, channel, None),
            Ok(_) => Answer::Taken(None),
        }
    }

    /// Whether the token is accepted and has the scopes that posting needs, and as whom.
    pub(super) async fn examine(&self, exchange: &Exchange) -> Result<String, String> {
        let (said, received) = match self.call(exchange, "auth.test", "", &json!({})).await {
            Ok(answered) => answered,
            Err(Answer::Again(said, _) | Answer::Unreadable(said) | Answer::Refused(said)) => return Err(said),
            Err(other) => return Err(format!("{other:?}")),
        };
        if !said.ok {
            return Err(match meaning(&said, &received, "", None) {
                Answer::Again(said, _)
                | Answer::Unreadable(said)
                | Answer::Threadless(said)
                | Answer::Refused(said) => said,
                Answer::Taken(_) => said.error,
            });
        }
        let buttons = if self.signing.is_some() { ", with buttons" } else { "" };
        let accepted = format!("accepted as {} in {}{buttons}", said.user, said.team);
        let Some(scopes) = &received.scopes else { return Ok(format!("{accepted}; Slack named no scopes")) };
        let has = |scope: &str| scopes.split(',').any(|own| own.trim() == scope);
        if !has(NEEDED) {
            return Err(format!(
                "{accepted}, without the scope {NEEDED}: add it under \"OAuth & Permissions\" on the app's page, and install the app again"
            ));
        }
        Ok(match has(PUBLIC) {
            true => format!("{accepted}; private channels must invite the app"),
            false => format!("{accepted}; each channel must invite the app, since it has no scope {PUBLIC}"),
        })
    }

    /// Calls a method. A token that is refused may have been replaced in Secret Manager. An error is about the exchange.
    async fn call(
        &self,
        exchange: &Exchange,
        method: &str,
        id: &str,
        arguments: &Value,
    ) -> Result<(Said, Received), Answer> {
        let (said, received) = self.called(exchange, method, id, arguments).await?;
        if said.ok || !is_token(&said.error) {
            return Ok((said, received));
        }
        match self.token.read_again().await {
            Ok(true) => self.called(exchange, method, id, arguments).await,
            Ok(false) => Ok((said, received)),
            Err(error) => {
                Err(Answer::Again(format!("{}; its secret cannot be read again: {error:#}", said.error), None))
            }
        }
    }

    async fn called(
        &self,
        exchange: &Exchange,
        method: &str,
        id: &str,
        arguments: &Value,
    ) -> Result<(Said, Received), Answer> {
        let address = format!("{}/{method}", self.address);
        let received = exchange.post(&address, id, Some(&self.token.text()), arguments).await?;
        match serde_json::from_str::<Said>(&received.body) {
            Ok(said) if said.ok || !said.error.is_empty() => Ok((said, received)),
            // Not Slack's, whatever its status; or cut.
            _ => Err(match received.by_status() {
                Answer::Taken(_) => Answer::Again(received.said(), received.wait),
                answer => answer,
            }),
        }
    }
}

/// Where a message is that was taken. A reply to a message that was deleted is shown in the channel, outside of any thread,
/// and only its missing `thread_ts` says so: <https://github.com/slack-go/slack/issues/1571>
fn place(said: &Said, thread: Option<&str>) -> Option<Posted> {
    let in_thread = thread.is_some() && said.message.thread_ts.as_deref() == thread;
    let known = !said.channel.is_empty() && !said.ts.is_empty();
    known.then(|| Posted { channel: said.channel.clone(), ts: said.ts.clone(), in_thread })
}

/// What an error means for a message, and what to do about it.
fn meaning(said: &Said, received: &Received, channel: &str, thread: Option<&str>) -> Answer {
    let error = said.error.as_str();
    let details: String = said.response_metadata.messages.join("; ").chars().take(SHOWN).collect();
    let details = if details.is_empty() { details } else { format!(" ({details})") };
    let text = match advice(said, channel) {
        Some(advice) => format!("{error}{details}: {advice}"),
        None => format!("{error}{details}"),
    };
    let text: String = text.chars().filter(|character| !character.is_control()).collect();
    match follow(error) {
        Follow::Again => Answer::Again(text, received.wait),
        Follow::Plainly => Answer::Unreadable(text),
        Follow::WithoutThread => Answer::Threadless(text),
        // The channel of a thread may be gone, while one of its name is there.
        Follow::SetAside if thread.is_some() && is_channel(error) => Answer::Threadless(text),
        Follow::SetAside => Answer::Refused(text),
    }
}

/// What follows from an error of `chat.postMessage` or `chat.update`, as listed at
/// <https://docs.slack.dev/reference/methods/chat.postMessage#errors> and
/// <https://docs.slack.dev/reference/methods/chat.update#errors>.
fn follow(error: &str) -> Follow {
    match error {
        "ratelimited"
        | "rate_limited"
        | "message_limit_exceeded"
        | "internal_error"
        | "fatal_error"
        | "service_unavailable"
        | "request_timeout"
        | "team_added_to_org"
        | "org_login_required"
        | "external_channel_migrating"
        | "update_failed"
        | "streaming_state_conflict" => Follow::Again,
        "thread_not_found"
        | "message_not_found"
        | "cannot_reply_to_message"
        | "cant_broadcast_message"
        | "restricted_action_thread_locked"
        | "restricted_action_non_threadable_channel" => Follow::WithoutThread,
        error if is_channel(error) || is_token(error) || is_right(error) => Follow::SetAside,
        // Something in the message; or unknown, and then plain text is worth a try.
        _ => Follow::Plainly,
    }
}

/// Errors about the channel.
fn is_channel(error: &str) -> bool {
    matches!(
        error,
        "channel_not_found"
            | "not_in_channel"
            | "is_archived"
            | "is_inactive"
            | "team_not_found"
            | "restricted_action"
            | "restricted_action_read_only_channel"
            | "restricted_action_thread_only_channel"
            | "messages_tab_disabled"
            | "ekm_access_denied"
    )
}

/// Errors about the token, which another one may not have.
fn is_token(error: &str) -> bool {
    matches!(
        error,
        "invalid_auth"
            | "not_authed"
            | "account_inactive"
            | "token_revoked"
            | "token_expired"
            | "not_allowed_token_type"
            | "is_bot"
            | "missing_scope"
    )
}

/// Errors about what the app may do.
fn is_right(error: &str) -> bool {
    matches!(
        error,
        "no_permission"
            | "access_denied"
            | "accesslimited"
            | "app_access_restricted"
            | "enterprise_is_restricted"
            | "two_factor_setup_required"
            | "method_deprecated"
            | "deprecated_endpoint"
            | "unknown_method"
            | "cant_update_message"
            | "edit_window_closed"
    )
}

/// What to do about an error, if somebody can do something.
fn advice(said: &Said, channel: &str) -> Option<String> {
    Some(match said.error.as_str() {
        "channel_not_found" | "team_not_found" => format!(
            "Slack knows no {channel}, or it is private and the app is not in it; invite the app there (`/invite @NAME`), or set slack.channels.\"{channel}\".id in host.toml"
        ),
        "not_in_channel" => format!(
            "invite the app to {channel} (`/invite @NAME` there), or give it the scope {PUBLIC}, which is enough for public channels"
        ),
        "is_archived" | "is_inactive" => format!("{channel} is archived; unarchive it, or name another channel in host.toml"),
        "restricted_action" | "restricted_action_read_only_channel" => {
            format!("the workspace or {channel} restricts who may post; allow the app to, in the channel's settings")
        }
        "restricted_action_thread_only_channel" => {
            format!("{channel} takes only replies in threads; change that, or name another channel in host.toml")
        }
        "missing_scope" => format!(
            "the token has no scope {}, only {}; add it under \"OAuth & Permissions\" on the app's page, and install the app again",
            if said.needed.is_empty() { NEEDED } else { &said.needed },
            if said.provided.is_empty() { "others" } else { &said.provided }
        ),
        "token_expired" => {
            "the app has token rotation switched on; switch it off, and replace the bot token where it is stored".to_owned()
        }
        "accesslimited" => "the workspace refuses requests from this network; allow this machine's address".to_owned(),
        "no_permission" | "access_denied" | "app_access_restricted" | "enterprise_is_restricted" => {
            "the workspace restricts the app; ask its administrators to approve it".to_owned()
        }
        error if is_token(error) => {
            "the bot token is not accepted (any more); replace it where it is stored (\"OAuth & Permissions\" on the app's page shows it)".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn judged(error: &str, thread: Option<&str>) -> Answer {
        let said: Said = serde_json::from_value(json!({ "ok": false, "error": error })).expect("an answer");
        let wait = Some(Duration::from_secs(3));
        let received = Received { status: 200, body: String::new(), wait, scopes: None };
        meaning(&said, &received, "#canary-alerts", thread)
    }

    #[test]
    fn each_error_means_one_thing() {
        for error in ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"] {
            assert_eq!(judged(error, None), Answer::Again(error.to_owned(), Some(Duration::from_secs(3))));
        }
        for error in
            ["invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long", "no_text", "new"]
        {
            assert_eq!(judged(error, None), Answer::Unreadable(error.to_owned()));
        }
        for (error, advice) in [
            (
                "channel_not_found",
                "invite the app there (`/invite @NAME`), or set slack.channels.\"#canary-alerts\".id",
            ),
            ("not_in_channel", "invite the app to #canary-alerts"),
            ("is_archived", "unarchive it"),
            ("restricted_action", "restricts who may post"),
            ("missing_scope", "the token has no scope chat:write"),
            ("invalid_auth", "replace it where it is stored"),
            ("not_authed", "replace it where it is stored"),
            ("account_inactive", "replace it where it is stored"),
            ("token_revoked", "replace it where it is stored"),
            ("token_expired", "token rotation"),
            ("no_permission", "ask its administrators"),
        ] {
            let Answer::Refused(said) = judged(error, None) else { panic!("{error} is not refused") };
            assert!(said.starts_with(&format!("{error}: ")) && said.contains(advice), "{said}");
        }
        for error in ["thread_not_found", "message_not_found", "cannot_reply_to_message", "channel_not_found"] {
            assert!(matches!(judged(error, Some("1.2")), Answer::Threadless(_)), "{error}");
        }
        for error in ["invalid_auth", "missing_scope"] {
            assert!(matches!(judged(error, Some("1.2")), Answer::Refused(_)), "{error}: no channel would take it");
        }
    }

    #[test]
    fn a_reply_outside_of_its_thread_is_noticed() {
        let posted = |answer: Value, thread: Option<&str>| {
            place(&serde_json::from_value(answer).expect("an answer"), thread).map(|posted| posted.in_thread)
        };
        let answer = |message: Value| json!({ "ok": true, "channel": "C1", "ts": "2.0", "message": message });
        assert_eq!(posted(answer(json!({ "thread_ts": "1.0" })), Some("1.0")), Some(true));
        assert_eq!(posted(answer(json!({ "text": "x" })), Some("1.0")), Some(false));
        assert_eq!(posted(answer(json!({})), None), Some(false));
        assert_eq!(posted(json!({ "ok": true }), None), None);
    }
}
