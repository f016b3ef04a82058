//! A cache of compiled code. Only unaltered code that this host wrote is loaded, since loading foreign code would run
//! it.

use std::{
    ffi::OsStr,
    fs,
    hash::{Hash, Hasher},
    io::{Read, Seek, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Component as Part, Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, fstat, openat, renameat, unlinkat};
use sha2::{Digest as _, Sha256};
use wasmtime::{Engine, component::Component};

use super::Digest;

/// Bytes of a checksum at the end of a file.
const CHECKSUM: usize = 4;

/// A directory of compiled components that only its user can change, or the reason for using none.
pub struct Cache(Result<Directory, String>);

struct Directory {
    path: PathBuf,
    /// Files are opened relative to it, so that nobody can put another directory in its place.
    open: OwnedFd,
}

impl Cache {
    /// `$XDG_CACHE_HOME/host/compiled`, else `~/.cache/host/compiled`. Without either, nothing is cached.
    pub fn open() -> Self {
        let absolute = |variable| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
        Self(match home {
            Some(home) => Directory::open(&home.join("host").join("compiled")),
            None => Err("neither XDG_CACHE_HOME nor HOME is set".to_owned()),
        })
    }

    /// The directory of the cache, or the reason for using none.
    pub fn directory(&self) -> Result<&Path, &str> {
        self.0.as_ref().map(|directory| directory.path.as_path()).map_err(String::as_str)
    }

    /// The compiled component of these bytes for this engine.
    pub(super) fn find(&self, engine: &Engine, digest: Digest) -> Option<Component> {
        let directory = self.0.as_ref().ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&directory.open, name(engine, digest), flags, Mode::empty()).ok()?;
        let mut file = fs::File::from(file);
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !only_ours(metadata.uid(), metadata.mode()) {
            return None;
        }
        if !is_undamaged(&mut file, metadata.len()) {
            return None;
        }
        // Mapped from the file, code costs memory and time only where it runs. By its number, since only this file was
        // looked at.
        let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
        // SAFETY: this host's compiler wrote the code for this engine: the directory and the file belong to this user,
        // nobody else can change them or what leads to them, a file is replaced and never written to, and the checksum
        // shows that it is complete and undamaged.
        #[allow(unsafe_code)]
        let mapped = unsafe { Component::deserialize_file(engine, opened) };
        // Code on a file system that is mounted noexec runs from a copy.
        mapped.ok().or_else(|| {
            let mut code = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut code)).ok()?;
            // SAFETY: as above.
            #[allow(unsafe_code)]
            unsafe { Component::deserialize(engine, code) }.ok()
        })
    }

    /// Stores compiled code. A failure is not an error: the next start compiles again.
    pub(super) fn keep(&self, engine: &Engine, digest: Digest, code: &[u8]) {
        let Ok(directory) = &self.0 else { return };
        // A full disk or a removed directory: see above.
        let _ = directory.write(&name(engine, digest), code);
    }
}

impl Directory {
    /// Makes and opens a directory; an error if somebody else can change it or what leads to it.
    fn open(path: &Path) -> Result<Self, String> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed(path, &error))?;
        // Links may lead here; the directories that they lead to are looked at.
        let whole = fs::canonicalize(path).map_err(|error| failed(path, &error))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (mut open, mut seen) = (None, PathBuf::new());
        for part in whole.components() {
            let part: &Path = if part == Part::RootDir { Path::new("/") } else { part.as_ref() };
            seen.push(part);
            let next = match &open {
                None => openat(CWD, part, flags, Mode::empty()),
                Some(open) => openat(open, part, flags, Mode::empty()),
            };
            let next = next.map_err(|error| failed(&seen, &error))?;
            let found = fstat(&next).map_err(|error| failed(&seen, &error))?;
            let safe = if seen == whole { only_ours } else { leads_safely };
            if !safe(found.st_uid, found.st_mode) {
                let (user, mode) = (found.st_uid, found.st_mode & 0o7777);
                return Err(format!("{}: other users can change it (user {user}, mode {mode:o})", seen.display()));
            }
            open = Some(next);
        }
        let open = open.ok_or_else(|| failed(path, &"not a directory"))?;
        Ok(Self { path: path.to_owned(), open })
    }

    /// Writes a file whole, or not at all.
    fn write(&self, name: &str, code: &[u8]) -> std::io::Result<()> {
        let unfinished = format!(".{}-{:016x}", std::process::id(), fastrand::u64(..));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = fs::File::from(openat(&self.open, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        let written = file
            .write_all(code)
            .and_then(|()| file.write_all(&crc32fast::hash(code).to_le_bytes()))
            .and_then(|()| Ok(renameat(&self.open, &unfinished, &self.open, name)?));
        if written.is_err() {
            let _ = unlinkat(&self.open, OsStr::new(&unfinished), rustix::fs::AtFlags::empty());
        }
        written
    }
}

/// Whether a file of this length ends in the checksum of the rest. The checksum is last, since code can be mapped only
/// from the beginning of a file. A CRC-32 finds what a disk or a crash does to a file; nobody else can write one.
fn is_undamaged(file: &mut fs::File, length: u64) -> bool {
    let mut seen = crc32fast::Hasher::new();
    let mut checksum = [0; CHECKSUM];
    let Some(mut left) = length.checked_sub(CHECKSUM as u64) else { return false };
    let mut part = [0; 1 << 14];
    while left > 0 {
        let most = part.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match part.get_mut(..most).map(|part| file.read(part)) {
            Some(Ok(read @ 1..)) => {
                seen.update(part.get(..read).unwrap_or_default());
                left -= read as u64;
            }
            _ => return false,
        }
    }
    file.read_exact(&mut checksum).is_ok() && seen.finalize().to_le_bytes() == checksum
}

/// The name for compiled code: the digest of the component, and the engine's compatibility as a whole.
fn name(engine: &Engine, digest: Digest) -> String {
    let mut compatibility = Whole(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let compatibility: [u8; 32] = compatibility.0.finalize().into();
    format!("{}-{}.cwasm", digest.digits(), crate::text::hex::hex(&compatibility))
}

/// Takes in all that is hashed; std's hashers keep 64 bits of it.
struct Whole(Sha256);

impl Hasher for Whole {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    // Nobody asks for the short form.
    fn finish(&self) -> u64 {
        0
    }
}

/// Belongs to this user, and nobody else can write it.
fn only_ours(user: u32, mode: u32) -> bool {
    user == rustix::process::geteuid().as_raw() && mode & 0o022 == 0
}

/// A directory above: of this user or root, and nobody else can put another entry in the place of ours. In a sticky
/// directory, as /tmp, only an entry's owner can.
fn leads_safely(user: u32, mode: u32) -> bool {
    (user == 0 || user == rustix::process::geteuid().as_raw()) && (mode & 0o022 == 0 || mode & 0o1000 != 0)
}
