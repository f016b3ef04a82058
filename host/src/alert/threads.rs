//! Where a message of Slack's bot goes: a message that begins an incident is posted in the channel, and what follows about
//! that incident goes into its thread.

use std::collections::BTreeSet;

use anyhow::Result;

use super::{
    Mentioned, Notification,
    bot::{self, Target},
    buttons::Offer,
    exchange::Posted,
};
use crate::record::{Message, Record, Thread, Threading, Undelivered};

/// Where a message goes.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// The threads of its incidents in its channel, where they have one.
    threads: Vec<Thread>,
    /// The thread that it goes into; `None` if it is posted in the channel.
    reply_to: Option<Thread>,
    /// Whether the channel shows a reply too.
    broadcast: bool,
    /// The id that the channel had when it was last posted to.
    known: Option<String>,
}

impl Route {
    /// Finds the threads of a message.
    pub(super) async fn find(record: &Record, channel: &str, notification: &Notification) -> Result<Self> {
        let mut threads = Vec::new();
        let mut begins = false;
        for incident in &notification.incidents {
            match record.thread(&incident.id, channel).await? {
                Some(thread) => threads.push(thread),
                // One that is over needs no thread any more.
                None => begins |= !incident.stage.is_over(),
            }
        }
        // The channel sees everything that is new. Of several threads, the oldest takes the message.
        let oldest = threads.iter().min_by(|one, other| one.ts.cmp(&other.ts)).cloned();
        let reply_to = oldest.filter(|_| !begins);
        let known = match &reply_to {
            Some(_) => None,
            None => record.channel_id(channel).await?,
        };
        Ok(Self { threads, reply_to, broadcast: !notification.reminder, known })
    }

    /// What a message offers for an incident: for those that it begins.
    pub(super) fn offer(&self, incident: &Mentioned) -> Option<Offer> {
        let known = self.threads.iter().any(|thread| thread.incident == incident.id);
        let begins = self.reply_to.is_none() && !known && !incident.stage.is_over();
        begins.then_some(Offer::Acknowledge)
    }

    /// The target for the bot.
    pub(super) fn target<'t>(&'t self, channel: &'t str) -> Target<'t> {
        let thread = self.reply_to.as_ref().map(|thread| bot::Thread {
            channel: &thread.channel_id,
            ts: &thread.ts,
            broadcast: self.broadcast,
        });
        Target { channel, known: self.known.as_deref(), thread }
    }

    /// The thread that does not take the message, for a second attempt without it; `None` if it went to none.
    pub(super) fn without_thread(&self) -> Option<Threading> {
        let gone = self.reply_to.as_ref().map(|thread| (thread.channel_id.clone(), thread.ts.clone()))?;
        Some(Threading { gone: Some(gone), ..Threading::default() })
    }

    /// What a message changes that was taken. `posted` is where the bot posted it; a webhook does not say.
    pub(super) fn after(
        &self,
        message: &Message,
        notification: &Notification,
        posted: Option<&Posted>,
        undelivered: &[Undelivered],
    ) -> Threading {
        let first = posted.filter(|posted| self.reply_to.is_none() || !posted.in_thread);
        // The thread that it was meant for has lost its first message, so this one takes its place.
        let gone = first.and(self.reply_to.as_ref()).map(|thread| (thread.channel_id.clone(), thread.ts.clone()));
        let is_gone = |thread: &Thread| {
            gone.as_ref().is_some_and(|(channel_id, ts)| *channel_id == thread.channel_id && *ts == thread.ts)
        };
        let kept: BTreeSet<&str> =
            self.threads.iter().filter(|thread| !is_gone(thread)).map(|thread| thread.incident.as_str()).collect();
        let begins = |incident: &&Mentioned| !incident.stage.is_over() && !kept.contains(incident.id.as_str());
        let begun = |posted: &Posted, incident: &Mentioned| Thread {
            incident: incident.id.clone(),
            channel: message.receiver.clone(),
            channel_id: posted.channel.clone(),
            ts: posted.ts.clone(),
            message_id: message.id.clone(),
            undelivered: serde_json::to_string(undelivered).unwrap_or_default(),
            state: String::new(),
        };
        let incidents = &notification.incidents;
        let begun: Vec<Thread> = first
            .map(|posted| incidents.iter().filter(begins).map(|incident| begun(posted, incident)).collect())
            .unwrap_or_default();
        // A message by webhook is noted too, for the bot's first messages from before.
        let noted = incidents
            .iter()
            .filter(|incident| !begun.iter().any(|thread| thread.incident == incident.id))
            .map(|incident| (incident.id.clone(), serde_json::to_string(incident).unwrap_or_default()))
            .collect();
        Threading { gone, begun, noted }
    }
}
