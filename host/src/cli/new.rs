//! `host new`: a small complete plugin to begin with.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::template::{self, Language};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host new raw-events                     a canary in Rust, in raw-events/
  host new raw-events --lang python       the same in Python
  host new raw-events --lang javascript   the same in JavaScript

It has a check with its settings, a runbook, cases for `host test`, the SDK and the contract, and needs nothing else of
this project. What builds it is the language's own: cargo with the target wasm32-wasip2, Python 3.11 with pip, or
Node.js 20 with npm.")]
pub(super) struct New {
    /// The plugin's name: lower-case letters, digits and -.
    name: String,
    /// The language that it is written in.
    #[arg(long = "lang", value_enum, value_name = "LANGUAGE", default_value_t = Language::Rust)]
    language: Language,
    /// Where it goes. Default: a directory of its name.
    #[arg(long = "dir", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl New {
    pub(super) fn execute(self) -> Result<u8> {
        let directory = self.directory.unwrap_or_else(|| PathBuf::from(&self.name));
        template::make(&self.name, self.language, &directory)?;
        let steps: Vec<String> =
            self.language.next_steps(&self.name).into_iter().map(|step| format!("  {step}\n")).collect();
        super::print(&format!(
            "{} is made. Next:\n  cd {}\n{}",
            directory.display(),
            directory.display(),
            steps.concat()
        ))?;
        Ok(0)
    }
}
