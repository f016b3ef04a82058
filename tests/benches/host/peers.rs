//! What people would use instead, side by side: the questions of the six canaries asked by Soda, by dbt and by a plain
//! script, and a plugin's call through Extism.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{
    bare::Bare,
    median, micros, row,
    support::{
        AT, CANARIES,
        command::{Sample, binary, repository},
        watched::{Watched, plugin},
    },
    timed,
};

/// The data date at [`AT`].
const DATE: &str = "2026-02-05";
/// When it began in New York, in milliseconds since 1970.
const DAY_START: u64 = 1_770_267_600_000;

/// Whole processes that ask what the six canaries ask, and find nothing wrong.
pub(crate) fn peers() {
    let sample = Sample::new(None).unwrap();
    sample.configure(&six_canaries()).unwrap();
    let plugins = CANARIES.map(plugin);
    let host = || {
        let mut command = sample.command();
        command.args(["run", "--once", "--at", AT]).args(&plugins);
        command
    };
    let place = sample.path().join("peers");
    copy(&peers_directory(), &place);
    // Neither may call home while it is measured.
    fs::create_dir_all(place.join(".soda")).unwrap();
    fs::write(place.join(".soda/config.yml"), "send_anonymous_usage_stats: false\n").unwrap();
    let program = |environment: &str, name: &str| {
        let mut command = Command::new(installed(environment).join(name));
        command.current_dir(&place).env("HOME", &place);
        command
    };
    let warehouse = sample.path().join("warehouse");
    let day_start = format!("day_start={DAY_START}");
    let soda = || {
        let mut soda = program("soda", "soda");
        soda.args(["scan", "-d", "warehouse", "-c", "soda/configuration.yml", "-v", &format!("date={DATE}")]);
        soda.args(["-v", &day_start, "soda/checks.yml"]);
        soda
    };
    let dbt = || {
        let mut dbt = program("dbt", "dbt");
        let variables = format!("{{date: '{DATE}', day_start: {DAY_START}}}");
        dbt.args(["test", "--project-dir", "dbt", "--profiles-dir", "dbt", "--vars", &variables]);
        dbt
    };
    let script = || {
        let mut script = program("extism", "python");
        script.arg("script.py").arg(&warehouse).arg(DATE);
        script
    };
    let peers: [(&str, usize, &str, &dyn Fn() -> Command); 3] = [
        ("Soda 3.5 on DuckDB", 10, "≥ 40", &soda),
        ("dbt 1.9 on DuckDB", 10, "≥ 140", &dbt),
        ("a Python script on SQLite", 40, "≥ 5", &script),
    ];
    let changed = |sql: &str| {
        sample.sql("nba_raw", &format!("UPDATE nbac_player_boxscore SET player_name = {sql}")).unwrap();
        let copied = place.join("warehouse.duckdb");
        if copied.exists() {
            fs::remove_file(copied).unwrap();
        }
        quiet(program("soda", "python").arg("copy.py").arg(&warehouse).arg("warehouse.duckdb"));
    };
    // Who judges nothing would be fast.
    changed("NULL");
    for mut command in peers.iter().map(|(.., peer)| peer()).chain([host()]) {
        assert!(!command.output().unwrap().status.success(), "it misses a fault: {command:?}");
    }
    changed("'A. Name'");
    for (name, times, bar, peer) in peers {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        // The first of each fills caches: compiled plugins, Python's bytecode, dbt's parsed project.
        for at in 0..=times {
            let (one, other) = (timed(|| quiet(&mut peer())), timed(|| quiet(&mut host())));
            if at > 0 {
                theirs.push(one);
                ours.push(other);
            }
        }
        let (theirs, ours) = (median(theirs).as_secs_f64(), median(ours).as_secs_f64());
        row(
            &format!("six canaries asked by {name} / by the host, whole process"),
            &format!("{:.0} ms / {:.0} ms = {:.1}", theirs * 1e3, ours * 1e3, theirs / ours),
            bar,
        );
    }
    extism();
}

/// A plugin that asks one query: in Extism's Python host, where it hands back the answer; in a bare wasmtime loop and in
/// the host, where it is a whole canary that decides and reports.
fn extism() {
    let watched = Watched::new(&["phase2-raw"], |toml| toml).unwrap();
    let bare = Bare::new(&plugin("phase2-raw"), watched.path());
    let peers = peers_directory();
    let python = installed("extism").join("python");
    let (mut theirs, mut loops, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..5 {
        let mut calls = Command::new(&python);
        calls.arg(peers.join("extism/calls.py")).arg(peers.join("extism/plugin.wat"));
        calls.arg(watched.path().join("warehouse/nba_raw.db")).arg("200");
        let output = calls.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        theirs.push(Duration::from_nanos(String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()));
        for at in 0..120 {
            let (one, other) = (timed(|| watched.run_alone("phase2-raw").unwrap()), timed(|| bare.run()));
            if at >= 20 {
                ours.push(one);
                loops.push(other);
            }
        }
    }
    let (theirs, bare, ours) = (median(theirs), median(loops), median(ours));
    row(
        "a plugin that asks one query: through Extism's Python host / a bare wasmtime loop / the host",
        &format!(
            "{} / {} / {} = {:.2} of Extism's time",
            micros(theirs),
            micros(bare),
            micros(ours),
            ours.as_secs_f64() / theirs.as_secs_f64()
        ),
        "",
    );
}

/// The sample's host.toml with the six canaries only.
fn six_canaries() -> String {
    let mut six: toml::Table = host_tests::HOST_TOML.parse().unwrap();
    for section in ["checks", "grants"] {
        let table = six.get_mut(section).and_then(toml::Value::as_table_mut).unwrap();
        table.retain(|name, _| CANARIES.contains(&name));
    }
    six.remove("git");
    six.remove("deployments");
    six.to_string()
}

fn peers_directory() -> PathBuf {
    repository().join("tests/benches/peers")
}

/// Where the programs of an environment are that `cargo xtask bench peers` has made.
fn installed(environment: &str) -> PathBuf {
    let target = binary("");
    let programs = target.parent().unwrap_or(&target).join(format!("peers-{environment}")).join("bin");
    assert!(programs.is_dir(), "{} is missing: run `cargo xtask bench peers`", programs.display());
    fs::canonicalize(programs).unwrap()
}

/// Runs a command that must succeed; what it prints is not shown.
fn quiet(command: &mut Command) {
    let output = command.output().unwrap();
    let words = || String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}", words());
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        match path.is_dir() {
            true => copy(&path, &to.join(name)),
            false => drop(fs::copy(&path, to.join(name)).unwrap()),
        }
    }
}
