//! `host receivers test`: sends a real message to each receiver and shows the answers.

use anyhow::Result;
use clap::{Args, Subcommand};

use serde_json::json;

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    table::Table,
};
use crate::{
    alert::{self, Answer},
    config::{Config, Deliver},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  host receivers test")]
pub(super) enum Receivers {
    /// Send a test message to every configured channel and to the fallback
    Test(Test),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host receivers test                 a message to each channel of host.toml
  host receivers test --output json   for scripts

Exit codes: 0 every receiver accepted its message, 3 one did not, 64
host.toml cannot be used.")]
pub(super) struct Test {
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

impl Receivers {
    pub(super) fn execute(self) -> Result<u8> {
        let Self::Test(test) = self;
        let config = Config::read(test.config.path())?;
        if config.slack.deliver == Deliver::Console {
            super::print(match test.output.output {
                Format::Json => "{ \"receivers\": [] }\n",
                Format::Table => "No receiver to test: slack.deliver is \"console\" in host.toml.\n",
            })?;
            return Ok(0);
        }
        let answers = super::runtime()?.block_on(answers(&config));
        super::print(&match test.output.output {
            Format::Json => json(&answers),
            Format::Table => shown(&answers),
        })?;
        Ok(if answers.iter().all(|(_, answer)| is_taken(answer)) { 0 } else { 3 })
    }
}

fn is_taken(answer: &Result<Answer>) -> bool {
    matches!(answer, Ok(Answer::Taken(_)))
}

fn text(answer: &Result<Answer>) -> String {
    match answer {
        Ok(Answer::Taken(_)) => "accepted".to_owned(),
        Ok(Answer::Again(said, _) | Answer::Unreadable(said) | Answer::Threadless(said) | Answer::Refused(said)) => {
            said.clone()
        }
        Err(error) => format!("{error:#}"),
    }
}

fn json(answers: &[(String, Result<Answer>)]) -> String {
    let receivers = answers.iter().map(
        |(receiver, answer)| json!({ "receiver": receiver, "accepted": is_taken(answer), "answer": text(answer) }),
    );
    format!("{:#}\n", json!({ "receivers": receivers.collect::<Vec<_>>() }))
}

fn shown(answers: &[(String, Result<Answer>)]) -> String {
    let mut table = Table::new(["RECEIVER", "ANSWER"]);
    for (receiver, answer) in answers {
        table.row(vec![receiver.clone(), text(answer)]);
    }
    table.text()
}

/// Every receiver in host.toml, with its answer.
async fn answers(config: &Config) -> Vec<(String, Result<Answer>)> {
    let at = crate::record::now();
    let mut answers = Vec::new();
    for channel in alert::Receivers::channels_in(config) {
        let answer = match alert::Receivers::only(config, channel).await {
            Ok(receivers) => Ok(receivers.test(channel, at).await),
            Err(error) => Err(error),
        };
        answers.push((channel.to_owned(), answer));
    }
    match alert::Receivers::fallback_only(config).await {
        Ok(None) => {}
        Ok(Some(receivers)) => answers.push(("fallback".to_owned(), Ok(receivers.test(alert::FALLBACK, at).await))),
        Err(error) => answers.push(("fallback".to_owned(), Err(error))),
    }
    answers
}
