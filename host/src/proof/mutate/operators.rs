//! What goes wrong with data in practice, as small changes of a copy. Each is named, and is of one table, one column or one service.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::{
    copy::{Copied, Copy},
    dated::moved,
};
use crate::{
    capability::{Alteration, warehouse::scratch::quoted},
    run::Moment,
};

/// The shares of a column that are made NULL, in percent.
const NULLS: [u32; 4] = [1, 10, 50, 100];
/// The share of rows that get a value that nobody knows, in percent.
const UNKNOWN: u32 = 10;
/// The most different values of a column of states.
const STATES: i64 = 20;
/// The largest number that is made ten times as large: a tenth of INT64's.
const LARGEST: f64 = 9e17;
/// Seconds before the date since which nothing is loaded.
const STALE: i64 = 2 * 24 * 60 * 60;
/// Seconds by which a deployment is behind.
const BEHIND: i64 = 60 * 24 * 60 * 60;

/// A fault in the data, or in other answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mutant {
    /// Where, and what: `nba_raw.games/half-missing`, `nba_raw.games.player/null-10`, `nba_raw.games.player/null-one`.
    pub(super) name: String,
    /// In words.
    pub(super) what: String,
    pub(super) how: How,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum How {
    /// Statements on a dataset's copy.
    Sql(String, String, Vec<String>),
    /// Other answers.
    Altered(Alteration),
}

/// The columns that matter for a table: those that the queries name.
fn used<'t>(table: &'t Copied, named: &BTreeSet<String>) -> Vec<&'t (String, String)> {
    table.columns.iter().filter(|(name, _)| named.contains(&name.to_lowercase())).collect()
}

/// Every mutant of the tables, from the schema, the check's own columns and the rows of the date.
pub(super) fn mutants(
    copy: &Copy,
    named: &BTreeSet<String>,
    moment: &Moment,
    open: impl Fn(&str) -> rusqlite::Result<Connection>,
) -> rusqlite::Result<Vec<Mutant>> {
    let mut found = Vec::new();
    for table in &copy.tables {
        let connection = open(&table.path.dataset)?;
        found.extend(of_table(table, named, moment, &connection)?);
    }
    for dataset in &copy.listed {
        let connection = open(dataset)?;
        found.extend(of_listing(dataset, moment, &connection)?);
    }
    Ok(found)
}

fn of_table(
    table: &Copied,
    named: &BTreeSet<String>,
    moment: &Moment,
    connection: &Connection,
) -> rusqlite::Result<Vec<Mutant>> {
    let name = quoted(&table.path.table);
    let place = format!("{}.{}", table.path.dataset, table.path.table);
    // Without a column that has the date, all rows are of it.
    let date = table.dated.as_ref().map_or_else(|| "TRUE".to_owned(), |dated| dated.is(moment));
    let rows: i64 = connection.query_row(&format!("SELECT COUNT(*) FROM {name} WHERE {date}"), [], |row| row.get(0))?;
    let mut found = Vec::new();
    let mut add = |slug: &str, column: Option<&str>, what: String, statement: String| {
        let place = column.map_or_else(|| place.clone(), |column| format!("{place}.{column}"));
        let how = How::Sql(table.path.dataset.clone(), table.path.table.clone(), vec![statement]);
        found.push(Mutant { name: format!("{place}/{slug}"), what: format!("{place}: {what}"), how });
    };
    add("empty", None, "the table is empty".to_owned(), format!("DELETE FROM {name}"));
    if rows == 0 {
        return Ok(found);
    }
    if table.dated.is_some() {
        add("missing", None, "all rows of the date are missing".to_owned(), format!("DELETE FROM {name} WHERE {date}"));
    }
    // Some of the rows of the date: every second one, or the first so many percent.
    let counted = |percent: u32| (rows * i64::from(percent) / 100).max(1);
    let first = |percent: u32| {
        let count = counted(percent);
        format!("_rowid_ IN (SELECT _rowid_ FROM {name} WHERE {date} ORDER BY _rowid_ LIMIT {count})")
    };
    if rows > 1 {
        let half = format!(
            "DELETE FROM {name} WHERE _rowid_ IN (SELECT row FROM (SELECT _rowid_ AS row, ROW_NUMBER() OVER (ORDER BY _rowid_) AS at FROM {name} WHERE {date}) WHERE at % 2 = 0)"
        );
        add("half-missing", None, "half of the rows are missing".to_owned(), half);
    }
    add(
        "doubled",
        None,
        "each row is there twice".to_owned(),
        format!("INSERT INTO {name} SELECT * FROM {name} WHERE {date}"),
    );
    if let Some(dated) = &table.dated {
        let statement = format!("UPDATE {name} SET {} = {} WHERE {date}", quoted(&dated.column), dated.earlier());
        add("shifted", Some(&dated.column), "the dates are a day too early".to_owned(), statement);
    }
    let is_date = |column: &str| table.dated.as_ref().is_some_and(|dated| dated.column == column);
    for (column, kind) in used(table, named).into_iter().filter(|(column, _)| !is_date(column)) {
        let cell = quoted(column);
        let (distinct, known): (i64, i64) = connection.query_row(
            &format!("SELECT COUNT(DISTINCT {cell}), COUNT({cell}) FROM {name} WHERE {date}"),
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        if known == 0 {
            continue;
        }
        let number = ["INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"].contains(&kind.as_str());
        let text = kind == "STRING";
        // What names something of which there are several rows: a game, a team.
        let is_name = (text || kind == "INT64") && distinct > 1 && distinct < rows;
        let lower = column.to_lowercase();
        if is_name && (lower == "id" || lower.ends_with("_id") || text) {
            let one =
                format!("(SELECT {cell} FROM {name} WHERE {date} AND {cell} IS NOT NULL ORDER BY {cell} LIMIT 1)");
            let statement = format!("DELETE FROM {name} WHERE {date} AND {cell} = {one}");
            add("one-missing", Some(column), "the rows of one value are missing".to_owned(), statement);
        }
        let mut before = 0;
        for percent in NULLS {
            let count = counted(percent);
            // Of few rows the smallest shares are the same ones, and more than they say.
            if count == before || (percent == NULLS[0] && rows < 100) {
                continue;
            }
            before = count;
            let statement = format!("UPDATE {name} SET {cell} = NULL WHERE {}", first(percent));
            let slug = match rows * i64::from(percent) < 100 {
                true if rows > 1 => "null-one".to_owned(),
                true => "null-100".to_owned(),
                false => format!("null-{percent}"),
            };
            add(&slug, Some(column), format!("NULL in {count} of {rows} rows"), statement);
        }
        if number {
            add(
                "zero",
                Some(column),
                "all values are 0".to_owned(),
                format!("UPDATE {name} SET {cell} = 0 WHERE {date}"),
            );
            let largest: f64 = connection.query_row(
                &format!("SELECT COALESCE(MAX(ABS(CAST({cell} AS REAL))), 0) FROM {name} WHERE {date}"),
                [],
                |row| row.get(0),
            )?;
            // A value that no warehouse could hold says nothing about the check.
            if largest < LARGEST {
                let statement = format!("UPDATE {name} SET {cell} = {cell} * 10 WHERE {date}");
                add("times-10", Some(column), "all values are ten times as large".to_owned(), statement);
            }
        }
        if text {
            let statement = format!("UPDATE {name} SET {cell} = substr({cell}, 1, 1) WHERE {date}");
            add("truncated", Some(column), "all texts are cut to one character".to_owned(), statement);
            if distinct <= STATES {
                let statement = format!("UPDATE {name} SET {cell} = 'NOBODY_KNOWS' WHERE {}", first(UNKNOWN));
                let what = format!("a value that nobody knows in {} of {rows} rows", counted(UNKNOWN));
                add("unknown", Some(column), what, statement);
            }
        }
        if kind == "TIMESTAMP" || kind == "DATETIME" {
            let moved = |by: &str| format!("UPDATE {name} SET {cell} = {} WHERE {date}", self::moved(&cell, kind, by));
            add("stale", Some(column), "the times are two days old".to_owned(), moved("-2 days"));
            add("late", Some(column), "the rows came two days later".to_owned(), moved("+2 days"));
        }
    }
    Ok(found)
}

/// Mutants of what a warehouse keeps about the tables of a dataset.
fn of_listing(dataset: &str, moment: &Moment, connection: &Connection) -> rusqlite::Result<Vec<Mutant>> {
    let there = connection.prepare("SELECT 1 FROM sqlite_master WHERE name = '__TABLES__'")?.exists([])?;
    if !there {
        return Ok(Vec::new());
    }
    let mutant = |slug: &str, what: &str, statement: String| Mutant {
        name: format!("{dataset}.__TABLES__/{slug}"),
        what: format!("{dataset}: {what}"),
        how: How::Sql(dataset.to_owned(), "__TABLES__".to_owned(), vec![statement]),
    };
    let half = "_rowid_ IN (SELECT _rowid_ FROM __TABLES__ ORDER BY _rowid_ LIMIT MAX(1, (SELECT COUNT(*) / 2 FROM __TABLES__)))";
    // A date of long ago is stale if nothing was written since then, whatever was written later.
    let stale = (moment.day_start.as_second() - STALE) * 1000;
    let stale = format!("UPDATE __TABLES__ SET last_modified_time = MIN(last_modified_time, {stale})");
    Ok(vec![
        mutant("stale", "no table was written since two days before the date", stale.clone()),
        mutant(
            "half-stale",
            "half of the tables were not written since two days before the date",
            format!("{stale} WHERE {half}"),
        ),
        mutant("half-gone", "half of the tables are gone", format!("DELETE FROM __TABLES__ WHERE {half}")),
        mutant("gone", "no table is there", "DELETE FROM __TABLES__".to_owned()),
    ])
}

/// Mutants of answers that do not come from a warehouse.
pub(super) fn of_answers(services: &[String], repositories: &[String]) -> Vec<Mutant> {
    let mut found = Vec::new();
    let mut add = |name: String, what: String, how: Alteration| {
        found.push(Mutant { name, what, how: How::Altered(how) });
    };
    for service in services {
        let short = service.rsplit('/').next().unwrap_or(service);
        let service = || service.clone();
        let behind = Alteration::Behind(service(), BEHIND);
        add(format!("{short}/behind"), format!("{short}: what is deployed is two months older"), behind);
        add(
            format!("{short}/old-traffic"),
            format!("{short}: an older revision gets the traffic"),
            Alteration::OldTraffic(service()),
        );
        add(format!("{short}/gone"), format!("{short}: it is not deployed"), Alteration::Gone(service()));
    }
    if !services.is_empty() {
        add(
            "deployments/unreadable".to_owned(),
            "the deployments cannot be read".to_owned(),
            Alteration::NoDeployments,
        );
    }
    for repository in repositories {
        let what = format!("{repository}: the repository cannot be read");
        add(format!("{repository}/unreadable"), what, Alteration::Unreadable(repository.clone()));
    }
    found
}
