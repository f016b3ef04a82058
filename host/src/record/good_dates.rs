//! The dates of a check that are good.

use anyhow::Result;
use jiff::civil::Date;

use super::Record;
use super::sql::query_scalar;

impl Record {
    /// The newest dates before one that passed, newest first. While there are too few of them, those that only warned count
    /// too; never one that is bad, skipped, given up or unknown.
    pub async fn good_dates(&self, check: &str, before: Date, limit: u32) -> Result<Vec<Date>> {
        // `good` comes before `warned`.
        let sql = "SELECT data_date FROM (SELECT data_date FROM dates \
            WHERE check_name = $1 AND data_date < $2 AND data_date <> '' AND state IN ('good', 'warned') \
            ORDER BY state, data_date DESC LIMIT $3) AS newest ORDER BY data_date DESC";
        let found: Vec<String> = query_scalar(sql)
            .bind(check)
            .bind(before.to_string())
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        found.into_iter().map(|date| Ok(date.parse()?)).collect()
    }
}
