//! What the report of a time needs of the runs, and when the last one was sent.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
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

/// What the record knows of a check as far as it goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lived {
    /// The first date that it judged by its schedule, not by hand about the past.
    pub first: Option<Date>,
    /// Whether it ever failed or warned.
    pub ever_failed: bool,
}

/// From when an alert could have been told, and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The last run before it that found nothing wrong, about the same date if it is about one.
    pub well: Option<Timestamp>,
    /// The first run about its date; `None` if it is about no date.
    pub first: Option<Timestamp>,
    /// When the first message about its check was delivered; `None` if none was.
    pub at: Option<Timestamp>,
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

    /// What is known of each check.
    pub async fn lived(&self) -> Result<BTreeMap<String, Lived>> {
        let sql = "SELECT check_name, MIN(CASE WHEN NOT past THEN data_date END), \
            MAX(CASE WHEN status IN ('fail', 'warn') THEN 1 ELSE 0 END) FROM runs WHERE NOT left_out GROUP BY check_name";
        let rows: Vec<(String, Option<String>, i64)> =
            query_as(sql).fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        let lived = |(check, first, failed): (String, Option<String>, i64)| {
            Ok((check, Lived { first: first.map(|first| first.parse()).transpose()?, ever_failed: failed > 0 }))
        };
        rows.into_iter().map(lived).collect()
    }

    /// From when an alert could have been told, and when it was: when a receiver took the first message about its check that was written
    /// then or later. Without such a message it was told on the terminal.
    pub async fn heard(
        &self,
        check: &str,
        date: Option<Date>,
        (began, announced): (Timestamp, Timestamp),
    ) -> Result<Heard> {
        let of_date = date.map(|date| date.to_string()).unwrap_or_default();
        let sql = "SELECT MAX(CASE WHEN status IN ('pass', 'skip') THEN due END), MIN(due) FROM runs \
            WHERE check_name = $1 AND due <= $2 AND (data_date = $3 OR $3 = '') AND NOT left_out AND NOT past";
        let (well, first): (Option<i64>, Option<i64>) = query_as(sql)
            .bind(check)
            .bind(began.as_millisecond())
            .bind(of_date)
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let sql = "SELECT COUNT(*), MIN(CASE WHEN state = 'delivered' THEN at END) FROM outbox \
            LEFT JOIN receipts ON message_id = outbox.id AND attempt = attempts \
            WHERE created >= $1 AND replace(checks, $2, '') <> checks";
        let (messages, delivered): (i64, Option<i64>) = query_as(sql)
            .bind(announced.as_millisecond())
            .bind(serde_json::to_string(check)?)
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let at = delivered.map(moment).or((messages == 0).then_some(announced));
        let first = first.filter(|_| date.is_some());
        Ok(Heard { well: well.map(moment), first: first.map(moment), at })
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
