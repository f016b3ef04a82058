//! The store: components that were fetched, each under its digest, in a directory beside plugins.lock. Nothing gets there
//! that was not looked at first, and nothing there is changed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use semver::Version;

use super::{digest::Digest, file::File, key::PublicKey, signature};

/// The directory's name.
const DIRECTORY: &str = "plugins.store";

/// A directory of components.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

/// What a component must be to be kept.
#[derive(Debug)]
pub struct Expected<'e> {
    /// The plugin's name.
    pub name: &'e str,
    /// Its version.
    pub version: &'e Version,
    /// One of them must have signed it; none when anyone may.
    pub keys: &'e [PublicKey],
}

impl Store {
    /// Of a lock file.
    pub fn beside(lock: &Path) -> Self {
        Self { directory: lock.with_file_name(DIRECTORY) }
    }

    /// Where the component of a digest is, or would be.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(format!("{}.wasm", digest.to_string().replace(':', "-")))
    }

    /// The component of a digest, if it is there unharmed.
    pub fn find(&self, digest: Digest) -> Option<File> {
        File::read(&self.path(digest)).ok().filter(|file| file.digest == digest)
    }

    /// Keeps a component that is what is expected, with its signatures.
    pub fn keep(&self, bytes: Vec<u8>, signatures: Option<&[u8]>, expected: &Expected<'_>) -> Result<File> {
        let place = || self.directory.display().to_string();
        fs::create_dir_all(&self.directory).with_context(place)?;
        // It is looked at elsewhere first, and moved when all is well.
        let apart = tempfile::tempdir_in(&self.directory).with_context(place)?;
        let arrived = apart.path().join("arrived.wasm");
        write(&arrived, &bytes)?;
        if let Some(signatures) = signatures {
            write(&signature::beside(&arrived), signatures)?;
        }
        let file = File::parse(&arrived, bytes).map_err(|(_, error)| error).context("refused: the fetched file")?;
        if (file.name.as_str(), &file.version) != (expected.name, expected.version) {
            bail!(
                "refused: {} {} was requested, but {} {} was received",
                expected.name,
                expected.version,
                file.name,
                file.version
            );
        }
        if !expected.keys.is_empty() {
            signature::verify(&file, expected.keys).context("refused")?;
        }
        let path = self.path(file.digest);
        if signatures.is_some() {
            fs::rename(signature::beside(&arrived), signature::beside(&path)).with_context(place)?;
        }
        fs::rename(&arrived, &path).with_context(place)?;
        Ok(File { path, ..file })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("{}: not written", path.display()))
}
