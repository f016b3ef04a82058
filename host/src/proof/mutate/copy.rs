//! A copy of what a check reads, in the embedded engine: whole tables, or whole dates of them, never part of a date. Nothing is written
//! to the warehouse.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::ControlFlow,
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, anyhow, bail};
use jiff::{Timestamp, ToSpan, civil::Date};
use rusqlite::{params_from_iter, types::Value as Stored};
use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, visit_expressions,
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
    googlesql::{self, Select, TablePath},
    run::Moment,
};

use super::super::Trial;

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
    /// The column with the date of a row: its name and its type; `None` if no column that the check names has one.
    pub(super) dated: Option<(String, String)>,
    /// Whether the check asks for the date of that column in UTC, as `DATE(at)` is, and not in its own zone.
    pub(super) is_utc: bool,
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

/// The columns that some queries name, in lower case. An error if one cannot be read, as one that is too long to be recorded.
pub(super) fn columns(queries: &[String], project: Option<&str>) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for sql in queries {
        let select = googlesql::read(sql, project).map_err(|error| {
            anyhow!("a query of it cannot be read again, so nothing is known of its columns: {}", error.message())
        })?;
        found.extend(columns_of(&select));
    }
    Ok(found)
}

/// The columns that queries of a table name, in lower case.
#[derive(Debug, Default)]
struct Named {
    all: BTreeSet<String>,
    /// Those that must be the date, or within it.
    equal: BTreeSet<String>,
    /// Those that are compared with it otherwise: later, earlier.
    beyond: BTreeSet<String>,
    /// Those whose date is asked for in UTC.
    utc: BTreeSet<String>,
}

impl Named {
    /// The columns that may have the date of a row, the likeliest first.
    fn candidates(&self, columns: &[(String, String)]) -> Vec<(String, String)> {
        let times = ["DATE", "TIMESTAMP", "DATETIME"];
        let ranked =
            [(&self.equal, &times[..]), (&self.equal, &["STRING"]), (&self.beyond, &times), (&self.all, &times)];
        let mut found: Vec<(String, String)> = Vec::new();
        for (names, kinds) in ranked {
            for kind in kinds {
                let fits = columns.iter().filter(|(name, of)| of == kind && names.contains(&name.to_lowercase()));
                found.extend(fits.filter(|column| !found.contains(column)).cloned().collect::<Vec<_>>());
            }
        }
        found
    }
}

/// The parameters that say which date is asked about.
const OF_DATE: [&str; 3] = ["@date", "@day_start", "@day_end"];

/// Whether an expression is the date of the run, or made of it alone: not of a query or a condition with it.
fn is_date(expression: &Expr) -> bool {
    let text = expression.to_string();
    let is_named = |name: &str| {
        let mut after =
            text.match_indices(name).map(|(at, name)| text.get(at + name.len()..).and_then(|rest| rest.chars().next()));
        after.any(|next| next.is_none_or(|next| !next.is_alphanumeric() && next != '_'))
    };
    let upper = text.to_uppercase();
    OF_DATE.iter().any(|name| is_named(name)) && !["SELECT", "IF(", "CASE "].iter().any(|other| upper.contains(other))
}

/// The columns that a query compares with its date: those that must be it or within it, and the others.
fn dates_of(select: &Select) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut equal, mut beyond) = (BTreeSet::new(), BTreeSet::new());
    let _ = visit_expressions(&select.query, |expression| {
        let (sides, found): (Vec<&Expr>, &mut BTreeSet<String>) = match expression {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => (vec![left, right], &mut equal),
            Expr::Between { expr, low, high, .. } => (vec![expr, low, high], &mut equal),
            Expr::InList { expr, list, .. } => (std::iter::once(&**expr).chain(list).collect(), &mut equal),
            Expr::BinaryOp { left, op, right } if is_comparison(op) => (vec![left, right], &mut beyond),
            _ => return ControlFlow::<()>::Continue(()),
        };
        if sides.iter().any(|side| is_date(side)) {
            for side in sides.into_iter().filter(|side| !is_date(side)) {
                let _ = visit_expressions(side, |expression| {
                    found.extend(name_of(expression));
                    ControlFlow::<()>::Continue(())
                });
            }
        }
        ControlFlow::Continue(())
    });
    (equal, beyond)
}

/// The columns of which a query takes the date without naming a zone.
fn dates_in_utc(select: &Select) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(&select.query, |expression| {
        match expression {
            Expr::Cast { expr, data_type: DataType::Date, .. } => found.extend(name_of(expr)),
            Expr::Function(Function { name, args: FunctionArguments::List(list), .. })
                if name.to_string().eq_ignore_ascii_case("DATE") =>
            {
                if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(of))] = list.args.as_slice() {
                    found.extend(name_of(of));
                }
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Gt, GtEq, Lt, LtEq};
    matches!(op, Gt | GtEq | Lt | LtEq)
}

/// The name of a column, in lower case.
fn name_of(expression: &Expr) -> Option<String> {
    let name = match expression {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(names) => names.last(),
        _ => None,
    };
    name.map(|name| name.value.to_lowercase())
}

fn columns_of(select: &Select) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let _ = visit_expressions(&select.query, |expression| {
        found.extend(name_of(expression));
        ControlFlow::<()>::Continue(())
    });
    // The names in `USING (…)` are not expressions.
    let text = select.text();
    for using in text.split(" USING(").chain(text.split(" USING (")).skip(1) {
        let names = using.split(')').next().unwrap_or_default();
        found.extend(names.split(',').map(|name| name.trim().trim_matches('`').to_lowercase()));
    }
    found
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
                let named = paths.entry(path.clone()).or_default();
                named.all.extend(columns_of(&select));
                let (equal, beyond) = dates_of(&select);
                named.equal.extend(equal);
                named.beyond.extend(beyond);
                named.utc.extend(dates_in_utc(&select));
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
    let candidates = named.candidates(&columns);
    let dated = candidates.iter().find(|(_, kind)| kind != "STRING").or(candidates.first()).cloned();
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
                "STRING" => {
                    let (first, after) = (since, moment.data_date.checked_add(1.days())?);
                    format!(" WHERE `{column}` >= '{first}' AND `{column}` < '{after}'")
                }
                "DATE" => format!(" WHERE `{column}` >= DATE '{since}' AND `{column}` <= DATE '{}'", moment.data_date),
                _ => format!(
                    " WHERE `{column}` >= {kind} '{since} 00:00:00' AND `{column}` < {kind} '{} 00:00:00'",
                    moment.data_date.checked_add(2.days())?
                ),
            },
            _ => String::new(),
        };
        let sql = format!("SELECT * FROM {}{condition}", quoted_path(path));
        let calls = self::calls(trial, moment, *left);
        // A warehouse that bills says what it would read, which is about what would be copied.
        let read = backends.shape(&calls, sql.clone()).await.map(|(_, bytes)| bytes);
        if read.is_ok_and(|read| read > (*left as u64).max(LEAST)) {
            continue;
        }
        match backends.query(&calls, sql, Vec::<Parameter>::new()).await {
            Ok(rows) => {
                *left = left.saturating_sub(size(&rows));
                // Of all rows it is known which column has the date; where none has, they are of no date.
                let is_utc = |(column, _): &(String, String)| named.utc.contains(&column.to_lowercase());
                let dated = match since {
                    Some(_) => dated,
                    None => candidates
                        .into_iter()
                        .find(|column| has_date(&rows, &columns, (column, is_utc(column)), moment)),
                };
                let is_utc = dated.as_ref().is_some_and(is_utc);
                return Ok((Copied { path: path.clone(), columns, dated, is_utc, since }, rows));
            }
            Err(Error::OverBudget(_)) => {}
            Err(error) => bail!("{name} cannot be copied: {}", error.message()),
        }
    }
    bail!(
        "{name} cannot be copied: {} is larger than the {} that are left of --max-copy",
        if dated.is_some() {
            "one date of it"
        } else {
            "it has no column with a date that the check names, and all of it"
        },
        crate::text::bytes(*left as u64)
    )
}

/// Whether a row has the date of a moment in a column, of which it may be asked for in UTC.
fn has_date(
    rows: &Rows,
    columns: &[(String, String)],
    (column, is_utc): (&(String, String), bool),
    moment: &Moment,
) -> bool {
    let Some(at) = columns.iter().position(|other| other == column) else { return false };
    let date = moment.data_date.to_string();
    let is_of = |value: &Value| match value {
        Value::Date(text) | Value::Text(text) => text.starts_with(&date),
        Value::Timestamp(seconds) if is_utc => moment_text(*seconds).starts_with(&date),
        Value::Timestamp(seconds) => (moment.day_start.as_second()..moment.day_end.as_second()).contains(seconds),
        _ => false,
    };
    rows.values.iter().any(|row| row.get(at).is_some_and(is_of))
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
