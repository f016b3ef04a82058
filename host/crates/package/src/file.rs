//! A plugin's file: its bytes, read once, and its metadata, read without running it.

use std::{
    fs::OpenOptions,
    io::Read,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use host_text::beginning;
use semver::Version;

use super::{
    digest::Digest,
    metadata::{Metadata, Parts},
};

/// The largest file that is read as a plugin: a component with Python in it has 20 MB.
const LARGEST: u64 = 256 << 20;

/// A component's bytes, with the name and version from its metadata.
#[derive(Debug, Clone)]
pub struct File {
    /// The path it was read from.
    pub path: PathBuf,
    /// The whole file; it is never read again.
    pub bytes: Vec<u8>,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The name in its metadata.
    pub name: String,
    /// The version in its metadata.
    pub version: Version,
    /// The version of the contract that it was built for.
    pub api: Version,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// The interfaces that it exports.
    pub exports: Vec<String>,
    /// Whether it is composed of several components.
    pub parts: Parts,
}

impl File {
    /// Parses bytes as if they were read from `path`. Errors do not name it.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        Self::named(path, bytes, &mut String::new())
    }

    /// Reads a file. An error comes with the plugin's name if the metadata has one, else with [`name_of`] its path.
    pub fn read(path: &Path) -> Result<Self, (String, anyhow::Error)> {
        let mut name = name_of(path);
        let file = whole(path).and_then(|bytes| Self::named(path, bytes, &mut name));
        file.map_err(|error| (name, error.context(path.display().to_string())))
    }

    /// Sets `name` to the plugin's as soon as it is known.
    fn named(path: &Path, bytes: Vec<u8>, name: &mut String) -> Result<Self> {
        let metadata = Metadata::read(&bytes)?;
        if let Some(found) = metadata.name.as_ref().filter(|name| is_plugin_name(name)) {
            name.clone_from(found);
        }
        let api = metadata.check_api()?;
        let (found, version) = identity(&metadata)?;
        let Metadata { imports, exports, parts, .. } = metadata;
        let digest = Digest::of(&bytes);
        Ok(Self { path: path.to_owned(), bytes, digest, name: found, version, api, imports, exports, parts })
    }
}

/// The bytes of a regular file. A pipe or device could block for ever, or never end.
fn whole(path: &Path) -> Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).context("cannot be read")?;
    let found = file.metadata().context("cannot be read")?;
    if found.is_dir() {
        bail!("is a directory");
    }
    if !found.is_file() {
        bail!("is not a regular file");
    }
    let mut bytes = Vec::with_capacity(usize::try_from(found.len().min(LARGEST)).unwrap_or_default());
    file.take(LARGEST + 1).read_to_end(&mut bytes).context("cannot be read")?;
    if bytes.len() as u64 > LARGEST {
        bail!("is larger than {} MiB, too large for a plugin", LARGEST >> 20);
    }
    Ok(bytes)
}

fn identity(metadata: &Metadata) -> Result<(String, Version)> {
    let (Some(name), Some(version)) = (&metadata.name, &metadata.version) else {
        let missing = if metadata.name.is_none() { "name" } else { "version" };
        bail!(
            "has no {missing} in its metadata; build it with the SDK, or add it with `wasm-tools metadata add --name NAME --version VERSION`"
        );
    };
    if !is_plugin_name(name) {
        bail!("`{}` is not a plugin name: {PLUGIN_NAME}", beginning(name, 64).escape_debug());
    }
    let version = Version::parse(version)
        .with_context(|| format!("`{}` is not a version; write it like 1.2.0", version.escape_debug()))?;
    Ok((name.clone(), version))
}

/// The name for a file without a plugin's name: the file's own without its extension, as far as that is safe to show and
/// no name of the host's own, such as `phase2-gate.consulted`.
pub fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy();
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' };
    let name: String = stem.chars().map(safe).skip_while(|c| !c.is_ascii_alphanumeric()).take(64).collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// The rule of [`is_plugin_name`], for errors.
pub const PLUGIN_NAME: &str = "use up to 64 lower-case letters, digits and -, beginning with a letter or digit";

/// Whether a name is safe as a key in host.toml, as a file name and on a terminal.
pub fn is_plugin_name(name: &str) -> bool {
    let part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 64 && name.starts_with(part) && name.chars().all(|c| part(c) || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_name_is_a_key_without_quotes_and_no_option() {
        for (valid, refused) in
            [("phase2-raw", "phase2_raw"), ("a-", "-a"), ("0", ""), ("a--b", "A"), ("raw", "raw.consulted")]
        {
            assert!(is_plugin_name(valid), "{valid}");
            assert!(!is_plugin_name(refused), "{refused}");
        }
        assert!(is_plugin_name(&"n".repeat(64)) && !is_plugin_name(&"n".repeat(65)));
    }

    #[test]
    fn a_file_without_a_name_has_one_that_a_check_may_have() {
        for (path, name) in [
            ("plugins/Phase2_raw.wasm", "Phase2_raw"),
            ("._odds.wasm", "odds"),
            ("-x.wasm", "x"),
            ("gate.consulted.wasm", "gate-consulted"),
            ("c\u{202e}od.wasm", "c-od"),
            ("é.wasm", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(name_of(Path::new(path)), name);
        }
    }
}
