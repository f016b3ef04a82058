//! `host keygen` and `host sign`: keys, and signatures of plugins.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    package::{File, PrivateKey},
    text::note,
};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host keygen                           writes host.key
  host keygen ~/.secrets/data-team.key

Whoever signs keeps the private key. The public key is printed, for host.toml:
  [trust]
  keys = [\"ed25519:…\"]")]
pub(super) struct Keygen {
    /// The file for the private key; only its user can read it
    #[arg(value_name = "FILE", default_value = "host.key")]
    file: PathBuf,
}

impl Keygen {
    pub(super) fn execute(self) -> Result<u8> {
        let key = PrivateKey::create(&self.file)?;
        note!("{}: the private key; keep it secret and out of version control", self.file.display());
        note!("the public key, for `keys` under [trust] in host.toml:");
        super::print(&format!("{}\n", key.public()))?;
        Ok(0)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:
  host sign --key host.key plugins/phase2-raw.wasm

The signature covers the file's digest and the plugin's NAME@VERSION. It is
written to PLUGIN.wasm.sig. Several keys can sign one file.")]
pub(super) struct Sign {
    /// The plugin files
    #[arg(required = true, value_name = "PLUGIN.wasm")]
    plugins: Vec<PathBuf>,
    /// The private key from `host keygen`
    #[arg(long, value_name = "FILE", default_value = "host.key")]
    key: PathBuf,
}

impl Sign {
    pub(super) fn execute(self) -> Result<u8> {
        let key = PrivateKey::read(&self.key)?;
        for path in &self.plugins {
            let file = File::read(path).map_err(|(_, error)| error)?;
            let signature = key.sign(&file)?;
            note!("{}: {}@{} is signed by {}", signature.display(), file.name, file.version, key.public());
        }
        Ok(0)
    }
}
