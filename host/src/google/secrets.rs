//! Secret Manager: <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access>

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use crc::{CRC_32_ISCSI, Crc};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::{Fault, Google, Kind, Request};
use crate::config::{Config, Endpoint, SecretName};

/// How long reading one secret may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The Castagnoli polynomial: <https://cloud.google.com/secret-manager/docs/data-integrity>
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Secrets of one project. They are kept only in memory.
#[derive(Debug, Clone)]
pub struct Secrets {
    google: Google,
    endpoint: Endpoint,
    project: String,
}

#[derive(Deserialize)]
struct Answer {
    payload: Payload,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    data: String,
    /// An int64, which Google's JSON writes as text.
    data_crc32c: Option<Value>,
}

impl Secrets {
    /// The secrets of `google.project`.
    pub fn new(config: &Config, google: Google) -> Result<Self> {
        let project = config.google.project.clone();
        Ok(Self {
            google,
            endpoint: config.google.secrets_endpoint.clone(),
            project: project.context("secrets need google.project in host.toml")?,
        })
    }

    /// Reads a secret.
    pub async fn read(&self, name: &SecretName) -> Result<String> {
        let url = format!("{}/v1/projects/{}/{}:access", self.endpoint.or(&home(name)), self.project, name.path());
        let deadline = Instant::now() + PATIENCE;
        let text = match self.access(&url, deadline).await {
            // It was damaged on its way, so another answer may be whole.
            Err(fault) if fault.kind == Kind::Garbled => self.access(&url, deadline).await,
            answer => answer,
        };
        text.map_err(|fault| {
            let remedy = match fault.kind {
                Kind::Garbled => "tried twice",
                Kind::Denied | Kind::NotFound => "roles/secretmanager.secretAccessor is needed",
                Kind::Unauthenticated => "the credentials were not accepted",
                kind => kind.remedy().unwrap_or("try again later"),
            };
            anyhow!(
                "{name} of project {}: {}; credentials: {}; {remedy}",
                self.project,
                fault.message,
                self.google.source(),
            )
        })
    }

    async fn access(&self, url: &str, deadline: Instant) -> Result<String, Fault> {
        opened(&self.google.call(Request::get(url.to_owned()), deadline).await?)
    }
}

/// The usual address of the API that has a secret: <https://cloud.google.com/secret-manager/docs/locations>
fn home(name: &SecretName) -> String {
    match name.location() {
        None => "https://secretmanager.googleapis.com".to_owned(),
        Some(location) => format!("https://secretmanager.{location}.rep.googleapis.com"),
    }
}

/// The secret in an answer. Its faults do not quote the answer, which holds the secret.
fn opened(answer: &[u8]) -> Result<String, Fault> {
    let Answer { payload } = serde_json::from_slice(answer).map_err(|_| unreadable())?;
    let bytes = STANDARD.decode(payload.data).map_err(|_| unreadable())?;
    if let Some(stated) = payload.data_crc32c {
        let stated =
            stated.as_str().map_or_else(|| stated.as_i64(), |text| text.parse().ok()).ok_or_else(unreadable)?;
        if stated != i64::from(CRC32C.checksum(&bytes)) {
            return Err(Fault::new(Kind::Garbled, "the secret does not match its checksum: it was damaged on its way"));
        }
    }
    String::from_utf8(bytes).map_err(|_| unreadable())
}

fn unreadable() -> Fault {
    Fault::new(Kind::Garbled, "the answer cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(data: &str, checksum: Value) -> Vec<u8> {
        let mut payload = serde_json::json!({ "data": STANDARD.encode(data) });
        if !checksum.is_null() {
            payload["dataCrc32c"] = checksum;
        }
        serde_json::json!({ "name": "projects/1/secrets/a/versions/1", "payload": payload }).to_string().into_bytes()
    }

    /// The checksum of `123456789` is that of RFC 3720, appendix B.4 and of every catalogue.
    #[test]
    fn a_secret_matches_its_checksum_or_is_refused() {
        let right = 0xE306_9283_u32;
        for checksum in [Value::Null, right.to_string().into(), right.into()] {
            assert_eq!(opened(&answer("123456789", checksum.clone())).as_deref(), Ok("123456789"), "{checksum}");
        }
        for checksum in ["0".into(), (right ^ 1).to_string().into(), "-1".into(), "soon".into(), true.into(), "".into()]
        {
            let fault = opened(&answer("123456789", checksum)).expect_err("damaged");
            assert_eq!(fault.kind, Kind::Garbled);
            assert!(!fault.message.contains("123456789") && !fault.message.contains("MTIzNDU2Nzg5"), "{fault:?}");
        }
        assert_eq!(opened(&answer("", "0".into())).as_deref(), Ok(""));
    }

    #[test]
    fn a_regional_secret_is_at_its_regions_address() {
        let home = |name: &str| home(&name.parse().expect("a name"));
        assert_eq!(home("secret:a"), "https://secretmanager.googleapis.com");
        assert_eq!(home("secret:us-west2/a/versions/3"), "https://secretmanager.us-west2.rep.googleapis.com");
    }
}
