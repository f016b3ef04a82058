//! What people say that alerts were.

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Record,
    audit::{Audited, note},
    sql::{commit, query, storable},
};

/// The longest reason of a label, in characters.
pub const LONGEST_WHY: usize = 500;

/// What an alert was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Something was wrong, and people had to know.
    Real,
    /// Nothing was wrong.
    False,
    /// Something was wrong, and nobody had to know.
    Noise,
}

impl Label {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Real, Self::False, Self::Noise];

    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::False => "false",
            Self::Noise => "noise",
        }
    }

    /// From its word.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|label| label.name() == name)
    }
}

impl Record {
    /// Says what an alert was, in place of what was said before. The audit trail says who did.
    pub async fn label(&self, alert: i64, label: Label, why: &str, (who, at): (&str, Timestamp)) -> Result<()> {
        let mut write = self.write().await?;
        query(
            "INSERT INTO labels (alert_id, label, why, who, at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (alert_id) \
             DO UPDATE SET label = excluded.label, why = excluded.why, who = excluded.who, at = excluded.at",
        )
        .bind(alert)
        .bind(label.name())
        .bind(storable(why))
        .bind(storable(who))
        .bind(at.as_millisecond())
        .execute(&mut write)
        .await
        .map_err(|error| self.explain(error))?;
        let entry = Audited {
            at,
            who: who.to_owned(),
            place: format!("alert {alert}"),
            change: format!("labelled {}: {why}", label.name()),
        };
        note(&mut write, &entry).await.map_err(|error| self.explain(error))?;
        commit(write).await.map_err(|error| self.explain(error))
    }
}
