//! The newest mutation score of each check.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};

use super::{
    Record, moment,
    sql::{query, query_as, storable},
};

/// How many mutants a check caught.
#[derive(Debug, Clone, PartialEq)]
pub struct MutationScore {
    /// The check's name.
    pub check: String,
    /// The date whose data were changed.
    pub date: Date,
    /// A digest of the check as it was.
    pub tried: String,
    /// When.
    pub at: Timestamp,
    /// The mutants that it caught.
    pub caught: u64,
    /// The mutants that changed an answer.
    pub counted: u64,
    /// Each mutant with what came of it, as JSON.
    pub mutants: String,
}

impl MutationScore {
    /// Caught of counted, from 0 to 1; `None` without any.
    pub fn share(&self) -> Option<f64> {
        (self.counted > 0).then(|| self.caught as f64 / self.counted as f64)
    }
}

impl Record {
    /// The newest score of a check; of all checks without one named. By name.
    pub async fn scores(&self, check: Option<&str>) -> Result<Vec<MutationScore>> {
        type Row = (String, String, String, i64, i64, i64, String);
        let sql = "SELECT check_name, data_date, tried, at, caught, counted, mutants FROM scores \
            WHERE check_name = $1 OR $1 = '' ORDER BY check_name";
        let rows: Vec<Row> = query_as(sql)
            .bind(check.unwrap_or_default())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let score = |(check, date, tried, at, caught, counted, mutants): Row| {
            let (at, caught, counted) = (moment(at), caught.unsigned_abs(), counted.unsigned_abs());
            Ok(MutationScore { check, date: date.parse()?, tried, at, caught, counted, mutants })
        };
        rows.into_iter().map(score).collect()
    }

    /// Keeps a check's score, in place of the one before.
    pub async fn note_score(&self, score: &MutationScore) -> Result<()> {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let insert = query(
            "INSERT INTO scores (check_name, data_date, tried, at, caught, counted, mutants) VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (check_name) DO UPDATE SET data_date = excluded.data_date, tried = excluded.tried, at = excluded.at, \
             caught = excluded.caught, counted = excluded.counted, mutants = excluded.mutants",
        )
        .bind(&score.check)
        .bind(score.date.to_string())
        .bind(&score.tried)
        .bind(score.at.as_millisecond())
        .bind(signed(score.caught))
        .bind(signed(score.counted))
        .bind(storable(&score.mutants));
        self.execute(insert).await.map(drop)
    }
}
