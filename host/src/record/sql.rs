//! Statements for both engines. SQLite's are prepared once and kept by their connection. On a server they have no name, since behind a
//! pooler the next one may go to another connection, where another client has that name or nobody does.

use std::sync::atomic::{AtomicBool, Ordering};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_through() {
        assert_eq!(places(2, 3), "($1, $2, $3), ($4, $5, $6)");
    }
}
