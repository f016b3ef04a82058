//! A cache of compiled code. Only unaltered code that this host wrote is loaded, since loading foreign code would run
//! it.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::Write,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};

use super::Digest;

/// A directory of compiled components that only its user can write, if there is one.
pub struct Cache(Option<PathBuf>);

impl Cache {
    /// `$XDG_CACHE_HOME/host/compiled`, else `~/.cache/host/compiled`. Without either, nothing is cached.
    pub fn open() -> Self {
        let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self(home.map(|home| home.join("host").join("compiled")).filter(|directory| private(directory)))
    }

    /// The directory of the cache, if there is one.
    pub fn directory(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// The compiled component of these bytes for this engine.
    pub(super) fn find(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let path = self.path(engine, digest)?;
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || !ours(&metadata) {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let (checksum, code) = bytes.split_at_checked(32)?;
        if Sha256::digest(code).as_slice() != checksum {
            return None;
        }
        // SAFETY: this host's compiler wrote the code for this engine: the directory and the file belong to this user,
        // nobody else can write them, and the checksum shows that the file is complete and undamaged.
        #[allow(unsafe_code)]
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Stores compiled code. A failure is not an error: the next start compiles again.
    pub(super) fn keep(&self, engine: &Engine, digest: Digest, code: &[u8]) {
        let Some(path) = self.path(engine, digest) else { return };
        let Some(directory) = path.parent() else { return };
        let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
            file.write_all(&Sha256::digest(code))?;
            file.write_all(code)?;
            file.persist(&path).map_err(|error| error.error)
        });
        // A full disk or a removed directory: see above.
        drop(written);
    }

    fn path(&self, engine: &Engine, digest: Digest) -> Option<PathBuf> {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let digest = digest.digits();
        Some(self.0.as_ref()?.join(format!("{digest}-{:016x}.cwasm", hasher.finish())))
    }
}

/// Makes the directory if it does not exist; `false` if others can write to it.
fn private(directory: &Path) -> bool {
    if fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).is_err() {
        return false;
    }
    fs::symlink_metadata(directory).is_ok_and(|metadata| metadata.is_dir() && ours(&metadata))
}

/// Belongs to this user, and nobody else can write it.
fn ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == rustix::process::geteuid().as_raw() && metadata.permissions().mode() & 0o022 == 0
}
