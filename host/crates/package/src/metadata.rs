//! A component's metadata, read without running or compiling it: name, version, imports, exports, API version.

use anyhow::{Context, Result, bail};
use semver::Version;
use wasmparser::{CanonicalFunction, Chunk, Encoding, KnownCustom, Parser, Payload};

/// The API that this host offers: plugins built for any `0.1` are served by it.
pub const API: Version = Version::new(0, 1, 2);
/// The first bytes of WebAssembly.
const MAGIC: &[u8] = b"\0asm";
/// The contract's package.
const PACKAGE: &str = "pipeline:check";
/// The section in which the SDK writes the plugin's name, since core modules have no standard section for it.
const NAME_SECTION: &str = "pipeline:check/name";

/// Read from the sections of a component.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metadata {
    /// The component's name section, else the SDK's.
    pub(super) name: Option<String>,
    /// The section `version`.
    pub(super) version: Option<String>,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
    pub(super) parts: Parts,
}

/// Whether a component contains other components with functions of their own. The wrappers that `wit-component` adds
/// have none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parts {
    /// A single component.
    #[default]
    One,
    /// Composed of several components, each of which may have its own task.
    Several,
}

impl Metadata {
    /// Walks the sections. The component's own sections take precedence over those of its modules.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let not_valid = "is not a valid WebAssembly component: it is damaged or incomplete; build or fetch it again";
        if let Some(other) = other_kind(bytes) {
            bail!("is not a valid WebAssembly component: {other}");
        }
        let mut metadata = Self::default();
        let mut inner = Self::default();
        let mut rest = bytes;
        let mut parser = Parser::new(0);
        let mut outside = Vec::new();
        loop {
            // The parser's own error may be a table of bytes.
            let Ok(Chunk::Parsed { consumed, payload }) = parser.parse(rest, true) else {
                bail!(not_valid);
            };
            rest = rest.get(consumed..).context(not_valid)?;
            let depth = outside.len();
            match payload {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    bail!("is a WebAssembly module, not a component; build it with the SDK, as `host new --help` shows")
                }
                Payload::ModuleSection { parser: inside, .. } | Payload::ComponentSection { parser: inside, .. } => {
                    outside.push(std::mem::replace(&mut parser, inside));
                }
                // Most of the file, without any metadata.
                Payload::CodeSectionStart { size, .. } => {
                    parser.skip_section();
                    rest = rest.get(size as usize..).context(not_valid)?;
                }
                Payload::End(_) => match outside.pop() {
                    Some(around) => parser = around,
                    None => break,
                },
                Payload::CustomSection(section) => {
                    let found = if depth == 0 { &mut metadata } else { &mut inner };
                    let text = || std::str::from_utf8(section.data()).ok().map(str::to_owned);
                    match section.name() {
                        "version" => found.version = found.version.take().or_else(text),
                        NAME_SECTION => found.name = found.name.take().or_else(text),
                        _ => {
                            if let KnownCustom::ComponentName(names) = section.as_known() {
                                for name in names {
                                    if let wasmparser::ComponentName::Component { name, .. } =
                                        name.context(not_valid)?
                                    {
                                        found.name = Some(name.to_owned());
                                    }
                                }
                            }
                        }
                    }
                }
                Payload::ComponentCanonicalSection(section) if depth > 0 => {
                    for function in section {
                        if let CanonicalFunction::Lift { .. } = function.context(not_valid)? {
                            metadata.parts = Parts::Several;
                        }
                    }
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        metadata.imports.push(import.context(not_valid)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        metadata.exports.push(export.context(not_valid)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        metadata.name = metadata.name.or(inner.name);
        metadata.version = metadata.version.or(inner.version);
        Ok(metadata)
    }

    /// Rejects components that were built for an unsupported API version, or that are not check plugins.
    pub(super) fn check_api(&self) -> Result<Version> {
        let offered = format!("{}.{}", API.major, API.minor);
        for name in self.imports.iter().chain(&self.exports) {
            let Some((_, version)) = parts(name) else { continue };
            if (version.major, version.minor) != (API.major, API.minor) || version > API {
                bail!(
                    "was built for {PACKAGE} {version}, but this host offers {offered} up to {API}; build it with that contract, or run a newer host"
                );
            }
        }
        let plugin = self.exports.iter().find_map(|name| parts(name).filter(|(interface, _)| *interface == "plugin"));
        match plugin {
            Some((_, version)) => Ok(version),
            None => bail!(
                "does not export {PACKAGE}/plugin, so it is not a check plugin; it exports {}",
                if self.exports.is_empty() { "nothing".to_owned() } else { self.exports.join(", ") }
            ),
        }
    }
}

/// What a file is that does not begin as WebAssembly does, in words.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes.get(..MAGIC.len().min(bytes.len())).unwrap_or_default();
    let text = || std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    match bytes {
        [] => Some("the file is empty"),
        _ if start == MAGIC => None,
        _ if bytes.starts_with(b"version https://git-lfs") => {
            Some("it is a pointer of Git LFS; `git lfs pull` fetches the file")
        }
        _ if text() => Some("it is a text file"),
        _ => Some("it is another kind of file"),
    }
}

/// `pipeline:check/git@0.1.0` is the interface `git` in version 0.1.0.
fn parts(name: &str) -> Option<(&str, Version)> {
    let (interface, version) = name.strip_prefix(PACKAGE)?.strip_prefix('/')?.split_once('@')?;
    Some((interface, Version::parse(version).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_version_is_read_from_the_names() {
        let metadata = |exports: &[&str]| Metadata {
            exports: exports.iter().map(|name| (*name).to_owned()).collect(),
            ..Metadata::default()
        };
        let cases = [
            (&["pipeline:check/plugin@0.1.0"][..], None),
            (&["pipeline:check/plugin@0.1.1"], None),
            (&["pipeline:check/plugin@0.1.2", "pipeline:check/dates@0.1.2"], None),
            (
                &["pipeline:check/plugin@0.1.3"],
                Some("built for pipeline:check 0.1.3, but this host offers 0.1 up to 0.1.2"),
            ),
            (&["pipeline:check/plugin@0.2.0"], Some("built for pipeline:check 0.2.0, but this host offers 0.1")),
            (&["pipeline:check/plugin@0.1.9"], Some("built for pipeline:check 0.1.9")),
            (&["pipeline:check/plugin@1.1.0"], Some("built for pipeline:check 1.1.0")),
            (&["wasi:cli/run@0.2.0"], Some("is not a check plugin; it exports wasi:cli/run@0.2.0")),
            (&[], Some("it exports nothing")),
        ];
        for (exports, expected) in cases {
            let found = metadata(exports).check_api().err().map(|error| error.to_string());
            match (found, expected) {
                (None, None) => {}
                (Some(found), Some(expected)) => assert!(found.contains(expected), "{found}"),
                other => panic!("{exports:?}: {other:?}"),
            }
        }
    }

    /// The offered version is the one in the contract's folder.
    #[test]
    fn the_contract_that_is_offered_is_the_one_that_is_here() {
        let root = std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
        let folder = std::path::Path::new(&root).join("../../../wit/v0.1");
        for file in std::fs::read_dir(folder).expect("the contract").flatten() {
            let text = std::fs::read_to_string(file.path()).expect("a text");
            assert!(text.contains(&format!("package {PACKAGE}@{API};\n")), "{}", file.path().display());
        }
    }

    #[test]
    fn bytes_that_are_no_component_are_refused() {
        for bytes in [&b""[..], b"hello", b"\0asm", b"\0asm\x0d\0\x01\0\xff"] {
            assert!(Metadata::read(bytes).is_err(), "{bytes:?}");
        }
        let module = Metadata::read(b"\0asm\x01\0\0\0").expect_err("a module");
        assert!(module.to_string().contains("not a component"), "{module}");
    }
}
