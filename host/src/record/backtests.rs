//! What checks said of past dates when somebody tried them on those.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use super::{
    Record, moment,
    sql::{query, query_as},
};

/// Before the digest of a check with other settings than host.toml: what it says is not what the check says.
pub const APART: &str = "apart ";

/// What a check said of a past date.
#[derive(Debug, Clone, PartialEq)]
pub struct Backtested {
    /// The data date.
    pub date: Date,
    /// The run's clock.
    pub due: Timestamp,
    /// When the warehouse was asked.
    pub asked: Timestamp,
    /// What its queries billed.
    pub bytes: u64,
    /// Its report, its alerts and its error, as JSON.
    pub outcome: String,
}

type Row = (String, i64, i64, i64, String);

impl Record {
    /// What a check said of dates since a moment, the oldest date first; of each date the newest answer. `tried` is the digest of
    /// what decides what it says; `None` for all but those with other settings than host.toml.
    pub async fn backtests(&self, check: &str, tried: Option<&str>, since: Timestamp) -> Result<Vec<Backtested>> {
        let sql = "SELECT data_date, due, asked, bytes, outcome FROM backtests \
            WHERE check_name = $1 AND (tried = $2 OR ($2 = '' AND tried NOT LIKE 'apart %')) AND asked >= $3 \
            ORDER BY data_date, asked";
        let rows: Vec<Row> = query_as(sql)
            .bind(check)
            .bind(tried.unwrap_or_default())
            .bind(since.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let mut newest: Vec<Backtested> = Vec::with_capacity(rows.len());
        for row in rows {
            let found = backtested(row)?;
            match newest.last_mut().filter(|last| last.date == found.date) {
                Some(last) => *last = found,
                None => newest.push(found),
            }
        }
        Ok(newest)
    }

    /// What a check said of its newest dates, the oldest first; of each date the newest answer.
    pub async fn newest_backtests(&self, check: &str, dates: u32) -> Result<Vec<Backtested>> {
        let sql = "SELECT data_date, due, asked, bytes, outcome FROM backtests AS one WHERE check_name = $1 AND tried NOT LIKE 'apart %' AND asked = \
            (SELECT MAX(asked) FROM backtests WHERE check_name = one.check_name AND data_date = one.data_date \
            AND tried NOT LIKE 'apart %') \
            ORDER BY data_date DESC LIMIT $2";
        let rows: Vec<Row> = query_as(sql)
            .bind(check)
            .bind(i64::from(dates))
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let mut found: Vec<Backtested> = rows.into_iter().map(backtested).collect::<Result<_>>()?;
        found.reverse();
        Ok(found)
    }

    /// Keeps what a check said of a date, in place of what the same one said before.
    pub async fn note_backtest(&self, check: &str, tried: &str, found: &Backtested) -> Result<()> {
        let insert = query(
            "INSERT INTO backtests (check_name, data_date, tried, due, asked, bytes, outcome) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (check_name, tried, data_date) DO UPDATE \
             SET due = excluded.due, asked = excluded.asked, bytes = excluded.bytes, outcome = excluded.outcome",
        )
        .bind(check)
        .bind(found.date.to_string())
        .bind(tried)
        .bind(found.due.as_millisecond())
        .bind(found.asked.as_millisecond())
        .bind(i64::try_from(found.bytes).unwrap_or(i64::MAX))
        .bind(&found.outcome);
        self.execute(insert).await.map(drop)
    }
}

fn backtested((date, due, asked, bytes, outcome): Row) -> Result<Backtested> {
    let (due, asked) = (moment(due), moment(asked));
    Ok(Backtested { date: date.parse()?, due, asked, bytes: bytes.unsigned_abs(), outcome })
}
