//! The time of the last validation, and the digest of the checks at that time.

use anyhow::Result;
use jiff::Timestamp;

use super::sql::{query, query_scalar};
use super::{Record, moment};

impl Record {
    /// When the checks were last validated, if they have not changed since.
    pub async fn validated(&self, checks: &str) -> Result<Option<Timestamp>> {
        let at: Option<i64> = query_scalar("SELECT at FROM validations WHERE checks = $1")
            .bind(checks)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(at.map(moment))
    }

    /// Records a validation.
    pub async fn note_validation(&self, checks: &str, at: Timestamp) -> Result<()> {
        let insert = query(
            "INSERT INTO validations (id, at, checks) VALUES (1, $1, $2) \
             ON CONFLICT (id) DO UPDATE SET at = excluded.at, checks = excluded.checks",
        )
        .bind(at.as_millisecond())
        .bind(checks);
        self.execute(insert).await.map(drop)
    }
}
