//! Speed for plugin authors: cases a second, and the time of one run in each language.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    median, millis, row,
    support::command::{binary, ended, repository},
};

const CASES: usize = 1000;
const TIMES: usize = 30;

fn host(directory: &Path) -> Command {
    let mut command = Command::new(binary("host"));
    command.env("XDG_CACHE_HOME", binary("").join("test-cache")).current_dir(directory);
    command
}

/// One shipped plugin on a thousand cases, the start of the process included.
pub(crate) fn cases() {
    let place = tempfile::tempdir().unwrap();
    for (plugin, case) in [("phase2-raw", "complete"), ("phase2-gate", "proceed"), ("deployment-drift", "behind")] {
        let directory = place.path().join(plugin);
        fs::create_dir(&directory).unwrap();
        let plugins = repository().join("plugins");
        let case = plugins.join(plugin).join("cases").join(format!("{case}.toml"));
        for at in 0..CASES {
            fs::copy(&case, directory.join(format!("{at:04}.toml"))).unwrap();
        }
        let file = plugins.join(format!("{plugin}.wasm"));
        let times = (0..5).map(|_| {
            let started = Instant::now();
            let ended = ended(host(&directory).arg("test").arg(&file).arg(".")).unwrap();
            assert_eq!(ended.code, 0, "{ended:?}");
            started.elapsed()
        });
        let took = median(times.collect());
        let each = CASES as f64 / took.as_secs_f64();
        row(
            &format!("`host test`, {CASES} cases of {plugin}"),
            &format!("{} = {each:.0} a second", millis(took)),
            "hundreds a second",
        );
    }
}

/// The template's canary in each language, and a Python process that asks the same.
pub(crate) fn languages() {
    let installed = |name: &str| binary("").parent().unwrap().join(name);
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("warehouse")).unwrap();
    let connection = rusqlite::Connection::open(place.path().join("warehouse/raw.db")).unwrap();
    connection.execute_batch("CREATE TABLE events (day DATE, id TEXT)").unwrap();
    drop(connection);
    for (language, file) in [
        ("rust", "target/wasm32-wasip2/release/raw_rust.wasm"),
        ("python", "raw-python.wasm"),
        ("javascript", "raw-javascript.wasm"),
    ] {
        let name = format!("raw-{language}");
        assert_eq!(ended(host(place.path()).args(["new", &name, "--lang", language])).unwrap().code, 0);
        let directory = place.path().join(&name);
        let mut build = match language {
            "rust" => {
                let mut cargo = Command::new("cargo");
                cargo.args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--target-dir", "target"]);
                cargo.env_remove("CARGO_TARGET_DIR");
                cargo
            }
            "python" => {
                let mut python = Command::new(installed("python/bin/python"));
                python.arg("build.py");
                python
            }
            _ => {
                std::os::unix::fs::symlink(installed("javascript/node_modules"), directory.join("node_modules"))
                    .unwrap();
                let mut npm = Command::new("npm");
                npm.args(["run", "--silent", "build"]);
                npm
            }
        };
        assert!(build.current_dir(&directory).stdout(std::process::Stdio::null()).status().unwrap().success());
        let toml = format!(
            "[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n[slack]\ndeliver = \"console\"\n[grants.{name}]\nwarehouse = [\"raw\"]\nslack = [\"#canary-alerts\"]\n"
        );
        fs::write(place.path().join("host.toml"), toml).unwrap();
        let file: PathBuf = directory.join(file);
        let times = (0..TIMES).map(|_| {
            let ended =
                ended(host(place.path()).args(["run", "--once", "--dry-run", "--output", "json"]).arg(&file)).unwrap();
            assert_eq!(ended.code, 2, "{ended:?}");
            Duration::from_secs_f64(ended.json()["runs"][0]["seconds"].as_f64().unwrap())
        });
        let size = fs::metadata(&file).unwrap().len() as f64 / 1e6;
        row(
            &format!("one run of the template's canary in {language}"),
            &format!("{}, {size:.1} MB", millis(median(times.collect()))),
            "",
        );
    }
    let script = "import sqlite3; print(sqlite3.connect('warehouse/raw.db').execute('SELECT COUNT(*), SUM(id IS NULL) FROM events WHERE day = ?', ('2026-02-05',)).fetchone())";
    let times = (0..TIMES).map(|_| {
        let started = Instant::now();
        assert!(
            Command::new("python3").args(["-c", script]).current_dir(place.path()).output().unwrap().status.success()
        );
        started.elapsed()
    });
    row("a Python process that asks the same", &millis(median(times.collect())), "");
}
