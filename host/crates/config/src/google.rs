//! Google Cloud: the host's credentials, other addresses of the APIs, and names of secrets.

use std::{fmt, path::PathBuf, str::FromStr};

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de::Error as _};

/// `[google]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Google {
    /// The project of the secrets.
    pub project: Option<String>,
    /// The host's credentials. Default: application-default.
    pub credentials: GoogleCredentials,
    /// A file of credentials, instead of application default credentials: the key of a service account, a user's, an
    /// impersonated account's, or Workload Identity Federation.
    pub key_file: Option<PathBuf>,
    /// Another address of Secret Manager, also for regional secrets.
    pub secrets_endpoint: Endpoint,
}

/// `google.credentials`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GoogleCredentials {
    /// The file that GOOGLE_APPLICATION_CREDENTIALS names, else the file that `gcloud auth application-default login`
    /// writes, else the metadata server of Google Cloud.
    #[default]
    ApplicationDefault,
    /// No credentials, for an emulator.
    None,
}

/// The address of an API, instead of the usual one: `http://127.0.0.1:9050`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint(Option<String>);

impl Endpoint {
    /// This address, or else the usual one.
    pub fn or(&self, usual: &str) -> String {
        self.0.as_deref().unwrap_or(usual).to_owned()
    }

    /// Whether requests to this address are unencrypted.
    pub(super) fn is_open(&self) -> bool {
        self.0.as_ref().is_some_and(|url| {
            let host = url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
            host.is_some_and(|host| !matches!(host, "127.0.0.1" | "localhost" | "[" | "[::1]"))
        })
    }

    /// Rejects an unencrypted address with credentials, and Google's own address without.
    pub(super) fn check(&self, key: &str, google: &Google) -> Result<()> {
        let nobody = google.credentials == GoogleCredentials::None && google.key_file.is_none();
        if self.is_open() && !nobody {
            bail!(
                "{key}: not https, so the credentials would be sent in clear text; use https, or google.credentials = \"none\""
            );
        }
        if self.0.is_none() && nobody {
            bail!("{key}: missing; google.credentials = \"none\" is for emulators, so give the emulator's address");
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
            false => {
                Err(D::Error::custom(format!("`{text}` is not an address; write it like `http://127.0.0.1:9050`")))
            }
        }
    }
}

/// A secret of Secret Manager: `secret:NAME` for the latest version, or `secret:NAME/versions/3`. A regional secret has
/// its location before its name: `secret:us-west2/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretName {
    location: Option<String>,
    name: String,
    version: String,
}

impl SecretName {
    /// The prefix of a secret's name.
    pub const PREFIX: &str = "secret:";

    /// The resource name, relative to the project.
    pub fn path(&self) -> String {
        let location = self.location.as_ref().map(|location| format!("locations/{location}/")).unwrap_or_default();
        format!("{location}secrets/{}/versions/{}", self.name, self.version)
    }

    /// The location of a regional secret.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    fn new(location: Option<&str>, name: &str, version: &str) -> Self {
        Self { location: location.map(str::to_owned), name: name.to_owned(), version: version.to_owned() }
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = self.location.as_ref().map(|location| format!("{location}/")).unwrap_or_default();
        write!(f, "{}{location}{}/versions/{}", Self::PREFIX, self.name, self.version)
    }
}

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let plain =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let path = text.strip_prefix(Self::PREFIX).unwrap_or_default();
        match path.split('/').collect::<Vec<_>>().as_slice() {
            [name] if plain(name) => Ok(Self::new(None, name, "latest")),
            [name, "versions", version] if plain(name) && plain(version) => Ok(Self::new(None, name, version)),
            [location, name] if is_location(location) && plain(name) => Ok(Self::new(Some(location), name, "latest")),
            [location, name, "versions", version] if is_location(location) && plain(name) && plain(version) => {
                Ok(Self::new(Some(location), name, version))
            }
            // Do not quote it: it may be the secret itself instead of its name.
            _ => Err("not the name of a secret: write `secret:NAME` or `secret:NAME/versions/3`, for a regional secret `secret:us-west2/NAME`; put the webhook or token itself into the environment or a file".to_owned()),
        }
    }
}

/// Whether a text has the form of a location of secrets: a region, `northamerica-northeast1`, or several, `eu`.
fn is_location(text: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    let Some((continent, rest)) = text.split_once('-') else { return text.len() == 2 && word(text) };
    let area = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    word(continent) && word(area) && area.len() < rest.len()
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
        for (text, regional) in [
            ("secret:us-west2/slack-webhook", "locations/us-west2/secrets/slack-webhook/versions/latest"),
            (
                "secret:northamerica-northeast1/a_b/versions/3",
                "locations/northamerica-northeast1/secrets/a_b/versions/3",
            ),
            ("secret:eu/a", "locations/eu/secrets/a/versions/latest"),
            ("secret:us-west2/versions/3", "secrets/us-west2/versions/3"),
        ] {
            assert_eq!(path(text).as_deref(), Ok(regional));
        }
        let name: SecretName = "secret:us-west2/a".parse().expect("a name");
        assert_eq!(
            (name.location(), name.to_string().as_str()),
            (Some("us-west2"), "secret:us-west2/a/versions/latest")
        );
        for wrong in [
            "slack",
            "secret:",
            "secret:a/b",
            "secret:a/versions/",
            "secret:../x",
            "secret:a/versions/1/x",
            "secret:us-west/a",
            "secret:us-west2-a/a",
            "secret:us-west2/",
            "secret:us-west2/a/versions/",
            "secret:us-west2.example.com/a",
        ] {
            assert!(path(wrong).is_err(), "{wrong}");
        }
        let refused = "https://hooks.slack.com/services/T0/B0/s3cret".parse::<SecretName>().expect_err("no name");
        assert!(!refused.contains("s3cret"));
    }
}
