//! What is looked up in the record.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sqlx::{FromRow, Row, sqlite::SqliteRow};

use super::{Record, moment};
use crate::contract::Metric;

/// A recorded run.
#[derive(Debug, Serialize)]
pub struct Past {
    /// The check's name.
    pub check: String,
    /// The run's clock.
    pub due: Timestamp,
    /// The date that was asked about.
    pub data_date: Date,
    /// 1 for the first run of this check and due time.
    pub attempt: u32,
    /// Whether it was asked as of the past, of which nobody was told.
    pub replay: bool,
    /// Whether nothing ran: its due time was missed, or the check still ran.
    pub left_out: bool,
    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub status: String,
    /// One line.
    pub summary: String,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// The plugin's name, version and digest.
    pub plugin: Option<Value>,
    /// What the plugin found.
    pub report: Option<Box<RawValue>>,
    /// Host calls and what they cost.
    pub calls: Option<Box<RawValue>>,
}

impl Past {
    /// What was looked at.
    pub fn metrics(&self) -> Vec<Metric> {
        #[derive(Deserialize)]
        struct Report {
            metrics: Vec<Metric>,
        }
        let report = self.report.as_ref().and_then(|report| serde_json::from_str::<Report>(report.get()).ok());
        report.map(|report| report.metrics).unwrap_or_default()
    }
}

/// A recorded run, in short.
#[derive(Debug)]
pub struct Line {
    /// The run's clock.
    pub due: Timestamp,
    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub status: String,
    /// Whether nothing ran.
    pub left_out: bool,
}

/// A recorded alert.
#[derive(Debug, Serialize)]
pub struct PastAlert {
    /// The check's name.
    pub check: String,
    /// `failure` or `error`.
    pub kind: String,
    /// The worst of it.
    pub severity: String,
    /// What was found last.
    pub summary: String,
    /// When it turned bad.
    pub began: Timestamp,
    /// When it was good again.
    pub ended: Option<Timestamp>,
    /// When people were first told.
    pub announced: Option<Timestamp>,
    /// Why they were not, when they were not.
    pub held: Option<String>,
}

/// A recorded message.
#[derive(Debug, Serialize)]
pub struct PastMessage {
    /// Stands in the message.
    pub id: String,
    /// A channel, or the fallback.
    pub receiver: String,
    /// One line.
    pub title: String,
    /// When it was decided.
    pub created: Timestamp,
    /// `waiting`, `delivered` or `set_aside`.
    pub state: String,
    /// What each attempt was answered, in order.
    pub receipts: Vec<Receipt>,
}

/// What an attempt was answered.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// When it was made.
    pub at: Timestamp,
    /// `taken`, or what was answered instead.
    pub answer: String,
}

const SELECT: &str = "SELECT check_name, due, data_date, attempt, replay, left_out, status, summary, error, seconds, \
    name, version, digest, report, calls FROM runs LEFT JOIN plugins ON plugins.id = plugin_id";

impl Record {
    /// The last attempt of one check's run.
    pub async fn run(&self, check: &str, due: Timestamp) -> Result<Option<Past>> {
        // Constants.
        let sql =
            sqlx::AssertSqlSafe(format!("{SELECT} WHERE check_name = $1 AND due = $2 ORDER BY attempt DESC LIMIT 1"));
        let query = sqlx::query_as(sql).bind(check).bind(due.as_millisecond());
        query.fetch_optional(&self.pool).await.map_err(|error| self.explain(error))
    }

    /// The newest runs of one check that were not asked as of the past, the newest first, in short.
    pub async fn recent(&self, check: &str, limit: usize) -> Result<Vec<Line>> {
        let sql = "SELECT due, status, left_out FROM runs WHERE check_name = $1 AND NOT replay \
            ORDER BY due DESC, attempt DESC LIMIT $2";
        let rows: Vec<(i64, String, bool)> = sqlx::query_as(sql)
            .bind(check)
            .bind(u32::try_from(limit).unwrap_or(u32::MAX))
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.explain(error))?;
        let line = |(due, status, left_out)| Line { due: moment(due), status, left_out };
        Ok(rows.into_iter().map(line).collect())
    }

    /// The newest runs, the newest first: those of one check by their due times, of all as they were written down.
    pub async fn runs(&self, check: Option<&str>, limit: u32) -> Result<Vec<Past>> {
        let order = match check {
            Some(_) => "WHERE check_name = $2 ORDER BY due DESC, attempt DESC LIMIT $1",
            None => "ORDER BY recorded DESC, check_name LIMIT $1",
        };
        // Both are constants.
        let sql = sqlx::AssertSqlSafe(format!("{SELECT} {order}"));
        let query = sqlx::query_as(sql).bind(limit);
        let query = if check.is_some() { query.bind(check) } else { query };
        query.fetch_all(&self.pool).await.map_err(|error| self.explain(error))
    }

    /// The newest alerts, the newest first; of one check, or of all.
    pub async fn alerts(&self, check: Option<&str>, limit: u32) -> Result<Vec<PastAlert>> {
        sqlx::query_as(
            "SELECT check_name, kind, severity, summary, began, ended, announced, held FROM alerts \
             WHERE $2 IS NULL OR check_name = $2 ORDER BY recorded DESC, began DESC, id LIMIT $1",
        )
        .bind(limit)
        .bind(check)
        .fetch_all(&self.pool)
        .await
        .map_err(|error| self.explain(error))
    }

    /// The newest messages, the newest first, with their receipts: those that speak of a check, or all.
    pub async fn messages(&self, check: Option<&str>, limit: u32) -> Result<Vec<PastMessage>> {
        let explain = |error| self.explain(error);
        let sql = "SELECT id, receiver, title, created, state FROM outbox \
            WHERE $2 IS NULL OR instr(checks, $2) > 0 ORDER BY position DESC LIMIT $1";
        let named = check.map(serde_json::to_string).transpose()?;
        let rows: Vec<(String, String, String, i64, String)> =
            sqlx::query_as(sql).bind(limit).bind(named).fetch_all(&self.pool).await.map_err(explain)?;
        let mut messages = Vec::new();
        for (id, receiver, title, created, state) in rows {
            let receipts: Vec<(i64, String)> =
                sqlx::query_as("SELECT at, answer FROM receipts WHERE message_id = $1 ORDER BY id")
                    .bind(&id)
                    .fetch_all(&self.pool)
                    .await
                    .map_err(explain)?;
            let receipts = receipts.into_iter().map(|(at, answer)| Receipt { at: moment(at), answer }).collect();
            messages.push(PastMessage { id, receiver, title, created: moment(created), state, receipts });
        }
        Ok(messages)
    }

    /// When a run was recorded last; none when none is.
    pub async fn last_recorded(&self) -> Result<Option<Timestamp>> {
        let at = sqlx::query_scalar("SELECT max(recorded) FROM runs").fetch_one(&self.pool);
        let at: Option<i64> = at.await.map_err(|error| self.explain(error))?;
        Ok(at.map(moment))
    }

    /// The names of all checks that have a run.
    pub async fn checks(&self) -> Result<Vec<String>> {
        sqlx::query_scalar("SELECT DISTINCT check_name FROM runs ORDER BY check_name")
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.explain(error))
    }
}

impl FromRow<'_, SqliteRow> for Past {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let json = |text: Option<String>| text.map(RawValue::from_string).transpose().map_err(decode);
        let name: Option<String> = row.try_get("name")?;
        let (version, digest): (Option<String>, Option<String>) = (row.try_get("version")?, row.try_get("digest")?);
        Ok(Self {
            check: row.try_get("check_name")?,
            due: moment(row.try_get("due")?),
            data_date: row.try_get::<String, _>("data_date")?.parse().map_err(decode)?,
            attempt: row.try_get("attempt")?,
            replay: row.try_get("replay")?,
            left_out: row.try_get("left_out")?,
            status: row.try_get("status")?,
            summary: row.try_get("summary")?,
            error: row.try_get("error")?,
            seconds: row.try_get("seconds")?,
            plugin: name.map(|name| json!({ "name": name, "version": version, "digest": digest })),
            report: json(row.try_get("report")?)?,
            calls: json(row.try_get("calls")?)?,
        })
    }
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl FromRow<'_, SqliteRow> for PastAlert {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let at = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(moment));
        Ok(Self {
            check: row.try_get("check_name")?,
            kind: row.try_get("kind")?,
            severity: row.try_get("severity")?,
            summary: row.try_get("summary")?,
            began: moment(row.try_get("began")?),
            ended: at("ended")?,
            announced: at("announced")?,
            held: row.try_get("held")?,
        })
    }
}
