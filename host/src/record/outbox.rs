//! The outbox: messages are written together with the runs they are about, and kept until accepted or refused for good.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Any, AnyConnection, FromRow, Row, any::AnyRow};

use super::sql::{commit, query, query_as, query_scalar, storable};
use super::{Lease, NewMessage, Record, Threading, moment, number, yes};

/// A waiting message.
#[derive(Debug, Clone)]
pub struct Message {
    /// The id, which is shown in the message.
    pub id: String,
    /// A channel, or the fallback.
    pub receiver: String,
    /// One line.
    pub title: String,
    /// The notification, as JSON.
    pub notification: String,
    /// When it was created.
    pub created: Timestamp,
    /// The number of attempts.
    pub attempts: u32,
    /// The time of the next attempt, by the clock of the process that wrote it.
    pub next_attempt: Timestamp,
    /// Whether to send it as plain text, since Slack refused the blocks.
    pub plain: bool,
    /// Whether it says all that it will say; only several hosts ask.
    pub composed: bool,
    /// Whether its delay was reported.
    pub alarmed: bool,
    /// The last answer.
    pub problem: Option<String>,
}

/// A message that was not delivered, or not yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undelivered {
    /// The id, which is shown in the message.
    pub id: String,
    /// Its receiver.
    pub receiver: String,
    /// One line.
    pub title: String,
    /// When it was created.
    pub created: Timestamp,
    /// The last answer.
    pub problem: String,
    /// Whether it will be retried.
    pub waiting: bool,
}

impl Undelivered {
    /// Its receiver, and its title with the reason.
    pub fn told(&self) -> (String, String) {
        let state = if self.waiting { "late, retrying" } else { "given up" };
        (self.receiver.clone(), format!("{} (message {}, {state}: {})", self.title, self.id, self.problem))
    }
}

/// An attempt.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its time.
    pub at: Timestamp,
    /// The answer, or the error.
    pub answer: String,
    /// What happens next.
    pub outcome: Outcome,
    /// What it changes in the threads of its channel.
    pub threading: Threading,
}

/// What happens after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The message was accepted.
    Delivered,
    /// The message is retried.
    Again {
        /// The wait before the retry.
        after: Duration,
        /// Whether to use plain text from now on.
        plain: bool,
    },
    /// The message is not retried.
    SetAside,
}

/// The columns for sending a message.
const WHOLE: &str = "id, receiver, title, notification, created, attempts, next_attempt, \
    CASE WHEN plain THEN 1 ELSE 0 END AS plain, CASE WHEN composed THEN 1 ELSE 0 END AS composed, CASE WHEN alarmed THEN 1 ELSE 0 END AS alarmed, problem";
/// The columns for listing a message: without its notification, which is long.
const SHORT: &str = "id, receiver, title, created, state, problem";
/// The condition for undelivered messages, as of a moment.
const UNDELIVERED: &str = "(state = 'set_aside' OR state = 'waiting' AND created <= $1)";

impl Record {
    pub(super) async fn enqueue(write: &mut AnyConnection, message: &NewMessage) -> sqlx::Result<()> {
        query(
            "INSERT INTO outbox (id, receiver, title, notification, created, next_attempt, checks) \
             VALUES ($1, $2, $3, $4, $5, $5, $6) ON CONFLICT (id) DO NOTHING",
        )
        .bind(&message.id)
        .bind(&message.receiver)
        .bind(storable(&message.title))
        .bind(&message.notification)
        .bind(message.created.as_millisecond())
        .bind(serde_json::to_string(&message.checks).unwrap_or_default())
        .execute(write)
        .await?;
        Ok(())
    }

    /// The next message of a receiver.
    pub async fn next_message(&self, receiver: &str) -> Result<Option<Message>> {
        Ok(self.outbox(WHOLE, "state = 'waiting' AND receiver = $1 ORDER BY position LIMIT 1", receiver).await?.pop())
    }

    /// The messages of a receiver that wait and were never tried, from the first one on, created up to some time after that.
    pub async fn untried(&self, receiver: &str, within: Duration) -> Result<Vec<Message>> {
        let all: Vec<Message> =
            self.outbox(WHOLE, "state = 'waiting' AND receiver = $1 ORDER BY position LIMIT 100", receiver).await?;
        let until = all.first().and_then(|first| first.created.checked_add(within).ok());
        let joined = |message: &Message| !message.composed && message.attempts == 0 && Some(message.created) <= until;
        Ok(all.into_iter().take_while(joined).collect())
    }

    /// Makes one message of several that were never tried: the first one says all of it from now on, and the others are gone. Nothing is
    /// done if another host has the channel by now, or sent one of them.
    pub async fn join(
        &self,
        lease: &Lease,
        (first, notification, title): (&str, &str, &str),
        others: &[&str],
    ) -> Result<()> {
        let mut checks: BTreeSet<String> = BTreeSet::new();
        let mut write = self.write().await?;
        let explain = |error| self.explain(error);
        if !self.still_holds(&mut write, lease).await.map_err(explain)? {
            return Ok(());
        }
        for id in others.iter().chain([&first]) {
            let sql = "SELECT checks FROM outbox WHERE id = $1 AND state = 'waiting' AND attempts = 0 AND NOT composed";
            let found: Option<String> =
                query_scalar(sql).bind(*id).fetch_optional(&mut write).await.map_err(explain)?;
            // One of them was sent meanwhile.
            let Some(found) = found else { return Ok(()) };
            checks.extend(serde_json::from_str::<BTreeSet<String>>(&found)?);
        }
        for id in others {
            let gone = query("DELETE FROM outbox WHERE id = $1").bind(*id);
            gone.execute(&mut write).await.map_err(explain)?;
        }
        query("UPDATE outbox SET notification = $2, title = $3, checks = $4, composed = TRUE WHERE id = $1")
            .bind(first)
            .bind(notification)
            .bind(title)
            .bind(serde_json::to_string(&checks)?)
            .execute(&mut write)
            .await
            .map_err(explain)?;
        commit(write).await.map_err(explain)
    }

    /// A message that was sent; `None` if it was not kept.
    pub async fn sent_message(&self, id: &str) -> Result<Option<Message>> {
        Ok(self.outbox(WHOLE, "id = $1", id).await?.pop())
    }

    /// The oldest waiting message of a receiver that has not been reported as late.
    pub async fn next_late(&self, receiver: &str) -> Result<Option<Message>> {
        let condition = "state = 'waiting' AND NOT alarmed AND receiver = $1 ORDER BY created LIMIT 1";
        Ok(self.outbox(WHOLE, condition, receiver).await?.pop())
    }

    /// The receivers with waiting messages.
    pub async fn receivers_waiting(&self) -> Result<Vec<String>> {
        query_scalar("SELECT DISTINCT receiver FROM outbox WHERE state = 'waiting' ORDER BY receiver")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// Messages that were set aside, or have waited since before a moment; `untold` excludes those that a message has
    /// reported.
    pub async fn undelivered(&self, before: Timestamp, untold: bool) -> Result<Vec<Undelivered>> {
        let told = if untold { "NOT told AND " } else { "" };
        self.outbox(SHORT, &format!("{told}{UNDELIVERED} ORDER BY position"), before.as_millisecond()).await
    }

    /// The number of messages that were set aside, or have waited since before a moment.
    pub async fn count_undelivered(&self, before: Timestamp) -> Result<u64> {
        // Constants.
        let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM outbox WHERE {UNDELIVERED}"));
        let count = query_scalar(sql).bind(before.as_millisecond()).fetch_one(&mut *self.read().await?).await;
        count.map(i64::unsigned_abs).map_err(|error| self.explain(error))
    }

    /// All waiting messages.
    pub async fn waiting(&self) -> Result<Vec<Undelivered>> {
        self.outbox(SHORT, "state = $1 ORDER BY position", "waiting").await
    }

    /// The state of an undelivered message; `None` if it was delivered.
    pub async fn undelivered_message(&self, id: &str) -> Result<Option<Undelivered>> {
        Ok(self.outbox(SHORT, "id = $1 AND state <> 'delivered'", id).await?.pop())
    }

    async fn outbox<'q, T, M>(&self, columns: &str, condition: &str, value: T) -> Result<Vec<M>>
    where
        T: 'q + sqlx::Encode<'q, Any> + sqlx::Type<Any> + Send,
        M: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        // Both are constants in this file.
        let sql = sqlx::AssertSqlSafe(format!("SELECT {columns} FROM outbox WHERE {condition}"));
        query_as(sql).bind(value).fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))
    }

    /// Records an attempt and what happens next; `alarmed` if it was reported, with the alarm for the fallback.
    pub async fn receipt(&self, id: &str, attempt: &Attempt, alarmed: bool, alarm: Option<&NewMessage>) -> Result<()> {
        let explain = |error| self.explain(error);
        let (state, after, plain) = match attempt.outcome {
            Outcome::Delivered => ("delivered", Duration::ZERO, false),
            Outcome::Again { after, plain } => ("waiting", after, plain),
            Outcome::SetAside => ("set_aside", Duration::ZERO, false),
        };
        let next = attempt.at.checked_add(after).unwrap_or(attempt.at);
        let problem = (attempt.outcome != Outcome::Delivered).then_some(&attempt.answer);
        let mut write = self.write().await?;
        query(
            "INSERT INTO receipts (message_id, attempt, at, answer) \
             SELECT id, attempts + 1, $2, $3 FROM outbox WHERE id = $1",
        )
        .bind(id)
        .bind(attempt.at.as_millisecond())
        .bind(storable(&attempt.answer))
        .execute(&mut write)
        .await
        .map_err(explain)?;
        query(
            "UPDATE outbox SET state = $2, attempts = attempts + 1, next_attempt = $3, plain = plain OR $4, \
             problem = $5, alarmed = alarmed OR $6, told = told AND $2 <> 'set_aside' \
             WHERE id = $1 AND (state = 'waiting' OR $2 = 'delivered')",
        )
        .bind(id)
        .bind(state)
        .bind(next.as_millisecond())
        .bind(plain)
        .bind(problem.map(|problem| storable(problem)))
        .bind(alarmed)
        .execute(&mut write)
        .await
        .map_err(explain)?;
        Self::thread_on(&mut write, id, &attempt.threading, attempt.at).await.map_err(explain)?;
        if let Some(alarm) = alarm {
            Self::enqueue(&mut write, alarm).await.map_err(explain)?;
        }
        commit(write).await.map_err(explain)
    }

    /// Records that a message was reported as late, with the alarm for the fallback.
    pub async fn alarm(&self, id: &str, alarm: Option<&NewMessage>) -> Result<()> {
        let explain = |error| self.explain(error);
        let mut write = self.write().await?;
        let alarmed = query("UPDATE outbox SET alarmed = TRUE WHERE id = $1").bind(id);
        alarmed.execute(&mut write).await.map_err(explain)?;
        if let Some(alarm) = alarm {
            Self::enqueue(&mut write, alarm).await.map_err(explain)?;
        }
        commit(write).await.map_err(explain)
    }

    /// Records that a message has reported these.
    pub async fn told(&self, undelivered: &[Undelivered]) -> Result<()> {
        for message in undelivered {
            self.execute(query("UPDATE outbox SET told = TRUE WHERE id = $1").bind(&message.id)).await?;
        }
        Ok(())
    }
}

impl FromRow<'_, AnyRow> for Message {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            receiver: row.try_get("receiver")?,
            title: row.try_get("title")?,
            notification: row.try_get("notification")?,
            created: moment(row.try_get("created")?),
            attempts: number(row, "attempts")?,
            next_attempt: moment(row.try_get("next_attempt")?),
            plain: yes(row, "plain")?,
            composed: yes(row, "composed")?,
            alarmed: yes(row, "alarmed")?,
            problem: row.try_get("problem")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Undelivered {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let problem: Option<String> = row.try_get("problem")?;
        Ok(Self {
            id: row.try_get("id")?,
            receiver: row.try_get("receiver")?,
            title: row.try_get("title")?,
            created: moment(row.try_get("created")?),
            problem: problem.unwrap_or_else(|| "not tried yet".to_owned()),
            waiting: row.try_get::<String, _>("state")? == "waiting",
        })
    }
}
