//! Statements for both engines. SQLite's are prepared once and kept by their connection. On a server they have no name, since behind a
//! pooler the next one may go to another connection, where another client has that name or nobody does.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use sqlx::{
    Any, FromRow, SqlSafeStr,
    any::{AnyArguments, AnyRow},
    query::{Query, QueryAs, QueryScalar},
};

/// Whether a connection is this process's alone, so that statements can be kept.
static NAMED: AtomicBool = AtomicBool::new(true);

/// From now on no statement of this process is prepared by name.
pub(super) fn name_no_statements() {
    NAMED.store(false, Ordering::Relaxed);
}

fn named() -> bool {
    NAMED.load(Ordering::Relaxed)
}

pub(super) fn query<'q>(sql: impl SqlSafeStr) -> Query<'q, Any, AnyArguments> {
    sqlx::query(sql).persistent(named())
}

pub(super) fn query_as<'q, O>(sql: impl SqlSafeStr) -> QueryAs<'q, Any, O, AnyArguments>
where
    O: for<'r> FromRow<'r, AnyRow>,
{
    sqlx::query_as(sql).persistent(named())
}

pub(super) fn query_scalar<'q, O>(sql: impl SqlSafeStr) -> QueryScalar<'q, Any, O, AnyArguments>
where
    (O,): for<'r> FromRow<'r, AnyRow>,
{
    sqlx::query_scalar(sql).persistent(named())
}

/// `($1, $2), ($3, $4)`: the places of values in rows.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(", "))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(", ")
}

/// Of rows with the same key the last one: Postgres writes no row twice in a statement, and in SQLite the last one stays.
pub(super) fn last_of_each<'r, T, K: Ord>(rows: &'r [T], key: impl Fn(&'r T) -> K) -> Vec<&'r T> {
    let last: BTreeMap<K, usize> = rows.iter().enumerate().map(|(at, row)| (key(row), at)).collect();
    rows.iter().enumerate().filter(|(at, row)| last.get(&key(row)) == Some(at)).map(|(_, row)| row).collect()
}

/// A text without NUL characters, which Postgres cannot keep: each becomes U+FFFD. JSON has none, it escapes them.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    /// One that is made elsewhere would have a name, and be in the way of another host behind a pooler.
    #[test]
    fn every_statement_is_made_here() {
        let room = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo")).join("src/record");
        let files = fs::read_dir(room).expect("the room").flatten().map(|entry| entry.path());
        let files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|end| end == "rs") && !path.ends_with("sql.rs")).collect();
        assert!(files.len() > 20, "{files:?}");
        for path in files {
            let text = fs::read_to_string(&path).expect("a file");
            assert!(!text.contains("sqlx::query"), "{}: use super::sql::query", path.display());
        }
    }

    #[test]
    fn of_each_key_the_last_row_stays() {
        assert_eq!(last_of_each(&[("a", 1), ("b", 2), ("a", 3)], |row| row.0), [&("b", 2), &("a", 3)]);
    }

    #[test]
    fn places_are_counted_through() {
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
