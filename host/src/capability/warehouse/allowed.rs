//! Decides which queries a run may send to a warehouse, and how large an answer may be. Each backend gets a query only
//! as [`Allowed`], and collects an answer only in [`Taken`].

use std::ops::Deref;

use crate::{
    capability::{calls::Calls, grant::Wish},
    contract::{Error, Value},
    googlesql::{self, Select},
    lanes::Held,
};

/// A SELECT that a run may send: it is short enough, parsed, and each of its datasets and functions is granted.
#[derive(Debug)]
pub(super) struct Allowed(Select);

impl Allowed {
    /// Parses SQL; `project` is the project that table names may begin with.
    pub(super) fn read(calls: &Calls, sql: &str, project: Option<&str>) -> Result<Self, Error> {
        let longest = calls.budgets.sql_bytes;
        if sql.len() > longest.0 {
            let what = format!("SQL of {} B, more than {longest}", sql.len());
            return Err(calls.exceeded("query", "sql_bytes", &what));
        }
        let select = googlesql::read(sql, project)?;
        for dataset in &select.datasets {
            calls.allow("query", Wish::Dataset(dataset))?;
        }
        for routine in &select.routines {
            calls.allow("query", Wish::Function(&routine.to_string()))?;
        }
        calls.allow("query", Wish::Warehouse)?;
        Ok(Self(select))
    }

    /// Skips the grants, to test that the engine denies the query too.
    #[cfg(test)]
    pub(super) fn unchecked(select: Select) -> Self {
        Self(select)
    }

    /// Checks the warehouse's own estimate: the datasets that the query would read and the functions that it would call,
    /// also through views, and the bytes.
    pub(super) fn estimated<'d>(
        &self,
        calls: &Calls,
        datasets: impl Iterator<Item = &'d str>,
        functions: impl Iterator<Item = &'d str>,
        bytes: u64,
    ) -> Result<(), Error> {
        for dataset in datasets {
            calls.allow("query", Wish::Dataset(dataset))?;
        }
        for function in functions {
            calls.allow("query", Wish::Function(function))?;
        }
        let most = calls.budgets.query_bytes;
        match bytes > most.0 as u64 {
            true => {
                let what = format!("it would read {bytes} bytes, more than {most}");
                Err(calls.exceeded("query", "query_bytes", &what))
            }
            false => Ok(()),
        }
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

/// Memory of a value, in bytes.
pub(in crate::capability) fn value_size(value: &Value) -> usize {
    let text = match value {
        Value::Text(text) | Value::Date(text) => text.len(),
        _ => 0,
    };
    size_of::<Value>() + text
}
