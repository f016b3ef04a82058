//! A plugin built against the released contract 0.1.2 instead of the current one: it calls what that version added, and
//! exports the optional interface.
#![allow(missing_docs, unsafe_op_in_unsafe_fn, clippy::all, clippy::restriction)]

wit_bindgen::generate!({ path: "../../contract/v0.1.2", world: "dated-check", generate_all });

use exports::pipeline::check::{
    dates::{Guest as Dates, Subject},
    plugin::{Descriptor, Failure, Guest, Need, Report, Request, Schedule, Verdict, Violation},
};
use pipeline::check::{
    evidence,
    expectation::{deadline, good_dates},
    types::{Error, Value},
};

struct Frozen;

impl Dates for Frozen {
    fn kind(settings: String) -> Result<Subject, String> {
        match settings.as_str() {
            _ if settings.contains("now") => Ok(Subject::Now),
            _ if settings.contains("refuse") => Err("about is neither now nor a date".to_owned()),
            _ if settings.contains("trap") => panic!("out of dates"),
            _ if settings.contains("spin") => loop {
                std::hint::black_box(());
            },
            _ if settings.contains("call") => {
                deadline();
                Ok(Subject::Dated)
            }
            _ => Ok(Subject::Dated),
        }
    }
}

impl Guest for Frozen {
    fn describe() -> Descriptor {
        Descriptor {
            name: "frozen-0-1-2".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Every function that 0.1.2 added answers.".to_owned(),
            group: "tests".to_owned(),
            schedule: Schedule { cron: "0 * * * *".to_owned(), timezone: None },
            channel: "#canary-alerts".to_owned(),
            needs: vec![Need::Dataset("d".to_owned())],
            settings: r#"{"type":"object","properties":{"about":{"type":"string"}},"additionalProperties":false}"#
                .to_owned(),
            runbook: "# Frozen".to_owned(),
        }
    }

    async fn run(request: Request) -> Result<Report, Failure> {
        let late = (request.due - deadline()) / 60;
        let good = good_dates(2).await?.join(" ");
        let columns = || vec!["id".to_owned(), "day".to_owned()];
        evidence::add("twice", &columns(), &[vec![Value::Integer(7), Value::Date(request.data_date.clone())]])?;
        evidence::total("twice", 2)?;
        let Err(Error::Invalid(refused)) = evidence::add("twice", &columns(), &[vec![Value::Null]]) else {
            return Err(Failure::Other("not refused".to_owned()));
        };
        let summary = format!("{late} min after the deadline; good: {good}; {refused}");
        let violations = vec![Violation { metric: None, message: "twice".to_owned() }];
        Ok(Report { verdict: Verdict::Warn, summary, metrics: vec![], violations, unknown: vec![], gate: None })
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
    static NAME: [u8; 12] = *b"frozen-0-1-2";
    #[used]
    #[unsafe(link_section = "version")]
    static VERSION: [u8; 5] = *b"0.1.0";
}
