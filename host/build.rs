//! Records what `host --version` says: the version, the commit and the build profile.
//!
//! A release build names its commit. A debug build does not: naming it would compile the whole host again after each
//! commit.

use std::{
    env,
    path::Path,
    process::{Command, Output},
};

/// What the host is built from, seen from the repository's root. A change in any of it can make the tree dirty.
const SOURCES: [&str; 8] =
    ["host", "wit", "plugins/sdk", "features", "Cargo.toml", "Cargo.lock", ".cargo", "rust-toolchain.toml"];
/// Names the commit where the sources come without git, for example in a container image.
const COMMIT: &str = "HOST_COMMIT";
/// How long a short commit hash is.
const SHORT: usize = 7;
/// The exit code of `git ls-files --error-unmatch` for a file that is not tracked; other failures have others.
const NOT_TRACKED: i32 = 1;

/// The commit that a host is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Commit {
    /// Its short hash, with `-dirty` if what the host is built from differs from it.
    Known(String),
    /// The sources are not in a repository of their own.
    WithoutGit,
    /// They are, but git does not answer: it is missing, or refuses a repository of another user.
    Unknown,
    /// A debug build.
    NotRecorded,
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let profile = env::var("PROFILE").unwrap_or_default();
    // Each start of a debug build would relocate 400,000 addresses. What is installed keeps its random place in memory.
    let is = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    if profile == "debug" && is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let package = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&package).join("..");
    let given = env::var(COMMIT).ok().filter(|commit| !commit.is_empty());
    let commit = match (given, profile.as_str()) {
        (Some(commit), _) => Commit::Known(commit),
        (None, "debug") => Commit::NotRecorded,
        (None, _) => {
            for path in watched(&root) {
                println!("cargo::rerun-if-changed={path}");
            }
            commit(&root)
        }
    };
    println!("cargo::rustc-env=HOST_VERSION={}", shown(&version, &commit, &profile));
}

/// `0.1.0 (6c7fe44, release)`
pub(crate) fn shown(version: &str, commit: &Commit, profile: &str) -> String {
    let commit = match commit {
        Commit::Known(commit) => commit,
        Commit::WithoutGit => "built without git",
        Commit::Unknown => "commit unknown",
        Commit::NotRecorded => "commit not recorded",
    };
    format!("{version} ({commit}, {profile})")
}

/// The commit that is checked out.
pub(crate) fn commit(root: &Path) -> Commit {
    // A source archive inside another repository has nothing to do with that one.
    match run(root, &["ls-files", "--error-unmatch", "host/build.rs"]) {
        Some(output) if output.status.success() => known(root).map_or(Commit::Unknown, Commit::Known),
        Some(output) if output.status.code() == Some(NOT_TRACKED) => Commit::WithoutGit,
        // Without a repository git fails in the same way as when it refuses one.
        _ if root.join(".git").exists() => Commit::Unknown,
        _ => Commit::WithoutGit,
    }
}

fn known(root: &Path) -> Option<String> {
    let commit = git(root, &["rev-parse", &format!("--short={SHORT}"), "HEAD"])?;
    let changes = git(root, &[&["status", "--porcelain", "--"], SOURCES.as_slice()].concat())?;
    Some(if changes.is_empty() { commit } else { format!("{commit}-dirty") })
}

/// What changes with the commit or makes the tree dirty: git's own files and the sources.
fn watched(root: &Path) -> Vec<String> {
    let sources = SOURCES.iter().map(|source| root.join(source));
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]).unwrap_or_default();
    let files = ["HEAD", "logs/HEAD", "packed-refs", branch.as_str()].into_iter().filter(|file| !file.is_empty());
    let files = files.filter_map(|file| git(root, &["rev-parse", "--git-path", file])).map(|file| root.join(file));
    // A path that is missing would make cargo run this script at every build.
    files.chain(sources).filter(|path| path.exists()).map(|path| path.display().to_string()).collect()
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = run(root, arguments)?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(root: &Path, arguments: &[&str]) -> Option<Output> {
    Command::new("git").arg("-C").arg(root).args(arguments).output().ok()
}
