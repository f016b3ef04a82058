//! Limits on the size of a translated query: a few lines can expand to millions of names and tables, which would stall
//! the translator and SQLite's planner.

use host_contract::Error;

use super::typed::Result;

/// The maximum nesting of an expression; chains of operators nest to the left.
const DEPTH: usize = 400;
/// Name comparisons of one translation: 3 million take about 20 ms. A query with 300 columns of a table of a thousand
/// needs a tenth.
const WORK: usize = 3_000_000;
/// Tables and SELECTs of a query with every WITH name expanded, as SQLite expands it: 59 names that each read the
/// previous one twice make 2^59.
const TABLES: usize = 1000;
/// The columns of a SELECT: SQLite's own limit.
const COLUMNS: usize = 2000;
/// The longest SQL for SQLite. An ordinary query of 32 KiB becomes at most three times as long.
const WRITTEN_BYTES: usize = 512 << 10;

/// The amounts that a translation has used.
#[derive(Debug, Default)]
pub(super) struct Room {
    depth: usize,
    work: usize,
    /// Tables and SELECTs so far, with WITH expanded.
    tables: usize,
}

impl Room {
    /// Enters a nested expression.
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        match self.depth > DEPTH {
            true => Err(Error::Invalid(format!("query refused: nested more than {DEPTH} levels deep"))),
            false => Ok(()),
        }
    }

    /// Leaves a nested expression.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Counts name comparisons.
    pub(super) fn work(&mut self, names: usize) -> Result<()> {
        self.work = self.work.saturating_add(names);
        match self.work > WORK {
            true => Err(too_large("too many columns of too many tables; select only those you need")),
            false => Ok(()),
        }
    }

    /// Counts tables and SELECTs.
    pub(super) fn tables(&mut self, tables: usize) -> Result<()> {
        self.tables = self.tables.saturating_add(tables);
        match self.tables > TABLES {
            true => Err(too_large(&format!(
                "with its WITH clauses expanded it reads more than {TABLES} tables and subqueries; use each WITH name fewer times"
            ))),
            false => Ok(()),
        }
    }

    /// Counts a part separately; it is added to the total where it is used.
    pub(super) fn aside(&mut self) -> usize {
        std::mem::take(&mut self.tables)
    }

    /// Ends [`Room::aside`], and returns the count since then.
    pub(super) fn back(&mut self, before: usize) -> usize {
        std::mem::replace(&mut self.tables, before)
    }
}

/// Rejects a SELECT with too many columns.
pub(super) fn columns(columns: usize) -> Result<()> {
    match columns > COLUMNS {
        true => Err(too_large(&format!("a SELECT has more than {COLUMNS} columns"))),
        false => Ok(()),
    }
}

/// Rejects SQL for the engine that is too long.
pub(super) fn written(sql: &str) -> Result<()> {
    match sql.len() > WRITTEN_BYTES {
        true => Err(too_large(&format!("the SQL generated for SQLite is longer than {} KiB", WRITTEN_BYTES >> 10))),
        false => Ok(()),
    }
}

fn too_large(why: &str) -> Error {
    Error::Invalid(format!("query refused: too large: {why}"))
}
