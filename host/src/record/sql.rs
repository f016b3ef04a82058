//! Statements for both engines. SQLite's are prepared once and kept by their connection. On a server they have no name, since behind a
//! pooler the next one may go to another connection, where another client has that name or nobody does; and each is given up
//! when its answer takes too long, since the way to the server may break without a word.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use sqlx::{
    Any, AnyConnection, Encode, FromRow, SqlSafeStr, Transaction, Type,
    any::{AnyArguments, AnyQueryResult, AnyRow},
    query::{Query, QueryAs, QueryScalar},
};

/// Whether the record of this process is on a server, whose connections others may use too.
static ON_SERVER: AtomicBool = AtomicBool::new(false);
/// The longest wait for an answer of a server: longer than the server's own limit for a statement, which the engine sets.
const LONGEST: Duration = Duration::from_secs(25);

/// From now on no statement of this process is prepared by name or waited for without end.
pub(super) fn on_server() {
    ON_SERVER.store(true, Ordering::Relaxed);
}

fn is_on_server() -> bool {
    ON_SERVER.load(Ordering::Relaxed)
}

/// Gives up what a server does not answer. What waits for it is dropped, and the pool then closes its connection.
pub(super) async fn answered<T>(work: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    if !is_on_server() {
        return work.await;
    }
    match tokio::time::timeout(LONGEST, work).await {
        Ok(answer) => answer,
        Err(_) => Err(silent()),
    }
}

/// The error for a server that does not answer.
pub(super) fn silent() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time"))
}

/// Commits.
pub(super) async fn commit(transaction: Transaction<'_, Any>) -> sqlx::Result<()> {
    answered(transaction.commit()).await
}

/// A statement.
pub(super) struct Statement<Q>(Q);

/// One without a result other than how many rows it changed.
pub(super) type Change<'q> = Statement<Query<'q, Any, AnyArguments>>;

pub(super) fn query<'q>(sql: impl SqlSafeStr) -> Change<'q> {
    Statement(sqlx::query(sql).persistent(!is_on_server()))
}

pub(super) fn query_as<'q, O>(sql: impl SqlSafeStr) -> Statement<QueryAs<'q, Any, O, AnyArguments>>
where
    O: for<'r> FromRow<'r, AnyRow>,
{
    Statement(sqlx::query_as(sql).persistent(!is_on_server()))
}

pub(super) fn query_scalar<'q, O>(sql: impl SqlSafeStr) -> Statement<QueryScalar<'q, Any, O, AnyArguments>>
where
    (O,): for<'r> FromRow<'r, AnyRow>,
{
    Statement(sqlx::query_scalar(sql).persistent(!is_on_server()))
}

impl<'q> Change<'q> {
    pub(super) fn bind<T: 'q + Encode<'q, Any> + Type<Any>>(self, value: T) -> Self {
        Self(self.0.bind(value))
    }

    pub(super) async fn execute(self, on: &mut AnyConnection) -> sqlx::Result<AnyQueryResult> {
        answered(self.0.execute(on)).await
    }

    /// The statement itself, for rows that are read one by one.
    pub(super) fn bare(self) -> Query<'q, Any, AnyArguments> {
        self.0
    }
}

/// Statements with rows have the same methods.
macro_rules! with_rows {
    ($kind:ident, $row:ty) => {
        impl<'q, O> Statement<$kind<'q, Any, O, AnyArguments>>
        where
            O: Send + Unpin,
            $row: Send + Unpin + for<'r> FromRow<'r, AnyRow>,
        {
            pub(super) fn bind<T: 'q + Encode<'q, Any> + Type<Any>>(self, value: T) -> Self {
                Self(self.0.bind(value))
            }

            pub(super) async fn fetch_one(self, on: &mut AnyConnection) -> sqlx::Result<O> {
                answered(self.0.fetch_one(on)).await
            }

            pub(super) async fn fetch_optional(self, on: &mut AnyConnection) -> sqlx::Result<Option<O>> {
                answered(self.0.fetch_optional(on)).await
            }

            pub(super) async fn fetch_all(self, on: &mut AnyConnection) -> sqlx::Result<Vec<O>> {
                answered(self.0.fetch_all(on)).await
            }
        }
    };
}

with_rows!(QueryAs, O);
with_rows!(QueryScalar, (O,));

/// `($1, $2), ($3, $4)`: the places of values in rows, which are the first of a statement. For a file they have no names: SQLite looks for
/// each name among all others, which took 7 % of the time to record a round.
pub(super) fn places(rows: usize, columns: usize) -> String {
    let place = |at: usize| if is_on_server() { format!("${at}") } else { "?".to_owned() };
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns).map(|column| place(row * columns + column)).collect();
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
        assert_eq!(places(2, 3), "(?, ?, ?), (?, ?, ?)");
    }
}
