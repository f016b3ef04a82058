//! The pin of one plugin.

use semver::Version;
use serde::Deserialize;

use super::digest::Digest;

/// The pin of one name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The plugin's version.
    pub version: Version,
    /// The digest of its file.
    pub digest: Digest,
    /// The version of the contract that it was built for.
    pub api: Version,
    /// Where it came from: a path relative to plugins.lock, or a place in a registry, `oci://…`.
    pub source: String,
}
