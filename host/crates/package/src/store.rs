//! The store: fetched components, each named by its digest, in a directory beside plugins.lock. Files are verified
//! before they are stored, and never changed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use semver::Version;

use super::{digest::Digest, file::File, signature, trust::Keys};

/// The directory's name.
const DIRECTORY: &str = "plugins.store";

/// A directory of components.
#[derive(Debug, Clone)]
pub struct Store {
    directory: PathBuf,
}

/// The expected name, version and signature of a component.
#[derive(Debug)]
pub struct Expected<'e> {
    /// The plugin's name.
    pub name: &'e str,
    /// Its version.
    pub version: &'e Version,
    /// The keys, one of which must have signed it; if there are none, no signature is needed.
    pub keys: &'e Keys,
}

impl Store {
    /// The store of a lock file.
    pub fn beside(lock: &Path) -> Self {
        Self { directory: lock.with_file_name(DIRECTORY) }
    }

    /// The path for the component of a digest.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(format!("{}.wasm", digest.to_string().replace(':', "-")))
    }

    /// The component of a digest, if it is there and undamaged.
    pub fn find(&self, digest: Digest) -> Option<File> {
        File::read(&self.path(digest)).ok().filter(|file| file.digest == digest)
    }

    /// Adds signatures to those of a component in the store, and verifies them.
    pub fn sign(&self, file: &File, signatures: Option<&[u8]>, expected: &Expected<'_>) -> Result<()> {
        let place = || self.directory.display().to_string();
        let there = signature::read_signatures(&file.path)?;
        let added = match (&there, signatures) {
            (_, None) => None,
            (None, Some(signatures)) => Some(signatures.to_vec()),
            (Some(there), Some(signatures)) => signature::merge_signatures(there, signatures)
                .with_context(|| format!("{}: cannot add to it", signature::beside(&file.path).display()))?,
        };
        if let Some(added) = added {
            let apart = tempfile::tempdir_in(&self.directory).with_context(place)?;
            let arrived = apart.path().join("arrived.sig");
            write(&arrived, &added)?;
            fs::rename(&arrived, signature::beside(&file.path)).with_context(place)?;
        }
        match expected.keys.is_empty() {
            true => Ok(()),
            false => signature::verify(file, expected.keys).context("refused"),
        }
    }

    /// Stores a component that is as expected, with its signatures.
    pub fn keep(&self, bytes: Vec<u8>, signatures: Option<&[u8]>, expected: &Expected<'_>) -> Result<File> {
        let place = || self.directory.display().to_string();
        fs::create_dir_all(&self.directory).with_context(place)?;
        // Verify it elsewhere first, then move it.
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
