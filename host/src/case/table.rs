//! A table of a case: its rows, inline or as CSV, and the SQLite table made from them.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use rusqlite::{Connection, params_from_iter, types::Value};
use serde::Deserialize;

use crate::{capability::warehouse::scratch::quoted, text::or_here};

/// `[tables."dataset.table"]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    /// GoogleSQL types of columns, where the rows do not show them: `{ player_name = "STRING" }`.
    columns: toml::Table,
    /// The rows. A column that is left out is NULL.
    rows: Vec<toml::Table>,
    /// A CSV file beside the case or below it, or CSV text if it contains a line break. The first line has the names, `game_id` or
    /// `game_id:STRING`. An empty field is NULL.
    csv: Option<String>,
    /// When the table was last written, for the host call `tables`. A dataset without any such time has no metadata.
    pub(super) modified: Option<toml::value::Datetime>,
}

/// GoogleSQL's types, and the declared types in SQLite.
const DECLARED: [(&str, &str); 11] = [
    ("INT64", "INT64"),
    ("FLOAT64", "FLOAT64"),
    ("NUMERIC", "NUMERIC"),
    ("BIGNUMERIC", "BIGNUMERIC"),
    ("BOOL", "BOOL"),
    ("STRING", "TEXT"),
    ("BYTES", "BYTES"),
    ("DATE", "DATE"),
    ("DATETIME", "DATETIME"),
    ("TIME", "TIME"),
    ("TIMESTAMP", "TIMESTAMP"),
];

/// Names, types and values, from rows or from CSV.
struct Contents {
    columns: Vec<(String, &'static str)>,
    rows: Vec<Vec<Value>>,
}

impl Table {
    /// Creates the table in a dataset; gives the number of rows.
    pub(super) fn make(&self, connection: &Connection, name: &str, beside: &Path) -> Result<usize> {
        let Contents { columns, rows } = match &self.csv {
            Some(_) if !self.rows.is_empty() => bail!("has both rows and csv; keep one of them"),
            Some(csv) if csv.contains('\n') => self.csv_rows(csv)?,
            Some(file) => self.csv_rows(&read_below(beside, file)?)?,
            None => self.inline_rows()?,
        };
        if columns.is_empty() {
            bail!("has no column; name some: columns = {{ game_id = \"STRING\" }}");
        }
        let declared: Vec<String> = columns.iter().map(|(name, kind)| format!("{} {kind}", quoted(name))).collect();
        connection.execute_batch(&format!("CREATE TABLE {} ({})", quoted(name), declared.join(", ")))?;
        let places = vec!["?"; columns.len()].join(", ");
        let mut insert = connection.prepare(&format!("INSERT INTO {} VALUES ({places})", quoted(name)))?;
        for row in &rows {
            insert.execute(params_from_iter(row))?;
        }
        Ok(rows.len())
    }

    fn declared(&self) -> Result<BTreeMap<&str, &'static str>> {
        let columns = self.columns.iter().map(|(name, kind)| {
            let kind = kind.as_str().unwrap_or_default();
            Ok((name.as_str(), declared(kind).with_context(|| format!("columns.{name}"))?))
        });
        columns.collect()
    }

    fn inline_rows(&self) -> Result<Contents> {
        let declared = self.declared()?;
        let mut columns: Vec<(String, Option<&'static str>)> =
            self.columns.keys().map(|name| (name.clone(), declared.get(name.as_str()).copied())).collect();
        for (name, value) in self.rows.iter().flatten() {
            let kind = kind(value).with_context(|| format!("column {name}: {value} is not a column value"))?;
            match columns.iter_mut().find(|(known, _)| known == name) {
                Some((_, found)) if !declared.contains_key(name.as_str()) => match found {
                    Some("INT64") if kind == "FLOAT64" => *found = Some(kind),
                    Some("FLOAT64") if kind == "INT64" => {}
                    Some(before) if *before != kind => bail!("column {name} has both {before} and {kind}"),
                    _ => {}
                },
                Some(_) => {}
                None => columns.push((name.clone(), Some(kind))),
            }
        }
        let rows = self.rows.iter().map(|row| {
            let values = columns.iter().map(|(name, _)| row.get(name).map_or(Value::Null, stored));
            values.collect()
        });
        let rows = rows.collect();
        let columns = columns.into_iter().map(|(name, kind)| (name, kind.unwrap_or("TEXT"))).collect();
        Ok(Contents { columns, rows })
    }

    fn csv_rows(&self, text: &str) -> Result<Contents> {
        let declared_here = self.declared()?;
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.trim_start().as_bytes());
        let header = reader.headers().context("csv")?.clone();
        let records = reader.records().collect::<Result<Vec<_>, _>>().context("csv")?;
        let mut columns = Vec::new();
        for (at, name) in header.iter().enumerate() {
            let (name, written) = name.split_once(':').map_or((name, None), |(name, kind)| (name, Some(kind)));
            let fields = || records.iter().filter_map(|record| record.get(at)).filter(|field| !field.is_empty());
            let kind = match (written, declared_here.get(name)) {
                (Some(kind), _) => declared(kind).with_context(|| format!("csv: column {name}"))?,
                (None, Some(kind)) => kind,
                (None, None) => inferred(fields),
            };
            columns.push((name.to_owned(), kind));
        }
        if let Some((name, _)) = declared_here.iter().find(|(name, _)| !columns.iter().any(|(known, _)| known == *name))
        {
            bail!("columns.{name}: the CSV has no such column");
        }
        let mut rows = Vec::new();
        for (line, record) in records.iter().enumerate() {
            let fields = columns.iter().zip(record).map(|((name, kind), field)| {
                read(field, kind)
                    .with_context(|| format!("csv: row {}, column {name}: `{field}` is not of type {kind}", line + 1))
            });
            rows.push(fields.collect::<Result<Vec<_>>>()?);
        }
        Ok(Contents { columns, rows })
    }
}

/// The text of a file below a directory: a case comes with a plugin, and reads nothing else of this machine.
fn read_below(directory: &Path, file: &str) -> Result<String> {
    let directory = or_here(directory);
    let path = directory.join(file);
    let shown = || path.display().to_string();
    let (whole, below) = (path.canonicalize().with_context(shown)?, directory.canonicalize().with_context(shown)?);
    if !whole.starts_with(&below) {
        bail!("csv: {file} is outside the directory of the case; keep the file beside the case, or below it");
    }
    if !whole.is_file() {
        bail!("csv: {} is not a file", shown());
    }
    std::fs::read_to_string(&whole).with_context(shown)
}

fn declared(kind: &str) -> Result<&'static str> {
    let known = DECLARED.iter().find(|(name, _)| *name == kind);
    known.map(|(_, declared)| *declared).with_context(|| {
        let names: Vec<&str> = DECLARED.iter().map(|(name, _)| *name).collect();
        format!("`{kind}` is not a type; the types are {}", names.join(", "))
    })
}

/// The declared type of a TOML value.
fn kind(value: &toml::Value) -> Option<&'static str> {
    Some(match value {
        toml::Value::String(_) => "TEXT",
        toml::Value::Integer(_) => "INT64",
        toml::Value::Float(_) => "FLOAT64",
        toml::Value::Boolean(_) => "BOOL",
        toml::Value::Datetime(time) => match (time.date, time.time, time.offset) {
            (Some(_), Some(_), Some(_)) => "TIMESTAMP",
            (Some(_), Some(_), None) => "DATETIME",
            (Some(_), None, _) => "DATE",
            (None, _, _) => "TIME",
        },
        toml::Value::Array(_) | toml::Value::Table(_) => return None,
    })
}

fn stored(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::Text(text.clone()),
        toml::Value::Integer(number) => Value::Integer(*number),
        toml::Value::Float(number) => Value::Real(*number),
        toml::Value::Boolean(truth) => Value::Integer((*truth).into()),
        toml::Value::Datetime(time) => Value::Text(time.to_string()),
        toml::Value::Array(_) | toml::Value::Table(_) => Value::Null,
    }
}

/// The narrowest type that fits all fields of a column; text when none fits or there are no fields.
fn inferred<'f, F: Iterator<Item = &'f str>>(fields: impl Fn() -> F) -> &'static str {
    let fit = ["INT64", "FLOAT64", "BOOL", "DATE", "TIMESTAMP"];
    let all = |kind: &&str| fields().next().is_some() && fields().all(|field| read(field, kind).is_some());
    fit.iter().find(|kind| all(kind)).copied().unwrap_or("TEXT")
}

/// A field as a value of this type; none when it does not fit.
fn read(field: &str, kind: &str) -> Option<Value> {
    if field.is_empty() {
        return Some(Value::Null);
    }
    let text = || Value::Text(field.to_owned());
    Some(match kind {
        "INT64" => Value::Integer(field.parse().ok()?),
        "FLOAT64" | "NUMERIC" | "BIGNUMERIC" => Value::Real(field.parse().ok()?),
        "BOOL" => Value::Integer(match field.to_ascii_lowercase().as_str() {
            "true" => 1,
            "false" => 0,
            _ => return None,
        }),
        "DATE" => field.parse::<jiff::civil::Date>().ok().filter(|_| field.len() == 10).map(|_| text())?,
        "TIMESTAMP" => field.parse::<jiff::Timestamp>().ok().map(|_| text())?,
        "BYTES" => Value::Blob(field.into()),
        _ => text(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(text: &str) -> Result<Vec<(String, String)>> {
        let table: Table = toml::from_str(text)?;
        let connection = Connection::open_in_memory()?;
        table.make(&connection, "t", Path::new(""))?;
        let mut columns = connection.prepare("SELECT name, type FROM pragma_table_info('t')")?;
        let columns = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(columns.collect::<rusqlite::Result<_>>()?)
    }

    fn declarations(text: &str) -> String {
        let columns = made(text).expect("made");
        columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn rows_and_csv_tell_their_types() {
        let rows =
            "rows = [{ id = 1, day = 2026-02-05, at = 2026-02-05T10:00:00Z, name = \"x\", rate = 1, yes = true },
            { id = 2, rate = 0.5 }]";
        assert_eq!(declarations(rows), "id INT64, day DATE, at TIMESTAMP, name TEXT, rate FLOAT64, yes BOOL");
        let csv = "csv = \"\"\"\nid, day, at, name, rate, yes, none, code:STRING\n1, 2026-02-05, 2026-02-05T10:00:00Z, x, 0.5, true, , 007\n2,,,,,,,\n\"\"\"";
        assert_eq!(
            declarations(csv),
            "id INT64, day DATE, at TIMESTAMP, name TEXT, rate FLOAT64, yes BOOL, none TEXT, code TEXT"
        );
        assert_eq!(declarations("columns = { id = \"STRING\" }\nrows = []"), "id TEXT");
    }

    #[test]
    fn what_cannot_be_a_table_is_refused() {
        let cases = [
            ("rows = []", "no column"),
            ("rows = [{ id = 1 }, { id = \"x\" }]", "both INT64 and TEXT"),
            ("rows = [{ id = [1] }]", "not a column value"),
            ("columns = { id = \"TEXT\" }", "not a type; the types are INT64"),
            ("csv = \"id:INT64\\nx\\n\"", "row 1, column id: `x` is not of type INT64"),
            ("csv = \"id,name\\n1\\n\"", "csv"),
            ("csv = \"nowhere.csv\"", "nowhere.csv"),
            ("columns = { nmae = \"STRING\" }\ncsv = \"name\\nx\\n\"", "columns.nmae"),
        ];
        for (text, complaint) in cases {
            let error = format!("{:#}", made(text).expect_err(text));
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
