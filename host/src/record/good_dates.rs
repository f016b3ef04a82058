//! The dates of a check that are good.

use anyhow::Result;
use jiff::civil::Date;

use super::Record;

impl Record {
    /// The newest dates before one that passed or warned, newest first: neither bad, skipped, given up nor unknown.
    pub async fn good_dates(&self, check: &str, before: Date, limit: u32) -> Result<Vec<Date>> {
        let sql = "SELECT data_date FROM dates WHERE check_name = $1 AND data_date < $2 AND data_date <> '' \
            AND state IN ('good', 'warned') ORDER BY data_date DESC LIMIT $3";
        let found: Vec<String> = sqlx::query_scalar(sql)
            .bind(check)
            .bind(before.to_string())
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.explain(error))?;
        found.into_iter().map(|date| Ok(date.parse()?)).collect()
    }
}
