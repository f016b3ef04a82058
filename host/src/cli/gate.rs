//! `host gate`: asks a gate about a date; the exit code is its decision. It asks a running host over HTTP, and evaluates
//! the gate itself when none runs.

use std::{fmt::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    flags::{DateFlag, FileFlags, Format, OutputFlag},
    table::one_line,
};
use crate::{
    config::Config,
    gate::{Gates, Refusal},
    host::Begin,
    http,
    record::{Claim, Record},
    service::Sources,
    text::printable,
};

/// How long a running host may take to evaluate.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Args)]
#[command(after_help = "The caller and the decision are recorded; `host history phase2-gate` shows
them.

Examples:
  host gate phase2-gate                      ask about yesterday's data
  host gate phase2-gate --date 2026-02-05 --caller airflow
  host gate phase2-gate --output json        the whole decision, for programs
  host gate phase2-gate && ./run-phase3.sh   phase 3, only if it may proceed
  HOST_TOKEN=… host gate phase2-gate --url https://host.example.com

Exit codes: 0 may proceed (also with warnings, unless --strict), 2 blocked, 3
not evaluated, 64 the gate cannot be asked.")]
pub(super) struct Gate {
    /// The gate: the name of a check
    gate: String,
    /// Plugin files, or directories of them, for when no host runs [default: plugins/ beside the
    /// configuration]
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    #[command(flatten)]
    day: DateFlag,
    /// Who asks [default: the user's name]
    #[arg(long)]
    caller: Option<String>,
    /// Block on warnings too
    #[arg(long)]
    strict: bool,
    /// The address of a running host. Its token comes from the variable or the file that [web] names
    #[arg(long, value_name = "ADDRESS")]
    url: Option<String>,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    output: OutputFlag,
}

impl Gate {
    pub(super) fn execute(self) -> Result<u8> {
        let runtime = super::runtime()?;
        let answer = runtime.block_on(self.ask());
        runtime.shutdown_background();
        let answer = answer?;
        super::print(&match self.output.output {
            Format::Json => format!("{answer:#}\n"),
            Format::Table => shown(&answer, self.strict),
        })?;
        Ok(match answer.get("status").and_then(Value::as_str) {
            Some("PROCEED") => 0,
            Some("PROCEED_WITH_WARNING") if !self.strict => 0,
            Some("PROCEED_WITH_WARNING" | "FAIL") => 2,
            _ => 3,
        })
    }

    async fn ask(&self) -> Result<Value> {
        if let Some(url) = &self.url {
            // A client of a remote host needs no host.toml.
            let path = self.files.config();
            let local = path.exists() || self.files.config_is_named();
            let web = if local { Config::load(path)? } else { Config::default() };
            return self.remote(url, &web).await;
        }
        let config = Config::read(self.files.config())?;
        let directory = config.resolve(&config.state.directory);
        match Claim::take(&directory, Duration::ZERO).await {
            Ok(claim) => self.here(config, claim).await,
            Err(error) => match config.web.address() {
                Some(address) => self.remote(&address, &config).await,
                None => Err(error
                    .context("another host runs here; set `[web] listen` in its host.toml, so that it can be asked")),
            },
        }
    }

    fn caller(&self) -> String {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        self.caller.clone().or_else(user).unwrap_or_else(|| "host gate".to_owned())
    }

    /// Evaluates the gate in this process, and sends its alerts.
    async fn here(&self, config: Config, _claim: Claim) -> Result<Value> {
        let beside = config.directory.join("plugins");
        let plugins = if self.plugins.is_empty() { vec![beside] } else { self.plugins.clone() };
        let files = self.files.sources(&plugins);
        let sources = Sources { locked: self.files.lock_is_named(), ..files };
        let read = sources.read()?;
        let record = Record::open(&read.config.resolve(&read.config.state.directory)).await?;
        let mut host = read.host(record.clone(), Begin::Whole, |_| {}).await?;
        // Only the gate's own receivers are needed.
        let sources = Sources { checks: vec![self.gate.clone()], ..sources };
        sources.choose(&mut host)?;
        host.find_receivers().await?;
        let host = Arc::new(host);
        let mut sending = JoinSet::new();
        sending.spawn(host.recorder.delivery.clone().run());
        let asked = Gates::default().consult(&host, &self.gate, self.day.date, &self.caller()).await;
        host.recorder.delivery.close();
        // The outbox keeps the rest for the next start.
        let _ = tokio::time::timeout(host.config.delivery.wait.0, sending.join_all()).await;
        host.backends.close().await;
        record.close().await;
        match asked {
            Ok(decision) => Ok(serde_json::to_value(decision)?),
            Err(Refusal::Failed(reason)) => Ok(not_evaluated(&self.gate, &reason)),
            Err(refusal) => bail!("{refusal}"),
        }
    }

    /// Asks a running host.
    async fn remote(&self, address: &str, config: &Config) -> Result<Value> {
        let token = config.web.token(&config.directory)?.with_context(|| {
            format!("{address} needs a token: set {} to the token of the host there", config.web.token_env)
        })?;
        let url = format!("{}/api/v1/gates/{}", address.trim_end_matches('/'), self.gate);
        let body = json!({ "date": self.day.date, "caller": self.caller() });
        let client = http::client().timeout(PATIENCE).build()?;
        let request = client.post(&url).bearer_auth(token).header("content-type", "application/json");
        // No answer never means that it may proceed.
        let answer = match request.body(body.to_string()).send().await {
            Ok(answer) => answer,
            Err(error) => return Ok(not_evaluated(&self.gate, &format!("{url}: no answer: {error:#}"))),
        };
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        match (value.get("status").is_some(), value.get("error").and_then(Value::as_str)) {
            (true, _) => Ok(value),
            (false, Some(error)) if status.is_client_error() => bail!("{url}: {error}"),
            (false, error) => {
                let error = error.unwrap_or("the answer is not from a host");
                Ok(not_evaluated(&self.gate, &format!("{url}: {status}: {error}")))
            }
        }
    }
}

/// The decision for people: what was decided, and why.
fn shown(answer: &Value, strict: bool) -> String {
    let text = |key: &str| answer.get(key).and_then(Value::as_str).map(one_line).unwrap_or_default();
    let number = |key: &str| answer.get(key).and_then(Value::as_f64);
    let list = |key: &str| -> Vec<String> {
        let items = answer.get(key).and_then(Value::as_array).into_iter().flatten();
        items.filter_map(Value::as_str).map(one_line).collect()
    };
    let (status, message) = (text("status"), text("message"));
    let mut shown = match message.starts_with(&format!("{status}:")) {
        true => message,
        false => format!("{status}: {message}"),
    };
    let mut fact = |name: &str, values: Vec<String>| {
        for (at, value) in values.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = write!(shown, "\n{name:10}{value}");
        }
    };
    fact("gate", vec![text("gate")]);
    fact("data of", answer.get("data_date").map(|_| text("data_date")).into_iter().collect());
    if let (Some(actual), Some(expected)) = (number("actual_count"), number("expected_count")) {
        let share = number("completeness_pct").map(|share| format!(" ({} %)", floor(share, 1))).unwrap_or_default();
        fact("complete", vec![format!("{actual} of {expected}{share}")]);
    }
    fact("score", number("quality_score").map(|score| floor(score, 2).to_string()).into_iter().collect());
    fact("missing", list("missing_items"));
    fact("issues", list("quality_issues"));
    if strict && status == "PROCEED_WITH_WARNING" {
        fact("blocked", vec!["--strict does not accept warnings".to_owned()]);
    }
    printable(&shown) + "\n"
}

/// Rounded down to some decimals: 99.99 % is not 100 %.
fn floor(value: f64, decimals: i32) -> f64 {
    let factor = 10f64.powi(decimals);
    // A tolerance, since 0.29 × 100 is a little less than 29.
    (value * factor + 1e-9).floor() / factor
}

fn not_evaluated(gate: &str, reason: &str) -> Value {
    json!({ "gate": gate, "status": "NOT_EVALUATED", "can_proceed": false, "message": reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_never_better_than_its_numbers() {
        let answer = json!({
            "gate": "g", "status": "FAIL", "data_date": "2026-02-05", "message": "PROCEED: \u{1b}[32mall is well\n",
            "actual_count": 2399, "expected_count": 2400, "completeness_pct": 99.96, "quality_score": 0.9999,
            "missing_items": ["a", "b"], "quality_issues": [],
        });
        let expected = "FAIL: PROCEED: [32mall is well\ngate      g\ndata of   2026-02-05\n\
            complete  2399 of 2400 (99.9 %)\nscore     0.99\nmissing   a\n          b\n";
        assert_eq!(shown(&answer, true), expected);
        assert_eq!((floor(0.29, 2), floor(100.0, 1)), (0.29, 100.0));
    }
}
