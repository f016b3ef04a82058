//! Credentials for Google: application default credentials, a key file, or none.

use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use google_cloud_auth::credentials::{AccessTokenCredentials, Builder, service_account, user_account};
use serde_json::Value;

use super::fault::{Fault, Kind};
use crate::{
    config::{Config, GoogleCredentials},
    http,
};

/// The parts of a token server's answer that may be quoted: error codes of OAuth (RFC 6749, section 5.2). The rest may
/// repeat the secret that was sent.
const OAUTH: [&str; 6] =
    ["invalid_grant", "invalid_client", "invalid_scope", "unauthorized_client", "access_denied", "invalid_rapt"];

/// Gets tokens: on first use, kept in memory, and renewed four minutes before they expire.
pub(super) struct Credentials {
    kind: Source,
    tokens: Mutex<Option<AccessTokenCredentials>>,
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

impl Credentials {
    pub(super) fn new(config: &Config) -> Self {
        let kind = match (&config.google.key_file, config.google.credentials) {
            (Some(path), _) => Source::KeyFile(config.resolve(path)),
            (None, GoogleCredentials::ApplicationDefault) => Source::ApplicationDefault,
            (None, GoogleCredentials::None) => Source::None,
        };
        Self { kind, tokens: Mutex::default() }
    }

    /// A token for one request; `None` without credentials.
    pub(super) async fn token(&self) -> Result<Option<String>, Fault> {
        if matches!(self.kind, Source::None) {
            return Ok(None);
        }
        let tokens = self.tokens()?;
        match tokens.access_token().await {
            Ok(token) => Ok(Some(token.token)),
            Err(error) => {
                // The library does not retry after a permanent failure, so load the credentials again.
                self.renew();
                let text = chain(&error);
                let code = OAUTH.into_iter().find(|code| text.contains(code));
                let why = match (error.is_transient(), code) {
                    (_, Some(code)) => format!("rejected: {code}"),
                    (true, None) => "not reached".to_owned(),
                    (false, None) => "rejected".to_owned(),
                };
                let kind = if error.is_transient() { Kind::Unreachable } else { Kind::Unauthenticated };
                Err(Fault::new(kind, &format!("no access token: {why}; tried {}", self.source())))
            }
        }
    }

    /// Discards the token, so that the next request gets a new one.
    pub(super) fn renew(&self) {
        *self.tokens.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn tokens(&self) -> Result<AccessTokenCredentials, Fault> {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokens) = &*tokens {
            return Ok(tokens.clone());
        }
        // The library fetches tokens with its own HTTP client.
        http::choose_tls();
        let made = match &self.kind {
            Source::KeyFile(path) => from_file(path),
            _ => Builder::default().build_access_token_credentials().map_err(|error| reason(&error).to_owned()),
        };
        let made = made
            .map_err(|why| Fault::new(Kind::Unauthenticated, &format!("no credentials: {}: {why}", self.source())))?;
        Ok(tokens.insert(made).clone())
    }

    /// Where the credentials come from, for messages.
    pub(super) fn source(&self) -> String {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
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

/// The file that `gcloud` writes.
fn well_known() -> Option<PathBuf> {
    let home = std::env::var_os("HOME")?;
    Some(PathBuf::from(home).join(".config/gcloud/application_default_credentials.json"))
}

fn from_file(path: &PathBuf) -> Result<AccessTokenCredentials, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    // Do not quote the file's contents, not even in an error.
    let json: Value = serde_json::from_str(&text).map_err(|_| "it is not JSON".to_owned())?;
    let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
    let made = match json.get("type").and_then(Value::as_str) {
        Some("service_account") => service_account::Builder::new(json)
            .with_access_specifier(service_account::AccessSpecifier::from_scopes(scopes))
            .build_access_token_credentials(),
        Some("authorized_user") => user_account::Builder::new(json).build_access_token_credentials(),
        _ => {
            return Err(
                "it is neither the key of a service account nor user credentials; name other kinds in GOOGLE_APPLICATION_CREDENTIALS"
                    .to_owned(),
            );
        }
    };
    made.map_err(|error| reason(&error).to_owned())
}

fn reason(error: &google_cloud_auth::build_errors::Error) -> &'static str {
    match error {
        error if error.is_loading() => "it cannot be read",
        error if error.is_unknown_type() => "it is of an unknown type",
        error if error.is_missing_field() => "a field is missing",
        error if error.is_parsing() => "it cannot be parsed",
        _ => "it cannot be used",
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += &inner.to_string();
        cause = inner.source();
    }
    text
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source())
    }
}
