//! Benchmarks of the host. Both sides of a ratio are measured alternately in one run, and the median counts. `cargo
//! xtask bench` prints the table, and tests/BENCH.md keeps it.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]
// A benchmark is not a plugin: it may compile, and start threads.
#![allow(clippy::disallowed_methods)]

mod bare;
mod chaos;
mod cloud;
mod dates;
mod fleet;
mod isolation;
mod neighbours;
mod peers;
mod plugins;
mod proof;
mod record;
mod replay;
mod service;
#[path = "../../support/mod.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use host_tests::Moment;
use support::{
    AT,
    command::{Sample, binary},
    watched::{Watched, plugin},
};

fn main() {
    // This program is not `host`, so the confined compiler must be the built one.
    host::confined::use_program(&binary("host"));
    // Names on the command line choose: `cargo xtask bench drift`. Cargo adds --bench.
    let chosen: Vec<String> = std::env::args().skip(1).filter(|name| name != "--bench").collect();
    let measures: [(&str, fn()); 36] = [
        ("run", one_run),
        ("process", whole_process),
        ("drift", drift_lookups),
        ("memory", memory),
        ("warm", isolation::warm_run),
        ("loading", isolation::loading),
        ("many", isolation::many_checks),
        ("neighbours", neighbours::neighbours),
        ("busy", neighbours::busy_machine),
        ("hostile", neighbours::endurance),
        ("endurance", isolation::endurance),
        ("recording", record::recording),
        ("telling", record::telling),
        ("million", record::million),
        ("dates", dates::dates),
        ("replay", replay::replays),
        ("answers", replay::answers),
        ("proof-mutants", proof::mutants),
        ("proof-backtest", proof::backtest),
        ("proof-scores", proof::scores),
        ("proof-tuned", proof::tuned),
        ("proof-flights", proof::flights),
        ("query", cloud::one_query),
        ("rows", cloud::many_rows),
        ("side-by-side", cloud::side_by_side),
        ("peers", peers::peers),
        ("cases", plugins::cases),
        ("languages", plugins::languages),
        ("lag", service::lag),
        ("page", service::page),
        ("idle", service::idle),
        ("fleet-recording", fleet::recording),
        ("fleet-idle", fleet::idle),
        ("fleet-takeover", fleet::takeover),
        ("fleet-punctual", fleet::punctuality),
        ("fleet-faults", chaos::chaos),
    ];
    // `fleet` chooses all whose names begin with `fleet-`.
    let chooses = |chosen: &str, name: &str| {
        name.strip_prefix(chosen).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    if let Some(unknown) = chosen.iter().find(|chosen| measures.iter().all(|(name, _)| !chooses(chosen, name))) {
        eprintln!("error: no benchmark is called {unknown}; there are {}", measures.map(|(name, _)| name).join(", "));
        std::process::exit(64);
    }
    println!("| what | measured | bar |\n|---|---|---|");
    for (name, measure) in measures {
        if chosen.is_empty() || chosen.iter().any(|chosen| chooses(chosen, name)) {
            measure();
        }
    }
}

fn row(what: &str, measured: &str, bar: &str) {
    println!("| {what} | {measured} | {bar} |");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed<T>(work: impl FnOnce() -> T) -> Duration {
    let started = Instant::now();
    std::hint::black_box(work());
    started.elapsed()
}

fn micros(duration: Duration) -> String {
    format!("{:.0} µs", duration.as_secs_f64() * 1e6)
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

/// One run of a canary through the host, against the same component in a bare wasmtime loop whose host call runs the
/// same query on the same SQLite file.
fn one_run() {
    let watched = Watched::new(&["phase2-raw"], |toml| toml).unwrap();
    let bare = bare::Bare::new(&plugin("phase2-raw"), watched.path());
    let (mut host, mut loops) = (Vec::new(), Vec::new());
    for at in 0..600 {
        let (one, other) = (timed(|| watched.run_alone("phase2-raw").unwrap()), timed(|| bare.run()));
        // The first runs warm both up.
        if at >= 100 {
            host.push(one);
            loops.push(other);
        }
    }
    let (host, bare) = (median(host), median(loops));
    let ratio = host.as_secs_f64() / bare.as_secs_f64();
    row(
        "one check run through the host / by a bare wasmtime loop",
        &format!("{} / {} = {ratio:.2}", micros(host), micros(bare)),
        "≤ 1.1",
    );
}

/// `host run --once` with all eight, compiled code cached.
fn whole_process() {
    let sample = Sample::new(None).unwrap();
    sample.once(&[]).unwrap();
    let times = (0..40).map(|_| timed(|| assert_eq!(sample.once(&[]).unwrap().code, 0))).collect();
    row("`host run --once`, eight plugins, whole process", &millis(median(times)), "≤ 50 ms");
}

/// Ten services on 4,000 commits: the drift check's lookups against git's own commands, a `log -1` and a `log A..B` each.
fn drift_lookups() {
    let directory = tempfile::tempdir().unwrap();
    let moment = Moment::new(AT.parse().unwrap()).unwrap();
    host_tests::make_code(directory.path(), &moment, 4000).unwrap();
    let repository = directory.path().join("repository");
    // As a clone is packed: newest first.
    git(&repository, &["repack", "-a", "-d", "-f", "--quiet"]);
    let services = host_tests::services();
    let base = git(&repository, &["rev-parse", "main~200"]);
    let range = format!("{}..main", base.trim());

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..15 {
        ours.push(timed(|| runtime.block_on(host::capability::git::lookups(&repository, base.trim(), &services))));
        theirs.push(timed(|| {
            for paths in &services {
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                git(&repository, &[&["log", "-1", "--format=%H %ct %s", "main", "--"], &paths[..]].concat());
                git(&repository, &[&["log", "--format=%H %ct %s", &range, "--"], &paths[..]].concat());
            }
        }));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    row(
        "`git log` for ten services on 4,000 commits / the host's lookups",
        &format!("{} / {} = {ratio:.1}", millis(theirs), millis(ours)),
        "≥ 12",
    );
}

fn git(directory: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The resident memory of a running host with eight plugins.
fn memory() {
    let sample = Sample::new(None).unwrap();
    let mut host = sample.stay().unwrap();
    // Once it logs its next round, everything is loaded.
    host.wait_for("next: ").unwrap();
    let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{}/status", host.id()))).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: f64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    row("resident memory, eight plugins loaded", &format!("{:.1} MB", kilobytes / 1024.0), "≤ 45 MB");
}
