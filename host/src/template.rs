//! New plugins: the files that `host new` writes. They are part of the program, so that it needs neither this repository
//! nor a network.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// The languages with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Built by cargo
    Rust,
    /// Built by componentize-py
    Python,
    /// Built by componentize-qjs
    Javascript,
}

/// A file's path in the new directory and its text.
type Entry = (&'static str, &'static str);

macro_rules! entries {
    ($from:literal: $($place:literal <- $file:literal),* $(,)?) => {
        &[$(($place, include_str!(concat!($from, $file)))),*]
    };
}

const CASES: &[Entry] = entries!("../templates/":
    "RUNBOOK.md" <- "RUNBOOK.md",
    "ci.sh" <- "ci.sh",
    "cases/complete.toml" <- "cases/complete.toml",
    "cases/null-ids.toml" <- "cases/null-ids.toml",
    "cases/warehouse-down.toml" <- "cases/warehouse-down.toml",
);

const RUST: &[Entry] = entries!("../templates/rust/":
    "README.md" <- "README.md",
    ".gitignore" <- "gitignore",
    "Cargo.toml" <- "Cargo.toml",
    "src/lib.rs" <- "lib.rs",
);

const PYTHON: &[Entry] = entries!("../templates/python/":
    "README.md" <- "README.md",
    ".gitignore" <- "gitignore",
    "pyproject.toml" <- "pyproject.toml",
    "requirements.txt" <- "requirements.txt",
    "build.py" <- "build.py",
    "check.py" <- "check.py",
    "sdk.py" <- "sdk.py",
    "ending.py" <- "ending.py",
);

const JAVASCRIPT: &[Entry] = entries!("../templates/javascript/":
    "README.md" <- "README.md",
    ".gitignore" <- "gitignore",
    "package.json" <- "package.json",
    "build.mjs" <- "build.mjs",
    "check.js" <- "check.js",
    "sdk.js" <- "sdk.js",
    "ending.js" <- "ending.js",
);

/// The SDK, as the shipped plugins use it.
const SDK: &[Entry] = entries!("../../plugins/sdk/src/":
    "alert.rs" <- "alert.rs",
    "bindings.rs" <- "bindings.rs",
    "calls.rs" <- "calls.rs",
    "canary.rs" <- "canary.rs",
    "change.rs" <- "change.rs",
    "check.rs" <- "check.rs",
    "evidence.rs" <- "evidence.rs",
    "expectation.rs" <- "expectation.rs",
    "lib.rs" <- "lib.rs",
    "metric.rs" <- "metric.rs",
    "number.rs" <- "number.rs",
    "one_line.rs" <- "one_line.rs",
    "query.rs" <- "query.rs",
    "settings.rs" <- "settings.rs",
    "time.rs" <- "time.rs",
);
/// No plugin has the name of the SDK's directory, in which a new plugin keeps the SDK.
const SDK_NAME: &str = "sdk";
const SDK_MANIFEST: &str = include_str!("../../plugins/sdk/Cargo.toml");
/// Where the SDK finds the contract: here, and in a new plugin.
const WIT_HERE: &str = "../../wit/v0.1";
const WIT_THERE: &str = "wit";

const WIT: &[Entry] = entries!("../../wit/v0.1/":
    "dates.wit" <- "dates.wit",
    "deployments.wit" <- "deployments.wit",
    "evidence.wit" <- "evidence.wit",
    "expectation.wit" <- "expectation.wit",
    "git.wit" <- "git.wit",
    "plugin.wit" <- "plugin.wit",
    "slack.wit" <- "slack.wit",
    "types.wit" <- "types.wit",
    "warehouse.wit" <- "warehouse.wit",
);

impl Language {
    /// The commands that build and test a new plugin, in its directory.
    pub fn next_steps(self, name: &str) -> Vec<String> {
        self.first_steps().chain([format!("host test {}", self.component(name))]).collect()
    }

    /// The commands that build a new plugin for the first time.
    pub fn first_steps(self) -> impl Iterator<Item = String> {
        let once = (self == Self::Rust).then_some("rustup target add wasm32-wasip2");
        once.into_iter().chain(self.build_steps().iter().copied()).map(str::to_owned)
    }

    /// The commands that build a new plugin, in its directory.
    pub fn build_steps(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["cargo build --release --target wasm32-wasip2"],
            Self::Python => {
                &["python3 -m venv .venv && .venv/bin/pip install -r requirements.txt", ".venv/bin/python build.py"]
            }
            Self::Javascript => &["npm install", "npm run build"],
        }
    }

    /// The built plugin, in its directory.
    pub fn component(self, name: &str) -> String {
        match self {
            Self::Rust => format!("target/wasm32-wasip2/release/{}.wasm", snake(name)),
            Self::Python | Self::Javascript => format!("{name}.wasm"),
        }
    }
}

/// Rejects what cannot name a new plugin.
pub fn check_name(name: &str) -> Result<()> {
    if name == SDK_NAME {
        bail!("{SDK_NAME} is the name of the SDK that each plugin depends on; choose another name");
    }
    let begins_well = name.chars().next().is_some_and(|first| first.is_ascii_lowercase());
    if !crate::package::is_plugin_name(name) || !begins_well {
        bail!(
            "`{name}` is not a valid plugin name: use up to 64 lower-case letters, digits and -, starting with a letter"
        );
    }
    Ok(())
}

/// Why a new plugin cannot be written into a directory; `None` if the directory is empty or does not exist.
pub fn occupied(directory: &Path) -> Option<String> {
    // Not `exists`, which takes a link to nowhere for nothing.
    directory.symlink_metadata().ok()?;
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            let shown = directory.display().to_string();
            entries.next().map(|_| format!("{}/ exists and is not empty", shown.trim_end_matches('/')))
        }
        Err(_) => Some(format!("{} exists and is not a directory that can be read", directory.display())),
    }
}

/// Writes a new plugin into a new or empty directory.
pub fn make(name: &str, language: Language, directory: &Path) -> Result<()> {
    check_name(name)?;
    if let Some(occupied) = occupied(directory) {
        bail!(occupied);
    }
    for (place, text) in files(language) {
        let path = directory.join(place);
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&path, filled(&text, name, language)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn files(language: Language) -> Vec<(PathBuf, String)> {
    let under = |directory: &'static str, entries: &'static [Entry]| {
        entries.iter().map(move |(place, text)| (Path::new(directory).join(place), (*text).to_owned()))
    };
    let mut files: Vec<(PathBuf, String)> = under("", CASES).collect();
    match language {
        Language::Rust => {
            files.extend(under("", RUST));
            let sdk = under("sdk/src", SDK).map(|(place, text)| (place, text.replace(WIT_HERE, WIT_THERE)));
            files.extend(sdk);
            files.push((PathBuf::from("sdk/Cargo.toml"), manifest()));
            files.extend(under("sdk/wit", WIT));
        }
        Language::Python => files.extend(under("", PYTHON).chain(under("wit", WIT))),
        Language::Javascript => files.extend(under("", JAVASCRIPT).chain(under("wit", WIT))),
    }
    files
}

/// The SDK's Cargo.toml, without this workspace.
fn manifest() -> String {
    let ours = |line: &&str| !line.ends_with("workspace = true") && *line != "[lints]";
    let lines: Vec<&str> = SDK_MANIFEST.lines().filter(ours).collect();
    let edition =
        concat!("[package]\nversion = \"", env!("CARGO_PKG_VERSION"), "\"\nedition = \"2024\"\npublish = false");
    format!("{}\n", lines.join("\n").replace("[package]", edition).trim_end())
}

fn filled(text: &str, name: &str, language: Language) -> String {
    // CI may build elsewhere.
    let component = match language {
        Language::Rust => language.component(name).replacen("target", "${CARGO_TARGET_DIR:-target}", 1),
        Language::Python | Language::Javascript => language.component(name),
    };
    text.replace("{{build}}", &language.build_steps().join("\n"))
        .replace("{{component}}", &component)
        .replace("{{name}}", name)
        .replace("{{snake}}", &snake(name))
        .replace("{{title}}", &title(name))
}

fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// `Raw events` for `raw-events`.
fn title(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut letters = words.trim().chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// New plugins have every file of the SDK and of the contract.
    #[test]
    fn nothing_of_the_sdk_and_the_contract_is_left_out() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for (directory, entries) in [("plugins/sdk/src", SDK), ("wit/v0.1", WIT)] {
            let mut there: Vec<String> = fs::read_dir(root.join(directory))
                .expect("a directory")
                .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
                .collect();
            there.sort();
            let known: Vec<&str> = entries.iter().map(|(place, _)| *place).collect();
            assert_eq!(there, known, "{directory}");
        }
    }

    #[test]
    fn only_an_empty_place_and_a_plugins_name_will_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("new");
        for name in ["", "Raw", "1st", "-x", "raw_events", "sdk", "../x"] {
            assert!(make(name, Language::Python, &place).is_err(), "{name}");
        }
        assert!(!place.exists());
        make("raw-events", Language::Python, &place).expect("made");
        let complaint = make("raw-events", Language::Python, &place).expect_err("made twice").to_string();
        assert!(complaint.contains("is not empty"), "{complaint}");
        for language in [Language::Rust, Language::Python, Language::Javascript] {
            for (path, text) in files(language) {
                let text = filled(&text, "raw-events", language);
                for blank in ["name", "snake", "title", "build", "component"] {
                    assert!(!text.contains(&format!("{{{{{blank}}}}}")), "{blank}: {}", path.display());
                }
            }
        }
    }
}
