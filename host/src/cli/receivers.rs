//! `host receivers test`: a real message to everybody who would get one, and what was answered.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::table::Table;
use crate::{
    alert::{self, Answer},
    config::{Config, Deliver},
};

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:
  host receivers test")]
pub(super) enum Receivers {
    /// Send a test message to every configured channel and to the fallback, and show what was answered.
    Test(Test),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host receivers test                                 a message to each channel of host.toml
  host receivers test --config /etc/host/host.toml

Exit codes: 0 every receiver took its message, 3 one did not; 64 host.toml cannot be used.")]
pub(super) struct Test {
    /// The configuration.
    #[arg(long, value_name = "FILE", default_value = "host.toml")]
    config: PathBuf,
}

impl Receivers {
    pub(super) fn execute(self) -> Result<u8> {
        let Self::Test(test) = self;
        let config = Config::read(&test.config)?;
        if config.slack.deliver == Deliver::Console {
            super::print("Messages are shown on the console: slack.deliver is \"console\" in host.toml.\n")?;
            return Ok(0);
        }
        let answers = super::runtime()?.block_on(answers(&config));
        let mut table = Table::new(&["RECEIVER", "ANSWER"]);
        for (receiver, answer) in &answers {
            let text = match answer {
                Ok(Answer::Taken) => "it was taken".to_owned(),
                Ok(Answer::Again(said, _) | Answer::Unreadable(said) | Answer::Refused(said)) => said.clone(),
                Err(error) => format!("{error:#}"),
            };
            table.row(vec![receiver.clone(), text]);
        }
        super::print(&table.text())?;
        let taken = answers.iter().all(|(_, answer)| matches!(answer, Ok(Answer::Taken)));
        Ok(if taken { 0 } else { 3 })
    }
}

/// Every receiver that host.toml names, with what became of its message.
async fn answers(config: &Config) -> Vec<(String, Result<Answer>)> {
    let at = Timestamp::now();
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
