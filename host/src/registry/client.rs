//! Requests to one registry: logging in, redirects, retries, and answers that are bounded in size and time. A client of
//! OCI registries would read a manifest of any size, and give the password to any address that a registry names.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode, Url,
    header::{self, HeaderMap, HeaderValue},
};
use tokio::time::{Instant, timeout_at};

use super::credentials::{self, Credentials, Known};
use crate::{
    http,
    oci::{self, Challenge, Place},
    text,
};

/// Timeout for connecting to a registry.
const CONNECT: Duration = Duration::from_secs(10);
/// Timeout of a whole answer, and the fewest bytes in each further second.
const ANSWER: Duration = Duration::from_secs(20);
const PACE: u64 = 64 << 10;
/// The most bytes of a manifest, of a page of tags, and of any other short answer.
pub(super) const DOCUMENT: usize = 4 << 20;
/// Retries when a registry is busy or fails.
const RETRIES: u32 = 3;
/// The first wait before a retry; each further one is three times as long.
const WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a registry can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The most redirects of one request.
const REDIRECTS: usize = 5;

/// A registry, as its one repository is seen.
pub(super) struct Client {
    http: reqwest::Client,
    place: Place,
    entered: Mutex<Entered>,
}

/// How the host is logged in.
#[derive(Clone, Default)]
struct Entered {
    /// The header for the registry.
    header: Option<HeaderValue>,
    /// What Docker knows of the registry, once it asked for credentials.
    known: Option<Known>,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: Method,
    address: Url,
    headers: HeaderMap,
    body: Bytes,
    /// The most bytes of the answer.
    most: usize,
}

/// The answer to it.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Where it came from.
    pub(super) address: Url,
}

impl Ask {
    pub(super) fn new(method: Method, address: Url) -> Self {
        Self { method, address, headers: HeaderMap::new(), body: Bytes::new(), most: DOCUMENT }
    }

    pub(super) fn with(mut self, name: header::HeaderName, value: &'static str) -> Self {
        self.headers.insert(name, HeaderValue::from_static(value));
        self
    }

    pub(super) fn sending(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(super) fn at_most(mut self, bytes: usize) -> Self {
        self.most = bytes;
        self
    }
}

impl Answer {
    pub(super) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    pub(super) fn new(place: &Place) -> Result<Self> {
        let mut client =
            http::client().connect_timeout(CONNECT).user_agent(concat!("pipeline-host/", env!("CARGO_PKG_VERSION")));
        // A proxy would see what goes to this machine in the clear.
        if place.is_loopback() {
            client = client.no_proxy();
        }
        let http = client.build().context("no HTTP client")?;
        Ok(Self { http, place: place.clone(), entered: Mutex::default() })
    }

    /// The answer if it is a success, and `None` if it is 404. Any other status is an error with the next step.
    pub(super) async fn find(&self, ask: Ask) -> Result<Option<Answer>> {
        let answer = self.ask(ask).await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refused(&answer)),
        }
    }

    /// The answer with its status, after logging in, redirects and retries.
    pub(super) async fn ask(&self, mut ask: Ask) -> Result<Answer> {
        let (mut challenged, mut redirects) = (false, 0);
        loop {
            let own = self.place.owns(&ask.address);
            match self.lock().header.clone().filter(|_| own) {
                Some(header) => drop(ask.headers.insert(header::AUTHORIZATION, header)),
                None => drop(ask.headers.remove(header::AUTHORIZATION)),
            }
            let answer = self.send(&ask).await?;
            let challenge = answer.headers.contains_key(header::WWW_AUTHENTICATE);
            match answer.status {
                // Some registries answer 403 when the token is for reading only.
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if own && challenge && !challenged => {
                    challenged = true;
                    let header = self.enter(&ask, &answer).await?;
                    self.lock().header = Some(header);
                }
                status if status.is_redirection() && [Method::GET, Method::HEAD].contains(&ask.method) => {
                    redirects += 1;
                    let location = answer.header(header::LOCATION).filter(|_| redirects <= REDIRECTS);
                    let location = location
                        .with_context(|| format!("{}: {} redirects to nowhere", self.place, self.place.registry))?;
                    ask.address = oci::redirected(&self.place, &ask.address, location)?;
                }
                _ => return Ok(answer),
            }
        }
    }

    /// Logs in: the header for further requests.
    async fn enter(&self, ask: &Ask, answer: &Answer) -> Result<HeaderValue> {
        let headers = answer.headers.get_all(header::WWW_AUTHENTICATE).iter();
        let challenge = Challenge::read(&self.place, headers.filter_map(|header| header.to_str().ok()))?;
        let found = credentials::of(&self.place.registry).await?;
        self.lock().known = Some(found.known());
        let credentials = found.credentials;
        let registry = &self.place.registry;
        let header = match (challenge, credentials) {
            (Challenge::Basic, Credentials::Password { user, password }) => basic(&user, &password),
            (Challenge::Basic, Credentials::Identity(_)) => bail!(
                "{}: {registry} takes a password, not the identity token in Docker's configuration; log in with a password or an access token",
                self.place
            ),
            (Challenge::Basic, Credentials::Anonymous) => return Err(self.unauthorized()),
            (Challenge::Bearer { realm, service, scope }, credentials) => {
                let rights = if [Method::GET, Method::HEAD].contains(&ask.method) { "pull" } else { "pull,push" };
                let scope = scope.unwrap_or_else(|| format!("repository:{}:{rights}", self.place.repository));
                let mut form = vec![("scope", scope)];
                form.extend(service.map(|service| ("service", service)));
                let answer = self.send(&token_request(realm, form, credentials)?).await?;
                match answer.status {
                    StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
                    status if status.is_success() => {}
                    _ => return Err(self.refused(&answer)),
                }
                let token = oci::token(&answer.body);
                let host = answer.address.host_str().unwrap_or_default();
                format!("Bearer {}", token.with_context(|| format!("{}: cannot log in at {host}", self.place))?)
            }
        };
        let mut header = HeaderValue::try_from(header).with_context(|| format!("{}: cannot log in", self.place))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// One request, tried again while the registry is busy.
    async fn send(&self, ask: &Ask) -> Result<Answer> {
        let mut wait = WAIT;
        for _ in 0..RETRIES {
            let answer = self.send_once(ask).await?;
            if answer.status != StatusCode::TOO_MANY_REQUESTS && !answer.status.is_server_error() {
                return Ok(answer);
            }
            let asked = http::retry_after(&answer.headers);
            tokio::time::sleep(asked.unwrap_or(wait).min(LONGEST_WAIT)).await;
            wait *= 3;
        }
        self.send_once(ask).await
    }

    async fn send_once(&self, ask: &Ask) -> Result<Answer> {
        let began = Instant::now();
        let Ask { method, address, headers, body, most } = ask;
        let request = self.http.request(method.clone(), address.clone()).headers(headers.clone()).body(body.clone());
        let answer = timeout_at(began + allowed(body.len()), request.send()).await;
        let mut response = answer.map_err(|_| self.late(address))?.map_err(|error| self.broken(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        // A refusal is short, even where a plugin was asked for.
        let most = if status.is_success() { *most } else { DOCUMENT };
        let body = self.read(&mut response, most, began + allowed(body.len())).await?;
        Ok(Answer { status, headers, body, address: address.clone() })
    }

    /// The body, if it is neither too large nor too slow.
    async fn read(&self, response: &mut Response, most: usize, deadline: Instant) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let part = timeout_at(deadline + pace(body.len()), response.chunk())
                .await
                .map_err(|_| self.late(response.url()))?;
            match part.map_err(|error| self.broken(error))? {
                Some(part) if body.len() + part.len() > most => {
                    bail!("{}: refused: the answer is larger than {}", self.place, text::bytes(most as u64))
                }
                Some(part) => body.extend_from_slice(&part),
                None => return Ok(body),
            }
        }
    }

    fn late(&self, address: &Url) -> anyhow::Error {
        anyhow::anyhow!("{}: {} does not answer in time", self.place, address.host_str().unwrap_or_default())
    }

    fn broken(&self, error: reqwest::Error) -> anyhow::Error {
        let what = match &error {
            error if error.is_connect() => "cannot be reached",
            error if error.is_body() || error.is_decode() => "ended its answer too early",
            _ => "gave no usable answer",
        };
        // Addresses of storage behind a registry hold signatures.
        let error = anyhow::Error::from(error.without_url());
        error.context(format!("{}: {} {what}", self.place, self.place.registry))
    }

    /// An unsuccessful answer, as an error with the next step.
    pub(super) fn refused(&self, answer: &Answer) -> anyhow::Error {
        let (place, registry) = (&self.place, &self.place.registry);
        let status = answer.status;
        let reason = match oci::reason(&answer.body) {
            reason if reason.is_empty() => String::new(),
            reason => format!(": {reason}"),
        };
        match status {
            StatusCode::UNAUTHORIZED => self.unauthorized(),
            StatusCode::FORBIDDEN => anyhow::anyhow!(
                "{place}: {registry} denies access to {}{reason}; log in as someone who has it with `docker login {registry}`",
                self.place.repository
            ),
            StatusCode::NOT_FOUND => anyhow::anyhow!("{place}: no such repository or version{reason}"),
            StatusCode::TOO_MANY_REQUESTS => anyhow::anyhow!("{place}: {registry} is busy{reason}; try again later"),
            status if status.is_server_error() => {
                anyhow::anyhow!("{place}: {registry} fails with {}{reason}; try again later", status.as_u16())
            }
            _ => anyhow::anyhow!("{place}: {registry} gave no usable answer, but {}{reason}", status.as_u16()),
        }
    }

    fn unauthorized(&self) -> anyhow::Error {
        let (place, registry) = (&self.place, &self.place.registry);
        match &self.lock().known {
            None => anyhow::anyhow!("{place}: {registry} requires credentials, but does not say which"),
            Some(Known::Yes) => anyhow::anyhow!(
                "{place}: {registry} refuses the credentials; log in with `docker login {registry}`, or correct its `auths` in Docker's config.json"
            ),
            Some(Known::No) => anyhow::anyhow!(
                "{place}: {registry} requires credentials, and Docker's configuration has none for it; log in with `docker login {registry}`"
            ),
            Some(Known::Missing(helper)) => anyhow::anyhow!(
                "{place}: {registry} requires credentials, and those in Docker's configuration cannot be used: {helper} is not installed; install it, or log in with `docker login {registry}`"
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entered> {
        // No task panics while it holds this.
        self.entered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time for a whole answer, after sending some bytes.
fn allowed(sent: usize) -> Duration {
    ANSWER + pace(sent)
}

/// The further time for some bytes.
fn pace(bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / PACE)
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Asks an authorization server for a token:
/// <https://distribution.github.io/distribution/spec/auth/oauth/>
fn token_request(mut realm: Url, mut form: Vec<(&str, String)>, credentials: Credentials) -> Result<Ask> {
    if let Credentials::Identity(token) = credentials {
        form.extend([
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", "pipeline-host".to_owned()),
            ("refresh_token", token),
        ]);
        let pairs = form.iter().map(|(key, value)| format!("{key}={}", text::encoded(value)));
        let body = pairs.collect::<Vec<_>>().join("&");
        let ask = Ask::new(Method::POST, realm).sending(body.into());
        return Ok(ask.with(header::CONTENT_TYPE, "application/x-www-form-urlencoded"));
    }
    realm.query_pairs_mut().extend_pairs(form);
    let mut ask = Ask::new(Method::GET, realm);
    if let Credentials::Password { user, password } = credentials {
        let mut header = HeaderValue::try_from(basic(&user, &password)).context("the credentials")?;
        header.set_sensitive(true);
        ask.headers.insert(header::AUTHORIZATION, header);
    }
    Ok(ask)
}
