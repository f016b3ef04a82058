//! A stand-in for Secret Manager. Method: versions.access of global and of regional secrets, as in
//! <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access> and
//! `….projects.locations.secrets.versions/access`. `dataCrc32c` is an int64, as text: `SecretPayload` in gcloud 528's
//! `generated_clients/apis/secretmanager/v1/secretmanager_v1_messages.py`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::super::http::{Address, Reply, serve};

/// The stand-in.
pub struct SecretManagerDouble {
    pub address: Address,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Desk {
    /// By `secrets/NAME/versions/V:access`, behind `locations/L/` for a regional one.
    secrets: BTreeMap<String, String>,
    asked: Vec<String>,
    /// How many of the next answers are damaged on their way.
    damaged: u32,
    unchecked: bool,
}

impl SecretManagerDouble {
    /// Without secrets.
    pub fn start() -> Result<Self> {
        let desk = Arc::<Mutex<Desk>>::default();
        let shared = desk.clone();
        let address = serve(move |request| lock(&shared).answer(&request.path))?;
        Ok(Self { address, desk })
    }

    /// Adds a version of a secret, `latest` or a number.
    pub fn set(&self, name: &str, version: &str, secret: &str) {
        let path = format!("secrets/{name}/versions/{version}:access");
        lock(&self.desk).secrets.insert(path, secret.to_owned());
    }

    /// Adds a version of a regional secret.
    pub fn set_in(&self, location: &str, name: &str, version: &str, secret: &str) {
        let path = format!("locations/{location}/secrets/{name}/versions/{version}:access");
        lock(&self.desk).secrets.insert(path, secret.to_owned());
    }

    /// Damages the data of the next answers, but not their checksums.
    pub fn damage(&self, answers: u32) {
        lock(&self.desk).damaged = answers;
    }

    /// Leaves out the checksums from now on.
    pub fn leave_out_checksums(&self) {
        lock(&self.desk).unchecked = true;
    }

    /// The requested paths.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.desk).asked.clone()
    }
}

impl Desk {
    fn answer(&mut self, path: &str) -> Reply {
        self.asked.push(path.to_owned());
        let name = path.trim_start_matches("/v1/projects/nba-props-platform/");
        let Some(secret) = self.secrets.get(name) else {
            let message = format!("Secret [{name}] not found or has no versions.");
            let error = json!({ "code": 404, "status": "NOT_FOUND", "message": message });
            return Reply::Answer(404, json!({ "error": error }).to_string());
        };
        let mut data = secret.clone().into_bytes();
        let checksum = crc32c(&data);
        if self.damaged > 0 {
            self.damaged -= 1;
            data[0] ^= 1;
        }
        let mut payload = json!({ "data": STANDARD.encode(data) });
        if !self.unchecked {
            payload["dataCrc32c"] = checksum.to_string().into();
        }
        Reply::ok(&json!({ "name": name.trim_end_matches(":access"), "payload": payload }))
    }
}

/// CRC-32C, bit by bit.
fn crc32c(data: &[u8]) -> u32 {
    let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82F6_3B78 } else { sum >> 1 };
    !data.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)))
}

fn lock(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}
