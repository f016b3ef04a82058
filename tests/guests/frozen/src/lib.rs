//! A plugin built against the released contract instead of the current one: it calls every function once, and reports
//! the answers.
#![allow(missing_docs, unsafe_op_in_unsafe_fn, clippy::all, clippy::restriction)]

wit_bindgen::generate!({ path: "../../contract/v0.1.0", world: "check", generate_all });

use exports::pipeline::check::plugin::{Descriptor, Failure, Guest, Need, Report, Request, Schedule, Verdict};
use pipeline::check::{
    deployments, git, slack,
    types::{Error, Value},
    warehouse,
};

struct Frozen;

impl Guest for Frozen {
    fn describe() -> Descriptor {
        Descriptor {
            name: "frozen".to_owned(),
            version: "0.1.0".to_owned(),
            summary: "Every function of the contract answers.".to_owned(),
            group: "tests".to_owned(),
            schedule: Schedule { cron: "0 * * * *".to_owned(), timezone: None },
            channel: "#canary-alerts".to_owned(),
            needs: vec![Need::Dataset("d".to_owned()), Need::Channel("#canary-alerts".to_owned())],
            settings: r#"{"type":"object","additionalProperties":false}"#.to_owned(),
            runbook: "# Frozen".to_owned(),
        }
    }

    async fn run(request: Request) -> Result<Report, Failure> {
        let date = warehouse::Parameter { name: "date".to_owned(), value: Value::Date(request.data_date.clone()) };
        let sql = "SELECT COUNT(*) AS found FROM d.t WHERE day = @date".to_owned();
        let paths = || vec!["a".to_owned()];
        let alert = slack::Alert {
            channel: request.channel.clone(),
            severity: slack::Severity::Info,
            title: "Frozen".to_owned(),
            summary: "Still here".to_owned(),
            sections: Vec::new(),
            steps: Vec::new(),
        };
        let rows = warehouse::query(sql, vec![date]).await?;
        let tables = warehouse::tables("d".to_owned()).await?;
        let latest = git::latest(None, paths()).await?;
        let changes = git::changes(None, git::Base::Time(0), paths(), 10).await?;
        let missing = git::missing(None, vec!["a".to_owned(), "b".to_owned()]).await?;
        let deployed = deployments::lookup("service".to_owned()).await?;
        slack::post(alert).await?;
        let found = match rows.values.first().and_then(|row| row.first()) {
            Some(Value::Integer(found)) => *found,
            _ => -1,
        };
        let summary = format!(
            "{found} rows, {} tables, latest {}, {} changes, missing {}, revision {}",
            tables.len(),
            latest.map(|commit| commit.subject).unwrap_or_default(),
            changes.total,
            missing.join(" "),
            deployed.map(|deployment| deployment.revision).unwrap_or_default()
        );
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
    static NAME: [u8; 6] = *b"frozen";
    #[used]
    #[unsafe(link_section = "version")]
    static VERSION: [u8; 5] = *b"0.1.0";
}
