//! A sample pipeline with a host inside the test process, so that a test can make faults between runs.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use host::{
    capability::Backends,
    check::Check,
    config::Config,
    config::DataDate,
    host::{Begin, Host},
    record::Record,
    recorder::Recorder,
    run::{self, Run, When},
};
use jiff::Timestamp;
use tempfile::TempDir;

use host_tests::{Moment, git, make, redeploy};

use super::{
    AT, DATE,
    command::{binary, change, guest, repository},
};

/// A sample pipeline and its host.
pub struct Watched {
    directory: TempDir,
    runtime: tokio::runtime::Runtime,
    host: Host,
}

impl Watched {
    /// With these plugins, by name, and changes to the text of host.toml.
    pub fn new(plugins: &[&str], change: impl Fn(String) -> String) -> Result<Self> {
        Self::with_guests(plugins, &[], change)
    }

    /// The same with guests of tests/guests beside them.
    pub fn with_guests(plugins: &[&str], guests: &[&str], change: impl Fn(String) -> String) -> Result<Self> {
        Self::recorded(plugins, guests, change, async |_| Record::memory().await)
    }

    /// The same with a record on the disk, which takes no memory of this process.
    pub fn on_disk(plugins: &[&str], guests: &[&str], change: impl Fn(String) -> String) -> Result<Self> {
        Self::recorded(plugins, guests, change, async |directory| Record::open(&directory.join("state")).await)
    }

    fn recorded(
        plugins: &[&str],
        guests: &[&str],
        change: impl Fn(String) -> String,
        record: impl AsyncFnOnce(PathBuf) -> Result<Record>,
    ) -> Result<Self> {
        let directory = TempDir::new()?;
        make(directory.path(), &Moment::new(AT.parse()?)?, None)?;
        let pristine = directory.path().join("pristine");
        copy(&directory.path().join("warehouse"), &pristine)?;
        fs::copy(directory.path().join("deployments.json"), pristine.join("deployments.json"))?;

        let mut config = Config::parse(&change(host_tests::HOST_TOML.to_owned()))?;
        config.directory = directory.path().to_owned();
        config.checks.retain(|name, check| {
            let wanted = check.plugin.as_ref().unwrap_or(name).as_str();
            plugins.contains(&wanted) || guests.contains(&wanted)
        });
        let kept: Vec<String> = config.checks.keys().cloned().collect();
        for check in config.checks.values_mut() {
            check.depends_on.retain(|name| kept.contains(name));
        }
        let files: Vec<PathBuf> =
            plugins.iter().map(|name| plugin(name)).chain(guests.iter().map(|name| guest(name))).collect();
        // This program is not `host`, so the confined compiler must be the built one.
        host::confined::use_program(&binary("host"));
        let runtime = tokio::runtime::Runtime::new()?;
        let host = runtime.block_on(async {
            let recorder = Recorder::new(record(directory.path().to_owned()).await?, &config).await?;
            Host::new(config, host::plugin::read(&files).await, None, recorder, Begin::Whole, |_| {}).await
        })?;
        Ok(Self { directory, runtime, host })
    }

    /// Where the sample is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where its host runs.
    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// A check, by its name.
    pub fn check(&self, name: &str) -> Arc<Check> {
        self.host.find(name).unwrap().clone()
    }

    /// Its backends.
    pub fn backends(&self) -> Arc<Backends> {
        self.host.backends.clone()
    }

    /// The usual moment of a run.
    pub fn moment(&self) -> Result<run::Moment> {
        run::Moment::usual(AT.parse()?, DataDate::default(), &self.host.config.timezone)
    }

    /// Restores the original state.
    pub fn restore(&self) -> Result<()> {
        copy(&self.path().join("pristine"), &self.path().join("warehouse"))?;
        fs::copy(self.path().join("pristine/deployments.json"), self.path().join("deployments.json"))?;
        Ok(())
    }

    /// Changes a dataset.
    pub fn sql(&self, dataset: &str, sql: &str) -> Result<()> {
        change(self.path(), dataset, sql)
    }

    /// Changes one entry of deployments.json; `None` removes it.
    pub fn redeploy(&self, service: &str, change: impl Fn(&mut serde_json::Value) -> Option<()>) -> Result<()> {
        redeploy(self.path(), service, change)
    }

    /// Runs git in the sample's repository.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        git(&self.path().join("repository"), arguments, "")
    }

    /// Runs one check at the sample's moment.
    pub fn run(&self, check: &str) -> Result<Run> {
        self.run_at(check, AT.parse()?)
    }

    /// Runs one check at another moment, about the sample's date.
    pub fn run_at(&self, check: &str, at: Timestamp) -> Result<Run> {
        self.round(&[check], at)?.into_iter().next().context("no run")
    }

    /// Runs one check at its usual moment, without recording or alerts.
    pub fn run_alone(&self, check: &str) -> Result<Run> {
        let check = self.host.checks.iter().find(|known| known.name == check).context("no such check")?;
        Ok(self.runtime.block_on(check.run(&self.host.backends, &self.host.recorder.record, self.moment()?)))
    }

    /// Runs checks concurrently.
    pub fn round(&self, checks: &[&str], at: Timestamp) -> Result<Vec<Run>> {
        let place = |check: &&str| self.host.checks.iter().position(|known| known.name == *check);
        let places: Option<Vec<usize>> = checks.iter().map(place).collect();
        let when = When { at: Some(at), date: Some(DATE.parse()?) };
        let places = places.context("no such check")?;
        Ok(self.runtime.block_on(self.host.round(&places, at, when))?.runs)
    }
}

/// A built plugin's file.
pub fn plugin(name: &str) -> PathBuf {
    let file = repository().join("plugins").join(format!("{name}.wasm"));
    assert!(file.is_file(), "{} is not built: run `cargo xtask test`", file.display());
    file
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The same plugin with another version, in its metadata and its description, but not in the names of the API.
pub fn reversioned(name: &str, version: &str) -> Vec<u8> {
    let mut bytes = fs::read(plugin(name)).unwrap();
    for at in 1..bytes.len() - 5 {
        if &bytes[at..at + 5] == b"0.1.0" && bytes[at - 1] != b'@' {
            bytes[at..at + 5].copy_from_slice(version.as_bytes());
        }
    }
    bytes
}
