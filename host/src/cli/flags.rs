//! Flags that several subcommands have. Each is defined once, so that it means the same everywhere.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use jiff::civil::Date;
use serde_json::Value;

use crate::{package::LOCK, service::Sources};

/// The configuration when none is named.
const CONFIG: &str = "host.toml";

/// `--config`
#[derive(Debug, Args)]
pub(super) struct ConfigFlag {
    /// The configuration file [default: host.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// `--config` and `--lock`
#[derive(Debug, Args)]
pub(super) struct FileFlags {
    #[command(flatten)]
    config: ConfigFlag,
    #[command(flatten)]
    lock: LockFlag,
}

/// `--lock`
#[derive(Debug, Args)]
pub(super) struct LockFlag {
    /// The lock file [default: plugins.lock beside the configuration]
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
}

/// `--check`
#[derive(Debug, Args)]
pub(super) struct CheckFlag {
    /// Only this check; repeat it for several
    #[arg(long = "check", value_name = "NAME")]
    pub(super) checks: Vec<String>,
}

/// `--date`
#[derive(Debug, Args)]
pub(super) struct DateFlag {
    /// The data date [default: the `data_date` of each check, usually yesterday]. A date after the newest one of a
    /// check is refused
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(super) date: Option<Date>,
}

/// `--output`
#[derive(Debug, Args)]
pub(super) struct OutputFlag {
    /// The format on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub(super) output: Format,
}

/// The formats that every command with `--output` has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[value(alias = "text")]
    Table,
    /// For programs
    Json,
}

/// The formats of a command that CI systems run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CiFormat {
    /// For people
    #[value(alias = "text")]
    Table,
    /// For programs
    Json,
    /// For CI systems
    Junit,
}

/// `KEY=VALUE`, the value as in host.toml; what is not a value there is a text.
pub(super) fn setting(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as min_records=40")?;
    let parsed: Option<toml::Table> = toml::from_str(&format!("value = {value}")).ok();
    let parsed = parsed.and_then(|mut table| table.remove("value")).and_then(|value| serde_json::to_value(value).ok());
    Ok((key.trim().to_owned(), parsed.unwrap_or_else(|| Value::String(value.to_owned()))))
}

impl ConfigFlag {
    pub(super) fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(CONFIG))
    }

    /// Whether the command line names it. A file that nobody named may be missing where it is optional.
    pub(super) fn is_named(&self) -> bool {
        self.config.is_some()
    }
}

impl LockFlag {
    pub(super) fn is_named(&self) -> bool {
        self.lock.is_some()
    }

    pub(super) fn beside(&self, config: &Path) -> PathBuf {
        self.lock.clone().unwrap_or_else(|| config.with_file_name(LOCK))
    }

    /// For a command that reads no configuration.
    pub(super) fn path(&self) -> PathBuf {
        self.beside(Path::new(CONFIG))
    }
}

impl FileFlags {
    pub(super) fn config(&self) -> &Path {
        self.config.path()
    }

    pub(super) fn config_is_named(&self) -> bool {
        self.config.is_named()
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.lock.beside(self.config())
    }

    pub(super) fn lock_is_named(&self) -> bool {
        self.lock.is_named()
    }

    /// The files that a command works on: all checks, pinned or not.
    pub(super) fn sources(&self, plugins: &[PathBuf]) -> Sources {
        Sources {
            config: self.config().to_owned(),
            lock: self.lock(),
            locked: false,
            plugins: plugins.to_vec(),
            checks: Vec::new(),
        }
    }
}
