//! The embedded warehouse, asked as a run asks it.

mod dialect;
mod engine;
mod limits;

use std::{path::Path, sync::Arc};

use super::Sqlite;
use crate::{
    capability::{Caller, Calls},
    config::{Budgets, Bytes, Count, Grants},
    contract::{
        Error, Value,
        warehouse::{Parameter, Rows},
    },
};

/// A run's, with little room.
fn calls() -> Arc<Calls> {
    let budgets = Budgets { rows: Count(100), result_bytes: Bytes(1 << 20), ..Budgets::default() };
    let granted = ["d", "cut", "gone", "noise", "project", "INFORMATION_SCHEMA", "e"];
    let functions = vec!["d.f".to_owned()];
    let grants = Grants { warehouse: granted.map(str::to_owned).to_vec(), functions, ..Grants::default() };
    Arc::new(Calls::new(Caller { plugin: "p".to_owned(), ..Caller::default() }, grants, budgets))
}

fn warehouse(directory: &Path) -> Sqlite {
    let connection = rusqlite::Connection::open(directory.join("d.db")).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE t (id INTEGER, name TEXT, score FLOAT64, active BOOL, day DATE, at TIMESTAMP, note TEXT);
             INSERT INTO t VALUES
               (1, 'Ann',  1.5,  1, '2026-01-31', '2026-01-31 23:30:00 UTC', NULL),
               (2, 'bob',  NULL, 0, '2026-02-28', '2026-03-08T06:59:59Z',   'x'),
               (3, 'Ängel', 2.5, NULL, NULL,      1772971200,               'y'),
               (4, NULL,   4.0,  1, '2024-02-29', '2026-11-01 01:30:00-04:00', 'y');
             CREATE TABLE u (id INTEGER, team TEXT);
             INSERT INTO u VALUES (1, 'BOS'), (2, 'LAL'), (2, 'NYK');
             CREATE TABLE bad (game STRING);
             CREATE TABLE odd (shape GEOGRAPHY);
             CREATE TABLE clocks (moment DATETIME);
             INSERT INTO clocks VALUES ('2026-02-05 06:30:00');
             CREATE TABLE strange (day DATE, active BOOL);
             INSERT INTO strange VALUES ('soon', 7);
             CREATE VIEW v AS SELECT id, name FROM t;",
        )
        .unwrap();
    Sqlite::new(directory.to_owned(), Some("project-1".to_owned()))
}

fn ask_with(directory: &Path, sql: &str, parameters: &[(&str, Value)]) -> Result<Rows, Error> {
    let warehouse = Sqlite::new(directory.to_owned(), Some("project-1".to_owned()));
    let parameters =
        parameters.iter().map(|(name, value)| Parameter { name: (*name).to_owned(), value: value.clone() }.into());
    let runtime = tokio::runtime::Builder::new_current_thread().thread_stack_size(crate::STACK).build().unwrap();
    runtime.block_on(warehouse.query(&calls(), sql.to_owned(), parameters.collect()))
}

fn ask(directory: &Path, sql: &str) -> Result<Rows, Error> {
    ask_with(directory, sql, &[])
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn date(text: &str) -> Value {
    Value::Date(text.to_owned())
}
