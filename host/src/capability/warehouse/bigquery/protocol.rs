//! What is asked of BigQuery, and why a job failed: <https://cloud.google.com/bigquery/docs/reference/rest/v2/Job>

use gcp_bigquery_client::model::{
    job::Job, job_configuration_query::JobConfigurationQuery, query_parameter::QueryParameter,
    query_parameter_type::QueryParameterType, query_parameter_value::QueryParameterValue,
};
use jiff::Timestamp;

use crate::{
    capability::warehouse::argument::{Argument, sql_type},
    contract::{Error, Value, warehouse::Scalar},
    google::{Fault, Kind},
    googlesql::Printed,
};

/// SQL and its parameters, as sent.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) sql: Printed,
    pub(super) parameters: Vec<QueryParameter>,
    /// Where it runs.
    pub(super) location: String,
}

impl Question {
    pub(super) fn new(sql: Printed, parameters: &[&Argument], location: &str) -> Result<Self, Error> {
        let parameters = parameters.iter().map(|one| parameter(one)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { sql, parameters, location: location.to_owned() })
    }

    /// A query of the host's own.
    pub(super) fn own(sql: String, location: &str) -> Self {
        Self { sql: Printed::own(sql), parameters: Vec::new(), location: location.to_owned() }
    }

    /// A fault, with positions in the author's text.
    pub(super) fn located(&self, fault: Fault) -> Fault {
        Fault { message: self.sql.located(&fault.message), ..fault }
    }

    /// `configuration.query`; `most` is the maximum that it may bill, in bytes.
    pub(super) fn query(&self, cache: bool, most: Option<usize>) -> JobConfigurationQuery {
        JobConfigurationQuery {
            maximum_bytes_billed: most.map(|most| most.to_string()),
            query: self.sql.sql.clone(),
            use_legacy_sql: Some(false),
            use_query_cache: Some(cache),
            parameter_mode: Some("NAMED".to_owned()),
            query_parameters: Some(self.parameters.clone()),
            ..JobConfigurationQuery::default()
        }
    }
}

/// <https://cloud.google.com/bigquery/docs/reference/rest/v2/QueryParameter>
fn parameter(parameter: &Argument) -> Result<QueryParameter, Error> {
    let name = parameter.name.trim_start_matches('@');
    let wrong = |what: &str| Error::Invalid(format!("query failed: parameter @{name} is not a valid {what}"));
    let value = match &parameter.value {
        Value::Null => None,
        Value::Boolean(truth) => Some(truth.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) if number.is_nan() => Some("NaN".to_owned()),
        Value::Float(number) if number.is_infinite() => {
            Some(if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned())
        }
        // Rust writes the shortest digits that parse to the same number.
        Value::Float(number) => Some(format!("{number:?}")),
        Value::Text(text) => Some(text.clone()),
        Value::Date(text) => {
            let date: jiff::civil::Date = text.parse().map_err(|_| wrong("date"))?;
            Some(date.to_string())
        }
        Value::Timestamp(seconds) => {
            let moment = Timestamp::from_second(*seconds).map_err(|_| wrong("time"))?;
            Some(moment.strftime("%Y-%m-%d %H:%M:%S+00:00").to_string())
        }
    };
    // BigQuery accepts a STRING where a date or a time is expected.
    let kind = sql_type(parameter.kind.unwrap_or(Scalar::Text));
    Ok(QueryParameter {
        name: Some(name.to_owned()),
        parameter_type: Some(QueryParameterType { r#type: kind.to_owned(), ..QueryParameterType::default() }),
        parameter_value: Some(QueryParameterValue { value, ..QueryParameterValue::default() }),
    })
}

/// Why a job failed, if it did.
pub(super) fn failure(job: &Job) -> Option<Fault> {
    let error = job.status.as_ref()?.error_result.as_ref()?;
    let (reason, message) = (error.reason.as_deref().unwrap_or_default(), error.message.as_deref().unwrap_or_default());
    let kind = Kind::of_words(message).or_else(|| Kind::of_reason(reason, message)).unwrap_or(Kind::Invalid);
    Some(Fault::new(kind, &format!("{} ({reason})", message.trim_end_matches('.'))))
}

/// A count, which BigQuery writes as text; 0 if missing.
pub(super) fn count(text: Option<&String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}
