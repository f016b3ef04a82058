//! The tables of a dataset, and their columns.

use std::{cell::RefCell, sync::Arc};

use rusqlite::Connection;

use super::{datasets::Lease, fault::Fault};
use crate::{
    config::nearest,
    contract::{Error, warehouse::Table},
    googlesql::{Column, Kind, TablePath, same},
};

/// The tables of a dataset: from its `__TABLES__` if it has one, else only their names.
pub(super) fn tables(connection: &Lease<'_>, dataset: &str) -> Result<Vec<Table>, Fault> {
    let names = connection.describing(|connection| table_names(connection, dataset))?;
    if !names.iter().any(|name| name == "__TABLES__") {
        return Ok(names.into_iter().map(|name| Table { name, rows: None, bytes: None, modified: None }).collect());
    }
    // It may be a view: read it as a query would.
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
    read().map_err(|error| Fault::unreadable(&format!("tables failed: {dataset}.__TABLES__"), error))
}

/// The columns of a table, with their declared types.
pub(super) fn columns(connection: &Connection, path: &TablePath) -> Result<Vec<Column>, Fault> {
    let TablePath { dataset, table } = path;
    let unusable = |error| Fault::unreadable(&format!("dataset {dataset} cannot be read"), error);
    let wrong = RefCell::new(None);
    let stored: Arc<str> = format!("{dataset}.{table}").into();
    let read = || -> rusqlite::Result<Vec<Column>> {
        // The pragma alone would also describe SQLite's own tables and table functions, such as json_each.
        let sql = format!(
            "SELECT name, type FROM pragma_table_xinfo(?1, ?2) WHERE hidden = 0 AND EXISTS ({} AND name = ?1 COLLATE NOCASE)",
            tables_of(dataset)
        );
        let mut statement = connection.prepare(&sql)?;
        let columns = statement.query_map([table, dataset], |row| {
            let (name, declared): (String, String) = (row.get(0)?, row.get(1)?);
            let kind = Kind::declared(&declared);
            if kind.is_none() {
                let why = match declared.to_ascii_uppercase().as_str() {
                    "STRING" | "JSON" => {
                        "so SQLite would turn text that looks like a number into a number; declare it TEXT"
                    }
                    _ => "a type that the embedded warehouse does not support",
                };
                wrong.replace(Some(format!(
                    "query failed: column {name} of {dataset}.{table} is declared {declared}, {why}"
                )));
            }
            let kind = kind.unwrap_or(Kind::Any);
            Ok(Column { name, kind, stored: Some(stored.clone()) })
        })?;
        columns.collect()
    };
    let columns = read().map_err(unusable)?;
    if let Some(message) = wrong.into_inner() {
        return Err(Error::Invalid(message).into());
    }
    if columns.is_empty() {
        let names = table_names(connection, dataset)?;
        if !names.iter().any(|name| same(name, table)) {
            let nearest = nearest(table, &names);
            return Err(Error::NotFound(format!("query failed: there is no table {dataset}.{table}{nearest}")).into());
        }
    }
    Ok(columns)
}

/// The query for the names of a dataset's tables and views.
fn tables_of(dataset: &str) -> String {
    format!(
        "SELECT name FROM \"{dataset}\".sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    )
}

fn table_names(connection: &Connection, dataset: &str) -> Result<Vec<String>, Fault> {
    let read = || -> rusqlite::Result<Vec<String>> {
        let sql = tables_of(dataset) + " ORDER BY name";
        connection.prepare(&sql)?.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(|error| Fault::unreadable(&format!("dataset {dataset} cannot be read"), error))
}
