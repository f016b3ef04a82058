//! How large a query may become: what is written in a few lines can stand for millions of names and tables, and neither the
//! translator nor SQLite's planner should find that out by trying.

use host_contract::Error;

use super::typed::Result;

/// How deep an expression may nest; chains of operators nest to the left.
const DEPTH: usize = 400;
/// What one translation may cost, in names that are compared: 3 million take some 20 ms. A query that names 300
/// columns of a table of a thousand needs a tenth.
const WORK: usize = 3_000_000;
/// Tables and SELECTs of a query when every name from WITH is written out, as SQLite writes it out: 59 names that each
/// read the one before twice are 2^59.
const TABLES: usize = 1000;
/// The columns of a SELECT: SQLite has no more.
const COLUMNS: usize = 2000;
/// The longest SQL for SQLite. A query of 32 KiB becomes three times as much at most, if it is not built to grow.
const WRITTEN_BYTES: usize = 512 << 10;

/// What a translation has used.
#[derive(Debug, Default)]
pub(super) struct Room {
    depth: usize,
    work: usize,
    /// Tables and SELECTs so far of what is being translated, WITH written out.
    tables: usize,
}

impl Room {
    /// One expression deeper.
    pub(super) fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        match self.depth > DEPTH {
            true => Err(Error::Invalid(format!("query refused: nested more than {DEPTH} levels deep"))),
            false => Ok(()),
        }
    }

    /// And back.
    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Compares so many names.
    pub(super) fn work(&mut self, names: usize) -> Result<()> {
        self.work = self.work.saturating_add(names);
        match self.work > WORK {
            true => Err(too_large("too many columns of too many tables; select only those you need")),
            false => Ok(()),
        }
    }

    /// Reads something that is so many tables and SELECTs.
    pub(super) fn tables(&mut self, tables: usize) -> Result<()> {
        self.tables = self.tables.saturating_add(tables);
        match self.tables > TABLES {
            true => Err(too_large(&format!(
                "with its WITH clauses expanded it reads more than {TABLES} tables and subqueries; use each WITH name fewer times"
            ))),
            false => Ok(()),
        }
    }

    /// What `part` reads by itself, which is not counted before it is used.
    pub(super) fn aside(&mut self) -> usize {
        std::mem::take(&mut self.tables)
    }

    /// Back from [`Room::aside`]: gives what was counted since.
    pub(super) fn back(&mut self, before: usize) -> usize {
        std::mem::replace(&mut self.tables, before)
    }
}

/// Whether a SELECT may have so many columns.
pub(super) fn columns(columns: usize) -> Result<()> {
    match columns > COLUMNS {
        true => Err(too_large(&format!("a SELECT has more than {COLUMNS} columns"))),
        false => Ok(()),
    }
}

/// Whether SQL for the engine may be so long.
pub(super) fn written(sql: &str) -> Result<()> {
    match sql.len() > WRITTEN_BYTES {
        true => Err(too_large(&format!("the SQL generated for SQLite is longer than {} KiB", WRITTEN_BYTES >> 10))),
        false => Ok(()),
    }
}

fn too_large(why: &str) -> Error {
    Error::Invalid(format!("query refused: too large: {why}"))
}
