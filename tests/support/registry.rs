//! A real registry, Debian's `docker-registry`, on a free port of this machine, and a proxy that falsifies its answers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

/// The user and password of a closed registry, for these tests only.
pub const USER: (&str, &str) = ("tester", "not-a-secret");
/// The password as htpasswd keeps it (bcrypt).
const KEPT: &str = "tester:$2b$05$661y/YVXhqMEVdjDQ5bRH.RmwFicQoHAewzWZ6JZvN7UuHnG2kNd2\n";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running registry; it ends with this.
pub struct Registry {
    process: Child,
    directory: TempDir,
    port: u16,
}

impl Registry {
    /// Starts an empty registry; if `closed`, only for [`USER`].
    pub fn start(closed: bool) -> Result<Self> {
        let directory = TempDir::new()?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let auth = match closed {
            true => {
                format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}/htpasswd\n", directory.path().display())
            }
            false => String::new(),
        };
        std::fs::write(directory.path().join("htpasswd"), KEPT)?;
        let config = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}/data\nhttp:\n  addr: 127.0.0.1:{port}\n{auth}",
            directory.path().display()
        );
        let path = directory.path().join("config.yml");
        std::fs::write(&path, config)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("docker-registry is not there: run `cargo xtask test`")?;
        let registry = Self { process, directory, port };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > PATIENCE {
                bail!("the registry does not start");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }

    /// `127.0.0.1:1234`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Moves a tag to another tag's manifest, as its owner can.
    pub fn move_tag(&self, repository: &str, tag: &str, to: &str) -> Result<()> {
        let tags =
            self.directory.path().join(format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags"));
        let link = |tag: &str| -> PathBuf { tags.join(tag).join("current/link") };
        std::fs::create_dir_all(link(tag).parent().unwrap_or(Path::new("")))?;
        std::fs::copy(link(to), link(tag))?;
        Ok(())
    }
}

impl Registry {
    /// Removes a tag, as its owner can.
    pub fn remove_tag(&self, repository: &str, tag: &str) -> Result<()> {
        let tags =
            self.directory.path().join(format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags"));
        Ok(std::fs::remove_dir_all(tags.join(tag))?)
    }

    /// The tags of a repository.
    pub fn manifest_tags(&self, repository: &str) -> Result<Vec<String>> {
        let tags =
            self.directory.path().join(format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags"));
        let entries = std::fs::read_dir(tags)?.flatten();
        Ok(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    /// Publishes a list of images under a tag, as builders for several platforms do.
    pub fn push_index(&self, repository: &str, tag: &str) -> Result<()> {
        let media_type = "application/vnd.oci.image.index.v1+json";
        let body = format!(r#"{{"schemaVersion":2,"mediaType":"{media_type}","manifests":[]}}"#);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        let head = format!(
            "PUT /v2/{repository}/manifests/{tag} HTTP/1.1\r\nHost: {}\r\nContent-Type: {media_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.host(),
            body.len()
        );
        stream.write_all((head + &body).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        Ok(())
    }

    /// The manifest of a tag, as it is stored.
    pub fn manifest(&self, repository: &str, tag: &str) -> Result<Value> {
        let link = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link");
        self.json(std::fs::read_to_string(self.directory.path().join(link))?.trim())
    }

    /// A stored document, by its digest.
    pub fn json(&self, digest: &str) -> Result<Value> {
        let hex = digest.trim_start_matches("sha256:");
        let path = format!("data/docker/registry/v2/blobs/sha256/{}/{hex}/data", hex.get(..2).unwrap_or_default());
        Ok(serde_json::from_slice(&std::fs::read(self.directory.path().join(path))?)?)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a proxy changes the bodies of large answers.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Unchanged.
    None,
    /// Changes one byte.
    Altered,
    /// Drops the second half.
    CutOff,
    /// Stalls in the middle, and then closes the connection.
    Interrupted,
    /// Replaces it entirely, with any length.
    Substituted(Vec<u8>),
}

/// A proxy before a registry.
pub struct Proxy {
    port: u16,
    fault: Arc<Mutex<Fault>>,
}

/// What a proxy answers itself: a request's first line and headers in, the whole answer out.
pub type Hook = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

impl Proxy {
    /// Before this registry.
    pub fn before(registry: &Registry) -> Result<Self> {
        Self::answering(registry, Box::new(|_| None))
    }

    /// The same, with answers of its own.
    pub fn answering(registry: &Registry, hook: Hook) -> Result<Self> {
        let hook = Arc::new(hook);
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let fault = Arc::new(Mutex::new(Fault::None));
        let (upstream, shared) = (registry.port, fault.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (fault, hook) = (shared.lock().unwrap().clone(), hook.clone());
                // Ignore clients that go away.
                std::thread::spawn(move || drop(pass(&client, upstream, &fault, &hook)));
            }
        });
        Ok(Self { port, fault })
    }

    /// `127.0.0.1:1234`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From now on.
    pub fn fault(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }
}

/// One request and its answer; then the connection is closed.
fn pass(client: &TcpStream, upstream: u16, fault: &Fault, hook: &Hook) -> Result<()> {
    let mut reader = BufReader::new(client);
    let mut head = String::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim().is_empty() {
            break;
        }
        if !line.to_ascii_lowercase().starts_with("connection:") {
            head += &line;
        }
    }
    let mut client = client;
    if let Some(answer) = hook(&head) {
        return Ok(client.write_all(answer.as_bytes())?);
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream))?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no head")? + 4;
    let (head, body) = answer.split_at(end);
    // Pass manifests and tags unchanged; only the blobs are falsified.
    if !head.windows(12).any(|text| text.eq_ignore_ascii_case(b"octet-stream")) {
        client.write_all(&answer)?;
        return Ok(());
    }
    match fault {
        Fault::None => client.write_all(&answer)?,
        Fault::Altered => {
            let mut body = body.to_vec();
            let middle = body.len() / 2;
            body[middle] ^= 1;
            client.write_all(&[head, &body].concat())?;
        }
        Fault::CutOff => {
            let half = &body[..body.len() / 2];
            let head = String::from_utf8_lossy(head)
                .lines()
                .map(|line| match line.to_ascii_lowercase().starts_with("content-length:") {
                    true => format!("Content-Length: {}\r\n", half.len()),
                    false => format!("{line}\r\n"),
                })
                .collect::<String>();
            client.write_all(&[head.as_bytes(), half].concat())?;
        }
        Fault::Interrupted => client.write_all(&answer[..end + body.len() / 2])?,
        Fault::Substituted(other) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", other.len());
            client.write_all(&[head.as_bytes(), other].concat())?;
        }
    }
    Ok(())
}
