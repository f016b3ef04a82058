//! The sample pipeline: a small six-phase pipeline with its data, its code and its deployments, whole or with one fault.
//! The demo and the tests run on it.

mod code;
mod data;
mod fault;
pub mod season;

use std::path::Path;

use anyhow::{Context, Result};
use jiff::{Timestamp, civil::Date, tz::TimeZone};

pub use code::{git, make_code, redeploy, services};
pub use fault::Fault;

/// The sample's configuration.
pub const HOST_TOML: &str = include_str!("../sample/host.toml");

/// The moment that a sample is made for: its data is fresh then.
#[derive(Debug, Clone)]
pub struct Moment {
    /// The moment.
    pub at: Timestamp,
    /// The date that is asked about then: yesterday in New York.
    pub data_date: Date,
}

impl Moment {
    /// For a run at this time.
    pub fn new(at: Timestamp) -> Result<Self> {
        let zone = TimeZone::get("America/New_York").context("no time zone data on this machine")?;
        Ok(Self { at, data_date: at.to_zoned(zone).date().yesterday()? })
    }

    /// When the gate measures the age of the date's data: when it is first due after the date, at half past six in New York,
    /// or at the moment if that is earlier.
    fn expected(&self) -> Result<Timestamp> {
        let due = self.data_date.tomorrow()?.at(6, 30, 0, 0).in_tz("America/New_York")?;
        Ok(self.at.min(due.timestamp()))
    }
}

/// Makes the sample pipeline in a directory, which is emptied first if it holds one.
pub fn make(directory: &Path, moment: &Moment, fault: Option<Fault>) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    for old in ["warehouse", "repository"] {
        let path = directory.join(old);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("{}: cannot be replaced", path.display()))?;
        }
    }
    data::make(&directory.join("warehouse"), moment).context("the sample's warehouse")?;
    code::make_code(directory, moment, code::COMMITS).context("the sample's repository")?;
    std::fs::write(directory.join("host.toml"), HOST_TOML)?;
    match fault {
        Some(fault) => fault.inject(directory, moment).with_context(|| format!("the fault {}", fault.name())),
        None => Ok(()),
    }
}
