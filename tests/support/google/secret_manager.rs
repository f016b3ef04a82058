//! A stand-in for Secret Manager. Method: versions.access, as in
//! <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access>.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::super::http::{Address, Reply, serve};

/// The stand-in.
pub struct SecretManagerDouble {
    pub address: Address,
    secrets: Arc<Mutex<BTreeMap<String, String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl SecretManagerDouble {
    /// Without secrets.
    pub fn start() -> Result<Self> {
        let (secrets, asked) =
            (Arc::<Mutex<BTreeMap<String, String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (kept, seen) = (secrets.clone(), asked.clone());
        let address = serve(move |request| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.path.clone());
            let path = request.path.trim_start_matches("/v1/projects/nba-props-platform/secrets/");
            let secret = kept.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
            match secret {
                Some(secret) => Reply::ok(&json!({
                    "name": request.path.trim_end_matches(":access"),
                    "payload": { "data": STANDARD.encode(secret) },
                })),
                None => Reply::Answer(
                    404,
                    json!({ "error": {
                        "code": 404, "status": "NOT_FOUND", "message": format!("Secret [{path}] not found"),
                    } })
                    .to_string(),
                ),
            }
        })?;
        Ok(Self { address, secrets, asked })
    }

    /// Adds a version of a secret, `latest` or a number.
    pub fn set(&self, name: &str, version: &str, secret: &str) {
        let path = format!("{name}/versions/{version}:access");
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(path, secret.to_owned());
    }

    /// The requested paths.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
