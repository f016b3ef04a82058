//! Credentials for Google: application default credentials, a key file, or none. `yup-oauth2`, which comes with the client
//! of BigQuery, gets the tokens.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex as Lock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use gcp_bigquery_client::yup_oauth2::{
    ApplicationDefaultCredentialsAuthenticator, ApplicationDefaultCredentialsFlowOpts, AuthorizedUserAuthenticator,
    CustomHyperClientBuilder, Error, ExternalAccountAuthenticator, ServiceAccountAuthenticator,
    ServiceAccountImpersonationAuthenticator,
    authenticator::{ApplicationDefaultCredentialsTypes, Authenticator},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    fault::{Fault, Kind},
    proxy::{self, Connector},
};
use crate::{
    config::{Config, GoogleCredentials},
    http,
};

/// What a token is for: all services that the host asks.
const SCOPES: [&str; 1] = ["https://www.googleapis.com/auth/cloud-platform"];
/// The metadata server: <https://cloud.google.com/compute/docs/metadata/querying-metadata>
const METADATA: &str = "metadata.google.internal";
/// The parts of a token server's answer that may be quoted: error codes of OAuth (RFC 6749, section 5.2). The rest may
/// repeat the secret that was sent.
const OAUTH: [&str; 6] =
    ["invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client", "access_denied", "invalid_rapt"];
/// The codes of a token server that fails for a while.
const BUSY: [&str; 3] = ["internal_failure", "server_error", "temporarily_unavailable"];

/// Gets tokens: on first use, kept in memory, and renewed a minute before they expire.
pub(super) struct Credentials {
    kind: Source,
    /// One request for a token at a time.
    tokens: Mutex<Option<Authenticator<Connector>>>,
    /// Whether the next token must be a new one.
    stale: AtomicBool,
    /// The project that pays for the requests of a user.
    quota_project: Lock<Option<String>>,
}

enum Source {
    /// Found as Google's own tools find them:
    /// <https://cloud.google.com/docs/authentication/application-default-credentials>
    ApplicationDefault,
    /// `google.key_file`
    KeyFile(PathBuf),
    /// Requests carry no credentials.
    None,
}

/// Why there is no token.
enum Reason {
    /// The token server was not reached, or fails for a while.
    Passing(String),
    /// The answer is not from a token server, or that fails for a while.
    Garbled,
    /// The credentials cannot be used.
    Final(String),
}

impl Credentials {
    pub(super) fn new(config: &Config) -> Self {
        let kind = match (&config.google.key_file, config.google.credentials) {
            (Some(path), _) => Source::KeyFile(config.resolve(path)),
            (None, GoogleCredentials::ApplicationDefault) => Source::ApplicationDefault,
            (None, GoogleCredentials::None) => Source::None,
        };
        Self { kind, tokens: Mutex::default(), stale: AtomicBool::new(false), quota_project: Lock::default() }
    }

    /// A token for one request; `None` without credentials.
    pub(super) async fn token(&self) -> Result<Option<String>, Fault> {
        if matches!(self.kind, Source::None) {
            return Ok(None);
        }
        let mut tokens = self.tokens.lock().await;
        let found = self.get(&mut tokens).await;
        found.map(Some).map_err(|reason| {
            // The file may have changed.
            *tokens = None;
            let (kind, why) = match reason {
                Reason::Passing(why) => (Kind::Unreachable, why),
                Reason::Garbled => (Kind::Unreachable, "the answer is not a token".to_owned()),
                Reason::Final(why) => (Kind::Unauthenticated, why),
            };
            Fault::new(kind, &format!("no access token: {why}; tried {}", self.source()))
        })
    }

    async fn get(&self, tokens: &mut Option<Authenticator<Connector>>) -> Result<String, Reason> {
        let renewed = self.stale.swap(false, Ordering::Relaxed);
        let authenticator = match tokens {
            // After a rejection the file is read again: its key may have been replaced.
            Some(authenticator) if !renewed => authenticator,
            _ => tokens.insert(self.load().await?),
        };
        let token = authenticator.token(&SCOPES).await.map_err(|error| match Reason::from(error) {
            // It answers in words, not in JSON.
            Reason::Garbled if matches!(self.kind, Source::ApplicationDefault) && default_file().is_none() => {
                Reason::Final("the metadata server has none, as on a machine without a service account".to_owned())
            }
            reason => reason,
        })?;
        token.token().map(str::to_owned).ok_or_else(|| Reason::Final("the answer holds no token".to_owned()))
    }

    /// Discards the token, so that the next request gets a new one.
    pub(super) fn renew(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    /// The project that pays for the requests of a user, once a token was got.
    pub(super) fn quota_project(&self) -> Option<String> {
        self.quota_project.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn load(&self) -> Result<Authenticator<Connector>, Reason> {
        http::choose_tls();
        let client = proxy::client().map_err(|error| Reason::Final(format!("no certificates: {error}")))?;
        let file = match &self.kind {
            Source::KeyFile(path) => Some(path.clone()),
            _ => default_file(),
        };
        let Some(file) = file else {
            return built(metadata_server(client).await);
        };
        let json = read(&file).map_err(Reason::Final)?;
        let text = |key: &str| json.get(key).and_then(Value::as_str);
        let quota = match text("type") {
            Some("authorized_user") => {
                set("GOOGLE_CLOUD_QUOTA_PROJECT").or_else(|| Some(text("quota_project_id")?.to_owned()))
            }
            _ => None,
        };
        *self.quota_project.lock().unwrap_or_else(PoisonError::into_inner) = quota;
        from_json(json, client).await
    }

    /// Where the credentials come from, for messages.
    pub(super) fn source(&self) -> String {
        match &self.kind {
            Source::KeyFile(path) => format!("the key file {} (google.key_file)", path.display()),
            Source::None => "none (google.credentials = \"none\")".to_owned(),
            Source::ApplicationDefault => match (set("GOOGLE_APPLICATION_CREDENTIALS"), well_known()) {
                (Some(path), _) => format!("the file {path} (GOOGLE_APPLICATION_CREDENTIALS)"),
                (None, Some(path)) if path.exists() => {
                    format!("the file {} (`gcloud auth application-default login` writes it)", path.display())
                }
                (None, path) => format!(
                    "the metadata server {}, since GOOGLE_APPLICATION_CREDENTIALS is not set and there is no {}",
                    set("GCE_METADATA_HOST").unwrap_or_else(|| "of Google Cloud".to_owned()),
                    path.unwrap_or_default().display(),
                ),
            },
        }
    }
}

/// The file of application default credentials, if there is one.
fn default_file() -> Option<PathBuf> {
    set("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from).or_else(|| well_known().filter(|path| path.exists()))
}

/// The file that `gcloud` writes.
fn well_known() -> Option<PathBuf> {
    let directory = set("CLOUDSDK_CONFIG").map(PathBuf::from);
    let directory = directory.or_else(|| Some(PathBuf::from(set("HOME")?).join(".config/gcloud")))?;
    Some(directory.join("application_default_credentials.json"))
}

/// A variable of the environment; an empty one counts as unset.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads a file of credentials. Its contents are never quoted, not even in an error.
fn read(path: &Path) -> Result<Value, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
    serde_json::from_str(&text).map_err(|_| "it is not JSON".to_owned())
}

async fn metadata_server(client: CustomHyperClientBuilder<Connector>) -> std::io::Result<Authenticator<Connector>> {
    let host = set("GCE_METADATA_HOST").unwrap_or_else(|| METADATA.to_owned());
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let opts = ApplicationDefaultCredentialsFlowOpts { metadata_url: Some(url) };
    match ApplicationDefaultCredentialsAuthenticator::with_client(opts, client).await {
        ApplicationDefaultCredentialsTypes::InstanceMetadata(builder) => builder.build().await,
        // With GOOGLE_APPLICATION_CREDENTIALS, which was read before.
        ApplicationDefaultCredentialsTypes::ServiceAccount(builder) => builder.build().await,
    }
}

/// The kinds of files that Google's tools write: <https://google.aip.dev/auth/4110>
async fn from_json(
    json: Value,
    client: CustomHyperClientBuilder<Connector>,
) -> Result<Authenticator<Connector>, Reason> {
    match json.get("type").and_then(Value::as_str) {
        Some("service_account") => built(ServiceAccountAuthenticator::with_client(parsed(json)?, client).build().await),
        Some("authorized_user") => built(AuthorizedUserAuthenticator::with_client(parsed(json)?, client).build().await),
        Some("external_account") => {
            let secret = parsed(federated(json)?)?;
            built(ExternalAccountAuthenticator::with_client(secret, client).build().await)
        }
        Some("impersonated_service_account") => {
            let (user, email) = impersonated(json)?;
            let made = ServiceAccountImpersonationAuthenticator::with_client(parsed(user)?, &email, client);
            built(made.build().await)
        }
        _ => Err(Reason::Final(
            "it is of an unknown type; service_account, authorized_user, external_account and impersonated_service_account are known"
                .to_owned(),
        )),
    }
}

/// A file of Workload Identity Federation, <https://google.aip.dev/auth/4117>, as the library reads it: it demands a
/// format for an address, and ignores one for a file.
fn federated(mut json: Value) -> Result<Value, Reason> {
    let refused = |what: &str| Err(Reason::Final(format!("{what} cannot be used here; name a file or an address")));
    let source = json.get_mut("credential_source").and_then(Value::as_object_mut);
    let Some(source) = source else { return Err(Reason::Final("a field is missing: credential_source".to_owned())) };
    if source.contains_key("environment_id") || source.contains_key("executable") {
        return refused("a credential_source of AWS or of an executable");
    }
    let format = source.get("format").and_then(|format| format.get("type")).and_then(Value::as_str);
    if source.contains_key("file") && format.is_some_and(|format| format != "text") {
        return refused("a credential_source that is a file of JSON");
    }
    source.entry("format").or_insert_with(|| serde_json::json!({ "type": "text" }));
    Ok(json)
}

/// The user and the service account of `gcloud auth application-default login --impersonate-service-account`.
fn impersonated(json: Value) -> Result<(Value, String), Reason> {
    let url = json.get("service_account_impersonation_url").and_then(Value::as_str).unwrap_or_default();
    let email = url.rsplit_once('/').and_then(|(_, last)| last.strip_suffix(":generateAccessToken"));
    let Some(email) = email.map(str::to_owned) else {
        return Err(Reason::Final("a field is missing: service_account_impersonation_url".to_owned()));
    };
    let delegates = json.get("delegates").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    match json.get("source_credentials") {
        Some(user) if !delegates && user.get("type").and_then(Value::as_str) == Some("authorized_user") => {
            Ok((user.clone(), email))
        }
        _ => Err(Reason::Final("only a user can impersonate here, without delegates".to_owned())),
    }
}

fn parsed<T: DeserializeOwned>(json: Value) -> Result<T, Reason> {
    serde_json::from_value(json).map_err(|_| Reason::Final("a field is missing or of a wrong type".to_owned()))
}

fn built(made: std::io::Result<Authenticator<Connector>>) -> Result<Authenticator<Connector>, Reason> {
    made.map_err(|_| Reason::Final("its key cannot be used".to_owned()))
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error {
            Error::HttpError(_) | Error::HttpClientError(_) => Self::Passing("not reached".to_owned()),
            Error::JSONError(_) => Self::Garbled,
            Error::AuthError(said) => {
                let code = said.error.as_str();
                match (BUSY.contains(&code), OAUTH.into_iter().find(|known| *known == code)) {
                    (true, _) => Self::Passing(format!("the token server fails for a while: {code}")),
                    (false, Some(code)) => Self::Final(format!("rejected: {code}")),
                    (false, None) => Self::Final("rejected".to_owned()),
                }
            }
            Error::LowLevelError(error) => Self::Final(format!("a file cannot be read: {}", error.kind())),
            Error::CredentialSourceError(_) => Self::Final("the credential_source has no token".to_owned()),
            Error::MissingAccessToken => Self::Final("the answer holds no token".to_owned()),
            Error::UserError(_) | Error::StorageError(_) => Self::Final("it cannot be used".to_owned()),
        }
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source())
    }
}
