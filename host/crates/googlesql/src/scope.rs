//! Names in a query: the tables in scope, and their columns.

use std::sync::Arc;

use host_contract::Error;
use host_text::nearest;

use super::{kind::Kind, typed::literal};

/// The longest name of a column in BigQuery: <https://cloud.google.com/bigquery/quotas#all_tables>
const NAME_BYTES: usize = 300;
/// Columns that are searched for a suggestion.
const NEAR: usize = 1000;

/// A column in scope.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name, as written.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// The table that stores it, `dataset.table`: SQLite does not enforce its type. `None` for a column of a subquery.
    pub stored: Option<Arc<str>>,
}

/// The columns of a table, shared by all its uses.
pub(super) type Columns = Arc<Vec<Column>>;

/// The meaning of a name.
pub(super) struct Found {
    pub(super) sql: String,
    pub(super) kind: Kind,
    /// For a number of a table: the column itself, without the check that it holds one.
    pub(super) unchecked: Option<String>,
    /// A column of this query's own tables, not of a query around it and no alias.
    pub(super) own: bool,
}

/// Something in FROM.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) alias: String,
    pub(super) columns: Columns,
}

impl Source {
    /// The SQL of one of its columns; with the source's name, unless USING merged two columns.
    pub(super) fn found(&self, column: &Column, qualified: bool) -> Found {
        let path = match qualified {
            false => quoted(&column.name),
            true => format!("{}.{}", quoted(&self.alias), quoted(&column.name)),
        };
        let kind = column.kind;
        let number = matches!(kind, Kind::Int64 | Kind::Float64 | Kind::Numeric | Kind::Bignumeric);
        match &column.stored {
            Some(table) if number || matches!(kind, Kind::Bool | Kind::Datetime | Kind::Timestamp) => {
                let place = literal(&format!("{} of {table}", column.name));
                let sql = format!("g_held({path}, '{}', {place})", kind.name());
                Found { sql, kind, unchecked: number.then_some(path), own: true }
            }
            _ => Found { sql: path, kind, unchecked: None, own: true },
        }
    }
}

/// The tables in scope, and those of the enclosing queries.
#[derive(Debug, Clone, Default)]
pub(super) struct Scope {
    pub(super) sources: Vec<Source>,
    /// Columns that JOIN … USING merged.
    pub(super) merged: Vec<String>,
    /// Aliases from the SELECT list, where they may be used, each with its expression.
    pub(super) aliases: Vec<(String, String, Kind)>,
    pub(super) outer: Option<Box<Scope>>,
}

impl Scope {
    /// Resolves a name: an alias, else a column of this query, else a column of an enclosing query.
    pub(super) fn column(&self, table: Option<&str>, name: &str) -> Result<Found, Error> {
        let alias = self.aliases.iter().find(|(alias, ..)| table.is_none() && same(alias, name));
        if let Some((_, sql, kind)) = alias {
            return Ok(Found { sql: sql.clone(), kind: *kind, unchecked: None, own: false });
        }
        let mut found =
            self.sources.iter().filter(|source| table.is_none_or(|table| same(table, &source.alias))).filter_map(
                |source| {
                    let column = source.columns.iter().find(|column| same(&column.name, name))?;
                    Some((source, column))
                },
            );
        let first = found.next();
        let merged = self.is_merged(name);
        if found.next().is_some() && !merged {
            return Err(Error::Invalid(format!("query failed: Column name {name} is ambiguous")));
        }
        match (first, &self.outer) {
            (Some((source, column)), _) => Ok(source.found(column, !(merged && table.is_none()))),
            (None, Some(outer)) => outer.column(table, name).map(|found| Found { own: false, ..found }),
            (None, None) => {
                let near = self.near(name);
                let path = table.map(|table| format!("{table}.")).unwrap_or_default();
                Err(Error::Invalid(format!("query failed: Unrecognized name: {path}{name}{near}")))
            }
        }
    }

    /// A suggestion for a misspelt column; skipped where the search would take long.
    fn near(&self, name: &str) -> String {
        if name.len() > NAME_BYTES {
            return String::new();
        }
        let columns = self.sources.iter().flat_map(|source| &*source.columns).take(NEAR);
        let names = columns.map(|column| column.name.as_str()).filter(|name| name.len() <= NAME_BYTES);
        nearest(name, names.collect::<Vec<_>>())
    }

    pub(super) fn is_merged(&self, name: &str) -> bool {
        self.merged.iter().any(|merged| same(merged, name))
    }

    /// The number of names that a lookup may compare.
    pub(super) fn columns(&self) -> usize {
        let own: usize = self.sources.iter().map(|source| 1 + source.columns.len()).sum();
        own + self.aliases.len() + self.merged.len() + self.outer.as_ref().map_or(0, |outer| outer.columns())
    }
}

/// GoogleSQL compares names without regard to case.
pub fn same(one: &str, other: &str) -> bool {
    match one.is_ascii() && other.is_ascii() {
        true => one.eq_ignore_ascii_case(other),
        false => one.to_lowercase() == other.to_lowercase(),
    }
}

/// A name, quoted for SQLite.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
