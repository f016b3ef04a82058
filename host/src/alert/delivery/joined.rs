//! One message from several: what hosts on one record found in one round, each for itself.

use std::{cmp::Reverse, time::Duration};

use anyhow::Result;

use super::{
    super::{Level, Notification},
    BETWEEN, Delivery,
};
use crate::record::{self, Lease, Message};

/// The beginning of a title that only repeats.
const REMINDER: &str = "Reminder: ";

impl Delivery {
    /// Makes one message of those that the hosts wrote in one round: waits for the others that still run checks, as long as a round waits
    /// for its runs. What it says is settled before it is sent the first time, since a receiver may keep only the first copy of an id.
    pub(super) async fn join(&self, receiver: &str, first: &Message, lease: &Lease) -> Result<()> {
        let wait = self.terms().group_wait;
        let age = || Duration::try_from(record::now().duration_since(first.created)).unwrap_or_default();
        while age() < wait && self.record.others_run().await? {
            tokio::time::sleep(BETWEEN).await;
        }
        let waiting = self.record.untried(receiver, wait).await?;
        let read: Result<Vec<Notification>, _> =
            waiting.iter().map(|message| serde_json::from_str(&message.notification)).collect();
        // One that cannot be read is set aside when it is sent.
        let (Ok(read), [first, others @ ..]) = (read, waiting.as_slice()) else { return Ok(()) };
        let Some(merged) = merged(read) else { return Ok(()) };
        let others: Vec<&str> = others.iter().map(|message| message.id.as_str()).collect();
        self.record.join(lease, (&first.id, &serde_json::to_string(&merged)?, &merged.title), &others).await
    }
}

/// One message with all of it, the worst first. `None` without any.
fn merged(mut messages: Vec<Notification>) -> Option<Notification> {
    messages.sort_by_key(|message| Reverse(message.level));
    let reminder = messages.iter().all(|message| message.reminder);
    messages.into_iter().reduce(|mut all, next| {
        for (all, next) in [(&mut all.title, &next.title), (&mut all.footer, &next.footer)] {
            let next = next.strip_prefix(REMINDER).filter(|_| !reminder).unwrap_or(next);
            if !all.contains(next) {
                *all = if all.is_empty() { next.to_owned() } else { join(all, next) };
            }
        }
        all.level = all.level.max(next.level);
        all.reminder = reminder;
        all.alerts.extend(next.alerts);
        all.alerts.sort_by_key(|told| Reverse(Level::from(told.alert.severity)));
        all.errors.extend(next.errors);
        all.held.extend(next.held);
        all.below.extend(next.below);
        all.moved.extend(next.moved);
        all.closed.extend(next.closed);
        all.recoveries.extend(next.recoveries);
        all.incidents.extend(next.incidents);
        all.page = all.page.or(next.page);
        all.history = all.history.or(next.history);
        all
    })
}

/// Sentences stand side by side; titles are separated.
fn join(one: &str, other: &str) -> String {
    let between = if one.ends_with('.') { " " } else { "; " };
    format!("{one}{between}{other}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_comes_first_and_nothing_is_lost() {
        let message = |level, title: &str, footer: &str| Notification {
            level,
            title: title.to_owned(),
            footer: footer.to_owned(),
            errors: vec![(title.to_owned(), "why".to_owned())],
            ..Notification::default()
        };
        let one = message(Some(Level::Warning), "canaries: 1 warned", "Data of 2026-02-05.");
        let other = message(Some(Level::Critical), "gates: 1 failed", "Data of 2026-02-05.");
        let again = Notification { reminder: true, ..message(None, "Reminder: drift", "Data of 2026-02-06.") };
        let all = merged(vec![one, again.clone(), other]).expect("a message");
        assert_eq!(all.title, "gates: 1 failed; canaries: 1 warned; drift");
        assert_eq!(all.footer, "Data of 2026-02-05. Data of 2026-02-06.");
        assert_eq!((all.level, all.errors.len(), all.reminder), (Some(Level::Critical), 3, false));
        assert_eq!(merged(vec![again.clone(), again]).expect("a message").title, "Reminder: drift");
    }
}
