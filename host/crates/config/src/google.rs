//! What host.toml says of Google Cloud: who the host is there, other addresses of its APIs, and names of secrets.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};

/// `[google]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Google {
    /// The project whose secrets are read.
    pub project: Option<String>,
    /// Who the host is to Google. Default: application-default.
    pub credentials: GoogleCredentials,
    /// The key of a service account, or user credentials, instead of application default credentials.
    pub key_file: Option<PathBuf>,
    /// Another address of Secret Manager.
    pub secrets_endpoint: Endpoint,
}

/// `google.credentials`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GoogleCredentials {
    /// The file that GOOGLE_APPLICATION_CREDENTIALS names, else what `gcloud auth application-default login` wrote, else
    /// the metadata server of Google Cloud.
    #[default]
    ApplicationDefault,
    /// Nobody, for an emulator.
    None,
}

/// Where an API is, when it is not at its usual address: `http://127.0.0.1:9050`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint(Option<String>);

impl Endpoint {
    /// This address, else the usual one.
    pub fn or(&self, usual: &str) -> String {
        self.0.as_deref().unwrap_or(usual).to_owned()
    }

    /// Whether what is sent can be read on its way.
    fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|url| {
            let host = url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
            host.is_some_and(|host| !matches!(host, "127.0.0.1" | "localhost" | "[" | "[::1]"))
        })
    }

    /// Refuses an address that credentials must not be sent to, and the real one for nobody.
    pub(super) fn check(&self, key: &str, google: &Google) -> Result<()> {
        let nobody = google.credentials == GoogleCredentials::None && google.key_file.is_none();
        if self.is_open() && !nobody {
            bail!(
                "{key}: it is not https, and would show the credentials to others; use https, or google.credentials = \"none\""
            );
        }
        if self.0.is_none() && nobody {
            bail!("{key}: it is missing, and google.credentials = \"none\" is for emulators: say where yours is");
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        let url = text.trim_end_matches('/');
        let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match host.is_some_and(|host| !host.is_empty() && !host.contains([' ', '?', '#', '@'])) {
            true => Ok(Self(Some(url.to_owned()))),
            false => Err(D::Error::custom(format!("`{text}` is no address; write it like `http://127.0.0.1:9050`"))),
        }
    }
}

/// A secret of Secret Manager: `secret:NAME`, which is the latest version, or `secret:NAME/versions/3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName {
    name: String,
    version: String,
}

impl SecretName {
    /// What names of secrets begin with.
    pub const PREFIX: &str = "secret:";

    /// Below the project.
    pub fn path(&self) -> String {
        format!("secrets/{}/versions/{}", self.name, self.version)
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/versions/{}", Self::PREFIX, self.name, self.version)
    }
}

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let plain =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let path = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        match path.split('/').collect::<Vec<_>>().as_slice() {
            [name] if plain(name) => Ok(Self { name: (*name).to_owned(), version: "latest".to_owned() }),
            [name, "versions", version] if plain(name) && plain(version) => {
                Ok(Self { name: (*name).to_owned(), version: (*version).to_owned() })
            }
            // It may be the secret itself, put where its name belongs.
            _ => Err("it is no name of a secret: write `secret:NAME` or `secret:NAME/versions/3`; a webhook itself belongs into the environment or a file".to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for SecretName {
    fn deserialize<D: Deserializer<'de>>(source: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(source)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_names() {
        let path = |text: &str| text.parse::<SecretName>().map(|name| name.path());
        assert_eq!(path("secret:slack-webhook").as_deref(), Ok("secrets/slack-webhook/versions/latest"));
        assert_eq!(path("secret:a_b/versions/3").as_deref(), Ok("secrets/a_b/versions/3"));
        for wrong in ["slack", "secret:", "secret:a/b", "secret:a/versions/", "secret:../x", "secret:a/versions/1/x"] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        let refused = "https://hooks.slack.com/services/T0/B0/s3cret".parse::<SecretName>().expect_err("no name");
        assert!(!refused.contains("s3cret"));
    }
}
