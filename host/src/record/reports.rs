//! What the report of a time needs of the runs, and when the last one was sent.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use sqlx::AnyConnection;

use super::{
    Record, moment,
    sql::{query, query_as, query_scalar},
};

/// How many runs of a check there were in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// All that ran.
    pub runs: u64,
    /// Those that could not be evaluated.
    pub errors: u64,
}

/// What the record knows of a check as far as it goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lived {
    /// The first date that it judged by its schedule, not by hand about the past.
    pub first: Option<Date>,
    /// Whether it ever failed or warned.
    pub ever_failed: bool,
}

/// From when an alert could have been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noticed {
    /// The last run before it that passed or was skipped, about the same date if it is about one: while a check is skipped, nobody is to
    /// hear of it.
    pub well: Option<Timestamp>,
    /// The first run of its schedule about its date; `None` if it is about no date, or if somebody asked about the date by hand.
    pub first: Option<Timestamp>,
}

/// When an alert was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A receiver took the first message about its check.
    At(Timestamp),
    /// The message is still to be sent.
    Waits,
    /// No receiver took one.
    Never,
}

/// The messages about each check, the oldest first.
#[derive(Debug, Default)]
pub struct Messages(BTreeMap<String, Vec<Message>>);

#[derive(Debug)]
struct Message {
    created: Timestamp,
    waits: bool,
    delivered: Option<Timestamp>,
}

impl Messages {
    /// When an alert was told: by the first message about its check that was written from `announced` until it ended. Without such a
    /// message it was told on the terminal.
    pub fn heard(&self, check: &str, announced: Timestamp, ended: Option<Timestamp>) -> Heard {
        let of_alert = |one: &&Message| one.created >= announced && ended.is_none_or(|ended| one.created < ended);
        let own: Vec<&Message> = self.0.get(check).into_iter().flatten().filter(of_alert).collect();
        match own.iter().filter_map(|one| one.delivered).min() {
            Some(at) => Heard::At(at),
            None if own.is_empty() => Heard::At(announced),
            None if own.iter().any(|one| one.waits) => Heard::Waits,
            None => Heard::Never,
        }
    }
}

impl Record {
    /// How many runs of each check were recorded since a moment; of those that are due before another one.
    pub async fn tallies(&self, since: Timestamp, until: Timestamp) -> Result<BTreeMap<String, Tally>> {
        let sql = "SELECT check_name, COUNT(*), SUM(CASE WHEN status = 'error' THEN 1 ELSE 0 END) FROM runs \
            WHERE due >= $1 AND due < $2 AND NOT left_out GROUP BY check_name";
        let rows: Vec<(String, i64, i64)> = query_as(sql)
            .bind(since.as_millisecond())
            .bind(until.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let tally = |(check, runs, errors): (String, i64, i64)| {
            (check, Tally { runs: runs.unsigned_abs(), errors: errors.unsigned_abs() })
        };
        Ok(rows.into_iter().map(tally).collect())
    }

    /// What is known of each check.
    pub async fn lived(&self) -> Result<BTreeMap<String, Lived>> {
        let sql = "SELECT check_name, MIN(CASE WHEN NOT past THEN data_date END), \
            MAX(CASE WHEN status IN ('fail', 'warn') THEN 1 ELSE 0 END) FROM runs WHERE NOT left_out GROUP BY check_name";
        let rows: Vec<(String, Option<String>, i64)> =
            query_as(sql).fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))?;
        let lived = |(check, first, failed): (String, Option<String>, i64)| {
            Ok((check, Lived { first: first.map(|first| first.parse()).transpose()?, ever_failed: failed > 0 }))
        };
        rows.into_iter().map(lived).collect()
    }

    /// From when an alert that began then could have been told.
    pub async fn noticed(&self, check: &str, date: Option<Date>, began: Timestamp) -> Result<Noticed> {
        let of_date = date.map(|date| date.to_string()).unwrap_or_default();
        // No run is about a date long before it.
        let from = date.and_then(|date| date.checked_sub(7.days()).ok()?.to_zoned(TimeZone::UTC).ok());
        let from = from.map_or(i64::MIN, |from| from.timestamp().as_millisecond());
        let runs = "FROM runs WHERE check_name = $1 AND due <= $2 AND due >= $3 AND (data_date = $4 OR $4 = '') \
            AND NOT left_out AND NOT past";
        let asked = |sql: String| {
            // Constants.
            let sql = query_scalar(sqlx::AssertSqlSafe(sql)).bind(check).bind(began.as_millisecond());
            sql.bind(from).bind(of_date.clone())
        };
        let mut read = self.read().await?;
        let well = asked(format!("SELECT due {runs} AND status IN ('pass', 'skip') ORDER BY due DESC LIMIT 1"));
        let well: Option<i64> = well.fetch_optional(&mut read).await.map_err(|error| self.explain(error))?;
        let first: Option<i64> = match date {
            Some(_) => {
                let first = asked(format!("SELECT due {runs} ORDER BY due LIMIT 1"));
                first.fetch_optional(&mut read).await.map_err(|error| self.explain(error))?
            }
            None => None,
        };
        Ok(Noticed { well: well.map(moment), first: first.map(moment) })
    }

    /// The messages that were written since a moment.
    pub async fn written_since(&self, since: Timestamp) -> Result<Messages> {
        let sql = "SELECT checks, created, state, CASE WHEN state = 'delivered' THEN at END FROM outbox \
            LEFT JOIN receipts ON message_id = outbox.id AND attempt = attempts WHERE created >= $1 ORDER BY created";
        let rows: Vec<(String, i64, String, Option<i64>)> = query_as(sql)
            .bind(since.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        let mut messages = Messages::default();
        for (checks, created, state, delivered) in rows {
            for check in serde_json::from_str::<Vec<String>>(&checks)? {
                let (waits, delivered) = (state == "waiting", delivered.map(moment));
                messages.0.entry(check).or_default().push(Message { created: moment(created), waits, delivered });
            }
        }
        Ok(messages)
    }

    /// Until when the last report that was sent goes.
    pub async fn reported(&self) -> Result<Option<Timestamp>> {
        let at: Option<i64> = query_scalar("SELECT at FROM reports WHERE id = 1")
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(at.map(moment))
    }
}

/// Notes until when a report goes, with the message.
pub(super) async fn note(write: &mut AnyConnection, at: Timestamp) -> sqlx::Result<()> {
    query("INSERT INTO reports (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
        .bind(at.as_millisecond())
        .execute(write)
        .await
        .map(drop)
}
