//! A plugin built against the released contract 0.1.1 instead of the current one: it calls what that version added.
#![allow(missing_docs, unsafe_op_in_unsafe_fn, clippy::all, clippy::restriction)]

wit_bindgen::generate!({ path: "../../contract/v0.1.1", world: "check", generate_all });

use exports::pipeline::check::plugin::{Descriptor, Failure, Guest, Need, Report, Request, Schedule, Verdict};
use pipeline::check::{
    types::{Error, Value},
    warehouse::{Scalar, TypedParameter, query_typed},
};

struct Frozen;

impl Guest for Frozen {
    fn describe() -> Descriptor {
        Descriptor {
            name: "frozen-0-1-1".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Every function that 0.1.1 added answers.".to_owned(),
            group: "tests".to_owned(),
            schedule: Schedule { cron: "0 * * * *".to_owned(), timezone: None },
            channel: "#canary-alerts".to_owned(),
            needs: vec![Need::Dataset("d".to_owned())],
            settings: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            runbook: "# Frozen".to_owned(),
        }
    }

    async fn run(request: Request) -> Result<Report, Failure> {
        let parameter = |name: &str, kind, value| TypedParameter { name: name.to_owned(), kind, value };
        let date = || parameter("date", Scalar::Date, Value::Date(request.data_date.clone()));
        let sql = "SELECT COUNT(*) AS found FROM d.t WHERE day = COALESCE(@day, @date)".to_owned();
        let rows = query_typed(sql.clone(), vec![date(), parameter("day", Scalar::Date, Value::Null)]).await?;
        let found = match rows.values.first().and_then(|row| row.first()) {
            Some(Value::Integer(found)) => *found,
            _ => -1,
        };
        let refused = query_typed(sql, vec![date(), parameter("day", Scalar::Date, Value::Text("x".to_owned()))]).await;
        let Err(Error::Invalid(refused)) = refused else { return Err(Failure::Other("not refused".to_owned())) };
        let summary = format!("{found} rows; {refused}");
        Ok(Report { verdict: Verdict::Pass, summary, metrics: vec![], violations: vec![], unknown: vec![], gate: None })
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

export!(Frozen);

#[cfg(target_arch = "wasm32")]
mod identity {
    #[used]
    #[unsafe(link_section = "pipeline:check/name")]
    static NAME: [u8; 12] = *b"frozen-0-1-1";
    #[used]
    #[unsafe(link_section = "version")]
    static VERSION: [u8; 5] = *b"0.1.0";
}
