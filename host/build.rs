//! Records what `host --version` says: the version, the commit and the build profile.
//!
//! A release build names its commit. A debug build does not: naming it would compile the whole host again after each
//! commit.

use std::{env, path::Path, process::Command};

/// What the host is built from, seen from the repository's root. A change in any of it can make the tree dirty.
const SOURCES: [&str; 5] = ["host", "wit", "plugins/sdk", "Cargo.toml", "Cargo.lock"];
/// Names the commit where the sources come without git, for example in a container image.
const COMMIT: &str = "HOST_COMMIT";
/// How long a short commit hash is.
const SHORT: usize = 7;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let profile = env::var("PROFILE").unwrap_or_default();
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let package = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let root = Path::new(&package).join("..");
    let given = env::var(COMMIT).ok().filter(|commit| !commit.is_empty());
    let commit = match (given, profile.as_str()) {
        (Some(commit), _) => Some(commit),
        (None, "debug") => None,
        (None, _) => {
            for path in watched(&root) {
                println!("cargo::rerun-if-changed={path}");
            }
            commit(&root)
        }
    };
    println!("cargo::rustc-env=HOST_VERSION={}", shown(&version, commit.as_deref(), &profile));
}

/// `0.1.0 (6c7fe44, release)`
pub(crate) fn shown(version: &str, commit: Option<&str>, profile: &str) -> String {
    match (commit, profile) {
        (Some(commit), _) => format!("{version} ({commit}, {profile})"),
        (None, "debug") => format!("{version} (commit not recorded, debug)"),
        (None, _) => format!("{version} (built without git, {profile})"),
    }
}

/// The commit that is checked out, with `-dirty` when what the host is built from differs from it. None without git.
pub(crate) fn commit(root: &Path) -> Option<String> {
    // A source archive inside another repository has nothing to do with that one.
    git(root, &["ls-files", "--error-unmatch", "host/build.rs"])?;
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
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
