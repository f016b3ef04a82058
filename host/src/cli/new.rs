//! `host new`: a small, complete plugin to start from.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::{
    template::{self, Language},
    text::quoted_path,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host new raw-events                     a canary in Rust, in raw-events/
  host new raw-events --lang python       the same in Python
  host new raw-events --lang javascript   the same in JavaScript

The directory has a check with settings, a runbook, cases for `host test`,
the SDK and the contract; it needs nothing else of this project. To build it
you need cargo with the target wasm32-wasip2, Python 3.11 with pip, or
Node.js 20 with npm.")]
pub(super) struct New {
    /// The plugin's name: lower-case letters, digits and -
    name: String,
    /// The language
    #[arg(long = "lang", value_enum, value_name = "LANGUAGE", default_value_t = Language::Rust)]
    language: Language,
    /// The directory to make [default: the plugin's name]
    #[arg(long = "dir", value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl New {
    pub(super) fn execute(self) -> Result<u8> {
        let directory = self.directory.unwrap_or_else(|| PathBuf::from(&self.name));
        template::check_name(&self.name)?;
        if let Some(occupied) = template::occupied(&directory) {
            bail!("{occupied}; choose another --dir");
        }
        template::make(&self.name, self.language, &directory)?;
        let steps: Vec<String> =
            self.language.next_steps(&self.name).into_iter().map(|step| format!("  {step}\n")).collect();
        super::print(&format!(
            "Created {}. Next:\n  cd {}\n{}",
            directory.display(),
            quoted_path(&directory),
            steps.concat()
        ))?;
        Ok(0)
    }
}
