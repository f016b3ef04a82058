//! Requests to BigQuery and its answers, as in its reference:
//! <https://cloud.google.com/bigquery/docs/reference/rest/v2/Job>

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value as Json, json};

use crate::{
    contract::{Error, Value, warehouse::Parameter},
    google::{Fault, Kind},
    googlesql::Printed,
};

/// SQL and its parameters, as sent.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) sql: Printed,
    pub(super) parameters: Json,
}

impl Question {
    pub(super) fn new(sql: Printed, parameters: &[Parameter]) -> Result<Self, Error> {
        let parameters = parameters.iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { sql, parameters: Json::Array(parameters) })
    }

    /// A query of the host's own.
    pub(super) fn own(sql: String) -> Self {
        Self { sql: Printed::own(sql), parameters: Json::Array(Vec::new()) }
    }

    /// A fault, with positions in the author's text.
    pub(super) fn located(&self, fault: Fault) -> Fault {
        Fault { message: self.sql.located(&fault.message), ..fault }
    }

    /// `configuration.query`; `most` is the maximum that it may bill, in bytes.
    pub(super) fn query(&self, cache: bool, most: Option<usize>) -> Json {
        json!({
            "maximumBytesBilled": most.map(|most| most.to_string()),
            "query": self.sql.sql,
            "useLegacySql": false,
            "useQueryCache": cache,
            "parameterMode": "NAMED",
            "queryParameters": self.parameters,
        })
    }
}

/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter>
fn parameter(parameter: &Parameter) -> Result<Json, Error> {
    let name = parameter.name.trim_start_matches('@');
    let wrong = |what: &str| Error::Invalid(format!("query failed: parameter @{name} is not a valid {what}"));
    let (kind, value) = match &parameter.value {
        // A NULL has no type in the contract; BigQuery accepts a STRING where a date or a time is expected.
        Value::Null => ("STRING", Json::Null),
        Value::Boolean(truth) => ("BOOL", truth.to_string().into()),
        Value::Integer(number) => ("INT64", number.to_string().into()),
        Value::Float(number) if number.is_nan() => ("FLOAT64", "NaN".into()),
        Value::Float(number) if number.is_infinite() => {
            ("FLOAT64", if *number > 0.0 { "Infinity" } else { "-Infinity" }.into())
        }
        // Rust writes the shortest digits that parse to the same number.
        Value::Float(number) => ("FLOAT64", format!("{number:?}").into()),
        Value::Text(text) => ("STRING", text.as_str().into()),
        Value::Date(text) => {
            let date: jiff::civil::Date = text.parse().map_err(|_| wrong("date"))?;
            ("DATE", date.to_string().into())
        }
        Value::Timestamp(seconds) => {
            let moment = Timestamp::from_second(*seconds).map_err(|_| wrong("time"))?;
            ("TIMESTAMP", moment.strftime("%Y-%m-%d %H:%M:%S+00:00").to_string().into())
        }
    };
    Ok(json!({ "name": name, "parameterType": { "type": kind }, "parameterValue": { "value": value } }))
}

/// The answer of `jobs.insert` and `jobs.get`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Job {
    pub(super) status: Status,
    pub(super) statistics: Statistics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    error_result: Option<ErrorProto>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ErrorProto {
    reason: String,
    message: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Statistics {
    pub(super) total_bytes_processed: Option<String>,
    pub(super) query: QueryStatistics,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct QueryStatistics {
    pub(super) total_bytes_processed: Option<String>,
    pub(super) statement_type: String,
    pub(super) referenced_tables: Option<Vec<TableReference>>,
    /// The functions and procedures that somebody made; missing if there are none.
    pub(super) referenced_routines: Vec<RoutineReference>,
    pub(super) schema: Schema,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TableReference {
    pub(super) project_id: String,
    pub(super) dataset_id: String,
    pub(super) table_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoutineReference {
    pub(super) project_id: String,
    pub(super) dataset_id: String,
    pub(super) routine_id: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Schema {
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Field {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) mode: String,
    pub(super) fields: Vec<Field>,
}

impl Job {
    /// Why the job failed, if it did.
    pub(super) fn failure(&self) -> Option<Fault> {
        let ErrorProto { reason, message } = self.status.error_result.as_ref()?;
        let timed_out = reason == "stopped" && message.contains("timed out");
        let kind = Kind::of_words(message).or_else(|| Kind::of_reason(reason)).unwrap_or(Kind::Invalid);
        let kind = if timed_out { Kind::TimedOut } else { kind };
        Some(Fault::new(kind, &format!("{} ({reason})", message.trim_end_matches('.'))))
    }
}

/// The answer of `jobs.getQueryResults`:
/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/getQueryResults>
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", bound(deserialize = "'de: 'a"))]
pub(super) struct Results<'a> {
    pub(super) job_complete: bool,
    pub(super) schema: Schema,
    pub(super) total_rows: Option<String>,
    pub(super) total_bytes_processed: Option<String>,
    pub(super) cache_hit: bool,
    pub(super) page_token: Option<String>,
    pub(super) rows: Vec<Row<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Row<'a> {
    pub(super) f: Vec<Wrapped<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound(deserialize = "'de: 'a"))]
pub(super) struct Wrapped<'a> {
    pub(super) v: Cell<'a>,
}

/// A value, before its type is known.
#[derive(Debug)]
pub(super) enum Cell<'a> {
    Null,
    Text(Cow<'a, str>),
    List(Vec<Wrapped<'a>>),
    Struct(Vec<Wrapped<'a>>),
}

/// A custom deserializer, for speed on large answers: texts without escapes are not copied.
impl<'de: 'a, 'a> Deserialize<'de> for Cell<'a> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Cell<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Cell::Null)
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cell::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cell::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Cell::List(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    match key.as_ref() {
                        "f" => fields = map.next_value()?,
                        _ => drop(map.next_value::<serde::de::IgnoredAny>()?),
                    }
                }
                Ok(Cell::Struct(fields))
            }
        }
        source.deserialize_any(Reader)
    }
}

/// A count, which BigQuery writes as text; 0 if missing.
pub(super) fn count(text: Option<&String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}
