//! A copy of what a check reads, in the embedded engine: whole tables, or whole dates of them, never part of a date. Nothing is written
//! to the warehouse.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use jiff::{Timestamp, ToSpan, civil::Date};
use rusqlite::{params_from_iter, types::Value as Stored};

use crate::{
    capability::{
        Backends, Caller, Calls,
        warehouse::scratch::{open, quoted},
    },
    config::{Budgets, Bytes, Count, Time, Warehouse},
    contract::{
        Error, Value,
        warehouse::{Parameter, Rows, Table},
    },
    googlesql::{self, TablePath},
    run::Moment,
};

use super::super::Trial;

/// How many days before the date are copied of a table that does not fit as a whole, the most first.
const DAYS: [i64; 5] = [400, 100, 35, 8, 0];
/// How long copying one table may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
/// Times its size on the way that an answer takes in memory.
const IN_MEMORY: usize = 8;

/// A table as it was copied.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) path: TablePath,
    /// Names and GoogleSQL types.
    pub(super) columns: Vec<(String, String)>,
    /// The column with the date of a row: its name and its type; `None` if no column that the check names has one.
    pub(super) dated: Option<(String, String)>,
    /// Since which date it was copied; `None` is all of it.
    pub(super) since: Option<Date>,
}

/// All tables that a check reads.
#[derive(Debug, Default)]
pub(super) struct Copy {
    pub(super) tables: Vec<Copied>,
    /// The datasets of which the check asked for the tables.
    pub(super) listed: BTreeSet<String>,
}

/// The words of the queries, in lower case: what is a name among them.
pub(super) fn words(queries: &[String]) -> BTreeSet<String> {
    let split = |query: &String| -> Vec<String> {
        query.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_ascii_lowercase).collect()
    };
    queries.iter().flat_map(split).filter(|word| !word.is_empty()).collect()
}

impl Copy {
    /// Copies the tables of some queries, as of a moment; `most` is the size of the copy in bytes.
    pub(super) async fn make(
        trial: &Trial,
        backends: &Arc<Backends>,
        moment: &Moment,
        queries: &[String],
        listed: &[(String, Vec<Table>)],
        (most, directory): (usize, &Path),
    ) -> Result<Self> {
        let project = match &trial.config.warehouse {
            Some(Warehouse::Sqlite { project, .. }) => project.clone(),
            Some(Warehouse::BigQuery { project, .. }) => Some(project.clone()),
            None => None,
        };
        let mut paths: BTreeMap<TablePath, Vec<String>> = BTreeMap::new();
        for sql in queries {
            // What cannot be read was refused in the run, too.
            let Ok(select) = googlesql::read(sql, project.as_deref()) else { continue };
            for path in select.tables {
                paths.entry(path).or_default().push(sql.clone());
            }
        }
        let mut copy = Self::default();
        let mut left = most;
        for (path, queries) in paths {
            let (table, rows) = one(trial, backends, moment, &path, &words(&queries), &mut left).await?;
            let directory = directory.to_owned();
            let written = table.clone();
            crate::lanes::own(move || write(&directory, &written, &rows))
                .await
                .context("a copy stopped unexpectedly")??;
            copy.tables.push(table);
        }
        for (dataset, tables) in listed {
            list(directory, dataset, tables)?;
            copy.listed.insert(dataset.clone());
        }
        Ok(copy)
    }
}

/// Reads one table: all of it, or as many dates as fit.
async fn one(
    trial: &Trial,
    backends: &Arc<Backends>,
    moment: &Moment,
    path: &TablePath,
    words: &BTreeSet<String>,
    left: &mut usize,
) -> Result<(Copied, Rows)> {
    let name = format!("{}.{}", path.dataset, path.table);
    let whole = matches!(trial.config.warehouse, Some(Warehouse::Sqlite { .. }));
    // Its columns, for the one with the date; no row is read.
    let shape = ask(trial, backends, moment, &format!("SELECT * FROM {} LIMIT 0", quoted_path(path)), *left).await;
    let shape = shape.map_err(|error| anyhow!("{name} cannot be copied: {}", error.message()))?;
    let columns: Vec<(String, String)> =
        shape.columns.iter().map(|column| (column.name.clone(), column.kind.clone())).collect();
    let of = |kind: &str| {
        columns.iter().find(|(name, of)| of == kind && words.contains(&name.to_ascii_lowercase())).cloned()
    };
    let dated = of("DATE").or_else(|| of("TIMESTAMP")).or_else(|| of("DATETIME"));
    let mut tried: Vec<Option<i64>> = DAYS.iter().map(|days| Some(*days)).collect();
    if whole || dated.is_none() {
        tried.insert(0, None);
    }
    if dated.is_none() {
        tried.truncate(1);
    }
    for days in tried {
        let since = days.map(|days| moment.data_date.checked_sub(days.days())).transpose()?;
        let condition = match (&dated, since) {
            (Some((column, kind)), Some(since)) => match kind.as_str() {
                "DATE" => format!(" WHERE `{column}` >= DATE '{since}' AND `{column}` <= DATE '{}'", moment.data_date),
                _ => format!(
                    " WHERE `{column}` >= {kind} '{since} 00:00:00' AND `{column}` < {kind} '{} 00:00:00'",
                    moment.data_date.checked_add(2.days())?
                ),
            },
            _ => String::new(),
        };
        let sql = format!("SELECT * FROM {}{condition}", quoted_path(path));
        match ask(trial, backends, moment, &sql, *left).await {
            Ok(rows) => {
                *left = left.saturating_sub(size(&rows));
                return Ok((Copied { path: path.clone(), columns, dated, since }, rows));
            }
            Err(Error::OverBudget(_)) => {}
            Err(error) => bail!("{name} cannot be copied: {}", error.message()),
        }
    }
    bail!(
        "{name} cannot be copied: {} is larger than what is left of --max-copy",
        if dated.is_some() {
            "one date of it"
        } else {
            "it has no column with a date that the check names, and all of it"
        }
    )
}

fn quoted_path(path: &TablePath) -> String {
    format!("`{}.{}`", path.dataset, path.table)
}

fn size(rows: &Rows) -> usize {
    let value = |value: &Value| match value {
        Value::Text(text) | Value::Date(text) => text.len(),
        _ => 8,
    };
    rows.values.iter().flatten().map(value).sum()
}

/// Asks with the plugin's grants, and with budgets for a copy.
async fn ask(
    trial: &Trial,
    backends: &Arc<Backends>,
    moment: &Moment,
    sql: &str,
    most: usize,
) -> std::result::Result<Rows, Error> {
    let ready = trial.ready();
    let caller = Caller {
        plugin: ready.plugin.file.name.clone(),
        check: trial.check.name.clone(),
        due: moment.due,
        data_date: moment.data_date,
        ..Caller::default()
    };
    let own = ready.budgets.clone();
    let budgets = Budgets {
        rows: Count(u32::MAX),
        result_bytes: Bytes(most.max(1)),
        host_memory: Bytes(most.max(own.host_memory.0).saturating_mul(IN_MEMORY)),
        timeout: Time(PATIENCE),
        query_bytes: own.bytes_per_day,
        ..own
    };
    let calls = Arc::new(Calls::new(caller, ready.grants.clone(), budgets));
    backends.query(&calls, sql.to_owned(), Vec::<Parameter>::new()).await
}

/// Writes a table into the file of its dataset.
fn write(directory: &Path, table: &Copied, rows: &Rows) -> Result<()> {
    let connection = open(&directory.join(format!("{}.db", table.path.dataset)))?;
    let declared = table.columns.iter().map(|(name, kind)| {
        let kind = match kind.as_str() {
            "STRING" => "TEXT",
            "ANY" => "",
            other => other,
        };
        format!("{} {kind}", quoted(name))
    });
    let (name, declared) = (quoted(&table.path.table), declared.collect::<Vec<_>>().join(", "));
    connection.execute_batch(&format!("CREATE TABLE {name} ({declared})"))?;
    if let Some((column, _)) = &table.dated {
        connection.execute_batch(&format!(
            "CREATE INDEX {} ON {name} ({})",
            quoted(&format!("{} by date", table.path.table)),
            quoted(column)
        ))?;
    }
    let places = vec!["?"; table.columns.len()].join(", ");
    let mut insert = connection.prepare(&format!("INSERT INTO {name} VALUES ({places})"))?;
    for row in &rows.values {
        insert.execute(params_from_iter(row.iter().map(stored)))?;
    }
    drop(insert);
    connection.execute_batch("COMMIT")?;
    Ok(())
}

fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Boolean(truth) => Stored::Integer((*truth).into()),
        Value::Integer(number) => Stored::Integer(*number),
        Value::Float(number) => Stored::Real(*number),
        Value::Text(text) | Value::Date(text) => Stored::Text(text.clone()),
        Value::Timestamp(seconds) => Stored::Text(moment_text(*seconds)),
    }
}

/// A TIMESTAMP as BigQuery exports it, so that texts are in the order of the times.
pub(super) fn moment_text(seconds: i64) -> String {
    let moment = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Writes when the tables of a dataset were written, as the warehouse keeps it.
fn list(directory: &Path, dataset: &str, tables: &[Table]) -> Result<()> {
    fs::create_dir_all(directory)?;
    let connection = open(&directory.join(format!("{dataset}.db")))?;
    let written = tables.iter().any(|table| table.modified.is_some());
    if written {
        connection.execute_batch(
            "CREATE TABLE __TABLES__ (table_id TEXT, row_count INT64, size_bytes INT64, last_modified_time INT64)",
        )?;
    }
    for table in tables {
        if written {
            let signed = |count: Option<u64>| count.and_then(|count| i64::try_from(count).ok());
            connection.execute(
                "INSERT INTO __TABLES__ VALUES (?1, ?2, ?3, ?4)",
                (&table.name, signed(table.rows), signed(table.bytes), table.modified.map(|at| at * 1000)),
            )?;
        } else {
            connection.execute_batch(&format!("CREATE TABLE IF NOT EXISTS {} (nothing INT64)", quoted(&table.name)))?;
        }
    }
    connection.execute_batch("COMMIT")?;
    Ok(())
}
