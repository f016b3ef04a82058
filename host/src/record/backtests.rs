//! What checks said of past dates when somebody tried them on those.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use super::{
    Record, moment,
    sql::{query, query_as},
};

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
    /// The settings that it had, as JSON.
    pub settings: String,
}

/// Which answers of a check.
#[derive(Debug, Clone, Copy)]
pub enum BacktestsOf<'d> {
    /// Those of just this check: the digest of all that decides what it says.
    Exactly(&'d str),
    /// Those to the same question, whatever the limits were: the digest of what it asks.
    Alike(&'d str),
}

type Row = (String, i64, i64, i64, String, String);

const COLUMNS: &str = "data_date, due, asked, bytes, outcome, settings";

impl Record {
    /// What a check said of dates since a moment, the oldest date first, of each date the newest answer last.
    pub async fn backtests(&self, check: &str, of: BacktestsOf<'_>, since: Timestamp) -> Result<Vec<Backtested>> {
        let (column, digest) = match of {
            BacktestsOf::Exactly(digest) => ("tried", digest),
            BacktestsOf::Alike(digest) => ("asks", digest),
        };
        // Constants.
        let sql = format!(
            "SELECT {COLUMNS} FROM backtests WHERE check_name = $1 AND {column} = $2 AND asked >= $3 ORDER BY data_date, asked"
        );
        let rows: Vec<Row> = query_as(sqlx::AssertSqlSafe(sql))
            .bind(check)
            .bind(digest)
            .bind(since.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        rows.into_iter().map(backtested).collect()
    }

    /// What a check said of its newest dates, the oldest first.
    pub async fn newest_backtests(&self, check: &str, tried: &str, dates: u32) -> Result<Vec<Backtested>> {
        // Constants.
        let sql = format!(
            "SELECT {COLUMNS} FROM backtests WHERE check_name = $1 AND tried = $2 ORDER BY data_date DESC LIMIT $3"
        );
        let rows: Vec<Row> = query_as(sqlx::AssertSqlSafe(sql))
            .bind(check)
            .bind(tried)
            .bind(i64::from(dates))
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let mut found: Vec<Backtested> = rows.into_iter().map(backtested).collect::<Result<_>>()?;
        found.reverse();
        Ok(found)
    }

    /// Keeps what a check said of a date, in place of what the same one said before; `tried` and `asks` are the two digests of
    /// [`BacktestsOf`].
    pub async fn note_backtest(&self, check: &str, (tried, asks): (&str, &str), found: &Backtested) -> Result<()> {
        let insert = query(
            "INSERT INTO backtests (check_name, data_date, tried, due, asked, bytes, outcome, asks, settings) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
             ON CONFLICT (check_name, tried, data_date) DO UPDATE \
             SET due = excluded.due, asked = excluded.asked, bytes = excluded.bytes, outcome = excluded.outcome, \
                asks = excluded.asks, settings = excluded.settings",
        )
        .bind(check)
        .bind(found.date.to_string())
        .bind(tried)
        .bind(found.due.as_millisecond())
        .bind(found.asked.as_millisecond())
        .bind(i64::try_from(found.bytes).unwrap_or(i64::MAX))
        .bind(&found.outcome)
        .bind(asks)
        .bind(&found.settings);
        self.execute(insert).await.map(drop)
    }
}

fn backtested((date, due, asked, bytes, outcome, settings): Row) -> Result<Backtested> {
    let (due, asked) = (moment(due), moment(asked));
    Ok(Backtested { date: date.parse()?, due, asked, bytes: bytes.unsigned_abs(), outcome, settings })
}
