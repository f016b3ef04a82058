//! `host query`: one SELECT on the embedded warehouse, as a check would run it. The queries in alerts are GoogleSQL, which
//! SQLite's own shell does not understand.

use std::sync::Arc;

use anyhow::{Result, bail};
use clap::Args;
use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value as Json, json};

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    table::{Table, one_line},
};
use crate::{
    capability::{Backends, Caller, Calls},
    config::{Config, Grants, Warehouse},
    contract::{
        Value,
        warehouse::{Parameter, Rows},
    },
    googlesql,
    record::Record,
};

#[derive(Debug, Args)]
#[command(after_help = "Reads the SQLite files of [warehouse] in host.toml; nothing is written. For
BigQuery use its own command, bq.

Examples:
  host query \"SELECT COUNT(*) AS orders FROM shop.orders\"
  host query --date 2026-02-05 \"SELECT id FROM shop.x WHERE day = @date\"
  host query --parameter due:TIMESTAMP:2026-02-06T11:30:00Z \"SELECT @due\"
  host query --output json \"SELECT MAX(day) AS newest FROM shop.orders\"")]
pub(super) struct Query {
    /// The SELECT, in GoogleSQL
    #[arg(value_name = "SQL")]
    sql: String,
    /// The value of @date
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,
    /// The value of another parameter; repeat it for several
    #[arg(long = "parameter", value_name = "NAME:TYPE:VALUE", value_parser = parameter)]
    parameters: Vec<Parameter>,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

impl Query {
    pub(super) fn execute(self) -> Result<u8> {
        let config = Config::read(self.config.path())?;
        let project = match &config.warehouse {
            Some(Warehouse::Sqlite { project, .. }) => project.clone(),
            Some(Warehouse::BigQuery { project, .. }) => {
                bail!("the warehouse is BigQuery; use `bq query --project_id={project} --use_legacy_sql=false`")
            }
            None => bail!("host.toml has no [warehouse]; add one with kind = \"sqlite\""),
        };
        let refused = |error: crate::contract::Error| anyhow::anyhow!("{}", error.message());
        // Whoever can run this can read the files.
        let asked = googlesql::read(&self.sql, project.as_deref()).map_err(refused)?;
        let mut granted: Vec<String> = asked.datasets.iter().cloned().collect();
        // A query of no table needs the warehouse, but none of its datasets.
        if granted.is_empty() {
            granted.push(String::new());
        }
        let grants = Grants { warehouse: granted, ..Grants::default() };
        let date = self.date.map(|date| Parameter { name: "date".to_owned(), value: Value::Date(date.to_string()) });
        let rows = super::runtime()?.block_on(async {
            let record = Record::memory().await?;
            let backends = Backends::new(&config, &record);
            let calls = Arc::new(Calls::new(Caller::default(), grants, config.budgets.clone()));
            let parameters = date.into_iter().chain(self.parameters).collect();
            backends.query(&calls, self.sql.clone(), parameters).await.map_err(refused)
        })?;
        super::print(&match self.output.output {
            Format::Json => format!("{:#}\n", in_json(&rows)),
            Format::Table => in_a_table(&rows),
        })?;
        Ok(0)
    }
}

/// As `bq` reads them: `due:TIMESTAMP:2026-02-06T11:30:00Z`.
fn parameter(text: &str) -> Result<Parameter, String> {
    let wrong = || format!("`{text}` is not a parameter; write it like due:TIMESTAMP:2026-02-06T11:30:00Z");
    let (name, (kind, value)) = text
        .split_once(':')
        .and_then(|(name, rest)| Some((name, rest.split_once(':')?)))
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(wrong)?;
    let no = |kind: &str| format!("`{value}` is not a value of {kind}");
    let value = match kind {
        "DATE" => Value::Date(value.parse::<Date>().map_err(|_| no(kind))?.to_string()),
        "TIMESTAMP" => Value::Timestamp(value.parse::<Timestamp>().map_err(|_| no(kind))?.as_second()),
        "INT64" => Value::Integer(value.parse().map_err(|_| no(kind))?),
        "FLOAT64" => Value::Float(value.parse().map_err(|_| no(kind))?),
        "BOOL" => Value::Boolean(value.to_ascii_lowercase().parse().map_err(|_| no(kind))?),
        "STRING" | "" => Value::Text(value.to_owned()),
        other => return Err(format!("`{other}` is not a type; write DATE, TIMESTAMP, STRING, INT64, FLOAT64 or BOOL")),
    };
    Ok(Parameter { name: name.to_owned(), value })
}

fn in_a_table(rows: &Rows) -> String {
    let mut table = Table::new(rows.columns.iter().map(|column| one_line(&column.name)));
    for values in &rows.values {
        table.row(values.iter().map(text).collect());
    }
    match rows.values.len() {
        0 => "No rows.\n".to_owned(),
        _ => table.text(),
    }
}

/// A value as GoogleSQL would write it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Text(text) | Value::Date(text) => text.clone(),
        Value::Timestamp(seconds) => moment(*seconds),
    }
}

fn in_json(rows: &Rows) -> Json {
    let cell = |value: &Value| match value {
        Value::Null => Json::Null,
        Value::Boolean(truth) => json!(truth),
        Value::Integer(number) => json!(number),
        Value::Float(number) => json!(number),
        Value::Text(text) | Value::Date(text) => json!(text),
        Value::Timestamp(seconds) => json!(moment(*seconds)),
    };
    let columns = || rows.columns.iter().map(|column| column.name.clone());
    let row = |values: &Vec<Value>| columns().zip(values.iter().map(cell)).collect::<Map<_, _>>();
    json!({ "rows": rows.values.iter().map(row).collect::<Vec<_>>() })
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| format!("{seconds} s since 1970"), |moment| moment.to_string())
}
