//! The steps that the commands are made of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use super::{
    build::{built, components, packages_in, plugin_names, plugins, python_plugin},
    run::{Pace, Result, cargo, cargo_command, root, run, run_for_code, step, target},
    tools,
};

/// The demo; its exit code is that of `host run --once`.
pub(super) fn demo(fault: Option<&str>) -> Result<u8> {
    tools::prerequisites()?;
    let binary = |name: &str| target().join("debug").join(name);
    // The sample comes first: it takes the least to build, and it knows the faults. Named together with the host, what
    // they share is built once, as the host wants it.
    step("building and making the sample pipeline under demo/");
    cargo(&["build", "--package", "host", "--package", "host-tests", "--bin", "sample"])?;
    let mut sample = Command::new(binary("sample"));
    sample.arg(root().join("demo"));
    if let Some(fault) = fault {
        sample.args(["--fault", fault]);
    }
    match run_for_code(&mut sample)? {
        0 if fault == Some("help") => return Ok(0),
        0 => {}
        _ => return Ok(64),
    }
    // The host's last minute keeps one core busy: the plugins take what it leaves.
    step("building the host, and the plugins beside it");
    let in_python = thread::scope(|scope| {
        let beside = scope.spawn(|| plugins(Pace::Background).map(|()| python_plugin()));
        cargo(&["build", "--package", "host"])?;
        beside.join().map_err(|_| "building the plugins stopped unexpectedly".to_owned())?
    })?;
    let mut files = built()?;
    let mut shown = "plugins/*.wasm".to_owned();
    match in_python {
        Ok(component) => {
            let place = Path::new("demo").join(component.file_name().unwrap_or_default());
            fs::copy(&component, root().join(&place)).map_err(|error| format!("{}: {error}", place.display()))?;
            shown += &format!(" {}", place.display());
            files.push(place);
        }
        // Everything else can be shown without it.
        Err(why) => step(&format!("the plugin in Python is left out: {why}")),
    }
    let host = |arguments: &str| {
        step(&format!("host {arguments} {shown}"));
        run_for_code(Command::new(binary("host")).current_dir(root()).args(arguments.split(' ')).args(&files))
    };
    if host("pin --lock demo/plugins.lock")? != 0 {
        return Ok(64);
    }
    let code = host("run --once --config demo/host.toml")?;
    if fault.is_none() {
        eprintln!(
            "\nNext: make something wrong with `cargo xtask demo --fault null-names`; `--fault help` lists what there is."
        );
    }
    Ok(code)
}

/// Every test, with what they need.
pub(super) fn test() -> Result<u8> {
    step("looking at the source: who uses whom, long files, what documents name");
    cargo(&["test", "--quiet", "--package", "xtask"])?;
    plugins(Pace::Foreground)?;
    let guests = packages_in("tests/guests")?;
    step(&format!("building {} misbehaving guests", guests.len()));
    components(&guests, Pace::Foreground)?;
    tools::emulator()?;
    tools::browser()?;
    tools::registry()?;
    tools::toolchains()?;
    python_plugin()?;
    step("building and running every test");
    cargo(&["build", "--package", "host", "--package", "host-tests"])?;
    // Not the plugins: only a WebAssembly linker understands what they export.
    // The SDK by itself: together with the host it would change the features of what they share, and all that is built on it.
    cargo(&["test", "--package", "sdk"])?;
    run_for_code(cargo_command(Pace::Foreground).arg("test").args(host_packages()?))
}

/// The host, its crates and the tests, as arguments for cargo: what they share is built once.
fn host_packages() -> Result<Vec<String>> {
    let crates = packages_in("host/crates")?.into_iter().map(|name| format!("host_{name}"));
    let names = ["host", "host-tests"].map(str::to_owned).into_iter().chain(crates);
    Ok(names.flat_map(|name| ["--package".to_owned(), name]).collect())
}

/// Clippy: natively for the host and the tests, for WebAssembly for what becomes components.
pub(super) fn lint() -> Result<u8> {
    tools::prerequisites()?;
    step("clippy: host, its crates, tests, sdk, xtask");
    let others = ["--package", "sdk", "--package", "xtask"].map(str::to_owned).to_vec();
    for packages in [host_packages()?, others] {
        let mut clippy = cargo_command(Pace::Foreground);
        run(clippy.args(["clippy", "--all-targets"]).args(packages).args(["--", "--deny", "warnings"]))?;
    }
    let guests: Vec<String> = plugin_names()?.into_iter().chain(packages_in("tests/guests")?).collect();
    step("clippy: plugins and guests");
    let mut arguments = vec!["clippy", "--profile", "plugin", "--target", tools::TARGET];
    for guest in &guests {
        arguments.extend(["--package", guest]);
    }
    arguments.extend(["--", "--deny", "warnings"]);
    run_for_code(cargo_command(Pace::Foreground).args(arguments))
}

/// Benchmarks.
pub(super) fn bench(names: &[&str]) -> Result<u8> {
    plugins(Pace::Foreground)?;
    components(&packages_in("tests/guests")?, Pace::Foreground)?;
    tools::emulator()?;
    tools::toolchains()?;
    step("building the benchmarks");
    cargo(&["build", "--package", "host", "--package", "host-tests"])?;
    step("measuring; close what else is running");
    let command = ["bench", "--package", "host-tests", "--bench", "host", "--profile", "dev", "--"];
    run_for_code(cargo_command(Pace::Foreground).args(command).args(names))
}

/// Each fuzz target for so many seconds.
pub(super) fn fuzz(seconds: &str) -> Result<u8> {
    if !seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) {
        return Err(format!("`{seconds}` is no number of seconds"));
    }
    if !cargo_command(Pace::Foreground).args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success())
    {
        return Err("cargo-fuzz is needed; install it with `cargo install cargo-fuzz`".to_owned());
    }
    // What a target begins with: real ones of what it reads.
    let seeds = root().join("fuzz").join("corpus");
    let seed = |target: &str, from: PathBuf| {
        let directory = seeds.join(target);
        let copied = fs::create_dir_all(&directory)
            .and_then(|()| fs::copy(&from, directory.join(from.file_name().unwrap_or_default())));
        copied.map_err(|error| format!("{}: {error}", from.display()))
    };
    plugins(Pace::Foreground)?;
    for plugin in built()? {
        seed("loader", root().join(plugin))?;
    }
    seed("host_toml", root().join("tests").join("sample").join("host.toml"))?;
    for target in ["loader", "sql_guard", "lock_file", "host_toml"] {
        step(&format!("fuzzing {target} for {seconds} s"));
        let limit = format!("-max_total_time={seconds}");
        let mut fuzz = cargo_command(Pace::Foreground);
        fuzz.args(["+nightly", "fuzz", "run", "--sanitizer", "none"]);
        fuzz.args([target, "--"]);
        fuzz.args([&limit, "-timeout=10", "-rss_limit_mb=4096"]);
        // The toolchain that runs this program is not the one that is meant.
        fuzz.env_remove("RUSTUP_TOOLCHAIN");
        match run_for_code(&mut fuzz)? {
            0 => {}
            _ => return Err(format!("{target}: something was found; see fuzz/artifacts/{target}")),
        }
    }
    Ok(0)
}
