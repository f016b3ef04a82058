//! Google's APIs over HTTP: one client with the host's credentials, and requests with retries and a deadline.
//!
//! Cloud Run and Secret Manager are asked here. BigQuery has a client of its own, which uses the connections, the
//! credentials and the retries of this module.

mod credentials;
mod fault;
mod proxy;
mod secrets;

use std::{
    ops::Deref,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::{Method, header::CONTENT_TYPE};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

pub use fault::{Fault, Kind};
pub use secrets::Secrets;

use crate::{
    config::Config,
    http,
    lanes::{Held, Permit},
};
use credentials::Credentials;

/// The first wait before a retry; each further one may be twice as long.
pub const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait chosen here; a server may ask for a longer one.
pub const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(30);
/// The header that names the project that pays for a user's requests:
/// <https://cloud.google.com/apis/docs/system-parameters>
pub const QUOTA_PROJECT: &str = "x-goog-user-project";
/// The maximum size of one answer. BigQuery's pages are at most 20 MB:
/// <https://cloud.google.com/bigquery/docs/paging-results>
const ANSWER: usize = 64 << 20;

/// A client for Google's APIs; clones share it.
#[derive(Debug, Clone)]
pub struct Google(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    credentials: Credentials,
    /// Made on first use, since it reads the system's certificates.
    client: OnceLock<reqwest::Client>,
}

/// One request, which may be sent several times.
#[derive(Debug)]
pub struct Request<'p> {
    method: Method,
    url: String,
    body: Option<Value>,
    permit: Option<&'p Permit>,
}

/// The body of an answer, charged to the caller's work while it exists.
#[derive(Debug)]
pub struct Body {
    bytes: Vec<u8>,
    held: Option<Held>,
}

impl<'p> Request<'p> {
    /// A GET request.
    pub fn get(url: String) -> Self {
        Self { method: Method::GET, url, body: None, permit: None }
    }

    /// A POST request; must be idempotent.
    pub fn post(url: String, body: Value) -> Self {
        Self { method: Method::POST, url, body: Some(body), permit: None }
    }

    /// For a plugin's work: the answer is charged to it as it arrives, and only one answer arrives at a time.
    pub fn charged(self, permit: &'p Permit) -> Self {
        Self { permit: Some(permit), ..self }
    }
}

impl Body {
    fn add(&mut self, piece: &[u8]) -> Result<(), Fault> {
        if self.bytes.len() + piece.len() > ANSWER {
            return Err(Fault::new(Kind::TooLarge, &format!("an answer of more than {} MiB", ANSWER >> 20)));
        }
        if let Some(held) = &mut self.held {
            held.more(piece.len()).map_err(|full| Fault::new(Kind::TooMuch, &full.to_string()))?;
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Google {
    /// With the credentials of host.toml, which are loaded on first use.
    pub fn new(config: &Config) -> Self {
        Self(Arc::new(Inner { credentials: Credentials::new(config), client: OnceLock::new() }))
    }

    /// Sends a request, with retries after temporary faults until the deadline. Returns the answer's body.
    pub async fn call(&self, request: Request<'_>, deadline: Instant) -> Result<Body, Fault> {
        let mut longest = FIRST_WAIT;
        let mut earlier: Option<Fault> = None;
        loop {
            let fault = match self.once(&request, deadline).await {
                Ok(body) => return Ok(body),
                // Report the earlier fault instead of the timeout.
                Err(fault) if fault.kind == Kind::TimedOut => earlier.take().unwrap_or(fault),
                Err(fault) => fault,
            };
            let wait = fault.retry_after.unwrap_or_else(|| jittered(longest));
            let fault = Fault { repeated: fault.repeated || earlier.is_some(), ..fault };
            if !fault.kind.passes() || Instant::now() + wait >= deadline {
                return Err(fault);
            }
            sleep(wait).await;
            longest = (longest * 2).min(LONGEST_WAIT);
            earlier = Some(fault);
        }
    }

    /// Sends a request once, or twice if its token was rejected, which may have been revoked or be affected by a clock
    /// change.
    pub async fn once(&self, request: &Request<'_>, deadline: Instant) -> Result<Body, Fault> {
        match self.send(request, deadline).await {
            Err(fault) if fault.kind == Kind::Unauthenticated => {
                self.renew();
                self.send(request, deadline).await
            }
            answer => answer,
        }
    }

    /// Sends a request once.
    pub async fn send(&self, request: &Request<'_>, deadline: Instant) -> Result<Body, Fault> {
        in_time(deadline, self.attempt(request)).await
    }

    async fn attempt(&self, request: &Request<'_>) -> Result<Body, Fault> {
        let mut sent = self.client()?.request(request.method.clone(), &request.url);
        if let Some(token) = self.token().await? {
            sent = sent.bearer_auth(token);
        }
        if let Some(project) = self.quota_project() {
            sent = sent.header(QUOTA_PROJECT, project);
        }
        if let Some(body) = &request.body {
            sent = sent.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let mut answer = sent.send().await.map_err(Fault::unreachable)?;
        let status = answer.status().as_u16();
        // Never at once.
        let wait = http::retry_after(answer.headers()).map(|wait| wait.max(FIRST_WAIT));
        // Read one answer of a run at a time: two partial answers would need the memory of both.
        let _alone = match request.permit {
            Some(permit) => Some(permit.alone().await),
            None => None,
        };
        let held = request.permit.map(|permit| permit.hold(0)).transpose();
        let mut body = Body { bytes: Vec::new(), held: held.ok().flatten() };
        while let Some(piece) = answer.chunk().await.map_err(Fault::unreachable)? {
            body.add(&piece)?;
        }
        match status {
            200..=299 if fault::is_page(&body) => Err(Fault::page(status, &body)),
            200..=299 => Ok(body),
            _ => {
                let mut fault = Fault::answered(status, &body, wait);
                if fault.kind == Kind::Unauthenticated {
                    fault.message = format!("{} (credentials: {})", fault.message, self.0.credentials.source());
                }
                Err(fault)
            }
        }
    }

    fn client(&self) -> Result<&reqwest::Client, Fault> {
        if let Some(client) = self.0.client.get() {
            return Ok(client);
        }
        let client = connections().build().map_err(Fault::unreachable)?;
        Ok(self.0.client.get_or_init(|| client))
    }

    /// A token for one request; `None` without credentials.
    pub async fn token(&self) -> Result<Option<String>, Fault> {
        self.0.credentials.token().await
    }

    /// Discards the token, which was rejected.
    pub fn renew(&self) {
        self.0.credentials.renew();
    }

    /// The project that pays for the requests of a user, once a token was got; `None` for other credentials.
    pub fn quota_project(&self) -> Option<String> {
        self.0.credentials.quota_project()
    }

    /// Where the credentials come from, for messages.
    pub fn source(&self) -> String {
        self.0.credentials.source()
    }
}

/// The connections of every client for Google.
pub fn connections() -> reqwest::ClientBuilder {
    http::client().connect_timeout(Duration::from_secs(10))
}

/// One attempt of a request, within its own time and the deadline.
pub async fn in_time<T>(deadline: Instant, attempt: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let left = deadline.saturating_duration_since(Instant::now());
    let attempt = timeout(left.min(ATTEMPT), attempt).await;
    attempt.unwrap_or_else(|_| Err(Fault::new(Kind::TimedOut, "no answer in time")))
}

/// A wait before a retry, with full jitter, so that requests that failed together are not retried together.
pub fn jittered(longest: Duration) -> Duration {
    longest.mul_f64(fastrand::f64())
}
