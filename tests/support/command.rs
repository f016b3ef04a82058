//! Runs the built host as its users do.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use host_tests::{Fault, HOST_TOML, Moment, make};

use super::{
    AT, postgres,
    slack::{SlackDouble, TOKEN},
};

/// How long to wait for a line.
const PATIENCE: Duration = Duration::from_secs(180);

/// The result of a run of the host.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ended {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// One check's run in the JSON.
    pub fn run(&self, check: &str) -> Value {
        let json = self.json();
        let runs = json["runs"].as_array().cloned().unwrap_or_default();
        runs.into_iter().find(|run| run["check"] == check).unwrap_or_else(|| panic!("no {check}: {self:?}"))
    }
}

/// A directory with a sample pipeline, and the host to run in it.
pub struct Sample {
    directory: TempDir,
    /// The stand-in for Slack.
    pub slack: SlackDouble,
    /// The address of its record, if the tests run with their records on a server.
    record: Option<String>,
}

impl Sample {
    /// Made for [`AT`], with a fault or without, delivering to the Slack double.
    pub fn new(fault: Option<Fault>) -> Result<Self> {
        Self::at(AT.parse()?, fault)
    }

    /// Made for the current time, for a running host.
    pub fn now(fault: Option<Fault>) -> Result<Self> {
        Self::at(Timestamp::now(), fault)
    }

    fn at(moment: Timestamp, fault: Option<Fault>) -> Result<Self> {
        let directory = TempDir::new()?;
        make(directory.path(), &Moment::new(moment)?, fault)?;
        let sample = Self { directory, slack: SlackDouble::start()?, record: postgres::shared_database()? };
        sample.configure(HOST_TOML)?;
        Ok(sample)
    }

    /// Writes host.toml, delivering to the Slack double. The checks are not validated unless it says when.
    pub fn configure(&self, toml: &str) -> Result<()> {
        let never = if toml.contains("validate_schedule") { "" } else { "validate_schedule = \"never\"\n" };
        let toml = format!("{never}{toml}");
        let toml = toml.replace("deliver = \"console\"", "deliver = \"webhook\"");
        let toml = if self.record.is_some() { on_server(&toml) } else { toml };
        Ok(std::fs::write(self.path().join("host.toml"), toml)?)
    }

    /// Writes host.toml, delivering to the Slack double as a bot.
    pub fn configure_bot(&self, toml: &str) -> Result<()> {
        let bot = format!("deliver = \"bot\"\nendpoint = \"{}\"", self.slack.api());
        self.configure(&toml.replace("deliver = \"console\"", &bot))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The host's command, without arguments, in the sample's directory.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("host"));
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path())
            .env("XDG_CACHE_HOME", binary("").join("test-cache"))
            .envs(self.record.as_ref().map(|url| (postgres::VARIABLE, url)))
            .env("SLACK_BOT_TOKEN", TOKEN)
            .env("SLACK_WEBHOOK_URL_CANARY_ALERTS", self.slack.webhook("canary-alerts"))
            .env("SLACK_WEBHOOK_URL_DEPLOYMENT_ALERTS", self.slack.webhook("deployment-alerts"));
        command
    }

    /// Runs the host to its end.
    pub fn host(&self, arguments: &[&str]) -> Result<Ended> {
        ended(self.command().args(arguments))
    }

    /// `host run` with all shipped plugins.
    pub fn stay(&self) -> Result<Staying> {
        let mut command = self.command();
        command.arg("run").args(shipped()?);
        self.stay_with(command)
    }

    /// Starts a command in the background.
    pub fn stay_with(&self, mut command: Command) -> Result<Staying> {
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let err = BufReader::new(process.stderr.take().context("no standard error")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in err.lines().map_while(std::result::Result::ok) {
                // The test no longer waits for it.
                let _ = sender.send(line + "\n");
            }
        });
        Ok(Staying { process, lines, said: String::new() })
    }

    /// Changes a dataset.
    pub fn sql(&self, dataset: &str, sql: &str) -> Result<()> {
        change(self.path(), dataset, sql)
    }

    /// `host run --once` at [`AT`] with all shipped plugins and these arguments.
    pub fn once(&self, arguments: &[&str]) -> Result<Ended> {
        let mut command = self.command();
        command.args(["run", "--once", "--at", AT]).args(arguments).args(shipped()?);
        ended(&mut command)
    }
}

/// The same host.toml with its record on a server.
fn on_server(toml: &str) -> String {
    let url = format!("[state]\nurl_env = \"{}\"\n", postgres::VARIABLE);
    let toml: String =
        toml.lines().filter(|line| *line != "directory = \"state\"").map(|line| format!("{line}\n")).collect();
    match toml.contains("[state]\n") {
        true => toml.replace("[state]\n", &url),
        false => format!("{toml}\n{url}"),
    }
}

/// A running host, which is ended when this is dropped.
pub struct Staying {
    process: Child,
    /// Read continuously, since a full pipe would block the writer.
    lines: Receiver<String>,
    said: String,
}

impl Staying {
    /// Reads its log until a line contains a text; returns the line.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        // Other lines may come for ever.
        let end = Instant::now() + 2 * PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(PATIENCE);
            let line = self.lines.recv_timeout(left);
            let line = line.with_context(|| format!("it never said {text:?}: {}", self.said))?;
            self.said.push_str(&line);
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// What it has said by now.
    pub fn so_far(&self) -> String {
        self.said.clone() + &self.lines.try_iter().collect::<String>()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal: `HUP`.
    pub fn signal(&self, name: &str) -> Result<()> {
        Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status()?;
        Ok(())
    }

    /// Waits until it ends by itself; returns its exit code.
    pub fn ended(mut self) -> Result<Option<i32>> {
        Ok(self.process.wait()?.code())
    }

    /// Ends it, and returns its exit code and everything from standard error.
    pub fn interrupt(self) -> Result<(Option<i32>, String)> {
        self.end("INT")
    }

    /// The same with any signal.
    pub fn end(mut self, signal: &str) -> Result<(Option<i32>, String)> {
        self.signal(signal)?;
        let code = self.process.wait()?.code();
        let rest: String = self.lines.iter().collect();
        Ok((code, std::mem::take(&mut self.said) + &rest))
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    Ok(Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Changes a dataset of the sample in a directory.
pub fn change(sample: &Path, dataset: &str, sql: &str) -> Result<()> {
    let connection = Connection::open(sample.join("warehouse").join(format!("{dataset}.db")))?;
    connection.execute_batch(sql).with_context(|| sql.to_owned())
}

/// This repository. Determined at run time, since a shared target directory may hold a program built in another clone.
pub fn repository() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from).join("..")
}

/// The shipped plugins' files.
pub fn shipped() -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(repository().join("plugins"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
        .collect();
    files.sort();
    anyhow::ensure!(files.len() == 9, "{} plugins are built: run `cargo xtask test`", files.len());
    Ok(files)
}

/// The sample's plugin in Python, built.
pub fn python_plugin() -> PathBuf {
    let target = binary("");
    let file = target.parent().unwrap_or(&target).join("predicted-players").join("predicted-players.wasm");
    assert!(file.is_file(), "{} is not built: run `cargo xtask test`", file.display());
    file
}

/// A guest of tests/guests, built.
pub fn guest(name: &str) -> PathBuf {
    let target = binary("");
    let target = target.parent().unwrap_or(&target);
    let file = target.join("wasm32-wasip2/debug").join(format!("{}.wasm", name.replace('-', "_")));
    assert!(file.is_file(), "{} is not built: run `cargo xtask test`", file.display());
    file
}

/// A binary of this workspace, in the directory above the tests' own.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let deps = test.ancestors().find(|path| path.file_name().is_some_and(|name| name == "deps"));
    deps.and_then(Path::parent).unwrap_or(Path::new(".")).join(name)
}
