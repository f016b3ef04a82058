//! A stand-in for the issuers of access tokens: the metadata server,
//! <https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>, and the token endpoint of OAuth 2,
//! <https://developers.google.com/identity/protocols/oauth2/web-server#offline>.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use serde_json::json;

use super::super::http::{Address, Reply, serve};

/// The stand-in.
pub struct IdentityDouble {
    pub address: Address,
    given: Arc<AtomicU32>,
    refusal: Arc<Mutex<Option<Reply>>>,
}

impl IdentityDouble {
    /// Issues `token-1`, `token-2`, …, each with a lifetime in seconds.
    pub fn start(lifetime: u32) -> Result<Self> {
        let (given, refusal) = (Arc::<AtomicU32>::default(), Arc::<Mutex<Option<Reply>>>::default());
        let (count, refused) = (given.clone(), refusal.clone());
        let address = serve(move |request| {
            if let Some(refusal) = refused.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                return refusal;
            }
            let metadata = request.path == "/computeMetadata/v1/instance/service-accounts/default/token";
            if metadata && request.header("metadata-flavor") != "Google" {
                return Reply::Answer(403, "Missing required header".to_owned());
            }
            if metadata || request.path == "/token" {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let token = json!({ "access_token": format!("token-{number}"), "expires_in": lifetime, "token_type": "Bearer" });
                return Reply::ok(&token);
            }
            Reply::Answer(404, String::new())
        })?;
        Ok(Self { address, given, refusal })
    }

    /// The number of tokens issued.
    pub fn given(&self) -> u32 {
        self.given.load(Ordering::SeqCst)
    }

    /// Refuses all further tokens.
    pub fn refuse(&self, reply: Reply) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
    }
}
