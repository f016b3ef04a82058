//! The keys that signatures are checked with.

use std::str::FromStr;

use anyhow::{Context, Result};
use host_text::hex::{hex, unhex};
use serde::{Deserialize, Serialize};

/// An ed25519 key that signatures are checked with: `ed25519:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PublicKey(pub [u8; 32]);

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ed25519:{}", hex(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.strip_prefix("ed25519:").and_then(unhex);
        bytes.map(Self).with_context(|| {
            format!("`{text}` is not a key; write `ed25519:` and 64 hexadecimal digits, as `host keygen` prints them")
        })
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}
