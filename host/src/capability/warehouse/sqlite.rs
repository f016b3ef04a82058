//! The embedded warehouse: SQLite, one file a dataset, opened read-only.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, InterruptHandle, types::Value as Stored};

use super::{
    allowed::{Allowed, Parser, Taken},
    argument::Argument,
    catalog,
    datasets::{Datasets, Kinds, Lease},
    fault::Fault,
    large,
    memory::{self, Refusal, Size},
};
use crate::{
    capability::calls::Calls,
    contract::{
        Error, Value,
        warehouse::{self, Rows, Scalar, Table},
    },
    googlesql::{self, Column, Kind, TablePath, Translated, date},
    lanes::Stop,
};

/// A directory of datasets.
#[derive(Debug, Clone)]
pub struct Sqlite(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    datasets: Datasets,
    parser: Parser,
}

/// The engine of a running query, which is interrupted when nobody waits for the answer any more. Between instructions
/// the engine checks the stop signal itself, but some instructions read a whole table.
#[derive(Clone, Default)]
struct Engine(Arc<Mutex<Option<InterruptHandle>>>);

/// Held by whoever waits for an answer.
struct Asking(Engine);

impl Sqlite {
    /// The files need not exist before the first query.
    pub fn new(directory: PathBuf, project: Option<String>) -> Self {
        Self(Arc::new(Inner { datasets: Datasets::new(directory), parser: Parser::new(project) }))
    }

    /// Runs a query, within the run's grants, budgets and time.
    pub(super) async fn query(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<Rows, Error> {
        self.ask(calls, move |inner, run, stop, engine| {
            let allowed = Allowed::read(run, &inner.parser, &sql)?;
            let stop = stop.clone();
            inner.query(&allowed, &parameters, run, move || stop.reached(), engine)
        })
        .await
    }

    /// Whether a query is allowed.
    pub(super) fn permits(&self, calls: &Calls, sql: &str) -> Result<(), Error> {
        Allowed::read_at_once(calls, &self.0.parser, sql).map(drop)
    }

    /// The columns of a query, which is prepared without reading a row.
    pub(super) async fn shape(
        &self,
        calls: &Arc<Calls>,
        sql: String,
        parameters: Vec<Argument>,
    ) -> Result<Vec<warehouse::Column>, Error> {
        self.ask(calls, move |inner, run, stop, _| {
            let allowed = Allowed::read(run, &inner.parser, &sql)?;
            let stop = stop.clone();
            let mut connection = inner.datasets.open(&allowed.datasets, move || stop.reached())?;
            let (translated, _) = inner.translate(&mut connection, &allowed, &parameters)?;
            connection.prepare(&translated.sql)?;
            Ok(columns_of(&translated.columns))
        })
        .await
    }

    /// The tables of a dataset: from its `__TABLES__` if it has one, else only their names.
    pub(super) async fn tables(&self, calls: &Arc<Calls>, dataset: &str) -> Result<Vec<Table>, Error> {
        let dataset = dataset.to_owned();
        self.ask(calls, move |inner, _, stop, _| {
            let stop = stop.clone();
            inner.tables(&dataset, move || stop.reached())
        })
        .await
    }

    /// Whether a dataset can be opened, or has a view.
    pub(super) fn probe(&self, name: &str) -> Result<String, Error> {
        let found = || match name.split_once('.') {
            None => Ok(format!("tables: {}", self.0.tables(name, || false)?.len())),
            Some((dataset, view)) => {
                let path = TablePath { dataset: dataset.to_owned(), table: view.to_owned() };
                let connection = self.0.datasets.open(&BTreeSet::from([dataset.to_owned()]), || false)?;
                let columns = connection.describing(|connection| catalog::columns(connection, &path))?;
                Ok(format!("columns: {}", columns.len()))
            }
        };
        match memory::counted(Size::Small, found) {
            (Ok(found), _) => Ok(found),
            (Err(Fault::Said(error)), _) => Err(error),
            (Err(Fault::Memory), refusal) => Err(starved(refusal)),
        }
    }

    /// Runs a parsed and granted query on this thread.
    #[cfg(test)]
    pub(super) fn query_now(&self, allowed: &Allowed, parameters: &[Argument], run: &Calls) -> Result<Rows, Error> {
        self.0.query(allowed, parameters, run, || false, &Engine::default()).map_err(|fault| match fault {
            Fault::Memory => starved(None),
            Fault::Said(error) => error,
        })
    }

    /// Memory of the idle connections, in bytes.
    #[cfg(test)]
    pub(super) fn held(&self) -> i64 {
        self.0.datasets.held()
    }

    /// Runs work on another thread; as a large query if it needs more memory than a small one may use.
    async fn ask<T: Send + 'static>(
        &self,
        calls: &Arc<Calls>,
        work: impl Fn(&Inner, &Calls, &Stop, &Engine) -> Result<T, Fault> + Send + Sync + 'static,
    ) -> Result<T, Error> {
        let work = Arc::new(work);
        let asking = Asking(Engine::default());
        let mut turn = None;
        loop {
            let (inner, work, run, engine) = (self.0.clone(), work.clone(), calls.clone(), asking.0.clone());
            let size = if turn.is_some() { Size::Large } else { Size::Small };
            let taken = turn.take();
            let attempt = calls.blocking(move |stop| {
                let attempt = memory::counted(size, || work(&inner, &run, stop, &engine));
                // Keep the turn until the memory is returned.
                drop(taken);
                Ok(attempt)
            });
            match attempt.await? {
                (Err(Fault::Memory), Some(Refusal::Small)) => {
                    // Start again as a large query; hold no memory until then.
                    turn = Some(large::turn(calls.plugin(), calls.deadline()).await?);
                }
                (Err(Fault::Memory), refusal) => return Err(starved(refusal)),
                (Err(Fault::Said(error)), _) => return Err(error),
                (Ok(answer), _) => return Ok(answer),
            }
        }
    }
}

/// The error for a query that was refused memory for good.
fn starved(refusal: Option<Refusal>) -> Error {
    Error::OverBudget(match refusal {
        Some(Refusal::Query) => {
            format!("query failed: it needs more than {} MiB of memory; sort or group less", memory::QUERY_BYTES >> 20)
        }
        _ => format!(
            "query failed: the queries of all checks and the record have used up the {} MiB of memory that they \
             share; try again",
            memory::HEAP_BYTES >> 20
        ),
    })
}

impl Engine {
    /// Allows this connection to be interrupted until the returned guard is dropped.
    fn works(&self, connection: &Connection) -> Working<'_> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection.get_interrupt_handle());
        Working(self)
    }
}

/// A connection that can be interrupted from elsewhere. It must not outlive the lease of the connection.
struct Working<'e>(&'e Engine);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(engine) = &*self.0.0.lock().unwrap_or_else(PoisonError::into_inner) {
            engine.interrupt();
        }
    }
}

impl Inner {
    /// Translates a query to SQLite's SQL, with the values of its parameters.
    fn translate(
        &self,
        connection: &mut Lease<'_>,
        allowed: &Allowed,
        parameters: &[Argument],
    ) -> Result<(Arc<Translated>, HashMap<String, Stored>), Fault> {
        let mut kinds = Kinds::new();
        let mut values = HashMap::new();
        for parameter in allowed.used(parameters)? {
            let name = parameter.name.trim_start_matches('@').to_lowercase();
            let (kind, value) = stored(parameter).ok_or_else(|| {
                Error::Invalid(format!("query failed: parameter @{name} is not a date: {:?}", parameter.value))
            })?;
            kinds.insert(name.clone(), kind);
            values.insert(name, value);
        }
        if let Some(known) = connection.translated(allowed.select(), &kinds) {
            return Ok((known, values));
        }
        // The translator only has errors of queries.
        let starved = Cell::new(false);
        let schema = |path: &TablePath| {
            connection.describing(|connection| catalog::columns(connection, path)).map_err(|fault| match fault {
                Fault::Said(error) => error,
                Fault::Memory => {
                    starved.set(true);
                    Error::Unavailable("query failed: no memory".to_owned())
                }
            })
        };
        match googlesql::translate(&allowed.query, &schema, self.parser.project(), kinds.clone()) {
            Err(_) if starved.get() => Err(Fault::Memory),
            translated => {
                let translated = Arc::new(translated?);
                connection.keep(allowed.select(), kinds, &translated);
                Ok((translated, values))
            }
        }
    }

    /// Runs a query until it is told to stop.
    fn query(
        &self,
        allowed: &Allowed,
        parameters: &[Argument],
        run: &Calls,
        stop: impl FnMut() -> bool + Send + 'static,
        engine: &Engine,
    ) -> Result<Rows, Fault> {
        let mut connection = self.datasets.open(&allowed.datasets, stop)?;
        let _working = engine.works(&connection);
        let (translated, values) = self.translate(&mut connection, allowed, parameters)?;
        let mut statement = connection.prepare_cached(&translated.sql)?;
        for (name, value) in values {
            if let Some(index) = statement.parameter_index(&format!("@{name}"))? {
                statement.raw_bind_parameter(index, value)?;
            }
        }
        let mut taken = Taken::new(run)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            let mut list = Vec::with_capacity(translated.columns.len());
            for (index, column) in translated.columns.iter().enumerate() {
                list.push(column.kind.value(&column.name, row.get_ref(index)?)?);
            }
            taken.push(run, list)?;
        }
        let columns = columns_of(&translated.columns);
        Ok(Rows { columns, values: taken.into_values(), bytes_processed: 0 })
    }

    fn tables(&self, dataset: &str, stop: impl FnMut() -> bool + Send + 'static) -> Result<Vec<Table>, Fault> {
        let connection = self.datasets.open(&BTreeSet::from([dataset.to_owned()]), stop)?;
        catalog::tables(&connection, dataset)
    }
}

fn columns_of(columns: &[Column]) -> Vec<warehouse::Column> {
    columns
        .iter()
        .map(|column| warehouse::Column { name: column.name.clone(), kind: column.kind.name().to_owned() })
        .collect()
}

/// A parameter for the engine; `None` for an invalid date.
fn stored(argument: &Argument) -> Option<(Kind, Stored)> {
    Some(match &argument.value {
        Value::Null => (argument.kind.map_or(Kind::Null, kind), Stored::Null),
        Value::Boolean(truth) => (Kind::Bool, Stored::Integer((*truth).into())),
        Value::Integer(number) => (Kind::Int64, Stored::Integer(*number)),
        Value::Float(number) => (Kind::Float64, Stored::Real(*number)),
        Value::Text(text) => (Kind::String, Stored::Text(text.clone())),
        Value::Date(text) => (Kind::Date, Stored::Text(date(text)?.to_string())),
        Value::Timestamp(seconds) => (Kind::Timestamp, Stored::Integer(seconds.saturating_mul(1_000_000))),
    })
}

/// The type of a NULL.
fn kind(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::Boolean => Kind::Bool,
        Scalar::Integer => Kind::Int64,
        Scalar::Float => Kind::Float64,
        Scalar::Text => Kind::String,
        Scalar::Date => Kind::Date,
        Scalar::Timestamp => Kind::Timestamp,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// An instruction that reads a whole table checks no signal.
    #[test]
    fn who_gives_up_interrupts_the_engine() {
        let connection = Connection::open_in_memory().unwrap();
        let asking = Asking(Engine::default());
        let engine = asking.0.clone();
        let working = engine.works(&connection);
        let (gives_up, given_up) = std::sync::mpsc::channel();
        let waits = crate::lanes::thread("waits", move || {
            std::thread::sleep(Duration::from_millis(50));
            drop(asking);
            gives_up.send(()).unwrap();
        });
        let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT COUNT(*) FROM n";
        let started = Instant::now();
        let error = connection.query_row(endless, [], |row| row.get::<_, i64>(0)).unwrap_err();
        assert!(matches!(Fault::from(error), Fault::Said(Error::TimedOut(_))));
        assert!(started.elapsed() < Duration::from_secs(1));
        given_up.recv().unwrap();
        waits.unwrap().join().unwrap();
        drop(working);
        assert!(engine.0.lock().unwrap().is_none());
    }
}
