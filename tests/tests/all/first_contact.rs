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
    ended(&mut command(directory, arguments)).unwrap()
}

/// Of somebody for whom no plugin is compiled yet.
fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary("host"));
    command.current_dir(directory).env("HOME", directory).args(arguments);
    command
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
        ("run --once --date yesterday", "error: --date: `yesterday` is not a date; write it like 2026-02-05\n"),
        ("mutate x --date 2026-2-5", "error: --date: `2026-2-5` is not a date; write it like 2026-02-05\n"),
        ("history --limit x", "error: --limit: `x` is not a whole number\n"),
        ("history --limit 0", "error: --limit: `0` is too small; write at least 1\n"),
        ("history --limit 5000000000", "error: --limit: `5000000000` is too large; write at most 4294967295\n"),
        ("tune x --from soon", "error: --from: `soon` is not a date; write it like 2026-02-05\n"),
        (
            "silence",
            "error: `host silence` needs --for <TIME> and --why <WHY> and <CHECK>. `host silence --help` has examples.\n",
        ),
        ("run --once --at noon", "error: --at: `noon` is not a time; write it like 2026-02-06T10:00:00Z\n"),
        ("run --output jsn", "error: --output: `jsn` is not one of table, json, junit; did you mean `json`?\n"),
        ("new x --lang cobol", "error: --lang: `cobol` is not one of rust, python, javascript\n"),
        ("silence x --for ever", "error: --for: `ever` is not a duration; write it like `90s`, `5m`, `4h` or `90d`\n"),
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
            "error: no plugin to run: none is named, none is pinned in plugins.lock, and there is none in plugins; `host new --help` shows how to make one, and `host add --help` how to fetch one from a registry\n",
        ),
        (
            "run --once --config empty.toml plugins",
            "error: no plugin found in plugins; `host new --help` shows how to make one, and `host add --help` how to fetch one from a registry\n",
        ),
        (
            "run --once --config empty.toml plugins/*.wasm",
            "error: no plugin found in plugins/*.wasm; `host new --help` shows how to make one, and `host add --help` how to fetch one from a registry\n",
        ),
        (
            "run --date 2026-02-05 --config empty.toml plugins",
            "error: --date needs --once: a host that stays runs each check for its own dates\n",
        ),
        (
            "history --config empty.toml",
            "error: no run is recorded in state yet; `host run --config empty.toml --once` records the first\n",
        ),
        ("init plugins", "error: there is no plugin in plugins; `host new --help` shows how to make one\n"),
        (
            "init --config empty.toml",
            "error: empty.toml already exists and was not changed; `host init --config -` prints what the plugins need\n",
        ),
        ("init --config -", "error: there is no plugin to write a configuration for; name plugin files\n"),
        (
            "history --check x",
            "error: `host history` has no option `--check`. `host history --help` lists its options.\n",
        ),
        ("new sdk", "error: sdk is the name of the SDK that each plugin depends on; choose another name\n"),
        (
            "run --once --config nope.toml",
            "error: there is no nope.toml; `host init` writes host.toml, or name another with --config\n",
        ),
        (
            "init",
            "error: no plugin found here; name plugin files, as `host init --help` shows; in an empty directory `host init` makes a first host\n",
        ),
        ("pin", "error: name plugin files or a plugin, as in `host pin plugins/*.wasm`\n"),
        ("pull", "error: there is no plugins.lock; `host add --help` shows how to write one\n"),
        (
            "run --once --config empty.toml 2026-02-05",
            "error: 2026-02-05 is a date, and not a plugin's file: `host run --once`, `host gate` and `host mutate` take `--date 2026-02-05`\n",
        ),
        ("run --once --check", "error: `--check` needs a value: `--check <NAME>`\n"),
        ("history --output", "error: `--output` needs a value: `--output <FORMAT>`\n"),
        ("gate odds --date 2026-02-05 --date 2026-02-06", "error: `--date` is given twice\n"),
        ("init --force", "error: `host init` has no option `--force`. `host init --help` lists its options.\n"),
        (
            "run --chek odds",
            "error: `host run` has no option `--chek`; did you mean `--check`? `host run --help` lists its options.\n",
        ),
    ];
    for (line, said) in cases {
        let arguments: Vec<&str> = line.split(' ').collect();
        let mistake = host(directory.path(), &arguments);
        assert_eq!((mistake.code, mistake.out.as_str(), mistake.err.as_str()), (64, "", *said), "host {line}");
    }
    let typo = host(directory.path(), &["run", "--once", "--config", "typo.toml", "plugins"]);
    assert_eq!((typo.code, typo.out.as_str()), (64, ""));
    assert!(typo.err.contains("typo.toml") && typo.err.ends_with("did you mean `warehouse`?\n"), "{}", typo.err);

    fs::write(directory.path().join("listen.toml"), "[web]\nlisten = \"nowhere\"\n").unwrap();
    let listen = host(directory.path(), &["plan", "--config", "listen.toml"]);
    let words = "`nowhere` is not an address to listen on; write it like 127.0.0.1:8080\n";
    assert!(listen.code == 64 && listen.err.ends_with(words), "{listen:?}");
    fs::remove_file(directory.path().join("listen.toml")).unwrap();
    fs::write(directory.path().join("odds.toml"), "[checks.odds]\nplugin = \"canary-sql\"\n").unwrap();
    let check = host(directory.path(), &["run", "--once", "--config", "odds.toml", "odds"]);
    let words = "error: odds is a check, and not a plugin's file: `host run` and `host validate` take `--check odds`\n";
    assert_eq!((check.code, check.err.as_str()), (64, words));
    fs::remove_file(directory.path().join("odds.toml")).unwrap();
    let past = host(directory.path(), &["silence", "x", "--for", "-1h", "--why", "x"]);
    assert!(past.code == 64 && past.err.contains("-1h"), "{past:?}");

    let alone = host(directory.path(), &[]);
    assert_eq!((alone.code, alone.out.as_str()), (64, ""));
    for command in ["host init", "host new raw-events", "host doctor", "`host --help` lists every command."] {
        assert!(alone.err.contains(command), "{command}: {}", alone.err);
    }
    assert!(alone.err.lines().count() < 10, "{}", alone.err);
    // A mistake leaves nothing behind.
    let mut left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["empty.toml", "plugins", "typo.toml"]);

    // Loading a plugin makes the cache.
    let passwd = host(directory.path(), &["init", "/etc/passwd"]);
    let words = "error: /etc/passwd: is not a valid WebAssembly component: it is a text file\n";
    assert_eq!((passwd.code, passwd.err.as_str()), (64, words));
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
    let too_early = host(directory.path(), &["run", "--once"]);
    let next = "; first-check/README.md shows how to build a check; then name its file\n";
    assert!(too_early.code == 64 && too_early.err.ends_with(next), "{too_early:?}");
    let run = follow(directory.path(), &made.out);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.out.contains("first-check  pass    records 2, null_ids 0"), "{}", run.out);
    assert!(run.out.contains("1 passed."), "{}", run.out);

    let again = host(directory.path(), &["init"]);
    assert!(
        again.code == 64 && again.err.starts_with("error: host.toml already exists and was not changed;"),
        "{again:?}"
    );
    fs::remove_file(directory.path().join("host.toml")).unwrap();
    let again = host(directory.path(), &["init"]);
    assert!(
        again.code == 64
            && again.err
                == "error: first-check/ exists and is not empty; move it away, or run `host init` in another directory\n",
        "{again:?}"
    );
    assert!(!directory.path().join("host.toml").exists());
}

/// In the way of a first host: it says so, and makes nothing.
#[test]
fn init_makes_a_whole_first_host_or_nothing() {
    let elsewhere = "error: no plugin found here; name plugin files";
    let cases: &[(&str, &[&str], &str)] = &[
        ("a host whose plugins are missing", &["plugins/"], elsewhere),
        ("a project", &["Cargo.toml", "src/"], elsewhere),
        (
            "a plugin in no directory",
            &["odd one.wasm", "notes", "none.wasm/"],
            "error: 'odd one.wasm' is not in plugins/; `host init 'odd one.wasm'` writes a host.toml for it\n",
        ),
        (
            "two plugins in no directory",
            &["b.wasm", "a.wasm"],
            "error: a.wasm b.wasm are not in plugins/; `host init a.wasm b.wasm` writes a host.toml for them\n",
        ),
        ("a corrupt lock file", &["plugins.lock"], "error: plugins.lock: refused"),
        ("a file for a directory", &["warehouse"], "error: warehouse exists and is not a directory; move it away"),
        ("a full directory", &["first-check/", "first-check/x"], "error: first-check/ exists and is not empty; move"),
    ];
    for (name, places, said) in cases {
        let directory = TempDir::new().unwrap();
        for place in *places {
            match place.strip_suffix('/') {
                Some(place) => fs::create_dir(directory.path().join(place)).unwrap(),
                None => fs::write(directory.path().join(place), "format = soon").unwrap(),
            }
        }
        let all = || listing(directory.path());
        let before = all();
        let made = host(directory.path(), &["init"]);
        assert!(made.code == 64 && made.out.is_empty() && made.err.starts_with(said), "{name}: {made:?}");
        assert_eq!(all(), before, "{name}");
    }
    // A link to nowhere is there.
    let directory = TempDir::new().unwrap();
    let place = directory.path().join("here");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::symlink("../outside.toml", place.join("host.toml")).unwrap();
    let linked = host(&place, &["init"]);
    assert!(linked.code == 64 && linked.err.starts_with("error: host.toml already exists"), "{linked:?}");
    let plugin = shipped().unwrap().remove(0);
    let linked = host(&place, &["init", plugin.to_str().unwrap()]);
    assert!(linked.code == 64 && linked.err.starts_with("error: host.toml already exists"), "{linked:?}");
    assert_eq!(listing(directory.path()), ["here", "here/host.toml"]);

    // The user's own data is not sample data.
    let directory = TempDir::new().unwrap();
    fs::create_dir_all(directory.path().join("warehouse")).unwrap();
    fs::create_dir_all(directory.path().join(".git")).unwrap();
    fs::write(directory.path().join("warehouse/raw.db"), "mine").unwrap();
    let made = host(directory.path(), &["init", "--lang", "python"]);
    let said = "Created host.toml and a check in first-check/. warehouse/raw.db already exists and was left as it is. \
        Next:\n  cd first-check\n";
    assert!(made.code == 0 && made.out.starts_with(said), "{made:?}");
    assert_eq!(fs::read_to_string(directory.path().join("warehouse/raw.db")).unwrap(), "mine");
}

/// Every path under a directory, in order.
fn listing(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(inside) = open.pop() {
        for entry in fs::read_dir(inside).unwrap() {
            let entry = entry.unwrap();
            found.push(entry.path().strip_prefix(directory).unwrap().display().to_string());
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
        }
    }
    found.sort();
    found
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
    let host = |directory: &Path, arguments: &[&str]| {
        let mut command = command(directory, arguments);
        ended(command.env("XDG_CACHE_HOME", binary("").join("test-cache"))).unwrap()
    };
    let made = host(directory.path(), &["init"]);
    assert_eq!((made.code, made.out.as_str()), (0, ""), "{made:?}");
    let begin = "host.toml: 9 plugins.\nNot granted, since repository/ and deployments.json do not exist: git, deployments of \
        deployment-drift.\nEverything else they ask for is granted. Review the grants, then:\n  host run";
    assert!(made.err.starts_with(begin), "{}", made.err);
    assert!(made.err.contains("\n  host run --once\n"), "{}", made.err);
    let end = "warehouse/ is empty: put each dataset there as NAME.db.\n\
        canary-sql checks nothing yet: host.toml shows how to give it a check.\n";
    assert!(made.err.ends_with(end), "{}", made.err);
    let run = follow(directory.path(), &made.err);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(run.out.lines().filter(|line| line.contains("  error   ")).count(), 8, "{}", run.out);
    assert!(run.out.contains("there is no dataset nba_raw"), "{}", run.out);
    // A check as the comments show it.
    let file = directory.path().join("host.toml");
    let written = fs::read_to_string(&file).unwrap();
    let check = "# [checks.NAME]\n# plugin = \"canary-sql\"\n# schedule";
    assert!(written.contains(check) && !written.contains("[checks.canary-sql"), "{written}");
    let own = "[checks.rows]\nplugin = \"canary-sql\"\nsettings = { sql = \"SELECT 1 AS n\", thresholds = { n = { min = 1 } } }\n\n# schedule";
    fs::write(&file, written.replacen(check, own, 1)).unwrap();
    let run = host(directory.path(), &["run", "--once", "--check", "rows"]);
    let next = "query denied: no dataset is granted; add those that it needs to grants.canary-sql.warehouse";
    assert!(run.out.contains(next), "{run:?}");

    // The same plugins, named in other ways; a pinned one needs no name.
    fs::remove_file(directory.path().join("host.toml")).unwrap();
    let named = host(directory.path(), &["init", "plugins/phase2-raw.wasm"]);
    assert!(named.err.starts_with("host.toml: 1 plugin, each granted what it asks for. Review"), "{}", named.err);
    assert!(named.err.contains("\n  host run --once plugins/phase2-raw.wasm\n"), "{}", named.err);
    fs::remove_file(directory.path().join("host.toml")).unwrap();
    // Four of nine are not the directory.
    let four =
        ["phase2-raw", "phase2-gate", "phase1-scrapers", "canary-sql"].map(|name| format!("plugins/{name}.wasm"));
    let four: Vec<&str> = four.iter().map(String::as_str).collect();
    let named = host(directory.path(), &[&["init"], four.as_slice()].concat());
    assert!(named.err.contains(&format!("\n  host run --once {}\n", four.join(" "))), "{}", named.err);
    // A slip in a file's name.
    let slip = host(directory.path(), &["run", "--once", "plugins/phase2-gat.wasm"]);
    let near = "error: plugins/phase2-gat.wasm does not exist; did you mean `phase2-gate.wasm`?\n";
    assert_eq!((slip.code, slip.err.as_str()), (64, near));
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
    let refuse = std::cell::Cell::new(false);
    let run = |release: bool, commit: Option<&str>| {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(root.join("host")).args(["run", "--quiet"]).args(release.then_some("--release"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_") && name != "CARGO_HOME" {
                cargo.env_remove(name);
            }
        }
        if refuse.get() {
            cargo.env("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1");
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
    git(root, &["commit", "--quiet", "--allow-empty", "--message", "four"]);
    refuse.set(true);
    assert_eq!(run(true, None), "1.2.3 (commit unknown, release)", "git refuses a repository of another user");
}

#[test]
fn the_version_has_the_commit_and_the_profile() {
    let version = env!("CARGO_PKG_VERSION");
    let debug = host(Path::new("."), &["--version"]);
    assert_eq!(debug.out, format!("host {version} (commit not recorded, debug)\n"));
    assert_eq!(build::shown("1.2.3", &Commit::Known("6c7fe44".to_owned()), "release"), "1.2.3 (6c7fe44, release)");
    assert_eq!(build::shown("1.2.3", &Commit::WithoutGit, "release"), "1.2.3 (built without git, release)");

    use build::Commit;
    let directory = repository_of_a_build_script();
    let root = directory.path();
    fs::copy(repository().join("host/build.rs"), root.join("host/build.rs")).unwrap();
    assert_eq!(build::commit(root), Commit::WithoutGit, "a source archive");
    let git = |arguments: &[&str]| git(root, arguments);
    git(&["init", "--quiet"]);
    assert_eq!(build::commit(root), Commit::WithoutGit, "a source archive in somebody else's repository");
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "one"]);
    let commit = git(&["rev-parse", "--short=7", "HEAD"]);
    assert_eq!(build::commit(root), Commit::Known(commit.clone()));
    fs::write(root.join("notes.txt"), "not built").unwrap();
    assert_eq!(build::commit(root), Commit::Known(commit.clone()), "a file that is not built");
    for place in ["features/Cargo.toml", ".cargo/config.toml", "rust-toolchain.toml"] {
        fs::create_dir_all(root.join(place).parent().unwrap()).unwrap();
        fs::write(root.join(place), "").unwrap();
        assert_eq!(build::commit(root), Commit::Known(format!("{commit}-dirty")), "{place}");
        fs::remove_file(root.join(place)).unwrap();
    }
    fs::write(root.join("host/src/new.rs"), "").unwrap();
    assert_eq!(build::commit(root), Commit::Known(format!("{commit}-dirty")));
}
