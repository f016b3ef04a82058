//! `host fleet`: the hosts on one record, and which configuration holds.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    flags::{ConfigFlag, Format, OutputFlag},
    local, own_record, recorded,
    table::Table,
};
use crate::{config::Config, record::Audited, recorder::user};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  host fleet                     the hosts, what each runs and does
  host fleet adopt 3f9a1c        go back to what some hosts run

The configuration with the highest HOST_REVISION holds. A host that runs
another one takes no part. docs/fleet.md explains it."
)]
pub(super) struct Fleet {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    output: OutputFlag,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Let another configuration hold, until a higher revision is seen
    Adopt(Adopt),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host fleet adopt 3f9a1c        the configuration whose digest begins so;
                                 `host fleet` lists them under RUNS")]
struct Adopt {
    /// The digest of a configuration, or its beginning
    digest: String,
    #[command(flatten)]
    config: ConfigFlag,
}

impl Fleet {
    pub(super) fn execute(self) -> Result<u8> {
        match self.command {
            Some(Command::Adopt(adopt)) => adopt.execute(),
            None => self.list(),
        }
    }

    fn list(&self) -> Result<u8> {
        let config = shared(self.config.path())?;
        super::runtime()?.block_on(async {
            let record = recorded(&config).await?;
            let (peers, holding) = (record.peers().await?, record.holding().await?);
            record.close().await;
            let zone = config.timezone.rules();
            let mut table = Table::new(["HOST", "ID", "VERSION", "SINCE", "RUNS", "REVISION", "LAG", "CLAIMS"]);
            for peer in &peers {
                let runs =
                    if peer.takes_part { peer.digest.clone() } else { format!("{} (takes no part)", peer.digest) };
                table.row(vec![
                    peer.name.clone(),
                    peer.id.clone(),
                    peer.version.clone(),
                    local(peer.began, &zone),
                    runs,
                    peer.revision.map(|revision| revision.to_string()).unwrap_or_default(),
                    peer.lag.map(|lag| format!("{lag:.1} s")).unwrap_or_default(),
                    peer.claims.len().to_string(),
                ]);
            }
            super::print(&match self.output.output {
                Format::Json => {
                    let holding =
                        holding.map(|holding| json!({ "digest": holding.digest, "revision": holding.revision }));
                    format!("{:#}\n", json!({ "hosts": peers, "holding": holding }))
                }
                Format::Table if peers.is_empty() => "No host runs on this record.\n".to_owned(),
                Format::Table => table.text(),
            })?;
            Ok(0)
        })
    }
}

impl Adopt {
    fn execute(self) -> Result<u8> {
        let config = shared(self.config.path())?;
        super::runtime()?.block_on(async {
            let record = own_record(&config).await?;
            let (now, who) = (crate::record::now(), user());
            let entry = |change| Audited { at: now, who, place: "fleet".to_owned(), change };
            let digest = record.adopt(&self.digest, now, entry).await?;
            super::print(&format!("{digest} holds now; hosts that run another configuration take no part\n"))?;
            record.close().await;
            Ok(0)
        })
    }
}

/// A configuration whose record several hosts may share.
fn shared(path: &std::path::Path) -> Result<Config> {
    let config = Config::read(path)?;
    if config.state.url_env.is_none() {
        bail!("the record is in a directory, for one host: set `url_env` under [state] for several; see docs/fleet.md");
    }
    Ok(config)
}
