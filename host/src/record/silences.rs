//! Silences: hold back new alerts of some checks for a time.

use anyhow::Result;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use sqlx::AnyConnection;

use super::sql::{commit, query, query_as, query_scalar, storable};
use super::{
    Record,
    audit::{Audited, note},
    moment,
};
use crate::config::local;

/// A silence.
#[derive(Debug, Clone, Serialize)]
pub struct Silence {
    /// Its number.
    pub id: i64,
    /// Its checks.
    pub checks: Vec<String>,
    /// The reason.
    pub why: String,
    /// Its start.
    pub began: Timestamp,
    /// Its end, exclusive.
    pub ends: Timestamp,
}

impl Silence {
    /// Whether it is active at a moment.
    pub fn active(&self, at: Timestamp) -> bool {
        self.began <= at && at < self.ends
    }
}

/// A silence as it is written.
type Row = (i64, String, String, i64, i64);

pub(super) async fn read(from: &mut AnyConnection, after: Option<Timestamp>) -> sqlx::Result<Vec<Row>> {
    query_as("SELECT id, checks, why, began, ends FROM silences WHERE ends > $1 ORDER BY id")
        .bind(after.map_or(i64::MIN, Timestamp::as_millisecond))
        .fetch_all(from)
        .await
}

impl TryFrom<Row> for Silence {
    type Error = anyhow::Error;

    fn try_from((id, checks, why, began, ends): Row) -> Result<Self> {
        Ok(Self { id, checks: serde_json::from_str(&checks)?, why, began: moment(began), ends: moment(ends) })
    }
}

impl Record {
    /// Starts a silence, and returns its number. The audit trail says who did, with times in the pipeline's zone.
    pub async fn silence(
        &self,
        checks: &[String],
        why: &str,
        (began, ends): (Timestamp, Timestamp),
        (who, zone): (&str, &TimeZone),
    ) -> Result<i64> {
        let mut write = self.write().await?;
        let sql = "INSERT INTO silences (checks, why, began, ends) VALUES ($1, $2, $3, $4) RETURNING id";
        let id: i64 = query_scalar(sql)
            .bind(serde_json::to_string(checks)?)
            .bind(storable(why))
            .bind(began.as_millisecond())
            .bind(ends.as_millisecond())
            .fetch_one(&mut write)
            .await
            .map_err(|error| self.explain(error))?;
        let change = format!("no new alerts of {} until {}: {why}", checks.join(", "), local(ends, zone));
        let entry = Audited { at: began, who: who.to_owned(), place: format!("silence {id}"), change };
        note(&mut write, &entry).await.map_err(|error| self.explain(error))?;
        commit(write).await.map_err(|error| self.explain(error))?;
        Ok(id)
    }

    /// The silences that are active at a moment or start later; or all.
    pub async fn silences(&self, after: Option<Timestamp>) -> Result<Vec<Silence>> {
        let rows = read(&mut *self.read().await?, after).await.map_err(|error| self.explain(error))?;
        rows.into_iter().map(Silence::try_from).collect()
    }

    /// Ends a silence now; `false` if it does not exist or has ended. The audit trail says who did.
    pub async fn expire(&self, id: i64, now: Timestamp, who: &str) -> Result<bool> {
        let mut write = self.write().await?;
        let done = query("UPDATE silences SET ends = $2 WHERE id = $1 AND ends > $2")
            .bind(id)
            .bind(now.as_millisecond())
            .execute(&mut write)
            .await
            .map_err(|error| self.explain(error))?;
        let ended = done.rows_affected() > 0;
        if ended {
            let (who, change) = (who.to_owned(), "ended early".to_owned());
            let entry = Audited { at: now, who, place: format!("silence {id}"), change };
            note(&mut write, &entry).await.map_err(|error| self.explain(error))?;
        }
        commit(write).await.map_err(|error| self.explain(error))?;
        Ok(ended)
    }
}
