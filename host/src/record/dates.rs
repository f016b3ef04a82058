//! The states of data dates: one row a check and date, of which only changed ones are written.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use sqlx::{AnyConnection, AssertSqlSafe, FromRow, Row, any::AnyRow};

use super::sql::{Change, last_of_each, places, query, query_as, query_scalar};
use super::{Record, moment};

/// The state of one data date of a check, as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DateRow {
    /// The check's name.
    pub check: String,
    /// The data date; `None` for a check about now.
    pub date: Option<Date>,
    /// `good`, `warned`, `bad`, `pending`, `skipped`, `not_judged` or `given_up`.
    pub state: String,
    /// The due time of the run that says so.
    pub at: Timestamp,
    /// When it is looked at again, how often it was, and since when.
    pub look: Option<(Timestamp, u32, Timestamp)>,
    /// How long after its deadline it became good, in seconds, if it was late.
    pub late: Option<i64>,
    /// When the run began that judged it last, in milliseconds since the Unix epoch by the record's clock; 0 if that is not known.
    pub began: i64,
    /// What the alert policy remembers of it, as JSON.
    pub incident: Option<String>,
}

/// Rows of one statement; SQLite allows 32,766 values: <https://www.sqlite.org/limits.html#max_variable_number>
const ROWS: usize = 1000;

impl Record {
    /// The states of all dates.
    pub async fn dates(&self) -> Result<Vec<DateRow>> {
        let all = query_as("SELECT * FROM dates").fetch_all(&mut *self.read().await?).await;
        all.map_err(|error| self.explain(error))
    }

    /// The data date of the last run of a check that failed or warned, except those about other dates than the newest.
    pub async fn last_bad(&self, check: &str) -> Result<Option<Date>> {
        let sql = "SELECT data_date FROM runs WHERE check_name = $1 AND NOT past AND status IN ('fail', 'warn') \
            ORDER BY due DESC, id DESC LIMIT 1";
        let date: Option<String> = query_scalar(sql)
            .bind(check)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(date.map(|date| date.parse()).transpose()?)
    }

    /// The first data date that a check judged on its schedule, as far as its runs are kept.
    pub async fn first_date(&self, check: &str) -> Result<Option<Date>> {
        let sql = "SELECT MIN(data_date) FROM runs WHERE check_name = $1 AND NOT past AND NOT left_out";
        let date: Option<String> = query_scalar(sql)
            .bind(check)
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(date.map(|date| date.parse()).transpose()?)
    }
}

/// Writes changed dates, and removes those that are gone.
pub(super) async fn write_dates(
    write: &mut AnyConnection,
    changed: &[DateRow],
    gone: &[(String, Option<Date>)],
) -> sqlx::Result<()> {
    for (check, date) in gone {
        let removed = query("DELETE FROM dates WHERE check_name = $1 AND data_date = $2");
        removed.bind(check).bind(key(*date)).execute(&mut *write).await?;
    }
    for rows in last_of_each(changed, |row| (&row.check, row.date)).chunks(ROWS) {
        upsert(rows).execute(&mut *write).await?;
    }
    Ok(())
}

fn upsert<'q>(rows: &[&'q DateRow]) -> Change<'q> {
    // Constants and places.
    let sql = AssertSqlSafe(format!(
        "INSERT INTO dates (check_name, data_date, state, at, look_at, look_tries, look_from, late, incident, began) VALUES {} \
         ON CONFLICT (check_name, data_date) DO UPDATE SET state = excluded.state, at = excluded.at, \
         look_at = excluded.look_at, look_tries = excluded.look_tries, look_from = excluded.look_from, \
         late = excluded.late, incident = excluded.incident, began = excluded.began",
        places(rows.len(), 10)
    ));
    rows.iter().fold(query(sql), |insert, row| {
        insert
            .bind(&row.check)
            .bind(key(row.date))
            .bind(&row.state)
            .bind(row.at.as_millisecond())
            .bind(row.look.map(|(at, ..)| at.as_millisecond()))
            .bind(row.look.map(|(_, tries, _)| i64::from(tries)))
            .bind(row.look.map(|(.., from)| from.as_millisecond()))
            .bind(row.late)
            .bind(&row.incident)
            .bind(row.began)
    })
}

/// A date as it is written; empty for none.
pub(super) fn key(date: Option<Date>) -> String {
    date.map(|date| date.to_string()).unwrap_or_default()
}

/// A date as it was written.
pub(super) fn parsed(text: &str) -> sqlx::Result<Option<Date>> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|error| sqlx::Error::Decode(Box::new(error))),
    }
}

impl FromRow<'_, AnyRow> for DateRow {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let at = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(moment));
        let (look, tries, from) = (at("look_at")?, row.try_get::<Option<i64>, _>("look_tries")?, at("look_from")?);
        Ok(Self {
            check: row.try_get("check_name")?,
            date: parsed(row.try_get("data_date")?)?,
            state: row.try_get("state")?,
            at: moment(row.try_get("at")?),
            look: look
                .zip(tries)
                .zip(from)
                .map(|((look, tries), from)| (look, u32::try_from(tries).unwrap_or(u32::MAX), from)),
            late: row.try_get("late")?,
            incident: row.try_get("incident")?,
            began: row.try_get::<Option<i64>, _>("began")?.unwrap_or_default(),
        })
    }
}
