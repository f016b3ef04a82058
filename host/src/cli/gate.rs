//! `host gate`: asks a gate about a date, and ends with what it answered: a host that runs is asked over HTTP, else it is
//! evaluated here.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;
use jiff::civil::Date;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    config::Config,
    gate::{Gates, Refusal},
    host::Begin,
    http,
    record::{Claim, Record},
    service::Sources,
};

/// How long a host that runs may take to evaluate.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Args)]
#[command(
    after_help = "The answer is JSON: whether the date may be processed, and why. Who asked, and what they were told, is recorded;
`host history phase2-gate` shows it.

Examples:
  host gate phase2-gate                                  yesterday's data
  host gate phase2-gate --date 2026-02-05 --caller airflow
  host gate phase2-gate && ./run-phase3.sh               only when it may proceed
  HOST_TOKEN=… host gate phase2-gate --url https://host.example.com

Exit codes: 0 may proceed (with warnings too, unless --strict), 2 blocked, 3 not evaluated, 64 it cannot be asked."
)]
pub(super) struct Gate {
    /// The gate: a check's name.
    gate: String,
    /// Plugin components, or directories of them, for when no host runs. Default: `plugins` beside the configuration.
    #[arg(value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The date whose data is asked about, instead of yesterday.
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<Date>,
    /// Who asks. Default: the user's name.
    #[arg(long)]
    caller: Option<String>,
    /// A warning blocks too.
    #[arg(long)]
    strict: bool,
    /// The address of a host that runs. Its token is read from the environment or the file that `[web]` names.
    #[arg(long, value_name = "ADDRESS")]
    url: Option<String>,
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
    /// What is pinned; plugins.lock beside the configuration unless it is named.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

impl Gate {
    pub(super) fn execute(self) -> Result<u8> {
        let runtime = super::runtime()?;
        let answer = runtime.block_on(self.ask());
        runtime.shutdown_background();
        let answer = answer?;
        super::print(&format!("{answer:#}\n"))?;
        Ok(match answer.get("status").and_then(Value::as_str) {
            Some("PROCEED") => 0,
            Some("PROCEED_WITH_WARNING") if !self.strict => 0,
            Some("PROCEED_WITH_WARNING" | "FAIL") => 2,
            _ => 3,
        })
    }

    async fn ask(&self) -> Result<Value> {
        if let Some(url) = &self.url {
            // A client of a host elsewhere need not have its host.toml.
            let web = if self.config.exists() { Config::load(&self.config)? } else { Config::default() };
            return self.remote(url, &web).await;
        }
        let config = Config::read(&self.config)?;
        let directory = config.resolve(&config.state.directory);
        match Claim::take(&directory, Duration::ZERO).await {
            Ok(claim) => self.here(config, claim).await,
            Err(error) => match config.web.address() {
                Some(address) => self.remote(&address, &config).await,
                None => Err(error.context("the gate cannot be evaluated beside a host that runs; give that one `[web] listen`, and it is asked")),
            },
        }
    }

    fn caller(&self) -> String {
        let user = || std::env::var("USER").ok().filter(|user| !user.is_empty());
        self.caller.clone().or_else(user).unwrap_or_else(|| "host gate".to_owned())
    }

    /// Evaluates it in this process, and tells people what there is to tell.
    async fn here(&self, config: Config, _claim: Claim) -> Result<Value> {
        let beside = config.directory.join("plugins");
        let plugins = if self.plugins.is_empty() { vec![beside] } else { self.plugins.clone() };
        let files = super::sources(&self.config, self.lock.as_ref(), &plugins);
        let sources = Sources { locked: self.lock.is_some(), ..files };
        let read = sources.read()?;
        let record = Record::open(&read.config.resolve(&read.config.state.directory)).await?;
        let mut host = read.host(record.clone(), Begin::Whole, |_| {}).await?;
        // The receivers of other checks are not its business; a gate's own are.
        let sources = Sources { checks: vec![self.gate.clone()], ..sources };
        sources.choose(&mut host)?;
        host.find_receivers().await?;
        let host = Arc::new(host);
        let mut sending = JoinSet::new();
        sending.spawn(host.recorder.delivery.clone().run());
        let asked = Gates::default().consult(&host, &self.gate, self.date, &self.caller()).await;
        host.recorder.delivery.close();
        // What is left then is in the outbox, and is sent by the next start.
        let _ = tokio::time::timeout(host.config.delivery.wait.0, sending.join_all()).await;
        host.backends.close().await;
        record.close().await;
        match asked {
            Ok(decision) => Ok(serde_json::to_value(decision)?),
            Err(Refusal::Failed(reason)) => Ok(not_evaluated(&self.gate, &reason)),
            Err(refusal) => bail!("{refusal}"),
        }
    }

    /// Asks a host that runs.
    async fn remote(&self, address: &str, config: &Config) -> Result<Value> {
        let token = config.web.token(&config.directory)?.with_context(|| {
            format!("{address} needs a token: set {}, as for the host that runs there", config.web.token_env)
        })?;
        let url = format!("{}/api/v1/gates/{}", address.trim_end_matches('/'), self.gate);
        let body = json!({ "date": self.date, "caller": self.caller() });
        let client = http::client().timeout(PATIENCE).build()?;
        let request = client.post(&url).bearer_auth(token).header("content-type", "application/json");
        // Whoever does not answer has not said that it may proceed.
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
                let error = error.unwrap_or("that is no answer of a host");
                Ok(not_evaluated(&self.gate, &format!("{url}: {status}: {error}")))
            }
        }
    }
}

fn not_evaluated(gate: &str, reason: &str) -> Value {
    json!({ "gate": gate, "status": "NOT_EVALUATED", "can_proceed": false, "message": reason })
}
