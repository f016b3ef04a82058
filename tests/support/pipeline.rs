//! The pipeline of tests/sample/pipeline on one date: its configuration and its tables.

use std::{fs, path::Path};

use jiff::civil::Date;
use rusqlite::Connection;
use toml::Table;

use super::command::{change, repository};

/// Its host.toml.
pub fn host_toml() -> String {
    fs::read_to_string(repository().join("tests/sample/pipeline/host.toml")).unwrap()
}

/// Its sources, each with the rows that it must have.
fn sources() -> Vec<(String, i64)> {
    let toml: Table = host_toml().parse().unwrap();
    let elements = toml["checks"]["source-{table}"]["for_each"].as_array().unwrap().iter();
    elements.map(|one| (one["table"].as_str().unwrap().to_owned(), one["rows"].as_integer().unwrap())).collect()
}

/// Makes it in a directory with an empty `warehouse`: on a good afternoon, as in data.sql. Only `host validate` validates the checks.
pub fn make(directory: &Path, today: Date) {
    // The record keeps what it knows of dates long ago.
    let toml = format!("validate_schedule = \"never\"\n{}\n[state]\nkeep = \"40000d\"\n", host_toml());
    fs::write(directory.join("host.toml"), toml).unwrap();
    let count = |name: &str, of: &str, below: i64| {
        let n = format!("WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x + 1 < {below})");
        format!("({n} SELECT {of} AS {name} FROM n)")
    };
    let days = count("day", &format!("date('{today}', '-' || x || ' days')"), 30);
    let sql = fs::read_to_string(repository().join("tests/sample/pipeline/data.sql")).unwrap();
    let sql = sql
        .replace("{days}", &days)
        .replace("{games}", &count("game", "x", 2))
        .replace("{players}", &count("player", "x", 24))
        .replace("{models}", "(SELECT 'catboost' AS model UNION ALL SELECT 'xgboost' UNION ALL SELECT 'ridge')");
    for part in sql.split("\n-- @ ").skip(1) {
        let (dataset, tables) = part.split_once('\n').unwrap();
        Connection::open(directory.join(format!("warehouse/{dataset}.db"))).unwrap();
        change_on(directory, today, dataset, tables);
    }
    // A quarter more than the check wants; the first one is in data.sql.
    for (table, rows) in sources().into_iter().skip(1) {
        let records = count("record", "x", rows * 5 / 4);
        let table = format!(
            "CREATE TABLE {table} (game_date DATE, record INT64);\
             INSERT INTO {table} SELECT day, record FROM {days}, {records} WHERE day < '{{today}}'"
        );
        change_on(directory, today, "nba_raw", &table);
    }
}

/// Changes a dataset, or does so for each of the sources.
pub fn change_on(directory: &Path, today: Date, dataset: &str, sql: &str) {
    let yesterday = today.yesterday().unwrap().to_string();
    let sql = sql.replace("{today}", &today.to_string()).replace("{yesterday}", &yesterday);
    let sql = match sql.contains("{source}") {
        true => sources().iter().map(|(table, _)| sql.replace("{source}", table) + ";").collect(),
        false => sql,
    };
    change(directory, dataset, &sql).unwrap();
}
