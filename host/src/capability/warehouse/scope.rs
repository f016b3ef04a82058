//! Names in a query: which tables are in reach, and what their columns are.

use super::kind::Kind;
use crate::{config::nearest, contract::Error};

/// A column that can be named.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// A stored TIMESTAMP, which has to be read before it can be computed with.
    pub(super) stored: bool,
}

/// What a name stands for.
pub(super) struct Found {
    pub(super) sql: String,
    pub(super) kind: Kind,
    /// A column of this query's own tables, not of a query around it and no alias.
    pub(super) own: bool,
}

/// Something in FROM.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) alias: String,
    pub(super) columns: Vec<Column>,
}

/// The tables in reach, and those of the queries around.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) sources: Vec<Source>,
    /// Columns that JOIN … USING made one of two.
    pub(super) merged: Vec<String>,
    /// Names from the SELECT list, where they may be used: each with what stands for it.
    pub(super) aliases: Vec<(String, String, Kind)>,
    pub(super) outer: Option<Box<Scope>>,
}

impl Scope {
    /// What a name stands for: an alias, else a column of this query, else one of the queries around it.
    pub(super) fn column(&self, table: Option<&str>, name: &str) -> Result<Found, Error> {
        let alias = self.aliases.iter().find(|(alias, ..)| table.is_none() && same(alias, name));
        if let Some((_, sql, kind)) = alias {
            return Ok(Found { sql: sql.clone(), kind: *kind, own: false });
        }
        let mut found =
            self.sources.iter().filter(|source| table.is_none_or(|table| same(table, &source.alias))).filter_map(
                |source| {
                    let column = source.columns.iter().find(|column| same(&column.name, name))?;
                    Some((source, column))
                },
            );
        let first = found.next();
        let merged = self.merged.iter().any(|merged| same(merged, name));
        if found.next().is_some() && !merged {
            return Err(Error::Invalid(format!("query failed: Column name {name} is ambiguous")));
        }
        match (first, &self.outer) {
            (Some((source, column)), _) => {
                let path = match merged && table.is_none() {
                    true => quoted(&column.name),
                    false => format!("{}.{}", quoted(&source.alias), quoted(&column.name)),
                };
                let sql = if column.stored { format!("g_timestamp({path})") } else { path };
                Ok(Found { sql, kind: column.kind, own: true })
            }
            (None, Some(outer)) => outer.column(table, name).map(|found| Found { own: false, ..found }),
            (None, None) => {
                let columns = self.sources.iter().flat_map(|source| &source.columns);
                let near = nearest(name, columns.map(|column| column.name.as_str()).collect::<Vec<_>>());
                let path = table.map(|table| format!("{table}.")).unwrap_or_default();
                Err(Error::Invalid(format!("query failed: Unrecognized name: {path}{name}{near}")))
            }
        }
    }
}

/// GoogleSQL compares names without regard to case.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

/// As SQLite wants a name.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
