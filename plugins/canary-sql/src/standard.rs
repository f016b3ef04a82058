//! The common rules for tables: row count, freshness, NULLs, uniqueness, accepted values, references, schema.

use std::{collections::BTreeMap, fmt::Write as _};

use sdk::{
    Column, Dates, Error, Failure, Number, Request, Result, Step, TableName, Violation, join, join_all, literal,
    measured, one_line,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
    step,
};

use crate::{
    Settings, ask as ask_row,
    freshness::last_write_step,
    is_dated,
    judge::Judge,
    limits::Limits,
    rows::{ASKED as SHOWN, Total, Wrong},
    sense::{ANY, is_type},
    times::Times,
};

/// A text, a number or a boolean.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", untagged)]
#[schemars(crate = "sdk::schemars")]
pub enum Value {
    /// `"BOS"`
    Text(String),
    /// `7`
    Integer(i64),
    /// `0.5`
    Number(f64),
    /// `true`
    Boolean(bool),
}

impl Value {
    /// As a literal of GoogleSQL.
    fn literal(&self) -> String {
        match self {
            Self::Text(text) => literal(text),
            Self::Integer(number) => number.to_string(),
            // With a point or an exponent: a number that is not whole.
            Self::Number(number) => format!("{number:?}"),
            Self::Boolean(true) => "TRUE".to_owned(),
            Self::Boolean(false) => "FALSE".to_owned(),
        }
    }
}

/// A column, as `dataset.table.column`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "sdk::serde", transparent)]
#[schemars(crate = "sdk::schemars")]
pub struct References(#[schemars(regex(pattern = r"^([A-Za-z0-9_-]+\.){2,3}[A-Za-z_][A-Za-z0-9_]*$"))] String);

/// A rule whose count of violations must be 0.
struct Count {
    name: String,
    sql: String,
    /// The query that shows the counted rows.
    which: String,
    /// Whether it gives a row for each that is counted, and not for each key.
    each: bool,
}

/// Runs all queries concurrently; returns the queries that people may run themselves after an alert.
pub(crate) async fn ask(
    table: &TableName,
    settings: &Settings,
    request: &Request,
    judge: &mut Judge,
    wrong: &mut Vec<Wrong>,
) -> Result<Vec<Step>> {
    // Without comments: one at its end would hide what follows it.
    let condition = one_line(&settings.r#where);
    let rows = Rows { table, condition: &condition };
    let times = Times::of(request);
    let sql = rows.aggregates(settings)?;
    let limited: BTreeMap<&str, Limits> = settings.row_count.iter().map(|limits| ("row_count", *limits)).collect();
    let counts = rows.counts(settings)?;
    let counted = |count: &Count| {
        let query = times.query(&count.sql);
        async move { query.row().await }
    };
    let mut found = Judge::default();
    // First of all: a column of another type may be why the other queries fail.
    let mut columns = Judge::default();
    if !settings.schema.is_empty() {
        schema(&rows, settings, request, &mut columns).await?;
    }
    let mut steps: Vec<Step> = (!columns.broken.is_empty()).then(|| columns_step(table, request)).into_iter().collect();
    let (row, counted) = join(ask_row(&sql, &limited, request, &mut found), join_all(counts.iter().map(counted))).await;
    let counted: std::result::Result<Vec<_>, _> = counted.into_iter().collect();
    let (row, counted) = match row.and_then(|row| Ok((row, counted?))) {
        Ok(answers) => answers,
        Err(Failure::Call(error)) if !columns.broken.is_empty() => {
            judge.take(columns);
            judge.unknown.push(format!("the other rules: {}", error.reason()));
            return Ok(steps);
        }
        Err(failure) => return Err(failure),
    };
    // Judged below by its column, so do not show it twice.
    found.metrics.retain(|metric| metric.name.starts_with("row_count"));
    found.shown.clear();
    judge.take(found);
    if let Some(freshness) = &settings.freshness {
        let dates = if is_dated(&settings.r#where) { Dates::Dated } else { Dates::Now };
        freshness.judge(table, &row, request, dates, judge).await?;
    }
    for (column, most) in &settings.null_percent {
        let name = format!("null_percent_{column}");
        let found = Number::of(&row, &name);
        judge.at_most(measured(&name, None).unit("%"), found, *most);
        let nulls =
            found.zip(Number::of(&row, "row_count")).map(|(percent, rows)| percent.float() * rows.float() / 100.0);
        if let (Some(nulls), Some(sql)) =
            (nulls.filter(|_| found.is_some_and(|found| found.float() > *most)), rows.nulls(column, settings)?)
        {
            wrong.push(Wrong { metric: name, sql, total: Total::Counted(nulls.round() as u64) });
        }
    }
    let mut unaccepted = Vec::new();
    for (name, values) in &settings.accepted_values {
        let metric = format!("unaccepted_{name}");
        let found = Number::of(&row, &metric);
        judge.none(&metric, found);
        if found.is_some_and(|found| found != Number::Whole(0)) {
            let which = rows.unaccepted(name, values)?;
            unaccepted.push(step(format!("See {metric}"), times.command(&which)));
            wrong.push(Wrong { metric, sql: which, total: Total::AtMostAsked });
        }
    }
    // Only the metadata shows the last write.
    let from_metadata = settings.freshness.as_ref().is_some_and(|freshness| freshness.column.is_none());
    let of_metadata = |violation: &&Violation| from_metadata && violation.metric.as_deref() == Some("freshness");
    let (written, others): (Vec<_>, Vec<_>) = judge.broken.iter().chain(&judge.warned).partition(of_metadata);
    if !others.is_empty() {
        steps.push(step("Run the query yourself", times.command(&sql)));
    }
    if !written.is_empty() {
        steps.push(last_write_step(table, request));
    }
    steps.append(&mut unaccepted);
    for (count, row) in counts.iter().zip(counted) {
        let found = Number::of(&row, "found");
        judge.none(&count.name, found);
        if found != Some(Number::Whole(0)) {
            steps.push(step(format!("See {}", count.name), times.command(&count.which)));
            let total = match found {
                Some(Number::Whole(found)) if count.each => Total::Counted(found.unsigned_abs()),
                _ => Total::AtMostAsked,
            };
            wrong.push(Wrong { metric: count.name.clone(), sql: count.which.clone(), total });
        }
    }
    judge.take(columns);
    Ok(steps)
}

/// How people see the columns.
fn columns_step(table: &TableName, request: &Request) -> Step {
    step("See a few rows with all columns", Times::of(request).command(&format!("SELECT * FROM {table} LIMIT 5")))
}

/// Checks the table's columns, without reading a row.
async fn schema(rows: &Rows<'_>, settings: &Settings, request: &Request, judge: &mut Judge) -> Result<()> {
    let found = rows.columns(request).await?;
    let mut wrong = Vec::new();
    for (column, kind) in &settings.schema {
        match found.iter().find(|found| found.name.eq_ignore_ascii_case(column)) {
            None => wrong.push(format!("schema: there is no column {column}")),
            Some(found) if found.kind == ANY => judge.unknown.push(format!(
                "schema: the type of {column} cannot be told on SQLite, since the column has no declared type there; leave it out of schema"
            )),
            Some(found) if !is_type(&found.kind, kind) => {
                wrong.push(format!("schema: {column} is {}, not {kind}", found.kind));
            }
            Some(_) => {}
        }
    }
    // Without a limit, since it does not depend on the rows.
    judge.metrics.push(measured("schema_differences", Some(wrong.len() as f64)));
    let violation = |message| Violation { metric: Some("schema_differences".to_owned()), message };
    judge.broken.extend(wrong.into_iter().map(violation));
    Ok(())
}

/// The selected rows.
struct Rows<'s> {
    table: &'s TableName,
    condition: &'s str,
}

impl Rows<'_> {
    /// The FROM and WHERE clauses, with one more condition.
    fn and(&self, condition: &str) -> String {
        match (self.condition, condition) {
            ("", "") => format!("FROM {}", self.table),
            ("", condition) | (condition, "") => format!("FROM {} WHERE {condition}", self.table),
            (own, more) => format!("FROM {} WHERE ({own}) AND {more}", self.table),
        }
    }

    /// The columns, without reading a row. A partitioned table may ask for the condition, which in turn may fail because of
    /// a column.
    async fn columns(&self, request: &Request) -> Result<Vec<Column>> {
        let ask = |from: String| Times::of(request).query(&format!("SELECT * {from}")).columns();
        let found = match ask(self.and("FALSE")).await {
            Err(Error::Invalid(_)) if !self.condition.is_empty() => {
                ask(format!("FROM {} WHERE FALSE", self.table)).await
            }
            found => found,
        };
        Ok(found?)
    }

    /// The query for everything that one pass over the rows can compute.
    fn aggregates(&self, settings: &Settings) -> Result<String> {
        let mut sql = String::from("SELECT COUNT(*) AS row_count");
        if let Some(freshness) = &settings.freshness {
            sql += &freshness.columns()?;
        }
        for name in settings.null_percent.keys() {
            let quoted = column(name)?;
            let _ = write!(sql, ", SAFE_DIVIDE(100 * COUNTIF({quoted} IS NULL), COUNT(*)) AS null_percent_{name}");
        }
        for (name, values) in &settings.accepted_values {
            let _ = write!(sql, ", COUNTIF({}) AS unaccepted_{name}", outside(name, values)?);
        }
        Ok(format!("{sql} {}", self.and("")))
    }

    /// The query that shows values that are not accepted.
    fn unaccepted(&self, name: &str, values: &[Value]) -> Result<String> {
        let (quoted, selected) = (column(name)?, self.and(&outside(name, values)?));
        Ok(format!(
            "SELECT {quoted}, COUNT(*) AS found {selected} GROUP BY {quoted} ORDER BY found DESC, {quoted} LIMIT {SHOWN}"
        ))
    }

    /// The query for the keys of rows in which a column is NULL: the first columns that must be unique, else the other
    /// columns with rules. `None` if there are none.
    fn nulls(&self, name: &str, settings: &Settings) -> Result<Option<String>> {
        let keys: Vec<&str> = match settings.unique.first() {
            Some(unique) => unique.split(',').map(str::trim).collect(),
            None => {
                let written = settings.freshness.as_ref().and_then(|freshness| freshness.column.as_ref());
                let others = settings.references.keys().chain(settings.accepted_values.keys());
                others.chain(settings.null_percent.keys()).chain(written).map(String::as_str).collect()
            }
        };
        let mut quoted: Vec<String> = Vec::new();
        for key in keys.into_iter().filter(|key| !key.eq_ignore_ascii_case(name)) {
            let key = column(key)?;
            if !quoted.contains(&key) {
                quoted.push(key);
            }
        }
        let selected = self.and(&format!("{} IS NULL", column(name)?));
        let keys = quoted.join(", ");
        Ok((!quoted.is_empty()).then(|| format!("SELECT {keys} {selected} ORDER BY {keys} LIMIT {SHOWN}")))
    }

    /// The rules that need a separate pass.
    fn counts(&self, settings: &Settings) -> Result<Vec<Count>> {
        let mut counts = Vec::new();
        for unique in &settings.unique {
            let names: Vec<&str> = unique.split(',').map(str::trim).collect();
            let quoted = names.iter().map(|name| column(name)).collect::<Result<Vec<_>>>()?;
            let there: Vec<String> = quoted.iter().map(|column| format!("{column} IS NOT NULL")).collect();
            let keys = quoted.join(", ");
            let twice = format!("{} GROUP BY {keys} HAVING COUNT(*) > 1", self.and(&there.join(" AND ")));
            counts.push(Count {
                name: format!("duplicates_{}", names.join("_")),
                sql: format!("SELECT COUNT(*) AS found FROM (SELECT {keys} {twice})"),
                which: format!("SELECT {keys}, COUNT(*) AS copies {twice} ORDER BY {keys} LIMIT {SHOWN}"),
                each: true,
            });
        }
        for (name, References(place)) in &settings.references {
            let wrong = || Failure::Settings(format!("references.{name}: write dataset.table.column, not `{place}`"));
            let (table, other) = place.rsplit_once('.').ok_or_else(wrong)?;
            let table = TableName::try_from(table.to_owned()).map_err(|_| wrong())?;
            let (quoted, other) = (column(name)?, column(other)?);
            let lost = self.and(&format!(
                "{quoted} IS NOT NULL AND {quoted} NOT IN (SELECT {other} FROM {table} WHERE {other} IS NOT NULL)"
            ));
            counts.push(Count {
                name: format!("orphans_{name}"),
                sql: format!("SELECT COUNT(*) AS found {lost}"),
                which: format!("SELECT DISTINCT {quoted} {lost} ORDER BY {quoted} LIMIT {SHOWN}"),
                each: false,
            });
        }
        Ok(counts)
    }
}

/// The condition for values that are not accepted. NULL is neither in nor outside a list; null_percent is for NULLs.
fn outside(name: &str, values: &[Value]) -> Result<String> {
    let quoted = column(name)?;
    let values: Vec<String> = values.iter().map(Value::literal).collect();
    match values.is_empty() {
        true => Err(Failure::Settings(format!("accepted_values.{name}: the list is empty"))),
        false => Ok(format!("{quoted} NOT IN ({})", values.join(", "))),
    }
}

/// In backticks.
pub(crate) fn column(name: &str) -> Result<String> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
    match plain {
        true => Ok(format!("`{name}`")),
        false => Err(Failure::Settings(format!("`{name}` is not a column name; use letters, digits and _"))),
    }
}
