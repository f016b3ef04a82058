//! `Acknowledge` under a message in Slack: the same order as that of `host ack`, about the incidents that the message began.

use anyhow::{Context, Result};

use super::Recorder;
use crate::{
    alert::{ACKNOWLEDGED_FOR, Mentioned, Notification, Wanted},
    config::{Config, Time},
    record::{self, Thread},
};

/// The reason, which a button cannot ask for.
const WHY: &str = "the button in Slack";

/// A press of the button.
#[derive(Debug)]
pub struct Press {
    /// The id of the message's channel.
    pub channel: String,
    /// The message's time.
    pub ts: String,
    /// The check.
    pub check: String,
    /// Who pressed it.
    pub who: String,
}

impl Recorder {
    /// Acknowledges what a message began of a check, as far as it is not over. An inner error says why there is nothing to
    /// acknowledge.
    pub async fn press(&self, config: &Config, press: &Press) -> Result<Result<(), String>> {
        let Press { channel, ts, check, who } = press;
        let begun = self.record.begun_in(channel, ts).await?;
        let sent = match begun.first() {
            Some(thread) => self.record.sent_message(&thread.message_id).await?,
            None => None,
        };
        let Some(sent) = sent else {
            return Ok(Err("This host does not know the message (any more).".to_owned()));
        };
        let notification: Notification = serde_json::from_str(&sent.notification)?;
        let is_open = |incident: &&Mentioned| {
            let thread = begun.iter().find(|thread| thread.incident == incident.id);
            incident.data && incident.check == *check && thread.is_some_and(|thread| !is_over(thread))
        };
        let length: Time = ACKNOWLEDGED_FOR.parse().map_err(anyhow::Error::msg)?;
        let until = record::now().checked_add(length.0).context("the time cannot be told")?;
        let wanted = Wanted::Ack { why: WHY.to_owned(), until };
        let mut done = Err(format!("{check}: what this message tells of is over."));
        for incident in notification.incidents.iter().filter(is_open) {
            match self.order(config, check, incident.date, &wanted, who).await?.answer {
                Ok(_) => done = Ok(()),
                Err(why) => done = done.map_err(|_| why),
            }
        }
        Ok(done)
    }
}

fn is_over(thread: &Thread) -> bool {
    serde_json::from_str::<Mentioned>(&thread.state).is_ok_and(|incident| incident.stage.is_over())
}
