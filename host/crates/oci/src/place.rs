//! The place of a plugin in a registry, `oci://REGISTRY/REPOSITORY`, with its wanted versions.

use std::{fmt, str::FromStr};

use anyhow::{Context, Result, bail};
use host_package::SCHEME;
use semver::{Version, VersionReq};

/// The longest tag, in bytes: <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>
const TAG: usize = 128;

/// A plugin in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `ghcr.io`, `localhost:5000`
    pub registry: String,
    /// `data/phase2-raw`
    pub repository: String,
    /// The wanted versions.
    pub wanted: Wanted,
}

/// The wanted versions of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Any,
    /// `:1.2.0`
    Exactly(Version),
    /// `@^1.2`
    Within(VersionReq),
}

impl Place {
    /// The plugin's name: the last part of the repository.
    pub fn name(&self) -> &str {
        self.repository.rsplit('/').next().unwrap_or_default()
    }

    /// A version as a tag. Tags cannot contain `+`, so `_` replaces it, as in Helm:
    /// <https://helm.sh/docs/topics/registries/>
    pub fn tag(version: &Version) -> String {
        version.to_string().replace('+', "_")
    }

    /// Whether the registry is on this machine. Plain HTTP is safe there, and Docker uses it too.
    pub fn is_loopback(&self) -> bool {
        let host = self.registry.rsplit_once(':').map_or(self.registry.as_str(), |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// The version in a tag, if the tag is a version.
pub fn version(tag: &str) -> Option<Version> {
    if tag.len() > TAG {
        return None;
    }
    Version::parse(&tag.replace('_', "+")).ok()
}

impl Wanted {
    /// Whether a version is wanted. A pre-release must be named.
    pub fn fits(&self, version: &Version) -> bool {
        match self {
            Self::Any => version.pre.is_empty(),
            Self::Exactly(wanted) => wanted == version,
            Self::Within(wanted) => wanted.matches(version),
        }
    }
}

impl FromStr for Place {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            format!(
                "`{text}` is not the place of a plugin; write oci://REGISTRY/REPOSITORY, with :1.2.0 or @^1.2 after it"
            )
        };
        let rest = text.strip_prefix(SCHEME).with_context(wrong)?;
        let (registry, rest) = rest.split_once('/').with_context(wrong)?;
        let (repository, wanted) = match (rest.split_once('@'), rest.split_once(':')) {
            (Some((repository, wanted)), _) => {
                let wanted = VersionReq::parse(wanted)
                    .with_context(|| format!("`{wanted}` does not say which versions; write it like ^1.2"))?;
                (repository, Wanted::Within(wanted))
            }
            (None, Some((repository, tag))) => {
                let version = Version::parse(tag)
                    .with_context(|| format!("`{tag}` is not a version; plugins are published as 1.2.0"))?;
                (repository, Wanted::Exactly(version))
            }
            (None, None) => (rest, Wanted::Any),
        };
        // https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        };
        let host = registry.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c));
        if registry.is_empty() || !host || !repository.split('/').all(plain) {
            bail!(wrong());
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), wanted })
    }
}

/// The place as it was written.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.registry, self.repository)?;
        match &self.wanted {
            Wanted::Any => Ok(()),
            Wanted::Exactly(version) => write!(f, ":{version}"),
            Wanted::Within(wanted) => write!(f, "@{wanted}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_written_as_they_were() {
        for text in [
            "oci://localhost:5000/phase2-raw",
            "oci://ghcr.io/data/checks/phase2-raw:1.2.0-rc.1",
            "oci://[::1]:5000/a/b@^1.2, <1.5",
            "oci://127.0.0.1/a_b.c@=1.0.0",
        ] {
            let place: Place = text.parse().expect(text);
            assert_eq!(place.to_string(), text);
        }
        for text in [
            "ghcr.io/data/x",
            "oci://ghcr.io",
            "oci:///x",
            "oci://ghcr.io/",
            "oci://ghcr.io/X",
            "oci://ghcr.io/a//b",
            "oci://ghcr.io/a/../b",
            "oci://ghcr.io/x:latest",
            "oci://ghcr.io/x@newest",
            "oci://user@ghcr.io/x",
            "oci://gh cr.io/x",
        ] {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_may_go_without_tls() {
        let loopback = |registry: &str| format!("oci://{registry}/x").parse::<Place>().expect(registry).is_loopback();
        for registry in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000"] {
            assert!(loopback(registry), "{registry}");
        }
        for registry in ["ghcr.io", "localhost.example.com", "10.0.0.1:5000", "127.0.0.1.example.com", "[::2]:5000"] {
            assert!(!loopback(registry), "{registry}");
        }
    }
}
