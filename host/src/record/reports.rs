//! What the report of a time needs of the runs, and when the last one was sent.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use jiff::Timestamp;
use sqlx::AnyConnection;

use super::{
    Record, moment,
    sql::{query, query_as, query_scalar},
};

/// How many runs of a check there were in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that ran.
    pub runs: u64,
    /// Those that could not be evaluated.
    pub errors: u64,
}

impl Record {
    /// How many runs of each check were recorded since a moment; of those that are due before another one.
    pub async fn tallies(&self, since: Timestamp, until: Timestamp) -> Result<BTreeMap<String, Tally>> {
        let sql = "SELECT check_name, COUNT(*), SUM(CASE WHEN status = 'error' THEN 1 ELSE 0 END) FROM runs \
            WHERE due >= $1 AND due < $2 AND NOT left_out GROUP BY check_name";
        let rows: Vec<(String, i64, i64)> = query_as(sql)
            .bind(since.as_millisecond())
            .bind(until.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let tally = |(check, runs, errors): (String, i64, i64)| {
            (check, Tally { runs: runs.unsigned_abs(), errors: errors.unsigned_abs() })
        };
        Ok(rows.into_iter().map(tally).collect())
    }

    /// The checks that failed or warned at least once, as far as the record goes back.
    pub async fn ever_failed(&self) -> Result<BTreeSet<String>> {
        let names: Vec<String> = query_scalar("SELECT DISTINCT check_name FROM runs WHERE status IN ('fail', 'warn')")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(names.into_iter().collect())
    }

    /// The due time of the last run of a check before a moment that found nothing wrong.
    pub async fn last_well(&self, check: &str, before: Timestamp) -> Result<Option<Timestamp>> {
        let sql = "SELECT MAX(due) FROM runs WHERE check_name = $1 AND due < $2 AND status IN ('pass', 'skip') \
            AND NOT left_out";
        let at: Option<i64> = query_scalar(sql)
            .bind(check)
            .bind(before.as_millisecond())
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(at.map(moment))
    }

    /// Until when the last report that was sent goes.
    pub async fn reported(&self) -> Result<Option<Timestamp>> {
        let at: Option<i64> = query_scalar("SELECT at FROM reports WHERE id = 1")
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(at.map(moment))
    }
}

/// Notes until when a report goes, with the message.
pub(super) async fn note(write: &mut AnyConnection, at: Timestamp) -> sqlx::Result<()> {
    query("INSERT INTO reports (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
        .bind(at.as_millisecond())
        .execute(write)
        .await
        .map(drop)
}
