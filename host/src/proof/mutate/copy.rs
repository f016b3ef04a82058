//! A copy of what a check reads, in the embedded engine: whole tables, or whole dates of them, never part of a date. Nothing is written
//! to the warehouse.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use jiff::{ToSpan, civil::Date};
use rusqlite::{params_from_iter, types::Value as Stored};

use super::{
    super::Trial,
    dated::{Dated, moment_text},
    named::Named,
};
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

/// How many days before the date are copied of a table that does not fit as a whole, the most first.
const DAYS: [i64; 5] = [400, 100, 35, 8, 0];
/// How long copying one table may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);
/// What BigQuery bills at least for a table, in bytes, however little it reads.
const LEAST: u64 = 10 << 20;
/// Times its size on the way that an answer takes in memory.
const IN_MEMORY: usize = 8;

/// A table as it was copied.
#[derive(Debug, Clone)]
pub(super) struct Copied {
    pub(super) path: TablePath,
    /// Names and GoogleSQL types.
    pub(super) columns: Vec<(String, String)>,
    /// The column with the date of a row; `None` if no column that the check names has it.
    pub(super) dated: Option<Dated>,
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
        let project = trial.config.warehouse_project();
        let mut paths: BTreeMap<TablePath, Named> = BTreeMap::new();
        for sql in queries {
            let Ok(select) = googlesql::read(sql, project.as_deref()) else { continue };
            for path in &select.tables {
                paths.entry(path.clone()).or_default().add(&select);
            }
        }
        let mut copy = Self::default();
        let mut left = most;
        for (path, named) in paths {
            let (table, rows) = one(trial, backends, moment, &path, &named, &mut left).await?;
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
    named: &Named,
    left: &mut usize,
) -> Result<(Copied, Rows)> {
    let name = format!("{}.{}", path.dataset, path.table);
    let whole = matches!(trial.config.warehouse, Some(Warehouse::Sqlite { .. }));
    // Its columns, for the one with the date; no row is read, and nothing is billed.
    let calls = calls(trial, moment, *left);
    let shape = backends.shape(&calls, format!("SELECT * FROM {}", quoted_path(path))).await;
    let (shape, _) = shape.map_err(|error| anyhow!("{name} cannot be copied: {}", error.message()))?;
    let columns: Vec<(String, String)> = shape.into_iter().map(|column| (column.name, column.kind)).collect();
    let candidates = Dated::candidates(named, &columns);
    // All of it, or so many days by one of its columns.
    let mut tried: Vec<Option<(&Dated, i64)>> = Vec::new();
    if whole || candidates.is_empty() {
        tried.push(None);
    }
    tried.extend(candidates.iter().flat_map(|dated| DAYS.iter().map(move |days| Some((dated, *days)))));
    // What was read by a column that no row has the date in, and the last such column.
    let (mut without, mut not_by): (Option<(Copied, Rows)>, Option<&Dated>) = (None, None);
    for part in tried {
        if part.is_some_and(|(dated, _)| Some(dated) == not_by) {
            continue;
        }
        let since = part.map(|(_, days)| moment.data_date.checked_sub(days.days())).transpose()?;
        let condition =
            part.zip(since).map(|((dated, _), since)| dated.between(since, moment.data_date)).transpose()?;
        let condition = condition.map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        let sql = format!("SELECT * FROM {}{condition}", quoted_path(path));
        let calls = self::calls(trial, moment, *left);
        // A warehouse that bills says what it would read, which is about what would be copied.
        let read = backends.shape(&calls, sql.clone()).await.map(|(_, bytes)| bytes);
        if read.is_ok_and(|read| read > (*left as u64).max(LEAST)) {
            continue;
        }
        match backends.query(&calls, sql, Vec::<Parameter>::new()).await {
            Ok(rows) => {
                let is_in = |dated: &&Dated| dated.is_in(&rows, &columns, moment);
                // Of all rows it is known which column has the date; where none has, they are of no date.
                let dated = part.map_or_else(|| candidates.iter().find(is_in), |(dated, _)| Some(dated));
                let copied = Copied { path: path.clone(), columns: columns.clone(), dated: dated.cloned(), since };
                if part.is_none_or(|(dated, _)| is_in(&dated)) {
                    *left = left.saturating_sub(size(&rows));
                    return Ok((copied, rows));
                }
                without.get_or_insert((copied, rows));
                not_by = dated;
            }
            Err(Error::OverBudget(_)) => {}
            Err(error) => bail!("{name} cannot be copied: {}", error.message()),
        }
    }
    if let Some((copied, rows)) = without {
        *left = left.saturating_sub(size(&rows));
        return Ok((copied, rows));
    }
    bail!(
        "{name} cannot be copied: {} is larger than the {} that are left of --max-copy",
        match candidates.is_empty() {
            true => "it has no column with a date that the check names, and all of it",
            false => "one date of it",
        },
        crate::text::bytes(*left as u64)
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

/// Calls with the plugin's grants, and with budgets for a copy.
fn calls(trial: &Trial, moment: &Moment, most: usize) -> Arc<Calls> {
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
    Arc::new(Calls::new(caller, ready.grants.clone(), budgets))
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
    if let Some(Dated { column, .. }) = &table.dated {
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
