//! A check that is only configuration: a query and what each of its columns must be, or a table and what must hold of
//! it. One plugin serves as many checks as host.toml has.

mod judge;
mod limits;
mod standard;

use std::collections::BTreeMap;

use judge::Judge;
use limits::{Limits, earlier};
use sdk::{
    About, Check, Failure, Need, Query, Report, Request, Result, Row, Step, TableName, Verdict, alert, bq_query,
    join_all, measured, step,
};
use standard::{Freshness, References, Value};

sdk::settings! {
    /// Settings of a check in SQL: `sql` with `thresholds`, or `table` with what must hold of it, or both.
    pub struct Settings {
        /// A query for one row of numbers, in GoogleSQL; `@date` is the data date.
        pub sql: String = "",
        /// What columns of the row must be, by column; the others are shown.
        pub thresholds: BTreeMap<String, Limits> = [],
        /// The table, for all that follows.
        pub table: Option<TableName> = None,
        /// Only these rows of the table, as a condition: `game_date = @date`.
        pub r#where: String = "",
        /// How many rows there must be.
        pub row_count: Option<Limits> = None,
        /// How old the newest row may be.
        pub freshness: Option<Freshness> = None,
        /// The most NULLs, in percent of the rows, by column.
        pub null_percent: BTreeMap<String, f64> = [],
        /// Columns, or columns together, that are the same in no two rows: `["id", "game_id, player_id"]`. NULLs are not
        /// compared.
        pub unique: Vec<String> = [],
        /// The values that a column may have besides NULL, by column.
        pub accepted_values: BTreeMap<String, Vec<Value>> = [],
        /// Where the values of a column must be found, by column: `"dataset.table.column"`. NULLs are not looked for.
        pub references: BTreeMap<String, References> = [],
        /// The types of columns that must be there: `STRING`, `INT64`, …
        pub schema: BTreeMap<String, String> = [],
        /// What it means when a limit is broken.
        pub severity: Severity = Severity::Critical,
        /// The headline of alerts. Default: the check's name.
        pub title: String = "",
        /// What to do first when it alarms.
        pub help: String = "",
    }
}

/// What it means when a limit is broken.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, sdk::serde::Deserialize, sdk::serde::Serialize, sdk::schemars::JsonSchema,
)]
#[serde(crate = "sdk::serde", rename_all = "lowercase")]
#[schemars(crate = "sdk::schemars")]
pub enum Severity {
    /// The check fails.
    Critical,
    /// The check warns.
    Warning,
}

struct Sql;

impl Check for Sql {
    type Settings = Settings;
    const ABOUT: About = About {
        summary: "Checks a query or a table against the limits in its settings.",
        group: "tables",
        cron: "*/30 * * * *",
        timezone: None,
        channel: "#canary-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    /// Which datasets it needs is known by those who configure it.
    fn needs(_settings: &Settings) -> Vec<Need> {
        Vec::new()
    }

    async fn run(request: Request, settings: Settings) -> Result<Report> {
        settings.check()?;
        let mut judge = Judge::default();
        let mut steps = Vec::new();
        if !settings.sql.is_empty() {
            let limited = settings.thresholds.iter().map(|(column, limits)| (column.as_str(), *limits)).collect();
            ask(&settings.sql, &limited, &request, &mut judge).await?;
            steps.push(step("Run the query yourself", bq_query(&request.data_date, &settings.sql)));
        }
        if let Some(table) = &settings.table {
            steps.extend(standard::ask(table, &settings, &request, &mut judge).await?);
        }
        report(&request, &settings, judge, steps).await
    }
}

impl Settings {
    /// What a schema cannot say.
    fn check(&self) -> Result<()> {
        let of_table = self.row_count.is_some()
            || self.freshness.is_some()
            || !(self.null_percent.is_empty() && self.unique.is_empty() && self.accepted_values.is_empty())
            || !(self.references.is_empty() && self.schema.is_empty());
        let problem = match (self.sql.trim().is_empty(), &self.table) {
            (true, None) if of_table => "no table is set; add settings.table",
            (true, None) => {
                "nothing to check; set settings.sql and settings.thresholds, or settings.table with at least one rule"
            }
            (true, _) if !self.thresholds.is_empty() => "settings.thresholds needs settings.sql, which is missing",
            (false, _) if self.thresholds.is_empty() => {
                "settings.sql has no thresholds, so the check cannot fail; add settings.thresholds"
            }
            (_, Some(_)) if !of_table => {
                "settings.table has no rules; add settings.row_count, freshness, null_percent, unique, accepted_values, references or schema"
            }
            (false, None) if of_table => "no table is set; add settings.table",
            _ => return Ok(()),
        };
        Err(Failure::Settings(problem.to_owned()))
    }
}

/// Asks for one row, and for the same row of earlier dates where something is held against them.
async fn ask(sql: &str, limited: &BTreeMap<&str, Limits>, request: &Request, judge: &mut Judge) -> Result<Row> {
    let one = |date: &str| Query::new(sql).date("date", date).row();
    let row = one(&request.data_date).await?;
    let mut before: BTreeMap<String, Row> = BTreeMap::new();
    for limits in limited.values() {
        let Some(change) = &limits.change else { continue };
        if !sql.contains("@date") {
            return Err(Failure::Settings(
                "a change is compared with earlier dates, so the query must use @date".to_owned(),
            ));
        }
        let dates: Vec<String> =
            earlier(&request.data_date, change)?.into_iter().filter(|date| !before.contains_key(date)).collect();
        // A few at a time, as each run may.
        for dates in dates.chunks(4) {
            for (date, found) in dates.iter().zip(join_all(dates.iter().map(|date| one(date))).await) {
                before.insert(date.clone(), found?);
            }
        }
    }
    for column in row.columns() {
        let limits = limited.get(column.as_str()).copied().unwrap_or_default();
        judge.limits(measured(column, row.number(column)), &limits);
        if let Some(change) = &limits.change {
            let values = earlier(&request.data_date, change)?;
            let values = values.iter().filter_map(|date| before.get(date)?.number(column)).collect();
            judge.change(column, row.number(column), values, change);
        }
    }
    // A misspelt column has no value, which no limit allows.
    for (column, limits) in limited {
        if !row.columns().iter().any(|known| known == column) {
            judge.missing(column, limits);
        }
    }
    Ok(row)
}

async fn report(request: &Request, settings: &Settings, judge: Judge, steps: Vec<Step>) -> Result<Report> {
    let Judge { metrics, broken, warned, mut unknown } = judge;
    let verdict = match (broken.is_empty(), warned.is_empty(), settings.severity) {
        (true, true, _) => Verdict::Pass,
        (false, _, Severity::Critical) => Verdict::Fail,
        _ => Verdict::Warn,
    };
    let violations: Vec<_> = broken.into_iter().chain(warned).collect();
    let summary = match violations.is_empty() {
        true => sdk::sentence(&metrics),
        false => violations.iter().map(|violation| violation.message.as_str()).collect::<Vec<_>>().join("; "),
    };
    if !violations.is_empty() {
        let severity = match verdict {
            Verdict::Fail => sdk::Severity::Critical,
            _ => sdk::Severity::Warning,
        };
        let about = match &settings.table {
            Some(table) => format!("Checks that {table} meets its rules."),
            None => "Checks that the result of a query is within its limits.".to_owned(),
        };
        let title = if settings.title.is_empty() { &request.check } else { &settings.title };
        let help = (!settings.help.is_empty()).then(|| Step { text: settings.help.clone(), command: None });
        let steps = help.into_iter().chain(steps);
        let alert = alert(request, severity, title, &about, &metrics, &violations).steps(steps);
        unknown.extend(alert.told().await);
    }
    Ok(Report { verdict, summary, metrics, violations, unknown, gate: None })
}

sdk::export!(Sql);
