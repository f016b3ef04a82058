//! Decides which queries a run may send to a warehouse, and how large an answer may be. Each backend gets a query only
//! as [`Allowed`], and collects an answer only in [`Taken`].

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use super::argument::{Argument, value_size};
use crate::{
    capability::{calls::Calls, grant::Wish},
    contract::{Error, Value},
    googlesql::{self, Select, TablePath},
    lanes::{self, Held},
    text::nearest,
};

/// The latest queries that are kept parsed: those of the usual number of checks.
const KEPT: usize = 32;
/// The longest query that is kept: a parsed query takes a hundred times the memory of its text.
const KEPT_BYTES: usize = 4 << 10;

/// Parses the queries of a backend, and keeps the latest: a check asks the same ones in each run, and parsing took a
/// fifth of a run.
#[derive(Debug)]
pub(super) struct Parser {
    project: Option<String>,
    /// The latest first.
    kept: Mutex<VecDeque<(String, Arc<Select>)>>,
}

impl Parser {
    /// `project` is the project that table names may begin with.
    pub(super) fn new(project: Option<String>) -> Self {
        Self { project, kept: Mutex::default() }
    }

    pub(super) fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }

    fn parse(&self, sql: &str) -> Result<Arc<Select>, Error> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = {
            let mut kept = kept();
            let place = kept.iter().position(|(text, _)| text == sql);
            place.and_then(|place| kept.remove(place))
        };
        let (text, select) = match known {
            Some(known) => known,
            None => (sql.to_owned(), Arc::new(googlesql::read(sql, self.project())?)),
        };
        if text.len() <= KEPT_BYTES {
            let mut kept = kept();
            kept.push_front((text, select.clone()));
            kept.truncate(KEPT);
        }
        Ok(select)
    }
}

/// A SELECT that a run may send: it is short enough, parsed, and each of its tables and functions is granted.
#[derive(Debug)]
pub(super) struct Allowed(Arc<Select>);

impl Allowed {
    /// The same as [`Allowed::read`] for a replay, at once: on a stack of its own, since that of a guest is too small for deep SQL.
    pub(super) fn read_at_once(calls: &Calls, parser: &Parser, sql: &str) -> Result<Self, Error> {
        let read = lanes::deep(|| Self::read(calls, parser, sql));
        read.unwrap_or_else(|| Err(Error::Unavailable("query failed: there is no thread to parse it".to_owned())))
    }

    /// Parses SQL, and checks it against the run's grants.
    pub(super) fn read(calls: &Calls, parser: &Parser, sql: &str) -> Result<Self, Error> {
        let longest = calls.budgets.sql_bytes;
        if sql.len() > longest.0 {
            let what = format!("SQL of {} B, more than {longest}", sql.len());
            return Err(calls.exceeded("query", "sql_bytes", &what));
        }
        let select = parser.parse(sql)?;
        for table in &select.tables {
            calls.allow("query", Wish::Table(table))?;
        }
        for routine in &select.routines {
            calls.allow("query", Wish::Function(&routine.to_string()))?;
        }
        calls.allow("query", Wish::Warehouse)?;
        calls.tape.granted(sql, &select);
        Ok(Self(select))
    }

    /// The query itself; the same one while it stays parsed.
    pub(super) fn select(&self) -> &Arc<Select> {
        &self.0
    }

    /// The parameters that the query uses, of those that it is given. One that is not given is an error with the others'
    /// names.
    pub(super) fn used<'p>(&self, given: &'p [Argument]) -> Result<Vec<&'p Argument>, Error> {
        let names: Vec<String> = given.iter().map(|one| one.name.trim_start_matches('@').to_lowercase()).collect();
        if let Some(unknown) = self.0.parameters.iter().find(|used| !names.contains(*used)) {
            let near = nearest(unknown, &names);
            let known = match names.is_empty() {
                true => "no parameter is given".to_owned(),
                false => format!("there are @{}", names.join(", @")),
            };
            return Err(Error::Invalid(format!("query failed: Query parameter '{unknown}' not found; {known}{near}")));
        }
        Ok(given.iter().zip(&names).filter(|(_, name)| self.0.parameters.contains(*name)).map(|(one, _)| one).collect())
    }

    /// Skips the grants, to test that the engine denies the query too.
    #[cfg(test)]
    pub(super) fn unchecked(select: Select) -> Self {
        Self(Arc::new(select))
    }

    /// Checks the functions that the warehouse says a query would call, also through views, and the bytes that it would
    /// bill.
    pub(super) fn estimated<'d>(
        &self,
        calls: &Calls,
        functions: impl Iterator<Item = &'d str>,
        billed: u64,
    ) -> Result<(), Error> {
        for function in functions {
            calls.allow("query", Wish::Function(function))?;
        }
        let most = calls.budgets.query_bytes;
        match billed > most.0 as u64 {
            true => {
                let what = format!("it would bill up to {billed} bytes, more than {most}");
                Err(calls.exceeded("query", "query_bytes", &what))
            }
            false => Ok(()),
        }
    }

    /// The tables of the query that are not granted by name, as views.
    pub(super) fn not_views<'a>(&'a self, calls: &'a Calls) -> impl Iterator<Item = &'a TablePath> {
        self.0.tables.iter().filter(|table| !calls.is_view(table))
    }
}

impl Deref for Allowed {
    type Target = Select;

    fn deref(&self) -> &Select {
        &self.0
    }
}

/// The rows of an answer as they arrive, charged to the run.
#[derive(Debug)]
pub(super) struct Taken {
    values: Vec<Vec<Value>>,
    bytes: usize,
    held: Held,
}

impl Taken {
    pub(super) fn new(calls: &Calls) -> Result<Self, Error> {
        Ok(Self { values: Vec::new(), bytes: 0, held: calls.hold("query", 0)? })
    }

    /// Rejects an answer that announces more rows than the run may have.
    pub(super) fn announced(&self, calls: &Calls, rows: usize) -> Result<(), Error> {
        calls.within("query", rows.max(self.values.len()), self.bytes)
    }

    /// Adds a row, if it is within the budgets.
    pub(super) fn push(&mut self, calls: &Calls, row: Vec<Value>) -> Result<(), Error> {
        let bytes = row.iter().map(value_size).sum::<usize>() + size_of::<Vec<Value>>();
        self.bytes += bytes;
        self.held.more(bytes).map_err(|full| calls.too_much("query", full))?;
        calls.within("query", self.values.len() + 1, self.bytes)?;
        self.values.push(row);
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// All rows, for the guest.
    pub(super) fn into_values(self) -> Vec<Vec<Value>> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_queries_stay_parsed() {
        let parser = Parser::new(None);
        let ask = |number: usize| parser.parse(&format!("SELECT {number} FROM d.t")).unwrap();
        let first = ask(0);
        for number in 1..KEPT {
            ask(number);
        }
        assert!(Arc::ptr_eq(&first, &ask(0)), "kept, and the latest again");
        ask(KEPT);
        assert!(Arc::ptr_eq(&first, &ask(0)));
        for number in 1..=KEPT {
            ask(number);
        }
        assert!(!Arc::ptr_eq(&first, &ask(0)), "the oldest is dropped");
        let long = format!("SELECT '{}' FROM d.t", "x".repeat(KEPT_BYTES));
        assert!(!Arc::ptr_eq(&parser.parse(&long).unwrap(), &parser.parse(&long).unwrap()), "a long one is not kept");
        assert!(parser.parse("DELETE FROM d.t").is_err() && parser.parse("DELETE FROM d.t").is_err());
    }
}
