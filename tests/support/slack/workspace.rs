//! A workspace of Slack behind its Web API, as far as a bot that posts and updates messages can tell. Its answers have the
//! shapes of <https://docs.slack.dev/reference/methods/chat.postMessage>, `chat.update`, `chat.postEphemeral` and `auth.test`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Request;

/// The only token that it accepts.
pub const TOKEN: &str = "xoxb-1-2-test";

/// A message of the bot.
#[derive(Debug, Clone)]
pub struct Post {
    /// The channel's id.
    pub channel: String,
    /// Its time.
    pub ts: String,
    /// The time of the first message of its thread, if it is a reply.
    pub thread: Option<String>,
    /// Whether it is a reply that the channel shows too.
    pub broadcast: bool,
    /// What it says now.
    pub message: Value,
    /// How often it was updated.
    pub updates: usize,
    /// Whether somebody has deleted it.
    pub deleted: bool,
}

/// The workspace.
#[derive(Debug, Default)]
pub struct Workspace {
    /// The messages, in order.
    pub posts: Vec<Post>,
    /// What only one user of a channel sees: channel, user, text.
    pub whispers: Vec<[String; 3]>,
    /// The scopes of the token; `None` for those that the host asks for.
    pub scopes: Option<&'static str>,
    /// Channels with another name than the one that they were made with; and those that are gone: no name.
    pub renamed: BTreeMap<String, Option<String>>,
}

impl Workspace {
    /// Somebody deletes a message.
    pub fn delete(&mut self, ts: &str) {
        self.posts.iter_mut().filter(|post| post.ts == ts).for_each(|post| post.deleted = true);
    }

    /// Further headers and the text of an answer; `None` for a webhook. Notes the channel's first name in the request.
    pub(super) fn answer(&mut self, request: &mut Request) -> Option<(String, String)> {
        let answer = match request.method.as_str() {
            "" => return None,
            _ if request.token != TOKEN => refused("invalid_auth"),
            "auth.test" => json!({ "ok": true, "team": "Sample", "user": "host", "bot_id": "B1" }),
            "chat.postMessage" => self.post(request),
            "chat.update" => self.update(request),
            "chat.postEphemeral" => {
                let text = |key: &str| request.message[key].as_str().unwrap_or_default().to_owned();
                self.whispers.push([text("channel"), text("user"), text("text")]);
                json!({ "ok": true, "message_ts": "1770000000.000000" })
            }
            _ => refused("unknown_method"),
        };
        let scopes = self.scopes.unwrap_or("chat:write,chat:write.public");
        Some((format!("x-oauth-scopes: {scopes}\r\n"), answer.to_string()))
    }

    /// The id of a channel that is found by its present name, or by its id.
    fn channel(&self, given: &str) -> Option<String> {
        let id = |name: &str| format!("C{}", name.trim_start_matches('#').to_uppercase().replace('-', "0"));
        if given.starts_with('C') {
            let gone = self.renamed.iter().any(|(first, now)| now.is_none() && id(first) == given);
            return (!gone).then(|| given.to_owned());
        }
        match self.renamed.iter().find(|(_, now)| now.as_deref() == Some(given)) {
            Some((first, _)) => Some(id(first)),
            None => (!self.renamed.contains_key(given)).then(|| id(given)),
        }
    }

    fn post(&mut self, request: &mut Request) -> Value {
        let text = |key: &str| request.message[key].as_str().map(str::to_owned);
        let Some(channel) = text("channel").and_then(|given| self.channel(&given)) else {
            return refused("channel_not_found");
        };
        let asked = text("thread_ts");
        request.channel.clone_from(&channel);
        // As Slack does: a reply to a message that is gone is shown in the channel.
        let there =
            |ts: &String| self.posts.iter().any(|post| post.ts == *ts && post.channel == channel && !post.deleted);
        let thread = asked.filter(there);
        let ts = format!("1770000000.{:06}", self.posts.len() + 1);
        let broadcast = thread.is_some() && request.message["reply_broadcast"] == true;
        let mut message = json!({ "type": "message", "ts": ts, "text": request.message["text"] });
        if let Some(thread) = &thread {
            message["thread_ts"] = json!(thread);
        }
        let answer = json!({ "ok": true, "channel": channel, "ts": ts, "message": message });
        let message = request.message.clone();
        self.posts.push(Post { channel, ts, thread, broadcast, message, updates: 0, deleted: false });
        answer
    }

    fn update(&mut self, request: &Request) -> Value {
        let (channel, ts) = (&request.message["channel"], &request.message["ts"]);
        let found = self.posts.iter_mut().find(|post| *channel == post.channel.as_str() && *ts == post.ts.as_str());
        match found.filter(|post| !post.deleted) {
            None => refused("message_not_found"),
            Some(post) => {
                post.message.clone_from(&request.message);
                post.updates += 1;
                json!({ "ok": true, "channel": channel, "ts": ts, "text": request.message["text"] })
            }
        }
    }
}

fn refused(error: &str) -> Value {
    json!({ "ok": false, "error": error })
}
