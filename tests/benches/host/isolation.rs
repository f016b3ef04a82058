//! The cost and the benefit of isolation: the overhead of a run, loading, many checks, hostile neighbours, endurance.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use host::{
    config::{Budgets, Config},
    plugin::{self, Loaded, Plugin},
    sandbox::Sandboxes,
};
use jiff::Timestamp;

use super::{
    median, micros, millis, row,
    support::{
        AT,
        command::{guest, shipped},
        watched::Watched,
    },
};

/// A guest that answers at once: a fresh store, instance and call, dropped whole.
pub(super) fn warm_run() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_sandboxes, plugins) = load(&runtime, &[super::plugin("phase2-raw")]);
    let plugin = &plugins[0];
    let run = || {
        let started = Instant::now();
        let described = runtime.block_on(plugin.guest.describe("phase2-raw", &Budgets::default()));
        let took = started.elapsed();
        assert!(described.result.is_ok());
        took
    };
    let _: Vec<Duration> = (0..200).map(|_| run()).collect();
    let mut times: Vec<Duration> = (0..5000).map(|_| run()).collect();
    times.sort_unstable();
    let shown = format!("{} / {}", micros(times[times.len() / 2]), micros(times[times.len() * 99 / 100]));
    row("warm instantiate + call + drop, p50 / p99", &shown, "");
}

fn load(runtime: &tokio::runtime::Runtime, files: &[std::path::PathBuf]) -> (Arc<Sandboxes>, Vec<Arc<Plugin>>) {
    let config = Config::default();
    let (sandboxes, nothing) = (Arc::new(Sandboxes::new(&config)), Loaded::default());
    let loaded = runtime.block_on(plugin::load(files, None, &sandboxes, &config, &nothing, |_| {}));
    assert!(loaded.unusable.is_empty(), "{:?}", loaded.unusable);
    (sandboxes, loaded.plugins.into_values().collect())
}

/// Eight plugins from the cache: read, hashed, verified, linked and described.
pub(super) fn loading() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let files = shipped().unwrap();
    let config = Config::default();
    let (sandboxes, nothing) = (Arc::new(Sandboxes::new(&config)), Loaded::default());
    let load = || {
        let started = Instant::now();
        let loaded = runtime.block_on(plugin::load(&files, None, &sandboxes, &config, &nothing, |_| {}));
        assert_eq!(loaded.plugins.len(), files.len());
        started.elapsed() / u32::try_from(files.len()).unwrap()
    };
    load();
    let time = median((0..30).map(|_| load()).collect());
    row("loading from the cache, a plugin of eight", &millis(time), "≤ 1 ms");
}

/// 1,000 checks of eight plugins, loaded.
pub(super) fn many_checks() {
    let names = ["phase1-scrapers", "phase2-raw", "phase3-analytics", "phase4-precompute"];
    let few = resident();
    let watched = Watched::new(&names, |mut toml| {
        for at in 0..1000 {
            toml += &format!("\n[checks.many{at}]\nplugin = \"{}\"\n", names[at % names.len()]);
        }
        toml
    })
    .unwrap();
    watched.run("many999").unwrap();
    row("1,000 loaded checks of four plugins, resident memory added", &format!("{:.1} MB", resident() - few), "");
}

/// Ten thousand runs each of a trapping, a spinning and an honest plugin: memory and open files level off.
pub(super) fn endurance() {
    let watched = Watched::with_guests(&["phase2-raw"], &["misbehaving"], |toml| {
        toml + "\n[grants.misbehaving]\nslack = ['#canary-alerts']\nbudgets = { timeout = '2ms' }\n[checks.trapping]\nplugin = \"misbehaving\"\nsettings = { behaviour = \"trap\" }\n[checks.spinning]\nplugin = \"misbehaving\"\nsettings = { behaviour = \"spin\" }\n"
    })
    .unwrap();
    let at: Timestamp = AT.parse().unwrap();
    let mut figures = Vec::new();
    for round in 0..=10_000 {
        watched.round(&["trapping", "spinning", "phase2-raw"], at).unwrap();
        if [100, 2_500, 5_000, 7_500, 10_000].contains(&round) {
            figures.push(format!("{:.1} MB and {} files after {round}", resident(), open_files()));
        }
    }
    assert!(guest("misbehaving").is_file());
    row("10,000 runs each of a trapping, a spinning and an honest plugin", &figures.join("; "), "");
}

/// In MB.
pub(super) fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

pub(super) fn open_files() -> usize {
    std::fs::read_dir(Path::new("/proc/self/fd")).unwrap().count()
}
