//! The audit trail: who changed what the host may do and say, as far as the host sees it.

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;
use sqlx::AnyConnection;

use super::sql::{commit, query, query_as, query_scalar, storable};
use super::{Record, moment};

/// The only row of the last rights.
const LAST: i64 = 1;

/// An entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// When the host saw it.
    pub at: Timestamp,
    /// Who did it, as far as the host knows: a user of this machine, the owner of a file, the page.
    pub who: String,
    /// A key of host.toml, `plugins.lock NAME`, or `silence NUMBER`.
    pub place: String,
    /// The change in words.
    pub change: String,
}

impl Record {
    /// The newest entries, the newest first.
    pub async fn audit(&self, limit: u32) -> Result<Vec<Audited>> {
        let sql = "SELECT at, who, place, change FROM audit ORDER BY id DESC LIMIT $1";
        let rows: Vec<(i64, String, String, String)> = query_as(sql)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().map(|(at, who, place, change)| Audited { at: moment(at), who, place, change }).collect())
    }

    /// The rights that the host last ran with, as JSON.
    pub async fn rights(&self) -> Result<Option<String>> {
        let sql = "SELECT rights FROM rights WHERE id = $1";
        query_scalar(sql).bind(LAST).fetch_optional(&mut *self.read().await?).await.map_err(|error| self.explain(error))
    }

    /// Writes the rights, as JSON, with the entries that say what changed.
    pub async fn note_rights(&self, rights: &str, entries: &[Audited]) -> Result<()> {
        let mut write = self.write().await?;
        let sql = "INSERT INTO rights (id, rights) VALUES ($1, $2) \
                   ON CONFLICT (id) DO UPDATE SET rights = excluded.rights";
        let set = query(sql).bind(LAST).bind(rights).execute(&mut write).await;
        set.map_err(|error| self.explain(error))?;
        for entry in entries {
            note(&mut write, entry).await.map_err(|error| self.explain(error))?;
        }
        commit(write).await.map_err(|error| self.explain(error))
    }
}

/// Adds an entry within a transaction.
pub(super) async fn note(write: &mut AnyConnection, entry: &Audited) -> sqlx::Result<()> {
    query("INSERT INTO audit (at, who, place, change) VALUES ($1, $2, $3, $4)")
        .bind(entry.at.as_millisecond())
        .bind(storable(&entry.who))
        .bind(storable(&entry.place))
        .bind(storable(&entry.change))
        .execute(write)
        .await
        .map(drop)
}
