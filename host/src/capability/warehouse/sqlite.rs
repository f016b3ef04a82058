//! The embedded warehouse: SQLite, one file a dataset, opened read-only for each question.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::Arc,
};

use rusqlite::{
    Connection,
    hooks::{AuthAction, AuthContext, Authorization},
    types::Value as Stored,
};

use super::{
    allowed::{Allowed, Taken},
    datasets::Datasets,
    dates::date,
    dialect::{self, Translated},
    guard::{Select, TablePath},
    kind::Kind,
    memory,
    scope::{Column, same},
};
use crate::{
    capability::calls::Calls,
    config::nearest,
    contract::{
        Error, Value,
        warehouse::{self, Parameter, Rows, Table},
    },
    lanes::Stop,
};

/// A directory of datasets.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    datasets: Datasets,
    project: Option<String>,
}

impl Sqlite {
    /// The files must exist when they are asked, not before.
    pub fn new(directory: PathBuf, project: Option<String>) -> Self {
        Self(Arc::new(Inner { datasets: Datasets::new(directory), project }))
    }

    /// Asks, if the run may, within its budgets and until it is over.
    pub(super) async fn query(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> Result<Rows, Error> {
        let (inner, run) = (self.0.clone(), calls.clone());
        let query = move |stop: &Stop| {
            let allowed = Allowed::read(&run, &sql, inner.project.as_deref())?;
            let stop = stop.clone();
            match memory::counted(|| inner.query(&allowed, &parameters, &run, move || stop.reached())) {
                (Err(_), true) => {
                    let most = memory::QUERY_BYTES >> 20;
                    Err(Error::OverBudget(format!("query failed: it needs more than {most} MiB of memory")))
                }
                (answer, _) => answer,
            }
        };
        calls.blocking(query).await
    }

    /// The columns that a query would answer with; it is prepared, and not a row is read.
    pub(super) async fn shape(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Parameter>,
    ) -> Result<Vec<warehouse::Column>, Error> {
        let (inner, run) = (self.0.clone(), calls.clone());
        let shape = move |stop: &Stop| {
            let allowed = Allowed::read(&run, &sql, inner.project.as_deref())?;
            let stop = stop.clone();
            let connection = inner.datasets.open(&allowed.datasets, move || stop.reached())?;
            let (translated, _) = inner.translate(&connection, &allowed, &parameters)?;
            confine(&connection, &allowed.datasets)?;
            connection.prepare(&translated.sql).map_err(|error| failed(&error))?;
            Ok(columns_of(translated.columns))
        };
        calls.blocking(shape).await
    }

    /// Whether a dataset can be opened.
    pub(super) fn probe(&self, dataset: &str) -> Result<String, Error> {
        let tables = self.0.tables(dataset, || false)?.len();
        Ok(format!("tables: {tables}"))
    }

    /// What was read and allowed, on this thread.
    #[cfg(test)]
    pub(super) fn query_now(&self, allowed: &Allowed, parameters: &[Parameter], run: &Calls) -> Result<Rows, Error> {
        self.0.query(allowed, parameters, run, || false)
    }

    /// The tables of a dataset: what its `__TABLES__` says, when it has one, else their names.
    pub(super) async fn tables(&self, calls: &Calls, dataset: &str) -> Result<Vec<Table>, Error> {
        let (inner, dataset) = (self.0.clone(), dataset.to_owned());
        let tables = move |stop: &Stop| {
            let stop = stop.clone();
            inner.tables(&dataset, move || stop.reached())
        };
        calls.blocking(tables).await
    }
}

impl Inner {
    /// In SQLite's words, with what its parameters stand for.
    fn translate(
        &self,
        connection: &Connection,
        select: &Select,
        parameters: &[Parameter],
    ) -> Result<(Translated, HashMap<String, Stored>), Error> {
        let mut kinds = HashMap::new();
        let mut values = HashMap::new();
        for parameter in parameters {
            let name = parameter.name.trim_start_matches('@').to_lowercase();
            let (kind, value) = stored(&parameter.value).ok_or_else(|| {
                Error::Invalid(format!("query failed: parameter @{name} is no date: {:?}", parameter.value))
            })?;
            kinds.insert(name.clone(), kind);
            values.insert(name, value);
        }
        let schema = |path: &TablePath| columns(connection, path);
        Ok((dialect::translate(&select.query, &schema, self.project.as_deref(), kinds)?, values))
    }

    /// Asks until it is told to stop.
    fn query(
        &self,
        allowed: &Allowed,
        parameters: &[Parameter],
        run: &Calls,
        stop: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Rows, Error> {
        let connection = self.datasets.open(&allowed.datasets, stop)?;
        let (translated, values) = self.translate(&connection, allowed, parameters)?;
        confine(&connection, &allowed.datasets)?;
        let mut statement = connection.prepare(&translated.sql).map_err(|error| failed(&error))?;
        for (name, value) in values {
            if let Some(index) = statement.parameter_index(&format!("@{name}")).map_err(|error| failed(&error))? {
                statement.raw_bind_parameter(index, value).map_err(|error| failed(&error))?;
            }
        }
        let mut taken = Taken::new(run)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(|error| failed(&error))? {
            let mut list = Vec::with_capacity(translated.columns.len());
            for (index, column) in translated.columns.iter().enumerate() {
                let found = row.get_ref(index).map_err(|error| failed(&error))?;
                list.push(column.kind.value(&column.name, found)?);
            }
            taken.push(run, list)?;
        }
        let columns = columns_of(translated.columns);
        Ok(Rows { columns, values: taken.into_values(), bytes_processed: 0 })
    }

    fn tables(&self, dataset: &str, stop: impl FnMut() -> bool + Send + 'static) -> Result<Vec<Table>, Error> {
        let connection = self.datasets.open(&BTreeSet::from([dataset.to_owned()]), stop)?;
        let names = table_names(&connection, dataset)?;
        if !names.iter().any(|name| name == "__TABLES__") {
            return Ok(names.into_iter().map(|name| Table { name, rows: None, bytes: None, modified: None }).collect());
        }
        let sql = "SELECT table_id, row_count, size_bytes, last_modified_time FROM __TABLES__ ORDER BY table_id";
        let read = || -> rusqlite::Result<Vec<Table>> {
            let mut statement = connection.prepare(sql)?;
            let tables = statement.query_map([], |row| {
                let unsigned = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
                Ok(Table {
                    name: row.get(0)?,
                    rows: unsigned(row.get(1)?),
                    bytes: unsigned(row.get(2)?),
                    modified: row.get::<_, Option<i64>>(3)?.map(|millis| millis.div_euclid(1000)),
                })
            })?;
            tables.collect()
        };
        read().map_err(|error| Error::Unavailable(format!("tables failed: {dataset}.__TABLES__: {error}")))
    }
}

fn columns_of(columns: Vec<Column>) -> Vec<warehouse::Column> {
    columns
        .into_iter()
        .map(|column| warehouse::Column { name: column.name, kind: column.kind.name().to_owned() })
        .collect()
}

/// The engine's own word on what a statement may do: read tables of the datasets, and compute.
fn confine(connection: &Connection, datasets: &BTreeSet<String>) -> Result<(), Error> {
    let datasets = datasets.clone();
    let decide = move |context: AuthContext<'_>| match context.action {
        AuthAction::Select | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Read { .. } => match context.database_name {
            // Subqueries and WITH are read without a database.
            None => Authorization::Allow,
            Some(name) if datasets.contains(name) => Authorization::Allow,
            Some(_) => Authorization::Deny,
        },
        AuthAction::Function { function_name } if function_name != "load_extension" => Authorization::Allow,
        _ => Authorization::Deny,
    };
    connection.authorizer(Some(decide)).map_err(|error| failed(&error))
}

fn columns(connection: &Connection, path: &TablePath) -> Result<Vec<Column>, Error> {
    let TablePath { dataset, table } = path;
    let unusable = |error: rusqlite::Error| Error::Unavailable(format!("dataset {dataset} cannot be read: {error}"));
    let wrong = RefCell::new(None);
    let read = || -> rusqlite::Result<Vec<Column>> {
        let mut statement = connection.prepare("SELECT name, type FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0")?;
        let columns = statement.query_map([table, dataset], |row| {
            let (name, declared): (String, String) = (row.get(0)?, row.get(1)?);
            let kind = Kind::declared(&declared);
            if kind.is_none() {
                let why = match declared.to_ascii_uppercase().as_str() {
                    "STRING" | "JSON" => "which makes SQLite store numbers for what looks like one; declare it TEXT",
                    _ => "which is no type that the embedded warehouse knows",
                };
                wrong.replace(Some(format!(
                    "query failed: column {name} of {dataset}.{table} is declared {declared}, {why}"
                )));
            }
            let kind = kind.unwrap_or(Kind::Any);
            Ok(Column { name, kind, stored: kind == Kind::Timestamp })
        })?;
        columns.collect()
    };
    let columns = read().map_err(unusable)?;
    if let Some(message) = wrong.into_inner() {
        return Err(Error::Invalid(message));
    }
    if columns.is_empty() {
        let names = table_names(connection, dataset)?;
        if !names.iter().any(|name| same(name, table)) {
            let nearest = nearest(table, &names);
            return Err(Error::NotFound(format!("query failed: there is no table {dataset}.{table}{nearest}")));
        }
    }
    Ok(columns)
}

fn table_names(connection: &Connection, dataset: &str) -> Result<Vec<String>, Error> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let sql = format!(
            "SELECT name FROM \"{dataset}\".sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name"
        );
        connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(|error| Error::Unavailable(format!("dataset {dataset} cannot be read: {error}")))
}

/// A parameter as the engine computes with it; none for a date that is none.
fn stored(value: &Value) -> Option<(Kind, Stored)> {
    Some(match value {
        Value::Null => (Kind::Null, Stored::Null),
        Value::Boolean(truth) => (Kind::Bool, Stored::Integer((*truth).into())),
        Value::Integer(number) => (Kind::Int64, Stored::Integer(*number)),
        Value::Float(number) => (Kind::Float64, Stored::Real(*number)),
        Value::Text(text) => (Kind::String, Stored::Text(text.clone())),
        Value::Date(text) => (Kind::Date, Stored::Text(date(text)?.to_string())),
        Value::Timestamp(seconds) => (Kind::Timestamp, Stored::Integer(seconds.saturating_mul(1_000_000))),
    })
}

pub(super) fn failed(error: &rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => Error::TimedOut("query failed: the run is over".to_owned()),
        Some(
            ErrorCode::NotADatabase
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::DatabaseBusy,
        ) => Error::Unavailable(format!("query failed: {error}")),
        Some(ErrorCode::AuthorizationForStatementDenied) => Error::Denied(format!("query failed: {error}")),
        _ => Error::Invalid(format!("query failed: {error}")),
    }
}
