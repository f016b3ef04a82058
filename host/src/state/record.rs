//! What one batch of a round leaves: its runs, what is remembered of their checks, and what is to be said, in one
//! transaction. So nothing is said that is not recorded, and nothing recorded goes unsaid.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use super::State;

/// All that is written at once.
#[derive(Debug)]
pub struct Batch {
    /// The runs.
    pub runs: Vec<NewRun>,
    /// What is remembered of each check, as JSON, by check.
    pub standings: BTreeMap<String, String>,
    /// Alerts that began, changed or ended.
    pub episodes: Vec<Episode>,
    /// What is to be said.
    pub messages: Vec<NewMessage>,
    /// When it is written down.
    pub recorded: Timestamp,
}

/// A run, as it is kept.
#[derive(Debug)]
pub struct NewRun {
    /// The check's name.
    pub check: String,
    /// The plugin, when there was one.
    pub plugin: Option<PluginKey>,
    /// The run's clock.
    pub due: Timestamp,
    /// The date that was asked about.
    pub data_date: Date,
    /// 1 for the first run of this check and due time.
    pub attempt: u32,
    /// Whether it was asked as of the past, of which nobody is told.
    pub replay: bool,
    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub status: &'static str,
    /// One line.
    pub summary: String,
    /// JSON.
    pub report: Option<String>,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Host calls, as JSON.
    pub calls: String,
}

/// Which plugin ran.
#[derive(Debug, Clone)]
pub struct PluginKey {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Of its bytes.
    pub digest: String,
}

/// An alert, from turning bad to being good again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Episode {
    /// The check.
    pub check: String,
    /// `failure` or `error`.
    pub kind: &'static str,
    /// The worst of it.
    pub severity: &'static str,
    /// What was found last.
    pub summary: String,
    /// When it turned bad.
    pub began: Timestamp,
    /// When it was good again.
    pub ended: Option<Timestamp>,
    /// When people were told.
    pub announced: Option<Timestamp>,
    /// Why they were not.
    pub held: Option<String>,
}

/// A message for the outbox.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The same in every attempt.
    pub id: String,
    /// A channel, or the fallback.
    pub receiver: String,
    /// One line.
    pub title: String,
    /// JSON, rendered when it is sent.
    pub notification: String,
    /// When it was decided.
    pub created: Timestamp,
}

impl State {
    /// Writes all of it, or nothing.
    pub async fn record(&self, batch: &Batch) -> Result<()> {
        let explain = |error| self.explain(error);
        let mut write = self.write().await?;
        for run in &batch.runs {
            if let Some(plugin) = &run.plugin {
                sqlx::query("INSERT INTO plugins (name, version, digest) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                    .bind(&plugin.name)
                    .bind(&plugin.version)
                    .bind(&plugin.digest)
                    .execute(&mut *write)
                    .await
                    .map_err(explain)?;
            }
            let plugin = run.plugin.as_ref();
            sqlx::query(
                "INSERT INTO runs (check_name, due, data_date, attempt, replay, status, summary, report, error, seconds, calls, recorded, plugin_id) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $15, \
                 (SELECT id FROM plugins WHERE name = $12 AND version = $13 AND digest = $14))",
            )
            .bind(&run.check)
            .bind(run.due.as_millisecond())
            .bind(run.data_date.to_string())
            .bind(run.attempt)
            .bind(run.replay)
            .bind(run.status)
            .bind(&run.summary)
            .bind(&run.report)
            .bind(&run.error)
            .bind(run.seconds)
            .bind(&run.calls)
            .bind(plugin.map(|plugin| &plugin.name))
            .bind(plugin.map(|plugin| &plugin.version))
            .bind(plugin.map(|plugin| &plugin.digest))
            .bind(batch.recorded.as_millisecond())
            .execute(&mut *write)
            .await
            .map_err(explain)?;
        }
        for (check, standing) in &batch.standings {
            sqlx::query(
                "INSERT INTO standings (check_name, standing) VALUES ($1, $2) \
                 ON CONFLICT (check_name) DO UPDATE SET standing = excluded.standing",
            )
            .bind(check)
            .bind(standing)
            .execute(&mut *write)
            .await
            .map_err(explain)?;
        }
        for episode in &batch.episodes {
            sqlx::query(
                "INSERT INTO alerts (check_name, kind, severity, summary, began, ended, announced, held, recorded) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (check_name, kind, began) DO UPDATE SET \
                 severity = excluded.severity, summary = excluded.summary, ended = excluded.ended, \
                 announced = excluded.announced, held = excluded.held, recorded = excluded.recorded",
            )
            .bind(&episode.check)
            .bind(episode.kind)
            .bind(episode.severity)
            .bind(&episode.summary)
            .bind(episode.began.as_millisecond())
            .bind(episode.ended.map(Timestamp::as_millisecond))
            .bind(episode.announced.map(Timestamp::as_millisecond))
            .bind(&episode.held)
            .bind(batch.recorded.as_millisecond())
            .execute(&mut *write)
            .await
            .map_err(explain)?;
        }
        for message in &batch.messages {
            Self::enqueue(&mut write, message).await.map_err(explain)?;
        }
        write.commit().await.map_err(explain)
    }

    /// What is remembered of each check, as JSON, by check.
    pub async fn standings(&self) -> Result<BTreeMap<String, String>> {
        let rows: Vec<(String, String)> = sqlx::query_as("SELECT check_name, standing FROM standings")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().collect())
    }

    /// How many runs of a check and due time are recorded.
    pub async fn attempts(&self, check: &str, due: Timestamp) -> Result<u32> {
        sqlx::query_scalar("SELECT COALESCE(MAX(attempt), 0) FROM runs WHERE check_name = $1 AND due = $2")
            .bind(check)
            .bind(due.as_millisecond())
            .fetch_one(&self.pool)
            .await
            .map_err(|error| self.explain(error))
    }
}
