//! A stand-in for the issuers of access tokens: the metadata server,
//! <https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>, the token endpoints of OAuth 2 and of the
//! Security Token Service, <https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token>, the issuer of a
//! workload's own token, and the tokens of service accounts,
//! <https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken>.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::Result;
use serde_json::json;

use super::{
    super::http::{Address, Reply, Request, serve},
    proxy::{Proxy, proxy},
};

/// The stand-in.
pub struct IdentityDouble {
    pub address: Address,
    desk: Arc<Desk>,
}

struct Desk {
    lifetime: u32,
    given: AtomicU32,
    refusal: Mutex<Option<Reply>>,
    asked: Mutex<Vec<Request>>,
}

impl IdentityDouble {
    /// Issues `token-1`, `token-2`, …, each with a lifetime in seconds.
    pub fn start(lifetime: u32) -> Result<Self> {
        let desk = Desk { lifetime, given: AtomicU32::new(0), refusal: Mutex::default(), asked: Mutex::default() };
        let desk = Arc::new(desk);
        let shared = desk.clone();
        Ok(Self { address: serve(move |request| shared.answer(request))?, desk })
    }

    /// The same behind a proxy, for addresses that cannot be configured; `None` without openssl.
    pub fn behind_a_proxy(&self, directory: &Path) -> Result<Option<Proxy>> {
        let shared = self.desk.clone();
        proxy(directory, &["accounts.google.com", "iamcredentials.googleapis.com"], move |request| {
            shared.answer(request)
        })
    }

    /// The number of tokens issued.
    pub fn given(&self) -> u32 {
        self.desk.given.load(Ordering::SeqCst)
    }

    /// Refuses all further tokens.
    pub fn refuse(&self, reply: Reply) {
        *self.desk.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
    }

    /// The requests.
    pub fn asked(&self) -> Vec<Request> {
        self.desk.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Desk {
    fn answer(&self, request: &Request) -> Reply {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
        if let Some(refusal) = self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return refusal;
        }
        let token = || format!("token-{}", self.given.fetch_add(1, Ordering::SeqCst) + 1);
        match request.path.as_str() {
            "/computeMetadata/v1/instance/service-accounts/default/token"
                if request.header("metadata-flavor") != "Google" =>
            {
                Reply::Answer(403, "Missing required header".to_owned())
            }
            "/computeMetadata/v1/instance/service-accounts/default/token" | "/token" | "/o/oauth2/token" => {
                Reply::ok(&json!({ "access_token": token(), "expires_in": self.lifetime, "token_type": "Bearer" }))
            }
            "/workload" if request.header("authorization") == "Bearer workload" => {
                Reply::ok(&json!({ "value": "the-workload" }))
            }
            path if path.ends_with(":generateAccessToken") => {
                Reply::ok(&json!({ "accessToken": token(), "expireTime": "2999-01-01T00:00:00Z" }))
            }
            _ => Reply::Answer(404, String::new()),
        }
    }
}
