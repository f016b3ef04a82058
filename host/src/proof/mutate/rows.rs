//! The rows that a mutant changes, for people.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use rusqlite::Connection;

use crate::{capability::warehouse::scratch, text::printable};

/// Rows that are shown.
const SHOWN: usize = 10;

/// All rows of a table as text, each with its place: the columns that the check's queries name.
pub(super) fn dump(connection: &Connection, table: &str, named: &BTreeSet<String>) -> Result<BTreeMap<i64, String>> {
    let mut listed = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let all: Vec<String> = listed.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let is_shown = |name: &&String| table == "__TABLES__" || named.contains(&name.to_lowercase());
    let shown: Vec<String> = all.iter().filter(is_shown).map(|name| scratch::quoted(name)).collect();
    let cells = if shown.is_empty() { "NULL".to_owned() } else { shown.join(", ") };
    let mut read = connection.prepare(&format!("SELECT _rowid_, {cells} FROM {}", scratch::quoted(table)))?;
    let columns = read.column_count();
    let rows = read.query_map([], |row| {
        let cells = (1..columns).map(|at| {
            row.get_ref(at).map(|cell| match cell {
                rusqlite::types::ValueRef::Null => "NULL".to_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Real(number) => number.to_string(),
                rusqlite::types::ValueRef::Text(text) | rusqlite::types::ValueRef::Blob(text) => {
                    String::from_utf8_lossy(text).into_owned()
                }
            })
        });
        let cells: Vec<String> = cells.collect::<rusqlite::Result<_>>()?;
        // Data may hold control characters.
        Ok((row.get(0)?, printable(&cells.join(", ")).replace('\n', " ")))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The rows that differ: `-` as they were, `+` as they are.
pub(super) fn difference(before: &BTreeMap<i64, String>, after: &BTreeMap<i64, String>) -> String {
    let places: BTreeSet<i64> = before.keys().chain(after.keys()).copied().collect();
    let changed: Vec<i64> = places.into_iter().filter(|place| before.get(place) != after.get(place)).collect();
    let mut text = String::new();
    for place in changed.iter().take(SHOWN) {
        if let Some(row) = before.get(place) {
            text += &format!("- {row}\n");
        }
        if let Some(row) = after.get(place) {
            text += &format!("+ {row}\n");
        }
    }
    if changed.len() > SHOWN {
        text += &format!("and {} more rows\n", changed.len() - SHOWN);
    }
    text
}
