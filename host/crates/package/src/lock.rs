//! plugins.lock: the digest that is pinned for each name. People review it as a diff, so moving one plugin changes only
//! that plugin's lines.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use host_text::{beginning, directory_of, or_here, quoted_path};
use semver::Version;
use serde::Deserialize;

use super::{
    claim::Claim,
    file::{File, PLUGIN_NAME, is_plugin_name},
    layout::Layout,
    pin::Pin,
    store::Store,
    temporary::unnamed,
};

/// The format that this host reads and writes.
const FORMAT: u32 = 1;

/// Distinguishes a place in a registry from a file's path.
pub const SCHEME: &str = "oci://";

/// The lock file's usual name.
pub const LOCK: &str = "plugins.lock";

/// A command of the host about a lock file: `lock_command("pull", lock)` is `host pull --lock deploy/plugins.lock`.
pub fn lock_command(command: &str, lock: &Path) -> String {
    match lock == Path::new(LOCK) {
        true => format!("host {command}"),
        false => format!("host {command} --lock {}", quoted_path(lock)),
    }
}

/// The command that pins this version of a plugin, which is in this file.
pub fn pin_command(lock: &Path, name: &str, version: &Version, file: &Path) -> String {
    format!("{} {name}@{version} {}", lock_command("pin", lock), quoted_path(file))
}

/// plugins.lock, with its text.
#[derive(Debug, Clone)]
pub struct Lock {
    path: PathBuf,
    pins: BTreeMap<String, Pin>,
    layout: Layout,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    format: u32,
    #[serde(default)]
    plugin: BTreeMap<String, Pin>,
}

impl Lock {
    /// An empty lock file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), pins: BTreeMap::new(), layout: Layout::new() }
    }

    /// Reads a lock file; `None` if it does not exist.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text).map(Some).with_context(|| format!("{}: refused", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        }
    }

    /// Parses the text of the lock file at `path`.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let Text { format, plugin: pins } =
            toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))?;
        if format != FORMAT {
            bail!("this host reads format {FORMAT}, not format {format}; run a newer host");
        }
        if let Some(name) = pins.keys().find(|name| !is_plugin_name(name)) {
            bail!("`{}` is not a plugin name: {PLUGIN_NAME}", beginning(name, 64).escape_debug());
        }
        let layout = Layout::read(text, &pins);
        Ok(Self { path: path.to_owned(), pins, layout })
    }

    /// Blocks other processes that change the lock file, until the returned guard is dropped. Waits for one that is
    /// changing it now, but not for ever.
    pub fn claim(path: &Path) -> Result<Claim> {
        // Lock the directory: writing replaces the file itself.
        Claim::of(directory_of(&target(path)?))
    }

    /// The path of the lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pin of a name.
    pub fn pin(&self, name: &str) -> Option<&Pin> {
        self.pins.get(name)
    }

    /// All pins, by name.
    pub fn pins(&self) -> &BTreeMap<String, Pin> {
        &self.pins
    }

    /// Pins a file, and returns the previous pin. An unchanged pin keeps its text.
    pub fn set(&mut self, file: &File) -> Option<Pin> {
        let source = seen_from(self.directory(), &file.path);
        self.set_from(file, source)
    }

    /// Pins a file that was fetched from another place.
    pub fn set_from(&mut self, file: &File, source: String) -> Option<Pin> {
        let pin = Pin { version: file.version.clone(), digest: file.digest, api: file.api.clone(), source };
        let before = self.pins.get(&file.name).cloned();
        if before.as_ref() != Some(&pin) {
            self.layout.set(&file.name, &pin);
            self.pins.insert(file.name.clone(), pin);
        }
        before
    }

    /// Removes a plugin's pin.
    pub fn remove(&mut self, name: &str) {
        self.pins.remove(name);
        self.layout.remove(name);
    }

    /// The file of a pin; in the store if it came from a registry.
    pub fn source(&self, pin: &Pin) -> PathBuf {
        match pin.source.starts_with(SCHEME) {
            true => Store::beside(&self.path).path(pin.digest),
            false => self.directory().join(&pin.source),
        }
    }

    /// The directory that sources are relative to.
    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        self.layout.text()
    }

    /// Writes the file atomically. A link stays a link, and the file keeps its mode.
    pub fn write(&self) -> Result<()> {
        let path = target(&self.path)?;
        let text = self.text();
        let write = || {
            let before = fs::metadata(&path).ok();
            if before.is_some() && fs::read(&path)? == text.as_bytes() {
                return Ok(());
            }
            // A new file has the usual mode of this user.
            let usual = fs::Permissions::from_mode(0o666);
            let made = tempfile::Builder::new().permissions(usual).tempfile_in(directory_of(&path));
            let mut file = made.map_err(unnamed)?;
            file.as_file_mut().write_all(text.as_bytes())?;
            if let Some(before) = before {
                // Only root can give a file away; anybody else's is now this user's.
                let _ = fchown(file.as_file(), Some(before.uid()), Some(before.gid()));
                file.as_file().set_permissions(before.permissions())?;
            }
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(|error: std::io::Error| error).with_context(|| format!("{}: not written", self.path.display()))
    }
}

/// The most links that lead to a file, as in Linux.
const LINKS: usize = 40;

/// The file behind links, which need not exist.
fn target(path: &Path) -> Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(link) => path = directory_of(&path).join(link),
            Err(_) => return Ok(path),
        }
    }
    bail!("{}: too many links lead to each other", path.display())
}

/// A path relative to a directory if both exist, else the path itself.
fn seen_from(directory: &Path, path: &Path) -> String {
    let directory = or_here(directory);
    let (Ok(from), Ok(to)) = (directory.canonicalize(), path.canonicalize()) else {
        return path.display().to_string();
    };
    let shared = from.components().zip(to.components()).take_while(|(one, other)| one == other).count();
    let up = from.components().skip(shared).map(|_| "..".as_ref());
    let seen: PathBuf = up.chain(to.components().skip(shared).map(|part| part.as_os_str())).collect();
    seen.display().to_string()
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::Digest;

    fn file(name: &str, version: &str, bytes: &[u8]) -> File {
        let version = Version::parse(version).unwrap();
        File {
            path: PathBuf::from(format!("{name}.wasm")),
            bytes: bytes.to_vec(),
            digest: Digest::of(bytes),
            name: name.to_owned(),
            api: Version::new(0, 1, 0),
            version,
            imports: Vec::new(),
            exports: Vec::new(),
            parts: crate::Parts::One,
        }
    }

    #[test]
    fn pins_are_sorted_and_read_as_they_are_written() {
        let mut lock = Lock::new(Path::new("plugins.lock"));
        for name in ["b", "c", "a"] {
            assert_eq!(lock.set(&file(name, "1.0.0", name.as_bytes())), None);
        }
        let text = lock.text();
        let headings: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
        assert_eq!(headings, ["[plugin.a]", "[plugin.b]", "[plugin.c]"]);
        let read = Lock::parse(Path::new("plugins.lock"), &text).unwrap();
        assert_eq!((read.pins(), read.text()), (lock.pins(), text));
    }

    #[test]
    fn moving_one_pin_leaves_every_other_line_as_it_was() {
        let mut lock = Lock::new(Path::new("plugins.lock"));
        for name in ["a", "b", "c"] {
            lock.set(&file(name, "1.0.0", name.as_bytes()));
        }
        let text = lock.text().replace("format = 1\n", "format = 1 # as of today\n").replace(
            "[plugin.c]\nversion = \"1.0.0\"",
            "[plugin.c]\n# waits for the team's review\nversion   =   \"1.0.0\"",
        );
        let mut lock = Lock::parse(Path::new("plugins.lock"), &text).unwrap();
        let before = lock.set(&file("b", "1.1.0", b"new")).unwrap();
        assert_eq!(before.version, Version::new(1, 0, 0));
        let moved = lock.text();
        let changed: Vec<(&str, &str)> = text.lines().zip(moved.lines()).filter(|(old, new)| old != new).collect();
        assert_eq!(changed.len(), 2, "{moved}");
        assert!(changed[0].1 == "version = \"1.1.0\"" && changed[1].1.starts_with("digest"), "{changed:?}");
        assert_eq!(text.lines().count(), moved.lines().count());
    }

    #[test]
    fn what_is_no_lock_file_is_refused_with_the_reason() {
        let digest = Digest::of(b"");
        let pin = |lines: &str| format!("format = 1\n[plugin.a]\n{lines}");
        let whole = format!("version = '1.0.0'\ndigest = '{digest}'\napi = '0.1.0'\nsource = 'a.wasm'\n");
        assert!(Lock::parse(Path::new("x"), &pin(&whole)).is_ok());
        let cases = [
            (String::new(), "missing field `format`"),
            ("format = 2".to_owned(), "run a newer host"),
            ("format = 1\nplugins = 3".to_owned(), "unknown field `plugins`"),
            (pin("version = '1'"), "unexpected end of input while parsing major version"),
            (pin(&whole.replace("sha256:", "sha256-")), "is not a digest"),
            (pin(&whole.replace("sha256:", "sha256:0")), "is not a digest"),
            (pin(&(whole.clone() + "signed = true")), "unknown field `signed`"),
            (pin(&whole) + &pin(&whole).replace("format = 1\n", ""), "duplicate key"),
            (pin(&whole).replace("plugin.a", "plugin.'../a'"), "is not a plugin name"),
        ];
        for (text, words) in cases {
            let error = format!("{:#}", Lock::parse(Path::new("x"), &text).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn other_ways_to_write_it_are_read_and_written_anew() {
        let digest = Digest::of(b"");
        let text = format!(
            "format = 1\nplugin = {{ b = {{ version = '1.0.0', digest = '{digest}', api = '0.1.0', source = 'b.wasm' }} }}\n"
        );
        let lock = Lock::parse(Path::new("plugins.lock"), &text).unwrap();
        let again = Lock::parse(Path::new("plugins.lock"), &lock.text()).unwrap();
        assert_eq!(lock.pins(), again.pins());
        assert_eq!(lock.pins().len(), 1);
    }

    #[test]
    fn sources_are_seen_from_the_lock_file() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("demo")).unwrap();
        fs::create_dir_all(directory.path().join("plugins")).unwrap();
        fs::write(directory.path().join("plugins/a.wasm"), "").unwrap();
        let seen = |from: &str| seen_from(&directory.path().join(from), &directory.path().join("plugins/a.wasm"));
        assert_eq!(seen("demo"), "../plugins/a.wasm");
        assert_eq!(seen(""), "plugins/a.wasm");
    }
}
