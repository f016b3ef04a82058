//! Checks without code: a query with limits for its columns, or a table with rules. One plugin serves any number of
//! checks in host.toml.

mod freshness;
mod judge;
mod limits;
mod rows;
mod sense;
mod standard;
mod times;

use std::collections::BTreeMap;

use freshness::Freshness;
use jiff::Timestamp;
use judge::Judge;
use limits::Limits;
use rows::{Total, Wrong};
use sdk::{
    About, Change, Check, Dates, Failure, Need, Number, Past, Report, Request, Result, Row, Step, TableName, Verdict,
    Violation, alert, measured, step, uses,
};
use standard::{References, Value};
use times::{OF_ITS_OWN, Times};

sdk::settings! {
    /// Settings of a check in SQL: `sql` with `thresholds`, or `table` with rules, or both.
    #[schemars(extend("x-only-named" = true))]
    #[schemars(extend("x-when-empty" = {
        "table": "add `row_count = { min = 1 }` to its settings",
        "sql": "add `COUNT(*) AS row_count` to its sql, and `thresholds.row_count = { min = 1 }` to its settings",
    }))]
    pub struct Settings {
        /// A GoogleSQL query for one row of numbers. `@date` is the data date, a DATE. TIMESTAMPs are `@due`, the time of the
        /// run; `@day_start` and `@day_end`, the beginning and the end of the data date; and `@deadline`, by when its data is
        /// expected.
        pub sql: String = "",
        /// Limits for columns of the row, by column; columns without limits are only shown.
        pub thresholds: BTreeMap<String, Limits> = [],
        /// A GoogleSQL query for rows that explain a violation, asked only after one; `@date` is the data date.
        pub rows: String = "",
        /// The number of rows shown: of `rows`, and of the keys that break a rule of the table.
        pub show: u32 = 5u32,
        /// The table, for the following rules.
        pub table: Option<TableName> = None,
        /// A condition to select rows of the table: `game_date = @date`. It has the parameters of `sql`.
        pub r#where: String = "",
        /// Limits for the number of rows.
        pub row_count: Option<Limits> = None,
        /// The maximum age of the newest row, or of the last write.
        pub freshness: Option<Freshness> = None,
        /// The maximum percentage of NULLs, by column.
        pub null_percent: BTreeMap<String, f64> = [],
        /// Columns, or combinations of columns, that must be unique: `["id", "game_id, player_id"]`. NULLs are not
        /// compared.
        pub unique: Vec<String> = [],
        /// The accepted values, besides NULL, by column.
        pub accepted_values: BTreeMap<String, Vec<Value>> = [],
        /// References, by column: each value must exist in `"dataset.table.column"`. NULLs are ignored.
        pub references: BTreeMap<String, References> = [],
        /// Required columns and their types: `STRING`, `INT64`, …
        pub schema: BTreeMap<String, String> = [],
        /// Whether a broken limit fails or warns.
        pub severity: Severity = Severity::Critical,
        /// The headline of alerts. Default: the check's name.
        pub title: String = "",
        /// The first thing to do after an alert.
        pub help: String = "",
    }
}

/// The severity of a broken limit.
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

/// Characters of a text in a summary.
const SHOWN: usize = 60;

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

    /// None by default: the datasets depend on the settings.
    fn needs(_settings: &Settings) -> Vec<Need> {
        Vec::new()
    }

    /// A check whose SQL never uses the date is about now.
    fn dates(settings: &Settings) -> Dates {
        match settings.sql_texts().any(is_dated) {
            true => Dates::Dated,
            false => Dates::Now,
        }
    }

    async fn run(request: Request, settings: Settings) -> Result<Report> {
        settings.check()?;
        let mut judge = Judge::default();
        let (mut steps, mut wrong) = (Vec::new(), Vec::new());
        if !settings.sql.is_empty() {
            let limited = settings.thresholds.iter().map(|(column, limits)| (column.as_str(), *limits)).collect();
            ask(&settings.sql, &limited, &request, &mut judge).await?;
            steps.push(step("Run the query yourself", Times::of(&request).command(&settings.sql)));
        }
        if let Some(table) = &settings.table {
            steps.extend(standard::ask(table, &settings, &request, &mut judge, &mut wrong).await?);
        }
        if !settings.rows.is_empty() {
            wrong.push(Wrong { metric: "rows".to_owned(), sql: settings.rows.clone(), total: Total::Given });
        }
        report(&request, &settings, judge, steps, &wrong).await
    }
}

impl Settings {
    /// All SQL in the settings.
    fn sql_texts(&self) -> impl Iterator<Item = &str> {
        [&self.sql, &self.rows, &self.r#where].into_iter().map(String::as_str)
    }

    /// Whether the table has a rule besides the number of its rows.
    fn has_rules(&self) -> bool {
        self.freshness.is_some()
            || !(self.null_percent.is_empty() && self.unique.is_empty() && self.accepted_values.is_empty())
            || !(self.references.is_empty() && self.schema.is_empty())
    }

    /// Whether something judges a date before there are good dates to compare with.
    fn judges_alone(&self) -> bool {
        self.has_rules() || self.thresholds.values().chain(&self.row_count).any(Limits::judges_alone)
    }

    /// The rules that a schema cannot express.
    fn check(&self) -> Result<()> {
        let of_table = self.row_count.is_some() || self.has_rules();
        let problem = match (self.sql.trim().is_empty(), &self.table) {
            (true, None) if of_table => "no table is set; add settings.table",
            (true, None) => {
                "nothing to check; set settings.sql and settings.thresholds, or settings.table with at least one rule"
            }
            (true, _) if !self.thresholds.is_empty() => "settings.thresholds needs settings.sql, which is missing",
            (false, _) if self.thresholds.is_empty() => {
                "settings.sql has no thresholds, so the check cannot fail; add settings.thresholds"
            }
            (false, Some(_)) if !of_table => {
                "settings.table has no rules, and settings.sql names its own tables; leave out settings.table, or add settings.row_count, freshness, null_percent, unique, accepted_values, references or schema"
            }
            (true, Some(_)) if !of_table => {
                "settings.table has no rules; add settings.row_count, freshness, null_percent, unique, accepted_values, references or schema"
            }
            (false, None) if of_table => "no table is set; add settings.table",
            _ => return self.make_sense(),
        };
        Err(Failure::Settings(problem.to_owned()))
    }
}

/// Whether SQL depends on the data date.
fn is_dated(sql: &str) -> bool {
    ["date"].iter().chain(&OF_ITS_OWN).any(|name| uses(sql, name))
}

/// Queries one row, and the same row of good dates where a change is limited.
async fn ask(sql: &str, limited: &BTreeMap<&str, Limits>, request: &Request, judge: &mut Judge) -> Result<Row> {
    let times = Times::of(request);
    let row = times.query(sql).row().await?;
    let changes: BTreeMap<&str, Change> =
        limited.iter().filter_map(|(column, limits)| Some((*column, limits.change?))).collect();
    if !changes.is_empty() {
        of_dates(sql)?;
    }
    let past = Past::ask(&request.data_date, &changes, |date| times.on(date).query(sql)).await;
    for column in row.columns() {
        // As in SQL, upper and lower case are the same.
        let limits = limited.iter().find(|(name, _)| name.eq_ignore_ascii_case(column));
        if let Some((key, _)) = limits
            && let Some(problem) = sense::no_number(&row, column)
        {
            return Err(Failure::Settings(format!("thresholds.{key}: {problem}")));
        }
        let limits = limits.map(|(_, limits)| *limits).unwrap_or_default();
        // A metric is a number, so a text or a time is only in the summary.
        if let (Some(_), Some(text)) = (sense::not_numeric(&row, column), shown(&row, column)) {
            judge.shown.push(format!("{column} {text}"));
            continue;
        }
        let number = Number::of(&row, column);
        judge.limits(measured(column, None), number, &limits);
        if let Some(change) = &limits.change {
            judge.change(column, number.map(|number| past.compare(column, number, change)), change);
        }
    }
    // A misspelt column has no value, and so breaks its limits.
    for (column, limits) in limited {
        if !row.columns().iter().any(|known| known.eq_ignore_ascii_case(column)) {
            judge.missing(column, limits);
        }
    }
    Ok(row)
}

/// Whether a query can be asked for earlier dates.
fn of_dates(sql: &str) -> Result<()> {
    if !uses(sql, "date") {
        return Err(Failure::Settings(
            "a change is compared with earlier dates, so the query must use @date".to_owned(),
        ));
    }
    match OF_ITS_OWN.into_iter().find(|bound| uses(sql, bound)) {
        None => Ok(()),
        Some(bound) => Err(Failure::Settings(format!(
            "a change is compared with earlier dates, of which @{bound} is not known; write DATE(…, 'America/New_York') = @date with the pipeline's time zone"
        ))),
    }
}

/// A value that is not a number, in a line.
fn shown(row: &Row, column: &str) -> Option<String> {
    let time = row.timestamp(column).and_then(|seconds| Timestamp::from_second(seconds).ok());
    let text = time.map(|time| time.to_string()).or_else(|| row.text(column))?;
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(match line.chars().count() > SHOWN {
        true => format!("{}…", line.chars().take(SHOWN).collect::<String>()),
        false => line,
    })
}

async fn report(
    request: &Request,
    settings: &Settings,
    judge: Judge,
    steps: Vec<Step>,
    wrong: &[Wrong],
) -> Result<Report> {
    let sentence = judge.sentence();
    let Judge { metrics, broken, mut warned, learning, mut unknown, .. } = judge;
    // Nothing else judges this date, so it is no pass.
    if !settings.judges_alone() {
        warned.extend(learning.into_iter().map(|one| Violation {
            message: format!("{}; set a minimum too, by which the first dates are judged", one.message),
            ..one
        }));
    }
    let verdict = match (broken.is_empty(), warned.is_empty(), settings.severity) {
        (true, true, _) => Verdict::Pass,
        (false, _, Severity::Critical) => Verdict::Fail,
        _ => Verdict::Warn,
    };
    let violations: Vec<_> = broken.into_iter().chain(warned).collect();
    let not_shown = match violations.is_empty() {
        true => Vec::new(),
        false => rows::show(wrong, settings.show, request).await,
    };
    let summary = match violations.is_empty() {
        true => sentence,
        false => {
            let messages = violations.iter().map(|violation| violation.message.as_str());
            messages.chain(not_shown.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
        }
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
        let mut alert = alert(request, severity, title, &about, &metrics, &violations).steps(steps);
        if !not_shown.is_empty() {
            alert = alert.lines("Rows", not_shown);
        }
        unknown.extend(alert.told().await);
    }
    Ok(Report { verdict, summary, metrics, violations, unknown, gate: None })
}

sdk::export!(Sql);
