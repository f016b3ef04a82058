//! The costs of queries: a ledger of bytes for each check and day.

use anyhow::Result;
use jiff::civil::Date;
use serde::Serialize;

use super::Record;

/// The bytes billed by one check in one day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// The check's name.
    pub check: String,
    /// A day of the pipeline's time zone.
    pub day: Date,
    /// Bytes, including the reservations of running queries.
    pub bytes: u64,
    /// The number of queries.
    pub queries: u64,
}

impl Record {
    /// Adds bytes to a check's day; if that would exceed `most`, returns the current amount instead. Written to disk
    /// before the query runs, so that a crash does not enlarge the budget.
    pub async fn spend(&self, check: &str, day: Date, bytes: u64, most: u64) -> Result<Option<u64>> {
        if bytes <= most {
            let sql = "INSERT INTO costs (check_name, day, bytes, queries) VALUES ($1, $2, $3, 1) \
                       ON CONFLICT (check_name, day) DO UPDATE SET bytes = costs.bytes + excluded.bytes, \
                       queries = costs.queries + 1 WHERE costs.bytes + excluded.bytes <= $4";
            let done = sqlx::query(sql)
                .bind(check)
                .bind(day.to_string())
                .bind(signed(bytes))
                .bind(signed(most))
                .execute(&self.pool)
                .await
                .map_err(|error| self.explain(error))?;
            if done.rows_affected() > 0 {
                return Ok(None);
            }
        }
        let sql = "SELECT bytes FROM costs WHERE check_name = $1 AND day = $2";
        let spent: Option<i64> = sqlx::query_scalar(sql)
            .bind(check)
            .bind(day.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(Some(spent.and_then(|spent| u64::try_from(spent).ok()).unwrap_or_default()))
    }

    /// Replaces a query's reserved bytes by the billed bytes.
    pub async fn correct_spending(&self, check: &str, day: Date, reserved: u64, billed: u64) -> Result<()> {
        if reserved == billed {
            return Ok(());
        }
        sqlx::query("UPDATE costs SET bytes = bytes - $3 + $4 WHERE check_name = $1 AND day = $2")
            .bind(check)
            .bind(day.to_string())
            .bind(signed(reserved))
            .bind(signed(billed))
            .execute(&self.pool)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(())
    }

    /// The bytes billed since a day, inclusive; by check and day.
    pub async fn costs(&self, since: Date) -> Result<Vec<Cost>> {
        let sql = "SELECT check_name, day, bytes, queries FROM costs WHERE day >= $1 ORDER BY check_name, day";
        let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql)
            .bind(since.to_string())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.explain(error))?;
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        rows.into_iter()
            .map(|(check, day, bytes, queries)| {
                Ok(Cost { check, day: day.parse()?, bytes: unsigned(bytes), queries: unsigned(queries) })
            })
            .collect()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
