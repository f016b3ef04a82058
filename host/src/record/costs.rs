//! The costs of queries: a ledger of bytes for each check and day.

use anyhow::Result;
use jiff::civil::Date;
use serde::Serialize;

use super::Record;
use super::sql::{query, query_as, query_scalar};

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
    /// Adds bytes to a check's day; if that would exceed the most of the day, returns the current amount instead. A query for
    /// a date that is looked at again has a most of its own, for all such queries of the day. Written to disk before the
    /// query runs, so that a crash does not enlarge the budget.
    pub async fn spend(
        &self,
        check: &str,
        day: Date,
        bytes: u64,
        (most, again): (u64, Option<u64>),
    ) -> Result<Option<u64>> {
        if bytes <= again.map_or(most, |again| again.min(most)) {
            let sql = "INSERT INTO costs (check_name, day, bytes, queries, again) VALUES ($1, $2, $3, 1, $5) \
                       ON CONFLICT (check_name, day) DO UPDATE SET bytes = costs.bytes + excluded.bytes, \
                       queries = costs.queries + 1, again = costs.again + excluded.again \
                       WHERE costs.bytes + excluded.bytes <= $4 AND costs.again + excluded.again <= $6";
            let spend = query(sql)
                .bind(check)
                .bind(day.to_string())
                .bind(signed(bytes))
                .bind(signed(most))
                .bind(again.map_or(0, |_| signed(bytes)))
                .bind(again.map_or(i64::MAX, signed));
            if self.execute(spend).await? > 0 {
                return Ok(None);
            }
        }
        let column = if again.is_some() { "again" } else { "bytes" };
        // One of two constants.
        let sql = sqlx::AssertSqlSafe(format!("SELECT {column} FROM costs WHERE check_name = $1 AND day = $2"));
        let spent: Option<i64> = query_scalar(sql)
            .bind(check)
            .bind(day.to_string())
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(Some(spent.and_then(|spent| u64::try_from(spent).ok()).unwrap_or_default()))
    }

    /// Replaces a query's reserved bytes by the billed bytes. `again`: it was for a date that is looked at again.
    pub async fn correct_spending(
        &self,
        check: &str,
        day: Date,
        (reserved, billed): (u64, u64),
        again: bool,
    ) -> Result<()> {
        if reserved == billed {
            return Ok(());
        }
        let sql = "UPDATE costs SET bytes = bytes - $3 + $4, again = CASE WHEN $5 THEN again - $3 + $4 ELSE again END \
                   WHERE check_name = $1 AND day = $2";
        let correct =
            query(sql).bind(check).bind(day.to_string()).bind(signed(reserved)).bind(signed(billed)).bind(again);
        self.execute(correct).await.map(drop)
    }

    /// The bytes billed since a day, inclusive; by check and day.
    pub async fn costs(&self, since: Date) -> Result<Vec<Cost>> {
        let sql = "SELECT check_name, day, bytes, queries FROM costs WHERE day >= $1 ORDER BY check_name, day";
        let rows: Vec<(String, String, i64, i64)> = query_as(sql)
            .bind(since.to_string())
            .fetch_all(&mut *self.read().await?)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Looking at dates again may take a part of the day's bytes, and what is due may take the rest.
    #[tokio::test]
    async fn looking_again_has_a_part_of_the_day() {
        let record = Record::memory().await.expect("a record");
        let day: Date = "2026-02-06".parse().expect("a date");
        let spend = async |bytes, again| record.spend("a", day, bytes, (100, again)).await.expect("spent");
        assert_eq!(spend(20, Some(25)).await, None);
        assert_eq!(spend(10, Some(25)).await, Some(20), "more than its part");
        record.correct_spending("a", day, (20, 5), true).await.expect("corrected");
        assert_eq!(spend(20, Some(25)).await, None, "it billed less than it reserved");
        assert_eq!(spend(75, None).await, None, "25 of 100 are spent");
        assert_eq!(spend(1, None).await, Some(100));
    }
}
