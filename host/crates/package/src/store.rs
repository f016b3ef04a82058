//! The store: fetched components, each named by its digest, in a directory beside plugins.lock. Files are verified
//! before they are stored, and never changed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use semver::Version;
use tempfile::TempDir;

use super::{claim::Claim, digest::Digest, file::File, signature, temporary::unnamed, trust::Keys};

/// The directory's name beside a lock file, and in a state directory, where the names of the host's files begin so.
const DIRECTORY: &str = "plugins.store";
const IN_STATE: &str = "host.plugins";

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

    /// The store in a state directory, for what ran.
    pub fn within(state: &Path) -> Self {
        Self { directory: state.join(IN_STATE) }
    }

    /// The path for the component of a digest.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.directory.join(format!("{}.wasm", digest.to_string().replace(':', "-")))
    }

    /// The digests of the components that are there.
    pub fn digests(&self) -> Vec<Digest> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let digest = |name: &str| name.strip_suffix(".wasm")?.replacen('-', ":", 1).parse().ok();
        entries.filter_map(|entry| digest(&entry.file_name().to_string_lossy())).collect()
    }

    /// The component of a digest, if it is there and undamaged.
    pub fn find(&self, digest: Digest) -> Option<File> {
        File::read(&self.path(digest)).ok().filter(|file| file.digest == digest)
    }

    /// Adds signatures to those of a component in the store, and verifies them.
    pub fn sign(&self, file: &File, signatures: Option<&[u8]>, expected: &Expected<'_>) -> Result<()> {
        expected.must_be(file)?;
        let _claim = Claim::of(&self.directory)?;
        if let Some(added) = self.added(file.digest, signatures)? {
            let apart = self.apart()?;
            self.store_signatures(&apart, file.digest, &added)?;
        }
        signature::signers(file, expected.keys).map(drop).context("refused")
    }

    /// Stores a component that is as expected. Its signatures are added to those that are there.
    pub fn keep(&self, bytes: Vec<u8>, signatures: Option<&[u8]>, expected: &Expected<'_>) -> Result<File> {
        let path = self.path(Digest::of(&bytes));
        // Errors name the place in the registry: nothing of a refused file stays here.
        let file = File::parse(&path, bytes).context("refused: the fetched file")?;
        expected.must_be(&file)?;
        fs::create_dir_all(&self.directory).with_context(|| self.shown())?;
        let _claim = Claim::of(&self.directory)?;
        let added = self.added(file.digest, signatures)?;
        if !expected.keys.is_empty() {
            let there = signature::read_signatures(&path)?;
            signature::verify_fetched(&file, added.as_deref().or(there.as_deref()), expected.keys)
                .context("refused")?;
        }
        // Write it elsewhere first, then move it.
        let apart = self.apart()?;
        if let Some(added) = added {
            self.store_signatures(&apart, file.digest, &added)?;
        }
        let arrived = apart.path().join("arrived.wasm");
        write(&arrived, &file.bytes).with_context(|| self.shown())?;
        fs::rename(&arrived, &path).with_context(|| self.shown())?;
        Ok(file)
    }

    /// The signatures of a component with added ones; `None` if nothing is added.
    fn added(&self, digest: Digest, signatures: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let path = self.path(digest);
        match (signature::read_signatures(&path)?, signatures) {
            (_, None) => Ok(None),
            (None, Some(signatures)) => Ok(Some(signatures.to_vec())),
            (Some(there), Some(signatures)) => signature::merge_signatures(&there, signatures)
                .with_context(|| format!("{}: cannot add to it", signature::beside(&path).display())),
        }
    }

    fn store_signatures(&self, apart: &TempDir, digest: Digest, signatures: &[u8]) -> Result<()> {
        let arrived = apart.path().join("arrived.sig");
        write(&arrived, signatures).with_context(|| self.shown())?;
        fs::rename(&arrived, signature::beside(&self.path(digest))).with_context(|| self.shown())
    }

    /// A directory for files that are not complete yet.
    fn apart(&self) -> Result<TempDir> {
        tempfile::tempdir_in(&self.directory).map_err(unnamed).with_context(|| self.shown())
    }

    fn shown(&self) -> String {
        self.directory.display().to_string()
    }
}

impl Expected<'_> {
    /// Refuses another plugin or version.
    pub fn must_be(&self, file: &File) -> Result<()> {
        if (file.name.as_str(), &file.version) != (self.name, self.version) {
            bail!(
                "refused: {} {} was requested, but {} {} was received",
                self.name,
                self.version,
                file.name,
                file.version
            );
        }
        Ok(())
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = fs::File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    // Without the path: it is one of a moment.
    write().context("not written")
}
