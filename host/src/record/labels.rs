//! What people say that alerts were.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::{
    Record,
    audit::{Audited, note},
    moment,
    sql::{commit, query, query_as, storable},
};

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

/// An alert with its number, and what somebody said that it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Labelled {
    /// The alert's number.
    pub alert: i64,
    /// The check's name.
    pub check: String,
    /// The data date; `None` if it is not about one date.
    pub data_date: Option<Date>,
    /// `failure` or `error`.
    pub kind: String,
    /// `critical`, `warning`, …
    pub severity: String,
    /// Its last summary.
    pub summary: String,
    /// When it turned bad.
    pub began: Timestamp,
    /// When it recovered.
    pub ended: Option<Timestamp>,
    /// When people were first told.
    pub announced: Option<Timestamp>,
    /// What it was.
    pub label: Option<Label>,
    /// Why, in the words of who said it.
    pub why: Option<String>,
}

type Row = (i64, String, String, String, String, String, i64, Option<i64>, Option<i64>, Option<String>, Option<String>);

impl Record {
    /// The alerts that began since a moment, the newest first, with their labels.
    pub async fn labelled(&self, since: Timestamp) -> Result<Vec<Labelled>> {
        self.labels_where("alerts.began >= $1", since.as_millisecond()).await
    }

    /// One alert with its label.
    pub async fn alert(&self, id: i64) -> Result<Option<Labelled>> {
        Ok(self.labels_where("alerts.id = $1", id).await?.pop())
    }

    async fn labels_where(&self, which: &'static str, value: i64) -> Result<Vec<Labelled>> {
        // `which` is one of two constants.
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT alerts.id, check_name, data_date, kind, severity, summary, began, ended, announced, label, why \
             FROM alerts LEFT JOIN labels ON labels.alert_id = alerts.id WHERE {which} ORDER BY began DESC, alerts.id DESC"
        ));
        let rows: Vec<Row> =
            query_as(sql).bind(value).fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        rows.into_iter().map(labelled).collect()
    }

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

fn labelled(row: Row) -> Result<Labelled> {
    let (alert, check, date, kind, severity, summary, began, ended, announced, label, why) = row;
    Ok(Labelled {
        alert,
        check,
        data_date: if date.is_empty() { None } else { Some(date.parse()?) },
        kind,
        severity,
        summary,
        began: moment(began),
        ended: ended.map(moment),
        announced: announced.map(moment),
        label: label.as_deref().and_then(Label::named),
        why,
    })
}
