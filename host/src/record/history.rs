//! Queries on the record.

use anyhow::Result;
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sqlx::{FromRow, Row, any::AnyRow};

use super::sql::{query_as, query_scalar, storable};
use super::{Label, Record, dates::parsed, moment, number, yes};
use crate::contract::Metric;

/// A recorded run.
#[derive(Debug, Serialize)]
pub struct PastRun {
    /// The check's name.
    pub check: String,
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// 1 for the first run of this check, date and due time.
    pub attempt: u32,
    /// Whether it is about another date than the one that was due.
    pub past: bool,
    /// Whether it did not run: its due time was missed, or the check was still running.
    pub left_out: bool,
    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub status: String,
    /// The summary, one line.
    pub summary: String,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// Its duration.
    pub seconds: f64,
    /// The plugin's name, version and digest.
    pub plugin: Option<Value>,
    /// What was cut to fit, in words, if anything was.
    pub cut: Option<String>,
    /// The plugin's report, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<RawValue>>,
    /// Rows that explain the violations, with the report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<RawValue>>,
    /// Host calls and their costs, if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Box<RawValue>>,
    /// Whether the requested report and calls were not read, since the newer runs used up the limit.
    #[serde(skip)]
    pub unread: bool,
}

/// The long parts of runs to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Included {
    /// The reports, with their evidence.
    pub report: bool,
    /// The host calls.
    pub calls: bool,
    /// The limit for both together, in bytes; for older runs neither is read.
    pub most: usize,
}

/// The metrics of a recorded report.
pub fn metrics(report: &str) -> Vec<Metric> {
    #[derive(Deserialize)]
    struct Report {
        metrics: Vec<Metric>,
    }
    serde_json::from_str::<Report>(report).map(|report| report.metrics).unwrap_or_default()
}

/// A recorded run, in short.
#[derive(Debug)]
pub struct Line {
    /// The run's clock.
    pub due: Timestamp,
    /// The data date.
    pub data_date: Date,
    /// `pass`, `skip`, `warn`, `fail` or `error`.
    pub status: String,
    /// Whether it did not run.
    pub left_out: bool,
}

/// When a check ran last.
#[derive(Debug, Clone, Copy)]
pub struct LastRuns {
    /// When its last run was recorded.
    pub ended: Option<Timestamp>,
    /// The due time of the last run that passed.
    pub passed: Option<Timestamp>,
}

/// A recorded alert.
#[derive(Debug, Serialize)]
pub struct PastAlert {
    /// Its number.
    pub id: i64,
    /// The check's name.
    pub check: String,
    /// The data date; `None` if it is not about one date.
    pub data_date: Option<Date>,
    /// `failure` or `error`.
    pub kind: String,
    /// The worst level.
    pub severity: String,
    /// The last summary.
    pub summary: String,
    /// When it turned bad.
    pub began: Timestamp,
    /// When it recovered.
    pub ended: Option<Timestamp>,
    /// When it was first announced.
    pub announced: Option<Timestamp>,
    /// Why it was not announced, if it was not.
    pub held: Option<String>,
    /// What somebody said that it was: `real`, `false` or `noise`.
    pub label: Option<Label>,
    /// Why, in their words.
    pub label_why: Option<String>,
}

/// Alerts with their labels.
const ALERTS: &str = "SELECT alerts.id AS id, check_name, data_date, kind, severity, summary, began, ended, announced, held, \
    label, labels.why AS label_why FROM alerts LEFT JOIN labels ON labels.alert_id = alerts.id";

/// A recorded message.
#[derive(Debug, Serialize)]
pub struct PastMessage {
    /// The id, which is shown in the message.
    pub id: String,
    /// A channel, or the fallback.
    pub receiver: String,
    /// One line.
    pub title: String,
    /// When it was created.
    pub created: Timestamp,
    /// `waiting`, `delivered` or `set_aside`.
    pub state: String,
    /// The answer to each attempt, in order.
    pub receipts: Vec<Receipt>,
}

/// The answer to an attempt.
#[derive(Debug, Serialize)]
pub struct Receipt {
    /// The time of the attempt.
    pub at: Timestamp,
    /// `taken`, or the error.
    pub answer: String,
}

/// The short columns of a run, and its plugin's.
const SHORT: &str = "check_name, due, data_date, attempt, CASE WHEN past THEN 1 ELSE 0 END AS past, \
    CASE WHEN left_out THEN 1 ELSE 0 END AS left_out, status, summary, error, seconds, cut, name, version, digest";

impl Record {
    /// The last attempt of one check at a date and a due time, with its report.
    pub async fn run(&self, check: &str, data_date: Date, due: Timestamp) -> Result<Option<PastRun>> {
        // Constants.
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {SHORT}, report, evidence, NULL AS calls, 0 AS unread FROM runs \
             LEFT JOIN plugins ON plugins.id = plugin_id \
             WHERE due = $2 AND check_name = $1 AND data_date = $3 ORDER BY attempt DESC LIMIT 1"
        ));
        let query = query_as(sql).bind(storable(check)).bind(due.as_millisecond()).bind(data_date.to_string());
        query.fetch_optional(&mut *self.read().await?).await.map_err(|error| self.explain(error))
    }

    /// The newest runs of one check, except those about past dates, the newest first, in short.
    pub async fn recent(&self, check: &str, limit: usize) -> Result<Vec<Line>> {
        let sql = "SELECT due, data_date, status, CASE WHEN left_out THEN 1 ELSE 0 END FROM runs WHERE check_name = $1 AND NOT past \
            ORDER BY due DESC, id DESC LIMIT $2";
        let rows: Vec<(i64, String, String, i64)> = query_as(sql)
            .bind(storable(check))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        rows.into_iter()
            .map(|(due, date, status, left_out)| {
                Ok(Line { due: moment(due), data_date: date.parse()?, status, left_out: left_out != 0 })
            })
            .collect()
    }

    /// When a check's last run ended, and the due time of the last one that passed.
    pub async fn last_runs(&self, check: &str) -> Result<LastRuns> {
        let of = "FROM runs WHERE check_name = $1 AND NOT past AND NOT left_out";
        // Constants; the index walks backwards from the newest.
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT (SELECT recorded {of} ORDER BY due DESC, id DESC LIMIT 1), \
             (SELECT due {of} AND status = 'pass' ORDER BY due DESC LIMIT 1)"
        ));
        let (ended, passed): (Option<i64>, Option<i64>) = query_as(sql)
            .bind(storable(check))
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(LastRuns { ended: ended.map(moment), passed: passed.map(moment) })
    }

    /// The newest runs, the newest first: of one check by due time, of all checks by the time of recording. The long
    /// parts are read only if requested.
    pub async fn runs(&self, check: Option<&str>, limit: u32, included: Included) -> Result<Vec<PastRun>> {
        self.runs_about(check, None, limit, included).await
    }

    /// The same, about one data date if one is given.
    pub async fn runs_about(
        &self,
        check: Option<&str>,
        date: Option<Date>,
        limit: u32,
        included: Included,
    ) -> Result<Vec<PastRun>> {
        let of = match (check, date) {
            (Some(_), None) => "WHERE check_name = $2",
            (Some(_), Some(_)) => "WHERE check_name = $2 AND data_date = $4",
            (None, Some(_)) => "WHERE data_date = $4",
            (None, None) => "",
        };
        let order = match check {
            Some(_) => "due DESC, id DESC",
            None => "recorded DESC, check_name, id DESC",
        };
        let column = |wanted, name| if wanted { name } else { "NULL" };
        let length = |wanted, sql| if wanted { sql } else { "0" };
        // All of these are constants. SQLite knows lengths without reading the values.
        let sql = sqlx::AssertSqlSafe(format!(
            "WITH newest AS (SELECT id, due, check_name, recorded, {report_bytes} + {calls_bytes} AS bytes FROM runs {of} \
                ORDER BY {order} LIMIT $1), \
             sized AS (SELECT id AS run, ROW_NUMBER() OVER (ORDER BY {order}) AS position, \
                SUM(bytes) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS bytes FROM newest) \
             SELECT {SHORT}, CASE WHEN bytes > $3 THEN 1 ELSE 0 END AS unread, CASE WHEN bytes <= $3 THEN {report} END AS report, \
                CASE WHEN bytes <= $3 THEN {evidence} END AS evidence, \
                CASE WHEN bytes <= $3 THEN {calls} END AS calls \
             FROM sized JOIN runs ON runs.id = run LEFT JOIN plugins ON plugins.id = plugin_id ORDER BY position",
            report_bytes =
                length(included.report, "COALESCE(octet_length(report), 0) + COALESCE(octet_length(evidence), 0)"),
            calls_bytes = length(included.calls, "octet_length(calls)"),
            report = column(included.report, "report"),
            evidence = column(included.report, "evidence"),
            calls = column(included.calls, "calls"),
        ));
        let most = i64::try_from(included.most).unwrap_or(i64::MAX);
        let query = query_as(sql)
            .bind(i64::from(limit))
            .bind(check.map(storable))
            .bind(most)
            .bind(date.map(|date| date.to_string()));
        query.fetch_all(&mut *self.read().await?).await.map_err(|error| self.explain(error))
    }

    /// The newest reports of one check, except those about past dates, with their due times, the newest first, up to a
    /// number of reports and of bytes.
    pub async fn reports(&self, check: &str, limit: u32, most: usize) -> Result<Vec<(Timestamp, String)>> {
        let rows: Vec<(i64, String)> = query_as(
            "WITH newest AS (SELECT id, due, octet_length(report) AS bytes FROM runs \
                WHERE check_name = $1 AND NOT past AND report IS NOT NULL ORDER BY due DESC, id DESC LIMIT $2), \
             sized AS (SELECT id AS run, SUM(bytes) OVER (ORDER BY due DESC, id DESC ROWS UNBOUNDED PRECEDING) AS bytes \
                FROM newest) \
             SELECT due, report FROM sized JOIN runs ON runs.id = run WHERE bytes <= $3 ORDER BY due DESC, id DESC",
        )
        .bind(storable(check))
        .bind(i64::from(limit))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(|error| self.explain(error))?;
        Ok(rows.into_iter().map(|(due, report)| (moment(due), report)).collect())
    }

    /// The newest alerts, the newest first; of one check, or of all.
    pub async fn alerts(&self, check: Option<&str>, limit: u32) -> Result<Vec<PastAlert>> {
        let newest = "WHERE $2 IS NULL OR check_name = $2 ORDER BY recorded DESC, began DESC, alerts.id LIMIT $1";
        // Constants.
        query_as(sqlx::AssertSqlSafe(format!("{ALERTS} {newest}")))
            .bind(i64::from(limit))
            .bind(check.map(storable))
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// The alerts that began since a moment, the oldest first.
    pub async fn alerts_since(&self, since: Timestamp) -> Result<Vec<PastAlert>> {
        // Constants.
        query_as(sqlx::AssertSqlSafe(format!("{ALERTS} WHERE began >= $1 ORDER BY began, alerts.id")))
            .bind(since.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// The alerts that people were told of in a time, the oldest first: some rounds after one began, or when it was no longer held back.
    pub async fn alerts_told(&self, since: Timestamp, until: Timestamp) -> Result<Vec<PastAlert>> {
        // Constants.
        let sql = format!("{ALERTS} WHERE announced >= $1 AND announced < $2 ORDER BY began, alerts.id");
        query_as(sqlx::AssertSqlSafe(sql))
            .bind(since.as_millisecond())
            .bind(until.as_millisecond())
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// The alert with a number.
    pub async fn alert(&self, id: i64) -> Result<Option<PastAlert>> {
        // Constants.
        query_as(sqlx::AssertSqlSafe(format!("{ALERTS} WHERE alerts.id = $1")))
            .bind(id)
            .fetch_optional(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }

    /// The alerts that go on, the oldest first.
    pub async fn open_alerts(&self, limit: u32) -> Result<Vec<PastAlert>> {
        // Constants.
        query_as(sqlx::AssertSqlSafe(format!(
            "{ALERTS} WHERE ended IS NULL ORDER BY began, check_name, alerts.id LIMIT $1"
        )))
        .bind(i64::from(limit))
        .fetch_all(&mut *self.read().await?)
        .await
        .map_err(|error| self.explain(error))
    }

    /// The newest messages, the newest first, with their receipts; about one check, or all.
    pub async fn messages(&self, check: Option<&str>, limit: u32) -> Result<Vec<PastMessage>> {
        let explain = |error| self.explain(error);
        let sql = "SELECT id, receiver, title, created, state FROM outbox \
            WHERE $2 IS NULL OR replace(checks, $2, '') <> checks ORDER BY position DESC LIMIT $1";
        let named = check.map(serde_json::to_string).transpose()?;
        let rows: Vec<(String, String, String, i64, String)> = query_as(sql)
            .bind(i64::from(limit))
            .bind(named)
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(explain)?;
        let mut messages = Vec::new();
        for (id, receiver, title, created, state) in rows {
            let receipts: Vec<(i64, String)> =
                query_as("SELECT at, answer FROM receipts WHERE message_id = $1 ORDER BY id")
                    .bind(&id)
                    .fetch_all(&mut *self.read().await?)
                    .await
                    .map_err(explain)?;
            let receipts = receipts.into_iter().map(|(at, answer)| Receipt { at: moment(at), answer }).collect();
            messages.push(PastMessage { id, receiver, title, created: moment(created), state, receipts });
        }
        Ok(messages)
    }

    /// When the last run was recorded; `None` without runs.
    pub async fn last_recorded(&self) -> Result<Option<Timestamp>> {
        let at: Option<i64> = query_scalar("SELECT max(recorded) FROM runs")
            .fetch_one(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))?;
        Ok(at.map(moment))
    }

    /// The names of all checks that have a run.
    pub async fn checks(&self) -> Result<Vec<String>> {
        query_scalar("SELECT DISTINCT check_name FROM runs ORDER BY check_name")
            .fetch_all(&mut *self.read().await?)
            .await
            .map_err(|error| self.explain(error))
    }
}

impl FromRow<'_, AnyRow> for PastRun {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let json = |text: Option<String>| text.map(RawValue::from_string).transpose().map_err(decode);
        let name: Option<String> = row.try_get("name")?;
        let (version, digest): (Option<String>, Option<String>) = (row.try_get("version")?, row.try_get("digest")?);
        Ok(Self {
            check: row.try_get("check_name")?,
            due: moment(row.try_get("due")?),
            data_date: row.try_get::<String, _>("data_date")?.parse().map_err(decode)?,
            attempt: number(row, "attempt")?,
            past: yes(row, "past")?,
            left_out: yes(row, "left_out")?,
            status: row.try_get("status")?,
            summary: row.try_get("summary")?,
            error: row.try_get("error")?,
            seconds: row.try_get("seconds")?,
            plugin: name.map(|name| json!({ "name": name, "version": version, "digest": digest })),
            cut: row.try_get("cut")?,
            report: json(row.try_get("report")?)?,
            evidence: json(row.try_get("evidence")?)?,
            calls: json(row.try_get("calls")?)?,
            unread: yes(row, "unread")?,
        })
    }
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl FromRow<'_, AnyRow> for PastAlert {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let at = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(moment));
        let label: Option<String> = row.try_get("label")?;
        Ok(Self {
            id: row.try_get("id")?,
            check: row.try_get("check_name")?,
            data_date: parsed(row.try_get("data_date")?)?,
            kind: row.try_get("kind")?,
            severity: row.try_get("severity")?,
            summary: row.try_get("summary")?,
            began: moment(row.try_get("began")?),
            ended: at("ended")?,
            announced: at("announced")?,
            held: row.try_get("held")?,
            label: label.as_deref().and_then(Label::named),
            label_why: row.try_get("label_why")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Batch, NewRun};

    /// A run with a report and calls of some length, at this hour.
    fn run(check: &str, hour: i64, data_date: &str, attempt: u32) -> NewRun {
        NewRun {
            check: check.to_owned(),
            plugin: None,
            due: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hour),
            data_date: data_date.parse().expect("a date"),
            attempt,
            past: false,
            status: "pass",
            summary: "fine".to_owned(),
            report: Some(format!("{{\"metrics\":[],\"hour\":{hour}}}")),
            evidence: None,
            error: None,
            seconds: 0.1,
            calls: format!("[\"{}\"]", "x".repeat(96)),
            left_out: false,
            cut: None,
            tape: None,
        }
    }

    async fn recorded(runs: Vec<NewRun>) -> Record {
        let record = Record::memory().await.expect("a record");
        let batch = Batch { runs, ..Batch::default() };
        record.keep(&batch).await.expect("kept");
        record
    }

    /// The long parts are read only if requested, for the newest runs first, and within the limit.
    #[tokio::test]
    async fn what_is_long_is_read_within_its_limit() {
        let record = recorded((1..=4).map(|hour| run("a", hour, "1970-01-01", 1)).collect()).await;
        let read = async |included| {
            let runs = record.runs(Some("a"), 3, included).await.expect("runs");
            assert_eq!(runs.len(), 3);
            assert_eq!(runs[0].due, Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(4), "the newest first");
            runs.iter().map(|run| (run.report.is_some(), run.calls.is_some(), run.unread)).collect::<Vec<_>>()
        };
        let (report, calls) = (true, true);
        assert_eq!(read(Included::default()).await, [(false, false, false); 3]);
        let all = read(Included { report, calls, most: usize::MAX }).await;
        assert_eq!(all, [(true, true, false); 3]);
        // A run's calls are 100 bytes.
        let two = read(Included { calls, most: 250, ..Included::default() }).await;
        assert_eq!(two, [(false, true, false), (false, true, false), (false, false, true)]);
        assert_eq!(read(Included { report, calls, most: 10 }).await, [(false, false, true); 3]);
        assert_eq!(record.reports("a", 200, usize::MAX).await.expect("reports").len(), 4);
        assert_eq!(record.reports("a", 200, 50).await.expect("reports").len(), 2);
    }

    /// The data date tells runs apart as the due time does.
    #[tokio::test]
    async fn two_dates_at_one_due_time_have_attempts_of_their_own() {
        let runs = [("1970-01-01", 1), ("1970-01-02", 1), ("1970-01-01", 2)];
        let record = recorded(runs.map(|(date, attempt)| run("a", 1, date, attempt)).into()).await;
        let due = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(1);
        let attempts = record.attempts(&[due].into()).await.expect("attempts");
        let of = |date: &str| attempts.get(&("a".to_owned(), date.parse().expect("a date"), due)).copied();
        assert_eq!((of("1970-01-01"), of("1970-01-02"), of("1970-01-03")), (Some(2), Some(1), None));
        let found = record.run("a", "1970-01-01".parse().expect("a date"), due).await.expect("a run").expect("a run");
        assert_eq!(found.attempt, 2);
        let runs = vec![run("a", 1, "1970-01-02", 1)];
        let again = Batch { runs, ..Batch::default() };
        let refused = record.keep(&again).await.expect_err("there is one");
        assert!(format!("{refused:#}").contains("UNIQUE"), "{refused:#}");
    }
}
