//! The engine's denials, limits and listings.

use std::{collections::HashMap, time::Duration};

use super::{ask, calls, warehouse};
use crate::{
    capability::warehouse::{Sqlite, allowed::Allowed},
    contract::{Error, Value},
    googlesql,
};

/// The engine's own word, when the parser should be wrong: it reads granted datasets and nothing else.
#[test]
fn the_engine_denies_what_is_not_in_the_datasets() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    std::fs::copy(directory.path().join("d.db"), directory.path().join("secret.db")).unwrap();
    let select = |datasets: &[&str]| {
        let mut select = googlesql::read("SELECT COUNT(*) FROM secret.t", None).unwrap();
        select.datasets = datasets.iter().map(|name| (*name).to_owned()).collect();
        Allowed::unchecked(select)
    };
    let warehouse = Sqlite::new(directory.path().to_owned(), None);
    let ask = |datasets| warehouse.query_now(&select(datasets), &[], &calls());
    assert!(ask(&["secret"]).is_ok());
    assert!(ask(&["d"]).is_err());
}

/// A view can read its own dataset only, not another one; the same holds for a view disguised as a table.
#[test]
fn a_view_is_no_way_into_another_dataset() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    std::fs::copy(directory.path().join("d.db"), directory.path().join("secret.db")).unwrap();
    assert_eq!(ask(directory.path(), "SELECT COUNT(*) FROM d.v").unwrap().values.len(), 1);
    let connection = rusqlite::Connection::open(directory.path().join("d.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = 'CREATE VIEW v AS SELECT id, name FROM secret.t' WHERE name = 'v';",
        )
        .unwrap();
    drop(connection);
    assert!(ask(directory.path(), "SELECT COUNT(*) FROM d.v").is_err());
}

/// A connection keeps what it translated and prepared, and must not answer for a file that has changed since.
#[test]
fn a_query_that_was_prepared_sees_each_change_of_its_file() {
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (linked, plain) = (elsewhere.path().join("e.db"), directory.path().join("d.db"));
    std::os::unix::fs::symlink(&linked, directory.path().join("e.db")).unwrap();
    let warehouse = Sqlite::new(directory.path().to_owned(), None);
    let runtime = tokio::runtime::Builder::new_current_thread().thread_stack_size(crate::STACK).build().unwrap();
    for (dataset, file, journal) in [("d", &plain, "delete"), ("d", &plain, "wal"), ("e", &linked, "wal")] {
        let ask = || {
            let sql = format!("SELECT id FROM {dataset}.t");
            let rows = runtime.block_on(warehouse.query(&calls(), sql, Vec::new())).unwrap();
            (rows.columns.first().unwrap().kind.clone(), rows.values)
        };
        let _ = std::fs::remove_file(file);
        // It stays open, so that the log stays.
        let writer = rusqlite::Connection::open(file).unwrap();
        let write = |sql: &str| writer.execute_batch(sql).unwrap();
        let _: String = writer.query_row(&format!("PRAGMA journal_mode = {journal}"), [], |row| row.get(0)).unwrap();
        write("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)");
        let number = |number| ("INT64".to_owned(), vec![vec![Value::Integer(number)]]);
        assert_eq!((ask(), ask()), (number(1), number(1)), "{dataset} {journal}");
        write("UPDATE t SET id = 2");
        assert_eq!(ask(), number(2), "{dataset} {journal}");
        write("DROP TABLE t; CREATE TABLE t (id TEXT); INSERT INTO t VALUES ('x')");
        let text = |text: &str| ("STRING".to_owned(), vec![vec![Value::Text(text.to_owned())]]);
        assert_eq!(ask(), text("x"), "{dataset} {journal}");
        write("DROP TABLE t; CREATE TABLE u (id INTEGER); INSERT INTO u VALUES (3); CREATE VIEW t AS SELECT id FROM u");
        assert_eq!(ask().1, [[Value::Integer(3)]], "{dataset} {journal}");
    }
    // Written in place, with its size and time kept.
    let time = std::fs::metadata(&plain).unwrap().modified().unwrap();
    let other = elsewhere.path().join("other.db");
    let write = |path: &std::path::Path, number: i64| {
        let _ = std::fs::remove_file(path);
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.execute_batch(&format!("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES ({number})")).unwrap();
    };
    write(&plain, 4);
    write(&other, 5);
    let keep = || std::fs::File::options().write(true).open(&plain).unwrap().set_modified(time).unwrap();
    let ask = || {
        let rows = runtime.block_on(warehouse.query(&calls(), "SELECT id FROM d.t".to_owned(), Vec::new())).unwrap();
        rows.values
    };
    keep();
    assert_eq!(ask(), [[Value::Integer(4)]]);
    std::fs::write(&plain, std::fs::read(&other).unwrap()).unwrap();
    keep();
    assert_eq!(ask(), [[Value::Integer(5)]]);
}

/// A view that is called `__TABLES__` may no more than a query.
#[test]
fn a_view_in_the_place_of_the_list_of_tables_is_confined() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let list = |what: &str| {
        let connection = rusqlite::Connection::open(directory.path().join("d.db")).unwrap();
        let view = "CREATE VIEW __TABLES__ AS SELECT 't' AS table_id, 1 AS size_bytes, 2 AS last_modified_time, ";
        let sql = format!("DROP VIEW IF EXISTS __TABLES__; {view} {what} AS row_count");
        connection.execute_batch(&sql).unwrap();
        Sqlite::new(directory.path().to_owned(), None).probe("d")
    };
    assert!(list("3").is_ok());
    let refused = list("length(sqlite_source_id())").unwrap_err().message().to_owned();
    assert!(refused.contains("not authorized to use function"), "{refused}");
}

#[test]
fn a_file_that_is_no_database_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    std::fs::write(directory.path().join("noise.db"), "this is not a database, despite its name; ".repeat(100))
        .unwrap();
    let whole = std::fs::read(directory.path().join("d.db")).unwrap();
    std::fs::write(directory.path().join("cut.db"), &whole[..whole.len() / 3]).unwrap();
    for dataset in ["noise", "cut"] {
        let error = ask(directory.path(), &format!("SELECT COUNT(*) FROM {dataset}.t")).unwrap_err();
        assert!(matches!(error, Error::Unavailable(_)), "{dataset}: {error:?}");
        assert!(error.message().contains(dataset), "{dataset}: {error:?}");
    }
}

/// Counting rows does not read them, so nothing else would notice a row that is longer than its page.
#[test]
fn a_damaged_page_is_an_error_also_where_its_rows_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let path = directory.path().join("e.db");
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (7)")
        .unwrap();
    let count = "SELECT COUNT(*) AS n FROM e.t";
    assert_eq!(ask(directory.path(), count).unwrap().values, [[crate::contract::Value::Integer(1)]]);
    // The second page is the table's; its only row is at its end, and begins with its length.
    let mut bytes = std::fs::read(&path).unwrap();
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let row = page + usize::from(u16::from_be_bytes([bytes[page + 8], bytes[page + 9]]));
    assert_eq!(bytes[row], 3);
    bytes[row] = 100;
    std::fs::write(&path, bytes).unwrap();
    let error = ask(directory.path(), count).unwrap_err();
    assert!(matches!(error, Error::Unavailable(_)) && error.message().contains("malformed"), "{error:?}");
}

#[test]
fn a_query_stops_when_its_run_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let warehouse = warehouse(directory.path());
    let product = (0..12).map(|n| format!("d.t AS t{n}")).collect::<Vec<_>>().join(", ");
    let sql = format!("SELECT COUNT(*) FROM {product}, {}", product.replace(" AS t", " AS u"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let calls = calls();
    let run = calls.clone();
    let error = runtime.block_on(async move {
        let query = tokio::spawn(async move { warehouse.query(&run, sql, Vec::new()).await });
        // Long enough for the slow lane.
        tokio::time::sleep(Duration::from_millis(200)).await;
        calls.permit().end();
        query.await.unwrap().unwrap_err()
    });
    assert!(matches!(error, Error::TimedOut(_)), "{error:?}");
}

/// Chains of operators nest without end, and the parser does not count them.
#[test]
fn sql_that_is_too_deep_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let chain = |terms: usize| format!("SELECT {}", vec!["1"; terms].join("+"));
    assert!(ask(directory.path(), &chain(300)).is_ok());
    let deep = ask(directory.path(), &chain(2000)).unwrap_err();
    assert!(deep.message().contains("nested more than 400 levels deep"), "{deep:?}");
    for link in [" AND TRUE", " BETWEEN FALSE AND TRUE", " IN (TRUE, TRUE, TRUE, TRUE)"] {
        // Each link is written once, so that many of them cost no more than many times one.
        let chain = |links: usize| format!("SELECT TRUE{}", link.repeat(links));
        assert!(ask(directory.path(), &chain(100)).is_ok(), "{link}");
        assert!(ask(directory.path(), &chain(1000)).is_err(), "{link}");
    }
    assert!(ask(directory.path(), &format!("SELECT {}1{}", "(".repeat(1000), ")".repeat(1000))).is_err());
}

#[test]
fn more_rows_than_the_budget_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    warehouse(directory.path());
    let product = |times: usize| (0..times).map(|n| format!("d.t AS t{n}")).collect::<Vec<_>>().join(", ");
    assert_eq!(ask(directory.path(), &format!("SELECT t0.id FROM {}", product(3))).unwrap().values.len(), 64);
    let error = ask(directory.path(), &format!("SELECT t0.id FROM {}", product(4))).unwrap_err();
    assert!(matches!(&error, Error::OverBudget(message) if message.contains("more than 100 rows")), "{error:?}");
    let long = "x".repeat(20_000);
    let error = ask(directory.path(), &format!("SELECT '{long}' FROM {}", product(3))).unwrap_err();
    assert!(matches!(&error, Error::OverBudget(message) if message.contains("larger than 1 MiB")), "{error:?}");
}

#[test]
fn tables_are_listed_from_metadata() {
    let directory = tempfile::tempdir().unwrap();
    let warehouse = warehouse(directory.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let list = |dataset: &str| runtime.block_on(warehouse.tables(&calls(), dataset));
    let names: HashMap<String, Option<i64>> =
        list("d").unwrap().into_iter().map(|table| (table.name, table.modified)).collect();
    assert_eq!(names.get("t"), Some(&None));
    let connection = rusqlite::Connection::open(directory.path().join("d.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE __TABLES__ (table_id TEXT, row_count INT64, size_bytes INT64, last_modified_time INT64);
             INSERT INTO __TABLES__ VALUES ('t', 4, 100, 1770273000500), ('u', NULL, NULL, NULL);",
        )
        .unwrap();
    let tables = list("d").unwrap();
    assert_eq!((tables[0].name.as_str(), tables[0].rows, tables[0].modified), ("t", Some(4), Some(1_770_273_000)));
    assert_eq!((tables[1].rows, tables[1].modified), (None, None));
    assert!(list("../d").is_err());
    assert!(list("none").unwrap_err().message().contains("there is no dataset none"));
}
