//! The first messages about incidents in Slack: which thread a follow-up belongs to, and which of them do not say yet how it
//! stands. Only a bot has them.

use anyhow::Result;
use jiff::Timestamp;
use sqlx::{AnyConnection, FromRow, Row, any::AnyRow};

use super::sql::{commit, query, query_as, query_scalar};
use super::{Record, moment, number};

/// The first message about an incident in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// The incident's id.
    pub incident: String,
    /// The channel's name in host.toml.
    pub channel: String,
    /// The channel's id in Slack.
    pub channel_id: String,
    /// The message's time in Slack.
    pub ts: String,
    /// The message's id in the outbox.
    pub message_id: String,
    /// The undelivered messages that it reported, as JSON.
    pub undelivered: String,
    /// What it should say of the incident now, as JSON; empty if it says so.
    pub state: String,
}

/// What a sent message changes.
#[derive(Debug, Clone, Default)]
pub struct Threading {
    /// A thread that is gone: its channel's id, and its time.
    pub gone: Option<(String, String)>,
    /// The incidents of which it is the first message.
    pub begun: Vec<Thread>,
    /// The other incidents that it is about, and how they stand, as JSON.
    pub noted: Vec<(String, String)>,
}

/// A first message that does not say yet how its incidents stand.
#[derive(Debug, Clone)]
pub struct Outdated {
    /// The channel's id in Slack.
    pub channel_id: String,
    /// The message's time in Slack.
    pub ts: String,
    /// The failed updates in a row.
    pub attempts: u32,
    /// When the next one is due, by the clock of the process that wrote it.
    pub next_attempt: Timestamp,
}

impl Record {
    /// The thread of an incident in a channel.
    pub async fn thread(&self, incident: &str, channel: &str) -> Result<Option<Thread>> {
        query_as("SELECT * FROM threads WHERE incident = $1 AND channel = $2")
            .bind(incident)
            .bind(channel)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// The id of a channel when it was last posted to.
    pub async fn channel_id(&self, channel: &str) -> Result<Option<String>> {
        query_scalar("SELECT channel_id FROM threads WHERE channel = $1 ORDER BY used DESC LIMIT 1")
            .bind(channel)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// The first message whose update is due next.
    pub async fn next_outdated(&self) -> Result<Option<Outdated>> {
        query_as(
            "SELECT channel_id, ts, attempts, next_attempt FROM threads WHERE state <> shown \
             ORDER BY next_attempt, ts LIMIT 1",
        )
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(|error| self.explain(error))
    }

    /// The incidents that a first message began.
    pub async fn begun_in(&self, channel_id: &str, ts: &str) -> Result<Vec<Thread>> {
        query_as("SELECT * FROM threads WHERE channel_id = $1 AND ts = $2 ORDER BY incident")
            .bind(channel_id)
            .bind(ts)
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// Records that a first message says how its incidents stand, or never will.
    pub async fn updated(&self, threads: &[Thread]) -> Result<()> {
        let mut write = self.write().await?;
        for thread in threads {
            query("UPDATE threads SET shown = $3, attempts = 0, next_attempt = 0 WHERE incident = $1 AND channel = $2")
                .bind(&thread.incident)
                .bind(&thread.channel)
                .bind(&thread.state)
                .execute(&mut write)
                .await
                .map_err(|error| self.explain(error))?;
        }
        commit(write).await.map_err(|error| self.explain(error))
    }

    /// Records that an update failed, and when it is due again.
    pub async fn not_updated(&self, outdated: &Outdated, next: Timestamp) -> Result<()> {
        let sql = "UPDATE threads SET attempts = attempts + 1, next_attempt = $3 WHERE channel_id = $1 AND ts = $2";
        let update = query(sql).bind(&outdated.channel_id).bind(&outdated.ts).bind(next.as_millisecond());
        self.execute(update).await.map(drop)
    }

    /// Forgets a thread that is gone.
    pub async fn forget_thread(&self, channel_id: &str, ts: &str) -> Result<()> {
        let mut write = self.write().await?;
        Self::gone(&mut write, channel_id, ts).await.map_err(|error| self.explain(error))?;
        commit(write).await.map_err(|error| self.explain(error))
    }

    async fn gone(write: &mut AnyConnection, channel_id: &str, ts: &str) -> sqlx::Result<()> {
        let gone = query("DELETE FROM threads WHERE channel_id = $1 AND ts = $2").bind(channel_id).bind(ts);
        gone.execute(write).await.map(|_| ())
    }

    /// Writes down how incidents stand of which no message is sent.
    pub(super) async fn note_states(write: &mut AnyConnection, noted: &[(String, String)]) -> sqlx::Result<()> {
        for (incident, state) in noted {
            let noted = "UPDATE threads SET state = $2, attempts = 0, next_attempt = 0 WHERE incident = $1";
            query(noted).bind(incident).bind(state).execute(&mut *write).await?;
        }
        Ok(())
    }

    /// Writes down what an attempt changes, with its receipt.
    pub(super) async fn thread_on(
        write: &mut AnyConnection,
        id: &str,
        threading: &Threading,
        at: Timestamp,
    ) -> sqlx::Result<()> {
        if let Some((channel_id, ts)) = &threading.gone {
            Self::gone(write, channel_id, ts).await?;
        }
        for thread in &threading.begun {
            query(
                "INSERT INTO threads (incident, channel, channel_id, ts, message_id, undelivered, used) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (incident, channel) DO UPDATE SET \
                 channel_id = excluded.channel_id, ts = excluded.ts, message_id = excluded.message_id, \
                 undelivered = excluded.undelivered, used = excluded.used, state = '', shown = ''",
            )
            .bind(&thread.incident)
            .bind(&thread.channel)
            .bind(&thread.channel_id)
            .bind(&thread.ts)
            .bind(&thread.message_id)
            .bind(&thread.undelivered)
            .bind(at.as_millisecond())
            .execute(&mut *write)
            .await?;
        }
        for (incident, state) in &threading.noted {
            query(
                "UPDATE threads SET state = $3, attempts = 0, next_attempt = 0, used = $4 \
                 WHERE incident = $1 AND channel = (SELECT receiver FROM outbox WHERE id = $2)",
            )
            .bind(incident)
            .bind(id)
            .bind(state)
            .bind(at.as_millisecond())
            .execute(&mut *write)
            .await?;
        }
        Ok(())
    }
}

impl FromRow<'_, AnyRow> for Thread {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            incident: row.try_get("incident")?,
            channel: row.try_get("channel")?,
            channel_id: row.try_get("channel_id")?,
            ts: row.try_get("ts")?,
            message_id: row.try_get("message_id")?,
            undelivered: row.try_get("undelivered")?,
            state: row.try_get("state")?,
        })
    }
}

impl FromRow<'_, AnyRow> for Outdated {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            channel_id: row.try_get("channel_id")?,
            ts: row.try_get("ts")?,
            attempts: number(row, "attempts")?,
            next_attempt: moment(row.try_get("next_attempt")?),
        })
    }
}
