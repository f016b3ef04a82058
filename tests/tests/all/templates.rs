//! `host new`: the new plugin is built by the language's own tools outside this repository, passes its cases, runs and
//! is published.

use std::{fs, path::Path, process::Command};

use host::plugin::Digest;

use crate::{
    docs::{blocks, readme_is_followed},
    support::{
        command::{Ended, binary, ended, repository},
        registry::Registry,
    },
};

/// What `cargo xtask test` installed.
pub(crate) fn installed(name: &str) -> std::path::PathBuf {
    binary("").parent().unwrap().join(name)
}

pub(crate) fn host(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary("host"));
    command.env_clear().env("HOME", directory).env("XDG_CACHE_HOME", binary("").join("test-cache"));
    ended(command.current_dir(directory).args(arguments)).unwrap()
}

pub(crate) fn ok(ended: Ended) -> Ended {
    assert_eq!(ended.code, 0, "{ended:?}");
    ended
}

fn built(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// From an empty directory to a published plugin; `build` is what the README says.
fn followed(language: &str, file: &str, build: impl Fn(&Path)) {
    let place = tempfile::tempdir().unwrap();
    let made = ok(host(place.path(), &["new", "raw-events", "--lang", language]));
    assert!(made.out.contains("Created raw-events. Next:\n  cd raw-events\n"), "{}", made.out);
    // The guide has the same commands, and a case that fits.
    let guide = fs::read_to_string(repository().join("docs/first-check.md")).unwrap();
    for step in made.out.lines().skip(1) {
        assert!(guide.contains(&format!("\n{}\n", step.trim())), "{step}");
    }
    let case = guide.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let directory = place.path().join("raw-events");
    let readme = fs::read_to_string(directory.join("README.md")).unwrap();
    assert_eq!(readme.lines().filter(|line| line.starts_with("- ")).count(), 5, "{readme}");
    // The check that the documents show is the one that is made.
    let pages = ["docs/first-check.md", "README.md"].map(|page| fs::read_to_string(repository().join(page)).unwrap());
    for (language, source) in [("rust", "src/lib.rs"), ("python", "check.py")] {
        let Ok(made) = fs::read_to_string(directory.join(source)) else { continue };
        let shown: Vec<String> = pages.iter().flat_map(|page| blocks(page, language)).collect();
        // Each whole, so that what is built below is what the pages show.
        assert!(!shown.is_empty(), "no page shows {source}");
        assert!(shown.iter().all(|block| *block == made), "{source} is not as the documents show it: {shown:?}");
    }
    build(&directory);

    let tested = ok(host(&directory, &["test", file]));
    assert!(tested.out.contains("3 cases: 3 as expected"), "{}", tested.out);
    fs::write(directory.join("cases/guide.toml"), case).unwrap();
    let tested = ok(host(&directory, &["test", file]));
    assert!(tested.out.contains("4 cases: 4 as expected"), "{}", tested.out);
    readme_is_followed(&directory, language);
    ok(host(&directory, &["init", file]));
    // There is no dataset here: it runs, and says so.
    assert!(directory.join("warehouse").is_dir());
    let run = host(&directory, &["run", "--once", "--dry-run", "--output", "json", file]);
    let error = run.run("raw-events")["error"].as_str().unwrap_or_default().to_owned();
    assert!(run.code == 3 && error.contains("there is no dataset raw"), "{run:?}");

    // It is the same again on what it was answered.
    host(&directory, &["run", "--once", file]);
    let replayed = ok(host(&directory, &["replay", "raw-events"]));
    assert!(replayed.out.contains("1 recorded run: 1 same, byte for byte."), "{}", replayed.out);

    // What it notices of faults in its table is the same in every language.
    rusqlite::Connection::open(directory.join("warehouse/raw.db"))
        .unwrap()
        .execute_batch(
            "CREATE TABLE events (day DATE, id INT64);
             INSERT INTO events VALUES ('2026-02-05', 1), ('2026-02-05', 2), ('2026-02-05', 3), ('2026-02-05', 4);",
        )
        .unwrap();
    let mutated = ok(host(&directory, &["mutate", "raw-events", file, "--date", "2026-02-05", "--output", "json"]));
    let mutated = mutated.json();
    let found: Vec<String> = mutated["mutants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mutant| {
            format!("{} {}", mutant["name"].as_str().unwrap().trim_start_matches("raw.events"), mutant["result"])
        })
        .collect();
    let expected = [
        "/empty \"caught\"",
        "/missing \"caught\"",
        "/half-missing \"missed\"",
        "/doubled \"missed\"",
        ".day/shifted \"caught\"",
        ".id/null-one \"caught\"",
        ".id/null-50 \"caught\"",
        ".id/null-100 \"caught\"",
        ".id/zero \"equivalent\"",
        ".id/times-10 \"equivalent\"",
    ];
    assert_eq!(found, expected, "{mutated:#}");

    let registry = Registry::start(false).unwrap();
    let published = format!("oci://{}/raw-events", registry.host());
    ok(host(&directory, &["push", file, &published]));
    ok(host(&directory, &["add", &published]));
    let again = host(place.path(), &["new", "raw-events", "--lang", language]);
    assert!(again.code == 64 && again.err.contains("exists and is not empty"), "{again:?}");
}

#[test]
fn a_plugin_in_rust() {
    followed("rust", "target/wasm32-wasip2/release/raw_events.wasm", |directory| {
        let mut cargo = Command::new("cargo");
        cargo.args(["build", "--release", "--target", "wasm32-wasip2"]).current_dir(directory);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
                cargo.env_remove(name);
            }
        }
        // What it builds is kept from one run of the tests to the next; the file is where the README has it.
        let target = installed("template-rust");
        built(cargo.env("CARGO_TARGET_DIR", &target));
        let built = "wasm32-wasip2/release";
        fs::create_dir_all(directory.join("target").join(built)).unwrap();
        let file = Path::new(built).join("raw_events.wasm");
        fs::copy(target.join(&file), directory.join("target").join(&file)).unwrap();
    });
}

#[test]
fn a_plugin_in_python() {
    followed("python", "raw-events.wasm", build_python);
}

#[test]
fn a_plugin_in_javascript() {
    followed("javascript", "raw-events.wasm", build_javascript);
}

/// Builds a new plugin in Python.
pub(crate) fn build_python(directory: &Path) {
    let wanted = fs::read_to_string(directory.join("requirements.txt")).unwrap();
    assert_eq!(wanted, fs::read_to_string(installed("python/installed.txt")).unwrap(), "run `cargo xtask test`");
    let mut build = Command::new(installed("python/bin/python"));
    built_once(directory, "python/installed.txt", build.arg("build.py").current_dir(directory));
}

/// Builds a new plugin in JavaScript.
pub(crate) fn build_javascript(directory: &Path) {
    std::os::unix::fs::symlink(installed("javascript/node_modules"), directory.join("node_modules")).unwrap();
    built_once(
        directory,
        "javascript/package-lock.json",
        Command::new("npm").args(["run", "build"]).current_dir(directory),
    );
}

/// Builds a plugin, or takes what an earlier run of the tests built from the same files with the same tools, as cargo does.
/// Its bytes differ with each build, so that the host would also compile it anew.
fn built_once(directory: &Path, tools: &str, build: &mut Command) {
    let name = directory.file_name().unwrap().to_str().unwrap();
    let component = directory.join(format!("{name}.wasm"));
    let sources = Digest::of(&[fs::read(installed(tools)).unwrap(), sources(directory)].concat());
    let kept = installed(&format!("template-{}", tools.split('/').next().unwrap()));
    let file = kept.join(format!("{name}-{}.wasm", sources.digits()));
    if fs::copy(&file, &component).is_ok() {
        return;
    }
    built(build);
    fs::create_dir_all(&kept).unwrap();
    for earlier in fs::read_dir(&kept).unwrap().flatten() {
        if earlier.file_name().to_string_lossy().starts_with(&format!("{name}-")) {
            // Another run of the tests may have removed it.
            let _ = fs::remove_file(earlier.path());
        }
    }
    let whole = tempfile::NamedTempFile::new_in(&kept).unwrap();
    fs::copy(&component, whole.path()).unwrap();
    whole.persist(file).unwrap();
}

/// The names and contents of the files below a directory; what a link leads to is not among them.
fn sources(directory: &Path) -> Vec<u8> {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut all = Vec::new();
    for entry in entries {
        let kind = entry.file_type().unwrap();
        let inside = if kind.is_dir() {
            sources(&entry.path())
        } else if kind.is_file() {
            fs::read(entry.path()).unwrap()
        } else {
            continue;
        };
        all.extend(format!("{:?} {}\n", entry.file_name(), inside.len()).into_bytes());
        all.extend(inside);
    }
    all
}
