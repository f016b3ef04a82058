//! Questions to gates: who asked, about which date, and the answer.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::Serialize;

use super::sql::{query, query_as, query_scalar, storable};
use super::{Record, moment};

/// A question, and its answer in short.
#[derive(Debug, Clone, Serialize)]
pub struct Consultation {
    /// The gate.
    pub gate: String,
    /// The data date.
    pub data_date: Date,
    /// Who asked, in their own words.
    pub caller: String,
    /// The time of the answer.
    pub at: Timestamp,
    /// `PROCEED`, `PROCEED_WITH_WARNING`, `FAIL` or `NOT_EVALUATED`.
    pub decision: String,
    /// One line.
    pub message: String,
}

impl Record {
    /// Records a question with the whole answer, as JSON.
    pub async fn consulted(&self, consultation: &Consultation, answer: &str) -> Result<()> {
        let insert = query(
            "INSERT INTO consultations (check_name, data_date, caller, at, decision, message, answer) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(&consultation.gate)
        .bind(consultation.data_date.to_string())
        .bind(storable(&consultation.caller))
        .bind(consultation.at.as_millisecond())
        .bind(&consultation.decision)
        .bind(storable(&consultation.message))
        .bind(answer);
        self.execute(insert).await.map(drop)
    }

    /// The number of questions to a gate about a date.
    pub async fn consultations_about(&self, gate: &str, date: Date) -> Result<u64> {
        let count: i64 = query_scalar("SELECT COUNT(*) FROM consultations WHERE check_name = $1 AND data_date = $2")
            .bind(storable(gate))
            .bind(date.to_string())
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(count.unsigned_abs())
    }

    /// Why a gate was skipped when it last ran for a date; `None` if it was not.
    pub async fn skipped(&self, gate: &str, date: Date) -> Result<Option<String>> {
        let last: Option<(String, String)> = query_as(
            "SELECT status, summary FROM runs WHERE check_name = $1 AND data_date = $2 AND NOT left_out \
             ORDER BY due DESC, id DESC LIMIT 1",
        )
        .bind(storable(gate))
        .bind(date.to_string())
        .fetch_optional(&mut *self.read().await?)
        .await
        .map_err(|error| self.explain(error))?;
        Ok(last.filter(|(status, _)| status == "skip").map(|(_, summary)| summary))
    }

    /// The newest questions, the newest first; to one gate, or to all.
    pub async fn consultations(&self, gate: Option<&str>, limit: u32) -> Result<Vec<Consultation>> {
        let rows: Vec<(String, String, String, i64, String, String)> = query_as(
            "SELECT check_name, data_date, caller, at, decision, message FROM consultations \
             WHERE $2 IS NULL OR check_name = $2 ORDER BY at DESC, id DESC LIMIT $1",
        )
        .bind(i64::from(limit))
        .bind(gate.map(storable))
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(|error| self.explain(error))?;
        rows.into_iter()
            .map(|(gate, date, caller, at, decision, message)| {
                Ok(Consultation { gate, data_date: date.parse()?, caller, at: moment(at), decision, message })
            })
            .collect()
    }
}
