//! Secret Manager: <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access>

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tokio::time::Instant;

use super::{Fault, Google, Request};
use crate::config::{Config, SecretName};

/// How long reading one secret may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Secrets of one project. They are kept only in memory.
#[derive(Debug, Clone)]
pub struct Secrets {
    google: Google,
    endpoint: String,
    project: String,
}

#[derive(Deserialize)]
struct Answer {
    payload: Payload,
}

#[derive(Deserialize)]
struct Payload {
    data: String,
}

impl Secrets {
    /// The secrets of `google.project`.
    pub fn new(config: &Config, google: Google) -> Result<Self> {
        let project = config.google.project.clone();
        Ok(Self {
            google,
            endpoint: config.google.secrets_endpoint.or("https://secretmanager.googleapis.com"),
            project: project.context("secrets need google.project in host.toml")?,
        })
    }

    /// Reads a secret.
    pub async fn read(&self, name: &SecretName) -> Result<String> {
        let url = format!("{}/v1/projects/{}/{}:access", self.endpoint, self.project, name.path());
        let answer = self.google.call(Request::get(url), Instant::now() + PATIENCE).await;
        // Do not quote the answer: it holds the secret.
        let text = answer.and_then(|body| {
            let answer: Answer = serde_json::from_slice(&body).map_err(|_| unreadable())?;
            let bytes = STANDARD.decode(answer.payload.data).map_err(|_| unreadable())?;
            String::from_utf8(bytes).map_err(|_| unreadable())
        });
        text.map_err(|fault| {
            anyhow!(
                "{name} of project {}: {}; credentials: {}; {}",
                self.project,
                fault.message,
                self.google.source(),
                fault.kind.remedy().unwrap_or("roles/secretmanager.secretAccessor is needed")
            )
        })
    }
}

fn unreadable() -> Fault {
    Fault::new(super::Kind::Garbled, "the answer cannot be read")
}
