//! `host completions`, `host man` and `host schema`: files for shells, for `man` and for editors.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Arguments;
use crate::config;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host completions bash > ~/.local/share/bash-completion/completions/host
  host completions zsh > ~/.zfunc/_host   needs ~/.zfunc in fpath
  host completions fish > ~/.config/fish/completions/host.fish")]
pub(super) struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(self) -> Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "host", &mut script);
        super::print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host man ~/.local/share/man/man1 && man host-run")]
pub(super) struct Man {
    /// The directory to write to: one page for `host` and one for each command
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Man {
    pub(super) fn execute(self) -> Result<u8> {
        let place = || format!("{}: not written", self.directory.display());
        std::fs::create_dir_all(&self.directory).with_context(place)?;
        clap_mangen::generate_to(Arguments::command(), &self.directory).with_context(place)?;
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host schema > host.schema.json

With `#:schema ./host.schema.json` as the first line of host.toml, editors
that support Taplo complete its keys.")]
pub(super) struct Schema {
    /// Print a page to read instead of a JSON Schema
    #[arg(long)]
    markdown: bool,
}

impl Schema {
    pub(super) fn execute(self) -> Result<u8> {
        super::print(&match self.markdown {
            true => config::reference(),
            false => format!("{:#}\n", config::schema()),
        })?;
        Ok(0)
    }
}
