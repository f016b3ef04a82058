//! `host gate`: asks a gate about a date; the exit code is its decision. It asks a running host over HTTP, and evaluates
//! the gate itself when none runs.

use std::{fmt::Write, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    flags::{DateFlag, FileFlags, Format, OutputFlag},
    table::one_line,
};
use crate::{
    config::Config,
    gate::{Answer, Decision, Gates, Refusal},
    host::Begin,
    http,
    record::{Address, Claim, Taken},
    recorder::user,
    service::Sources,
    text::printable,
};

/// How long a running host may take to evaluate.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Args)]
#[command(after_help = "The caller and the decision are recorded; `host history phase2-gate` shows
them.

Examples:
  host gate phase2-gate                      about its usual date: yesterday
  host gate phase2-gate --date 2026-02-05 --caller airflow
  host gate phase2-gate --output json        the whole decision, for programs
  host gate phase2-gate && ./run-phase3.sh   phase 3, only if it may proceed
  HOST_TOKEN=… host gate phase2-gate --url https://host.example.com

Exit codes: 0 may proceed (also with warnings, unless --strict), 2 blocked, 3
not evaluated, 64 the gate cannot be asked.")]
pub(super) struct Gate {
    /// The gate: the name of a check
    gate: String,
    /// Plugin files, or directories of them, for when no host runs [default: pinned plugins, or plugins/]
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
        super::leave(runtime);
        let answer = answer?;
        super::print(&match self.output.output {
            Format::Json => format!("{:#}\n", self.json(&answer)?),
            Format::Table => shown(&answer, self.strict),
        })?;
        Ok(match answer.status() {
            Answer::Proceed => 0,
            Answer::ProceedWithWarning if !self.strict => 0,
            Answer::ProceedWithWarning | Answer::Fail => 2,
            Answer::NotEvaluated => 3,
        })
    }

    /// The answer for programs; it agrees with the exit code.
    fn json(&self, answer: &Asked) -> Result<Value> {
        let mut value = serde_json::to_value(answer)?;
        if let (true, Some(fields)) = (self.strict, value.as_object_mut()) {
            fields.insert("can_proceed".to_owned(), json!(answer.status() == Answer::Proceed));
            fields.insert("strict".to_owned(), json!(true));
        }
        Ok(value)
    }

    async fn ask(&self) -> Result<Asked> {
        if let Some(url) = &self.url {
            // A client of a remote host needs no host.toml.
            let path = self.files.config();
            let local = path.exists() || self.files.config_is_named();
            let web = if local { Config::load(path)? } else { Config::default() };
            return self.remote(url, &web).await;
        }
        let config = Config::read(self.files.config())?;
        let address = Address::of(&config)?;
        match address.claim(Duration::ZERO).await {
            Ok(claim) => self.here(claim).await,
            Err(error) if error.is::<Taken>() => match config.web.address(true) {
                Some(page) => self.remote(&page, &config).await,
                None => bail!(
                    "another host is running on {address}; give `[web] listen` in its host.toml a fixed port, so that it can be asked"
                ),
            },
            Err(error) => Err(error),
        }
    }

    fn caller(&self) -> String {
        let named = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        self.caller.clone().or_else(named).unwrap_or_else(user)
    }

    /// Evaluates the gate in this process, and sends its alerts.
    async fn here(&self, _claim: Option<Claim>) -> Result<Asked> {
        let sources = Sources { locked: self.files.lock_is_named(), ..self.files.sources(&self.plugins) };
        let read = sources.read()?;
        let record = super::own_record(&read.config).await?;
        if let Some(why) = super::apart(&record, &read.own()?).await? {
            record.close().await;
            return Ok(self.not_evaluated(why));
        }
        let mut host = read.host(async |_| Ok(record.clone()), Begin::Whole, |_| {}).await?;
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
            Ok(decision) => Ok(Asked::Decision(Box::new(decision))),
            Err(Refusal::Failed(reason)) => Ok(self.not_evaluated(reason)),
            Err(refusal) => bail!("{refusal}"),
        }
    }

    /// Asks a running host.
    async fn remote(&self, address: &str, config: &Config) -> Result<Asked> {
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
            Err(error) => return Ok(self.not_evaluated(format!("{url}: no answer: {error:#}"))),
        };
        let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
        if let Some(answer) = self.accepted(status, &text) {
            return Ok(answer);
        }
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        match value.get("error").and_then(Value::as_str) {
            Some(error) if status.is_client_error() => bail!("{url}: {error}"),
            error => {
                let error = error.unwrap_or("the answer is not from a host");
                Ok(self.not_evaluated(format!("{url}: {status}: {error}")))
            }
        }
    }

    /// A host's answer to this question. Anything else, even if it resembles one, decides nothing.
    fn accepted(&self, code: StatusCode, text: &str) -> Option<Asked> {
        let expected = |status| match status {
            Answer::NotEvaluated => StatusCode::SERVICE_UNAVAILABLE,
            Answer::Proceed | Answer::ProceedWithWarning | Answer::Fail => StatusCode::OK,
        };
        let mine = |gate: &str, status: Answer, can_proceed| {
            gate == self.gate && code == expected(status) && can_proceed == status.can_proceed()
        };
        if let Ok(decision) = serde_json::from_str::<Decision>(text) {
            let dated = self.day.date.is_none_or(|date| date == decision.data_date);
            let accepted = dated && mine(&decision.gate, decision.status, decision.can_proceed);
            return accepted.then(|| Asked::Decision(Box::new(decision)));
        }
        let failed: Failed = serde_json::from_str(text).ok()?;
        let accepted = failed.status == Answer::NotEvaluated && mine(&failed.gate, failed.status, failed.can_proceed);
        accepted.then_some(Asked::Failed(failed))
    }

    fn not_evaluated(&self, reason: String) -> Asked {
        let (gate, status) = (self.gate.clone(), Answer::NotEvaluated);
        Asked::Failed(Failed { gate, status, can_proceed: false, message: reason })
    }
}

/// What came of a question.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Asked {
    Decision(Box<Decision>),
    Failed(Failed),
}

/// No decision: no run of the gate came to an end.
#[derive(Debug, Serialize, Deserialize)]
struct Failed {
    gate: String,
    status: Answer,
    can_proceed: bool,
    message: String,
}

impl Asked {
    fn status(&self) -> Answer {
        match self {
            Self::Decision(decision) => decision.status,
            Self::Failed(failed) => failed.status,
        }
    }
}

/// The answer for people: what was decided, and why.
fn shown(answer: &Asked, strict: bool) -> String {
    let (gate, message) = match answer {
        Asked::Decision(decision) => (one_line(&decision.gate), one_line(&decision.message)),
        Asked::Failed(failed) => (one_line(&failed.gate), one_line(&failed.message)),
    };
    let status = answer.status();
    let mut shown = match message.starts_with(&format!("{}:", status.name())) {
        true => message,
        false => format!("{}: {message}", status.name()),
    };
    let mut fact = |name: &str, values: Vec<String>| {
        for (at, value) in values.iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            let _ = write!(shown, "\n{name:10}{value}");
        }
    };
    fact("gate", vec![gate]);
    if let Asked::Decision(decision) = answer {
        let list = |items: &[String]| items.iter().map(|item| one_line(item)).collect();
        fact("data of", vec![decision.data_date.to_string()]);
        if let (Some(actual), Some(expected)) = (decision.actual_count, decision.expected_count) {
            let part = decision.completeness_pct.and_then(|part| share(part, 100.0, 1));
            let part = part.map(|part| format!(" ({part} %)")).unwrap_or_default();
            fact("complete", vec![format!("{actual} of {expected}{part}")]);
        }
        let score = decision.quality_score.and_then(|score| share(score, 1.0, 2));
        fact("score", score.map(|score| score.to_string()).into_iter().collect());
        fact("missing", list(&decision.missing_items));
        fact("issues", list(&decision.quality_issues));
    }
    if strict && status == Answer::ProceedWithWarning {
        fact("blocked", vec!["--strict does not accept warnings".to_owned()]);
    }
    printable(&shown) + "\n"
}

/// A part of a whole, rounded down to some decimals: 99.99 % is not 100 %. None if it is not a part of it.
fn share(part: f64, whole: f64, decimals: i32) -> Option<f64> {
    let factor = 10f64.powi(decimals);
    // A tolerance, since 0.29 × 100 is a little less than 29. It must not complete the whole.
    let steps = (part * factor + 1e-9).floor();
    let steps = if part < whole { steps.min(whole * factor - 1.0) } else { steps };
    (0.0..=whole).contains(&part).then_some(steps / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_never_better_than_its_numbers() {
        let decision = |change: Value| {
            let mut answer = json!({
                "gate": "g", "status": "FAIL", "can_proceed": false, "data_date": "2026-02-05",
                "message": "PROCEED: \u{1b}[32mall is well\n", "actual_count": 2399, "expected_count": 2400,
                "completeness_pct": 99.96, "quality_score": 0.9999, "missing_items": ["a", "b"], "quality_issues": [],
                "quality_metadata": {}, "evaluated_at": "2026-02-06T10:00:00Z", "plugin": null,
            });
            for (key, value) in change.as_object().expect("an object") {
                answer[key] = value.clone();
            }
            Asked::Decision(serde_json::from_value(answer).expect("a decision"))
        };
        let expected = "FAIL: PROCEED: [32mall is well\ngate      g\ndata of   2026-02-05\n\
            complete  2399 of 2400 (99.9 %)\nscore     0.99\nmissing   a\n          b\n";
        assert_eq!(shown(&decision(json!({})), true), expected);
        let large = json!({
            "actual_count": u64::MAX - 1, "expected_count": u64::MAX, "completeness_pct": 100.5, "quality_score": -1.0,
        });
        let large = shown(&decision(large), true);
        assert!(large.contains("complete  18446744073709551614 of 18446744073709551615\nmissing"), "{large}");
        for (part, whole, decimals, shown) in [
            (0.29, 1.0, 2, Some(0.29)),
            (100.0, 100.0, 1, Some(100.0)),
            (99.999_999_999_99, 100.0, 1, Some(99.9)),
            (1.0f64.next_down(), 1.0, 2, Some(0.99)),
            (0.0, 1.0, 2, Some(0.0)),
            (-0.1, 1.0, 2, None),
            (1.1, 1.0, 2, None),
            (f64::NAN, 1.0, 2, None),
        ] {
            assert_eq!(share(part, whole, decimals), shown, "{part} of {whole}");
        }
    }
}
