//! What the fallback hears: a message that did not arrive, a record that cannot be written.

use std::collections::BTreeSet;

use serde_json::json;

use super::{
    super::{
        exchange::Answer,
        id,
        receivers::{FALLBACK, Receivers},
    },
    Delivery,
};
use crate::record::{self, Message, NewMessage};

impl Delivery {
    /// Logs that a message was not delivered, and returns the alarm for the fallback, if any.
    pub(super) fn raise(&self, message: &Message, problem: &str, waiting: bool) -> Option<NewMessage> {
        let Message { id, receiver, title, created, .. } = message;
        let next = if waiting { "will be retried" } else { "will not be retried" };
        tracing::error!("{receiver}: message {id} ({title}) was NOT delivered and {next}: {problem}");
        if receiver == FALLBACK || !self.terms().receivers.has_fallback() {
            return None;
        }
        let payload = json!({
            "event": "undelivered",
            "id": id,
            "channel": receiver,
            "title": title,
            "decided": created,
            "problem": problem,
            "tried_again": waiting,
            "text": format!("host could not deliver a message to {receiver}: {title} ({problem})"),
        });
        let alarm = format!("{id}-{}", if waiting { "late" } else { "set-aside" });
        Some(NewMessage {
            id: alarm,
            receiver: FALLBACK.to_owned(),
            title: format!("undelivered: {title}"),
            notification: payload.to_string(),
            created: record::now(),
            checks: BTreeSet::new(),
        })
    }

    /// See [`unrecorded`].
    pub async fn unrecorded(&self, text: &str) {
        unrecorded(&self.terms().receivers, text).await;
    }
}

/// Notifies the fallback at once, without the outbox, that the record cannot be written.
pub async fn unrecorded(receivers: &Receivers, text: &str) {
    if receivers.has_fallback() {
        let payload = json!({ "event": "unrecorded", "text": format!("host: {text}") });
        let answer = receivers.alarm(&id(text), &payload).await;
        if !matches!(answer, Answer::Taken(_)) {
            tracing::error!("the fallback was not notified: {answer:?}");
        }
    }
}
