//! Queries to the warehouse, and their rows.

use std::{fmt, rc::Rc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    bindings::pipeline::check::{
        types::{Error, Value},
        warehouse::{self, Column, Scalar, TypedParameter},
    },
    one_line,
};

/// A table, as `dataset.table` or `project.dataset.table`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^([A-Za-z0-9_-]+\.){1,2}[A-Za-z0-9_-]+$"))]
pub struct TableName(String);

impl TableName {
    /// The dataset.
    pub fn dataset(&self) -> &str {
        self.0.rsplit('.').nth(1).unwrap_or_default()
    }

    /// Another table of the same dataset.
    pub fn in_dataset(&self, name: &str) -> Self {
        let dataset = self.0.rsplit_once('.').map_or("", |(dataset, _)| dataset);
        Self(format!("{dataset}.{name}"))
    }

    /// The name within the dataset.
    pub fn name(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or_default()
    }
}

impl TryFrom<String> for TableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let parts = name.split('.').count();
        let plain =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        match (2..=3).contains(&parts) && name.split('.').all(plain) {
            true => Ok(Self(name)),
            false => Err(format!("`{name}` is not a table name; write dataset.table, in letters, digits, _ and -")),
        }
    }
}

impl From<TableName> for String {
    fn from(table: TableName) -> Self {
        table.0
    }
}

/// For defaults, which the plugin's own tests cover.
impl From<&'static str> for TableName {
    fn from(name: &'static str) -> Self {
        Self(name.to_owned())
    }
}

/// Quoted in backticks, for SQL.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0)
    }
}

/// One SELECT with its parameters.
#[derive(Debug, Clone)]
pub struct Query {
    sql: String,
    parameters: Vec<TypedParameter>,
}

impl Query {
    /// GoogleSQL; tables as `dataset.table`, parameters as `@name`.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), parameters: Vec::new() }
    }

    /// Binds `@name` to a date.
    pub fn date(self, name: &str, date: &str) -> Self {
        self.parameter(name, Scalar::Date, Value::Date(date.to_owned()))
    }

    /// Binds `@name` to a text.
    pub fn text(self, name: &str, text: &str) -> Self {
        self.parameter(name, Scalar::Text, Value::Text(text.to_owned()))
    }

    /// Binds `@name` to a whole number.
    pub fn integer(self, name: &str, integer: i64) -> Self {
        self.parameter(name, Scalar::Integer, Value::Integer(integer))
    }

    /// Binds `@name` to a time, in seconds since the Unix epoch.
    pub fn timestamp(self, name: &str, seconds: i64) -> Self {
        self.parameter(name, Scalar::Timestamp, Value::Timestamp(seconds))
    }

    /// Binds `@name` to a NULL of a type.
    pub fn null(self, name: &str, kind: Scalar) -> Self {
        self.parameter(name, kind, Value::Null)
    }

    fn parameter(mut self, name: &str, kind: Scalar, value: Value) -> Self {
        self.parameters.push(TypedParameter { name: name.to_owned(), kind, value });
        self
    }

    /// The `bq` command that runs it in a POSIX shell, on one line.
    pub fn command(&self) -> String {
        let mut command = "bq query --use_legacy_sql=false".to_owned();
        for TypedParameter { name, kind, value } in &self.parameters {
            let kind = match kind {
                Scalar::Boolean => "BOOL",
                Scalar::Integer => "INT64",
                Scalar::Float => "FLOAT64",
                Scalar::Text => "STRING",
                Scalar::Date => "DATE",
                Scalar::Timestamp => "TIMESTAMP",
            };
            let value = match value {
                Value::Null => "NULL".to_owned(),
                Value::Boolean(truth) => truth.to_string(),
                Value::Integer(number) => number.to_string(),
                Value::Float(number) => number.to_string(),
                Value::Text(text) | Value::Date(text) => text.clone(),
                Value::Timestamp(seconds) => {
                    jiff::Timestamp::from_second(*seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
                }
            };
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            let word = format!("--parameter={name}:{kind}:{value}");
            command += &format!(" {}", if value.chars().all(plain) { word } else { quoted(&word) });
        }
        format!("{command} {}", quoted(&one_line(&self.sql)))
    }

    /// Runs the query, and returns the columns of the answer.
    pub async fn columns(self) -> Result<Vec<Column>, Error> {
        Ok(warehouse::query_typed(self.sql, self.parameters).await?.columns)
    }

    /// Runs the query, and returns all rows.
    pub async fn rows(self) -> Result<Rows, Error> {
        let answer = warehouse::query_typed(self.sql, self.parameters).await?;
        let (columns, kinds): (Vec<String>, Vec<String>) =
            answer.columns.into_iter().map(|column| (column.name, column.kind)).unzip();
        let (columns, kinds): (Rc<[String]>, Rc<[String]>) = (columns.into(), kinds.into());
        let row = |values| Row { columns: columns.clone(), kinds: kinds.clone(), values };
        Ok(answer.values.into_iter().map(row).collect())
    }

    /// Runs an aggregate query, and returns its only row.
    pub async fn row(self) -> Result<Row, Error> {
        let mut rows = self.rows().await?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (None, _) => Err(Error::Unavailable("the query returned no rows; one was expected".to_owned())),
            (Some(_), more) => Err(Error::Invalid(format!("the query returned {} rows; one was expected", more + 1))),
        }
    }
}

/// For a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// ` AND column = 'value'`, to narrow a WHERE clause; empty if the value is empty. Written out, not a parameter, so
/// that people can copy and run the query.
pub fn only(column: &str, value: &str) -> String {
    match value {
        "" => String::new(),
        value => format!(" AND {column} = {}", literal(value)),
    }
}

/// A text literal, for queries that people can copy and run.
pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', r"\\").replace('\'', r"\'").replace('\n', r"\n"))
}

/// The rows of an answer.
pub type Rows = Vec<Row>;

/// One row; columns are asked for by name. As in SQL, upper and lower case are the same.
#[derive(Debug, Clone)]
pub struct Row {
    columns: Rc<[String]>,
    kinds: Rc<[String]>,
    values: Vec<Value>,
}

impl Row {
    fn place(&self, column: &str) -> Option<usize> {
        let exact = self.columns.iter().position(|name| name == column);
        exact.or_else(|| self.columns.iter().position(|name| name.eq_ignore_ascii_case(column)))
    }

    fn value(&self, column: &str) -> Option<&Value> {
        self.values.get(self.place(column)?)
    }

    /// The names of the columns.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The values, in the order of the columns.
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The GoogleSQL type of a column: `INT64`, `DATE`, …; `None` if it is missing.
    pub fn kind(&self, column: &str) -> Option<&str> {
        self.kinds.get(self.place(column)?).map(String::as_str)
    }

    /// An INT64, with all its digits: as a [`number`](Self::number) it is rounded beyond 2^53. `None` for anything else.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.value(column)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// A number; TRUE is 1 and FALSE is 0. `None` if the column is missing, NULL, or neither.
    pub fn number(&self, column: &str) -> Option<f64> {
        match self.value(column)? {
            Value::Integer(number) => Some(*number as f64),
            Value::Float(number) if number.is_finite() => Some(*number),
            Value::Boolean(truth) => Some(f64::from(u8::from(*truth))),
            _ => None,
        }
    }

    /// A timestamp, in seconds since the Unix epoch. `None` if the column is missing or NULL.
    pub fn timestamp(&self, column: &str) -> Option<i64> {
        match self.value(column)? {
            Value::Timestamp(seconds) => Some(*seconds),
            _ => None,
        }
    }

    /// A text. Numbers, dates and booleans are converted to text, since an id may be any of them.
    pub fn text(&self, column: &str) -> Option<String> {
        match self.value(column)? {
            Value::Null => None,
            Value::Text(text) | Value::Date(text) => Some(text.clone()),
            Value::Integer(number) | Value::Timestamp(number) => Some(number.to_string()),
            Value::Float(number) => Some(number.to_string()),
            Value::Boolean(truth) => Some(truth.to_string()),
        }
    }
}
