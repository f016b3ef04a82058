//! A running host with its page, and clients for it.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::command::{Sample, Staying, guest, shipped};

/// The token of all hosts in the tests.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A running host with its page.
pub struct Service {
    /// Its process.
    pub host: Staying,
    /// The address of its page: `127.0.0.1:40123`.
    pub address: String,
}

/// A response.
#[derive(Debug)]
pub struct Answered {
    /// The status code.
    pub status: u16,
    /// Status line and headers, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answered {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Copies shipped plugins or test guests into the sample, where they can be replaced.
pub fn install(sample: &Sample, guests: &[&str]) -> Result<PathBuf> {
    let files = if guests.is_empty() { shipped()? } else { guests.iter().map(|name| guest(name)).collect() };
    install_files(sample, &files)
}

/// The same with any files.
pub fn install_files(sample: &Sample, files: &[PathBuf]) -> Result<PathBuf> {
    let directory = sample.path().join("plugins");
    std::fs::create_dir_all(&directory)?;
    for file in files {
        std::fs::copy(file, directory.join(file.file_name().context("no name")?))?;
    }
    Ok(directory)
}

impl Service {
    /// `host run plugins/` in a sample that has its plugins; host.toml must not have `[web]`.
    pub fn start(sample: &Sample, toml: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_at(sample, toml, arguments, "127.0.0.1:0")
    }

    /// The same, listening elsewhere.
    pub fn start_at(sample: &Sample, toml: &str, arguments: &[&str], listen: &str) -> Result<Self> {
        Self::start_with(sample, toml, arguments, &format!("listen = \"{listen}\""))
    }

    /// The same, with the lines of `[web]`.
    pub fn start_with(sample: &Sample, toml: &str, arguments: &[&str], web: &str) -> Result<Self> {
        sample.configure(&format!("{toml}\n[web]\n{web}\n"))?;
        let mut command = sample.command();
        command.args(["run", "plugins"]).args(arguments);
        Self::launch(sample, command)
    }

    /// A command that runs a host with a page, as host.toml has it.
    pub fn launch(sample: &Sample, mut command: Command) -> Result<Self> {
        command.env("HOST_TOKEN", TOKEN);
        let mut host = sample.stay_with(command)?;
        let line = host.wait_for("the page is at http://")?;
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next()).context("no address")?;
        // If it listens on all addresses, use loopback.
        let address = address.replace("0.0.0.0", "127.0.0.1");
        Ok(Self { address, host })
    }

    /// Reads a page.
    pub fn get(&self, path: &str) -> Answered {
        self.client().get(path)
    }

    /// Sends an action, with the token.
    pub fn post(&self, path: &str, body: &str) -> Answered {
        let token = format!("Bearer {TOKEN}");
        self.ask("POST", path, &[("authorization", &token)], body).unwrap_or_else(|error| panic!("{path}: {error:#}"))
    }

    /// Any request.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answered> {
        self.client().ask(method, path, headers, body)
    }

    /// Any bytes.
    pub fn send(&self, bytes: &[u8]) -> Result<Answered> {
        self.client().send(bytes)
    }

    /// A client, for another thread.
    pub fn client(&self) -> Client {
        Client { address: self.address.clone() }
    }

    /// One check, from the API.
    pub fn check(&self, name: &str) -> Value {
        self.get(&format!("/api/v1/checks/{name}")).json()
    }

    /// Whether a check ran for a later due time; a due time without a run took no time.
    pub fn ran_since(&self, check: &str, due: &str) -> bool {
        let run = self.get(&format!("/api/v1/runs?check={check}")).json()["runs"][0].clone();
        run["due"].as_str() > Some(due) && run["seconds"].as_f64() > Some(0.0)
    }

    /// Waits until a condition holds, within a time.
    pub fn wait_until(&self, what: &str, seconds: u64, mut so: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !so(self) {
            let log = || self.host.so_far();
            assert!(start.elapsed() < Duration::from_secs(seconds), "not within {seconds} s: {what}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A client of a host.
#[derive(Debug, Clone)]
pub struct Client {
    address: String,
}

impl Client {
    /// Of something else that listens: `127.0.0.1:40123`.
    pub fn at(address: String) -> Self {
        Self { address }
    }

    /// Reads a page.
    pub fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[], "").unwrap_or_else(|error| panic!("{path}: {error:#}"))
    }

    /// Any request.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answered> {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            request += &format!("host: {}\r\n", self.address);
        }
        for (name, value) in headers {
            request += &format!("{name}: {value}\r\n");
        }
        self.send(format!("{request}\r\n{body}").as_bytes())
    }

    /// Any bytes.
    pub fn send(&self, bytes: &[u8]) -> Result<Answered> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        // It may answer and close before all of it is sent.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        anyhow::ensure!(!answer.is_empty(), "no answer: {read:?}");
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").context("no head")?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        Ok(Answered { status, head: head.to_lowercase(), body: body.to_owned() })
    }
}
