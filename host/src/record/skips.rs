//! For how long a check has only skipped.

use anyhow::Result;
use jiff::civil::Date;

use super::Record;
use super::sql::query_scalar;

impl Record {
    /// The first of the data dates before this one on which a check was skipped by data, without a date between that was
    /// judged or skipped by a calendar; `None` if the date before it was. A run that was not evaluated ends nothing.
    pub async fn skipping_since(&self, check: &str, date: Date) -> Result<Option<Date>> {
        // A calendar skips a run before its plugin is known.
        let first: Option<String> = query_scalar(
            "SELECT min(data_date) FROM runs WHERE check_name = $1 AND data_date < $2 \
                AND status = 'skip' AND plugin_id IS NOT NULL AND data_date > COALESCE( \
                (SELECT max(data_date) FROM runs WHERE check_name = $1 AND data_date < $2 AND NOT left_out \
                    AND (status IN ('pass', 'warn', 'fail') OR (status = 'skip' AND plugin_id IS NULL))), '')",
        )
        .bind(check)
        .bind(date.to_string())
        .fetch_one(&mut *self.read().await?)
        .await
        .map_err(|error| self.explain(error))?;
        Ok(first.map(|first| first.parse()).transpose()?)
    }
}
