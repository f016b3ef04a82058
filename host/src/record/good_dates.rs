//! The dates of a check that are good.

use anyhow::Result;
use jiff::civil::Date;

use super::Record;

impl Record {
    /// The newest dates before one whose last recorded run passed or warned, newest first.
    pub async fn good_dates(&self, check: &str, before: Date, limit: u32) -> Result<Vec<Date>> {
        let sql = "WITH judged AS (SELECT data_date, status, \
                ROW_NUMBER() OVER (PARTITION BY data_date ORDER BY recorded DESC, id DESC) AS age \
                FROM runs WHERE check_name = $1 AND data_date < $2 AND NOT left_out) \
            SELECT data_date FROM judged WHERE age = 1 AND status IN ('pass', 'warn') ORDER BY data_date DESC LIMIT $3";
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
