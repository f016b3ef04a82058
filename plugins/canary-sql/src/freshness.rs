//! The age of a table: of its newest row, or of its last write as the warehouse's metadata has it.

use jiff::civil::{Date, DateTime, Time};
use sdk::{
    Dates, Failure, Number, Request, Result, Row, Step, TableName, Violation, bq_query, deadline, hours_between,
    literal, measured,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    step, tables,
};

use crate::{judge::Judge, limits::Limits, sense::ANY, standard::column};

/// Hours ahead of the run's clock that are more than clock skew.
const CLOCKS_APART_HOURS: f64 = 0.1;
const DAY_SECONDS: i64 = 24 * 3600;
/// The hour by which clocks have changed, in every time zone.
const CLOCKS_CHANGED: i8 = 4;

/// The maximum age of the newest row, or of the last write.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
#[schemars(extend("x-ordered" = [
    { "low": "warn_hours", "high": "max_hours", "idle": "warn_hours", "otherwise": "warn_hours never warns" },
]))]
pub struct Freshness {
    /// The column with the time when a row was written: a TIMESTAMP, DATETIME or DATE. A DATE means the end of that
    /// day. Default: the table's last write, from the warehouse's metadata, which has none for views.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The time zone of a DATETIME or DATE column, such as `UTC` or `America/New_York`. Default: the pipeline's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Fails above this age, in hours.
    pub max_hours: f64,
    /// Warns above this age, in hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_hours: Option<f64>,
}

/// When a row was written: at the earliest and at the latest, in seconds since 1970.
struct Written {
    from: i64,
    to: i64,
}

impl Freshness {
    /// The columns to select for it.
    pub(crate) fn columns(&self) -> Result<String> {
        let newest = match (&self.column, &self.timezone) {
            (None, None) => return Ok(String::new()),
            (None, Some(_)) => {
                return Err(Failure::Settings("freshness.timezone needs freshness.column".to_owned()));
            }
            (Some(name), _) => format!("MAX({})", column(name)?),
        };
        Ok(match &self.timezone {
            None => format!(", {newest} AS newest"),
            Some(zone) => format!(", {newest} AS newest, TIMESTAMP({newest}, {}) AS newest_there", literal(zone)),
        })
    }

    /// Judges the age, with the row of [`Freshness::columns`]: that of a date's rows by its deadline, so that they do not age
    /// after it, and that of the table at this moment.
    pub(crate) async fn judge(
        &self,
        table: &TableName,
        row: &Row,
        request: &Request,
        dates: Dates,
        judge: &mut Judge,
    ) -> Result<()> {
        let clock = match dates {
            Dates::Dated => deadline(),
            Dates::Now => request.due,
        };
        let (of, written) = match &self.column {
            Some(column) => (column.as_str(), self.newest(column, row, request)?),
            None => match last_write(table).await? {
                Some(at) => ("the last write", Some(Written { from: at, to: at })),
                None => {
                    judge.unknown.push(format!(
                        "freshness: the warehouse does not record when {table} was last written; set freshness.column"
                    ));
                    return Ok(());
                }
            },
        };
        let late = written.as_ref().filter(|written| (clock + 1..=request.due).contains(&written.from));
        let late = late.map(|written| hours_between(clock, written.from));
        let age = written.map(|Written { from, to }| match hours_between(from, request.due) {
            ahead if ahead < 0.0 => ahead,
            _ => hours_between(to, clock).max(0.0),
        });
        let hours = Number::Float;
        let limits =
            Limits { max: Some(hours(self.max_hours)), warn_max: self.warn_hours.map(hours), ..Limits::default() };
        judge.limits(measured("freshness", None).unit("h"), age.map(hours), &limits);
        judge.metrics.extend(late.map(|late| measured("late", Some(late)).unit("h")));
        if let Some(age) = age.filter(|age| *age < -CLOCKS_APART_HOURS) {
            let message = format!("freshness: {of} is {:.1} h later than this run's clock", -age);
            judge.warned.push(Violation { metric: Some("freshness".to_owned()), message });
        }
        Ok(())
    }

    fn newest(&self, column: &str, row: &Row, request: &Request) -> Result<Option<Written>> {
        let kind = row.kind("newest").unwrap_or(ANY);
        if !["TIMESTAMP", "DATETIME", "DATE", ANY].contains(&kind) {
            let problem =
                format!("freshness.column: {column} has the type {kind}; it must be TIMESTAMP, DATETIME or DATE");
            return Err(Failure::Settings(problem));
        }
        let Some(text) = row.text("newest") else { return Ok(None) };
        let at = |moment| Written { from: moment, to: moment };
        if let Some(moment) = row.timestamp("newest") {
            return Ok(Some(at(moment)));
        }
        let there = row.timestamp("newest_there");
        let written = match (text.parse::<Date>(), text.parse::<DateTime>()) {
            // Also the date of a DATETIME can be read, so look at the text.
            (Ok(date), _) if text == date.to_string() => {
                let from = there.or_else(|| local(request, date.into()));
                let to = match there {
                    Some(from) => Some(from + DAY_SECONDS),
                    None => date.tomorrow().ok().and_then(|next| local(request, next.into())),
                };
                from.zip(to).map(|(from, to)| Written { from, to })
            }
            (_, Ok(time)) => there.or_else(|| local(request, time)).map(at),
            _ => None,
        };
        written.map(Some).ok_or_else(|| {
            let form = if kind == "DATE" { "2026-02-05" } else { "2026-02-05 06:30:00" };
            let kind = if kind == ANY { "time" } else { kind };
            Failure::Other(format!("freshness: {column} holds {text:?}, which is not a {kind}; it must be like {form}"))
        })
    }
}

/// A local time in the pipeline's time zone. The request says when the data date begins and ends there. On that date the
/// clocks change before [`CLOCKS_CHANGED`], if they do; after it, a change of clocks in between is off by an hour.
fn local(request: &Request, time: DateTime) -> Option<i64> {
    let date: Date = request.data_date.parse().ok()?;
    let next = date.tomorrow().ok()?;
    let changed = time.date() == date && time.hour() >= CLOCKS_CHANGED;
    let (midnight, at) = match time.date() > date || changed {
        true => (next, request.day_end),
        false => (date, request.day_start),
    };
    Some(at + time.duration_since(midnight.to_datetime(Time::midnight())).as_secs())
}

/// When a table was last written, if the warehouse records it.
async fn last_write(table: &TableName) -> Result<Option<i64>> {
    let found = tables(table.dataset()).await?;
    Ok(found.iter().find(|found| found.name == table.name()).and_then(|found| found.modified))
}

/// How people see the last write: from the same metadata.
pub(crate) fn last_write_step(table: &TableName, request: &Request) -> Step {
    let (metadata, name) = (table.in_dataset("__TABLES__"), literal(table.name()));
    let sql =
        format!("SELECT TIMESTAMP_MILLIS(last_modified_time) AS last_write FROM {metadata} WHERE table_id = {name}");
    step("See when it was last written", bq_query(&request.data_date, &sql))
}
