//! What a newcomer meets: the first commands in an empty directory, their mistakes, and the version.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::support::command::{Ended, binary, ended, repository, shipped};

/// The build script's own functions.
#[allow(dead_code, clippy::print_stdout)]
#[path = "../../../host/build.rs"]
mod build;

fn host(directory: &Path, arguments: &[&str]) -> Ended {
    ended(Command::new(binary("host")).current_dir(directory).env("HOME", directory).args(arguments)).unwrap()
}

/// Runs the lines that a command printed as its next steps, as a shell reads them.
fn follow(directory: &Path, text: &str) -> Ended {
    let steps: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert!(!steps.is_empty(), "{text}");
    let path = format!("{}:{}", binary("").display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &steps.join(" && ")]).current_dir(directory).env("PATH", path).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
            shell.env_remove(name);
        }
    }
    ended(&mut shell).unwrap()
}

/// Each mistake names the next step, in at most two lines, and ends with the code for wrong usage.
#[test]
fn each_mistake_names_the_next_step() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("plugins")).unwrap();
    fs::write(directory.path().join("empty.toml"), "").unwrap();
    fs::write(directory.path().join("typo.toml"), "[warehose]\nkind = \"sqlite\"\n").unwrap();
    let no_config = "error: there is no host.toml; `host init` writes one, or name another with --config\n";
    let cases: &[(&str, &str)] = &[
        ("rnu", "error: `host rnu` is not a command; did you mean `run`? `host --help` lists the commands.\n"),
        ("frobnicate", "error: `host frobnicate` is not a command. `host --help` lists the commands.\n"),
        (
            "receivers tset",
            "error: `host receivers tset` is not a command; did you mean `test`? `host receivers --help` lists the commands.\n",
        ),
        (
            "run --ones",
            "error: `host run` has no option `--ones`; did you mean `--once`? `host run --help` lists its options.\n",
        ),
        ("plan --verbose", "error: `host plan` has no option `--verbose`. `host plan --help` lists its options.\n"),
        ("silences now", "error: `host silences` does not take `now`. `host silences --help` has examples.\n"),
        ("inspect", "error: `host inspect` needs <PLUGIN.wasm>. `host inspect --help` has examples.\n"),
        ("run", no_config),
        ("run --once", no_config),
        ("run --once plugins", no_config),
        ("plan", no_config),
        ("validate", no_config),
        ("history", no_config),
        ("costs", no_config),
        ("silences", no_config),
        ("gate phase2-gate", no_config),
        (
            "run --once --config empty.toml",
            "error: no plugin to run: none is named, and none is pinned in plugins.lock; name files or a directory, as in `host run --once plugins/`, or fetch one with `host add oci://REGISTRY/NAME`\n",
        ),
        (
            "run --once --config empty.toml plugins",
            "error: no plugin found in plugins; make one with `host new NAME`, or fetch one with `host add oci://REGISTRY/NAME`\n",
        ),
        (
            "run --once --config empty.toml plugins/*.wasm",
            "error: no plugin found in plugins/*.wasm; make one with `host new NAME`, or fetch one with `host add oci://REGISTRY/NAME`\n",
        ),
        (
            "run --date 2026-02-05 --config empty.toml plugins",
            "error: --date needs --once: a host that stays runs each check for its own dates\n",
        ),
        (
            "history --config empty.toml",
            "error: no run is recorded in state yet; `host run --once plugins/` records the first\n",
        ),
        ("init plugins", "error: there is no plugin in plugins; `host new NAME` makes one\n"),
        (
            "init --config empty.toml",
            "error: empty.toml: exists, and stays as it is; `host init --config - PLUGIN.wasm` prints what a plugin needs\n",
        ),
        ("init --config -", "error: there is no plugin to write a configuration for; name plugin files\n"),
        ("pin", "error: name plugin files or a plugin, as in `host pin plugins/*.wasm`\n"),
        ("pull", "error: there is no plugins.lock; `host add oci://REGISTRY/NAME` writes one\n"),
    ];
    for (line, said) in cases {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mistake = host(directory.path(), &arguments);
        assert_eq!((mistake.code, mistake.out.as_str(), mistake.err.as_str()), (64, "", *said), "host {line}");
    }
    let typo = host(directory.path(), &["run", "--once", "--config", "typo.toml", "plugins"]);
    assert_eq!((typo.code, typo.out.as_str()), (64, ""));
    assert!(typo.err.contains("typo.toml") && typo.err.ends_with("did you mean `warehouse`?\n"), "{}", typo.err);

    let alone = host(directory.path(), &[]);
    assert_eq!((alone.code, alone.out.as_str()), (64, ""));
    for command in ["host init", "host new NAME", "host doctor", "`host --help` lists every command."] {
        assert!(alone.err.contains(command), "{command}: {}", alone.err);
    }
    assert!(alone.err.lines().count() < 10, "{}", alone.err);
    // A mistake leaves nothing behind.
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["empty.toml", "plugins", "typo.toml"]);
}

/// From an empty directory to the first result, by the printed commands alone.
#[test]
fn init_in_an_empty_directory_ends_in_a_check_that_passes() {
    let directory = TempDir::new().unwrap();
    let made = host(directory.path(), &["init"]);
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{made:?}");
    // What it builds is kept from one run of the tests to the next.
    let target = binary("").parent().unwrap().join("template-first");
    fs::create_dir_all(&target).unwrap();
    std::os::unix::fs::symlink(&target, directory.path().join("first-check/target")).unwrap();
    let run = follow(directory.path(), &made.out);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("first-check  pass    records 2, null_ids 0"), "{}", run.out);
    assert!(run.out.contains("1 passed."), "{}", run.out);

    let again = host(directory.path(), &["init"]);
    assert!(again.code == 64 && again.err.starts_with("error: host.toml: exists, and stays as it is"), "{again:?}");
    fs::remove_file(directory.path().join("host.toml")).unwrap();
    let again = host(directory.path(), &["init"]);
    assert!(again.code == 64 && again.err.contains("first-check exists and is not empty"), "{again:?}");
    assert!(!directory.path().join("host.toml").exists());
}

/// Plugins without their data still run, and each result names what is missing.
#[test]
fn init_beside_plugins_ends_in_a_host_that_runs() {
    let directory = TempDir::new().unwrap();
    let plugins = directory.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    for file in shipped().unwrap() {
        fs::copy(&file, plugins.join(file.file_name().unwrap())).unwrap();
    }
    let made = host(directory.path(), &["init"]);
    assert_eq!((made.code, made.out.as_str()), (0, ""), "{made:?}");
    assert!(made.err.starts_with("host.toml: 9 plugins, each granted what it asks for."), "{}", made.err);
    assert!(made.err.contains("\n  host run --once plugins\n"), "{}", made.err);
    assert!(made.err.ends_with("warehouse/ is empty: put each dataset there as NAME.db.\n"), "{}", made.err);
    let run = follow(directory.path(), &made.err);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(run.out.lines().filter(|line| line.contains("  error   ")).count(), 9, "{}", run.out);
    assert!(run.out.contains("there is no dataset nba_raw"), "{}", run.out);

    // The same plugins, named in other ways; a pinned one needs no name.
    fs::remove_file(directory.path().join("host.toml")).unwrap();
    let named = host(directory.path(), &["init", "plugins/phase2-raw.wasm"]);
    assert!(named.err.contains("host.toml: 1 plugin, "), "{}", named.err);
    assert!(named.err.contains("\n  host run --once plugins/phase2-raw.wasm\n"), "{}", named.err);
    fs::remove_file(directory.path().join("host.toml")).unwrap();
    assert_eq!(host(directory.path(), &["pin", "plugins/phase2-raw.wasm"]).code, 0);
    let pinned = host(directory.path(), &["init"]);
    assert!(pinned.err.contains("\n  host run --once\n"), "{}", pinned.err);
    assert_eq!(follow(directory.path(), &pinned.err).code, 3);
}

/// A flag means the same in every command that has it.
#[test]
fn flags_are_described_alike_everywhere() {
    let directory = TempDir::new().unwrap();
    let help = |command: &[&str]| host(directory.path(), &[command, &["-h"]].concat()).out;
    let commands: &[&[&str]] = &[
        &["run"],
        &["plan"],
        &["validate"],
        &["gate"],
        &["history"],
        &["costs"],
        &["silences"],
        &["silence"],
        &["receivers", "test"],
        &["inspect"],
        &["outdated"],
        &["add"],
        &["pull"],
        &["update"],
        &["doctor"],
        &["pin"],
        &["init"],
        &["test"],
    ];
    for (flag, users) in [("--config", 16), ("--lock", 11), ("--check", 2), ("--date", 2), ("--output", 12)] {
        let meaning = |help: &str| {
            let line = help.lines().find(|line| line.trim_start().starts_with(&format!("{flag} ")))?;
            Some(line.split_whitespace().take(7).collect::<Vec<_>>().join(" "))
        };
        let meanings: Vec<String> = commands.iter().filter_map(|command| meaning(&help(command))).collect();
        assert_eq!(meanings.len(), users, "{flag}: {meanings:#?}");
        assert!(meanings.windows(2).all(|two| two[0] == two[1]), "{flag}: {meanings:#?}");
    }
    // The former name of `table`, where it was another.
    let test = host(directory.path(), &["test", "--output", "text", "no.wasm"]);
    assert!(test.code == 64 && test.err.contains("no.wasm"), "{test:?}");
}

fn git(root: &Path, arguments: &[&str]) -> String {
    let mut git = Command::new("git");
    git.current_dir(root).args(["-c", "user.name=a", "-c", "user.email=a@example.com"]).args(arguments);
    let ended = ended(&mut git).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out.trim().to_owned()
}

/// A program that has nothing but the build script and prints the version.
fn repository_of_a_build_script() -> TempDir {
    let directory = TempDir::new().unwrap();
    let package = directory.path().join("host");
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("Cargo.toml"), "[package]\nname = \"host\"\nversion = \"1.2.3\"\nedition = \"2024\"\n")
        .unwrap();
    fs::write(package.join("src/main.rs"), "fn main() { println!(\"{}\", env!(\"HOST_VERSION\")) }\n").unwrap();
    fs::write(directory.path().join(".gitignore"), "target\nCargo.lock\n").unwrap();
    fs::copy(repository().join("host/build.rs"), package.join("build.rs")).unwrap();
    directory
}

/// Cargo runs the build script again whenever its answer can differ in a release build, and never in a debug build.
#[test]
fn a_release_build_follows_the_commit_and_a_debug_build_does_not() {
    let directory = repository_of_a_build_script();
    let root = directory.path();
    let run = |release: bool, commit: Option<&str>| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(root.join("host")).args(["run", "--quiet"]).args(release.then_some("--release"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
                cargo.env_remove(name);
            }
        }
        commit.map(|commit| cargo.env("HOST_COMMIT", commit));
        let ended = ended(&mut cargo).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
        ended.out.trim().to_owned()
    };
    let modified = || fs::metadata(root.join("host/target/debug/host")).unwrap().modified().unwrap();
    assert_eq!(run(true, None), "1.2.3 (built without git, release)");
    assert_eq!(run(true, Some("abc1234")), "1.2.3 (abc1234, release)", "a container image");
    git(root, &["init", "--quiet"]);
    git(root, &["add", "."]);
    git(root, &["commit", "--quiet", "--message", "one"]);
    fs::write(root.join("host/src/main.rs"), "fn main() { print!(\"{}\", env!(\"HOST_VERSION\")) }\n").unwrap();
    let commit = || git(root, &["rev-parse", "--short=7", "HEAD"]);
    assert_eq!(run(true, None), format!("1.2.3 ({}-dirty, release)", commit()));
    assert_eq!(run(false, None), "1.2.3 (commit not recorded, debug)");
    let built = modified();
    git(root, &["commit", "--quiet", "--all", "--message", "two"]);
    assert_eq!(run(true, None), format!("1.2.3 ({}, release)", commit()));
    git(root, &["commit", "--quiet", "--allow-empty", "--message", "three"]);
    assert_eq!(run(true, None), format!("1.2.3 ({}, release)", commit()));
    assert_eq!(run(false, None), "1.2.3 (commit not recorded, debug)");
    assert_eq!(modified(), built, "a commit builds nothing in a debug build");
}

#[test]
fn the_version_has_the_commit_and_the_profile() {
    let version = env!("CARGO_PKG_VERSION");
    let debug = host(Path::new("."), &["--version"]);
    assert_eq!(debug.out, format!("host {version} (commit not recorded, debug)\n"));
    assert_eq!(build::shown("1.2.3", Some("6c7fe44"), "release"), "1.2.3 (6c7fe44, release)");
    assert_eq!(build::shown("1.2.3", None, "release"), "1.2.3 (built without git, release)");

    let directory = repository_of_a_build_script();
    let root = directory.path();
    fs::copy(repository().join("host/build.rs"), root.join("host/build.rs")).unwrap();
    assert_eq!(build::commit(root), None, "a source archive");
    let git = |arguments: &[&str]| git(root, arguments);
    git(&["init", "--quiet"]);
    assert_eq!(build::commit(root), None, "a source archive in somebody else's repository");
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let commit = git(&["rev-parse", "--short=7", "HEAD"]);
    assert_eq!(build::commit(root), Some(commit.clone()));
    fs::write(root.join("notes.txt"), "not built").unwrap();
    assert_eq!(build::commit(root), Some(commit.clone()), "a file that is not built");
    fs::write(root.join("host/src/new.rs"), "").unwrap();
    assert_eq!(build::commit(root), Some(format!("{commit}-dirty")));
}
