//! The commands, step by step.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use super::{
    build::{
        HOST, SAMPLE, as_components, built, host_packages, packages_in, plugin_names, plugins, plugins_and_guests,
        python_plugin,
    },
    container, dist,
    once::Artifacts,
    run::{Result, cargo, cargo_command, root, run_for_code, step, target},
    testing, tools,
};

/// The demo; its exit code is that of `host run --once`.
pub(super) fn demo(fault: Option<&str>) -> Result<u8> {
    tools::prerequisites()?;
    let binary = |name: &str| target().join("debug").join(name);
    // The sample comes first: it builds fast, and it knows the faults.
    step("building the sample pipeline, and making it in demo/");
    cargo(&SAMPLE)?;
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
    plugins()?;
    step("building the host");
    // The last minute of the host's build uses one core; the plugin in Python uses the other.
    let in_python = thread::scope(|scope| {
        let beside = scope.spawn(python_plugin);
        cargo(&HOST)?;
        beside.join().map_err(|_| "building the plugin in Python stopped unexpectedly".to_owned())
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
        // The rest of the demo works without it.
        Err(why) => step(&format!("skipping the plugin in Python: {why}")),
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
            "\nNext: break something with `cargo xtask demo --fault null-names`; `--fault help` lists the faults."
        );
    }
    Ok(code)
}

/// Clippy: natively for the host and the tests, for WebAssembly for the components. It takes the compiler's place for the
/// packages of this repository only, so that it reuses the demo's build; `cargo clippy` would check every crate again.
pub(super) fn lint() -> Result<u8> {
    tools::prerequisites()?;
    let demo = Artifacts::of_demo()?;
    step("clippy: host, its crates, tests, sdk, xtask");
    let others = ["--package", "sdk", "--package", "xtask"].map(str::to_owned);
    let native = host_packages()?.into_iter().chain(others).chain(["--all-targets".to_owned()]);
    demo.nothing_twice(clippy().args(native))?;
    step("clippy: plugins and guests");
    let guests: Vec<String> = plugin_names()?.into_iter().chain(packages_in("tests/guests")?).collect();
    demo.nothing_twice(as_components(&mut clippy(), &guests))?;
    Ok(0)
}

/// Cargo with clippy in the compiler's place, all warnings denied.
fn clippy() -> Command {
    let mut cargo = cargo_command();
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    // What `cargo clippy -- --deny warnings` hands over.
    cargo.env("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    cargo.arg("build");
    cargo
}

/// What is too long for every commit, or needs large tools.
pub(super) fn interop() -> Result<u8> {
    fuzzing()?;
    tools::wkg()?;
    let ignored = testing::ignored()?;
    if ignored != 0 {
        return Ok(ignored);
    }
    step("making a release twice, in two directories");
    dist::twice()?;
    container::container("dev")?;
    fuzz("60")
}

/// Benchmarks: of what is installed, or of what the demo and the tests build.
pub(super) fn bench(profile: &str, names: &[&str]) -> Result<u8> {
    plugins_and_guests()?;
    let (bench, names) = match names {
        ["counts", names @ ..] => {
            tools::valgrind()?;
            ("counts", names)
        }
        names => {
            let needed = |name: &str| names.is_empty() || names.contains(&name);
            if needed("languages") {
                tools::toolchains()?;
            }
            if needed("proof") || needed("proof-flights") {
                tools::flights()?;
            }
            if needed("peers") {
                tools::peers()?;
            }
            ("host", names)
        }
    };
    step("building the benchmarks");
    cargo(&["build", "--package", "host", "--package", "host-tests", "--profile", profile])?;
    step("measuring; close other programs");
    let command = ["bench", "--package", "host-tests", "--bench", bench, "--profile", profile, "--"];
    run_for_code(cargo_command().args(command).args(names))
}

/// Whether fuzzing is possible here.
fn fuzzing() -> Result<()> {
    match cargo_command().args(["fuzz", "--version"]).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err("cargo-fuzz is missing; install it with `cargo install cargo-fuzz`".to_owned()),
    }
}

/// Runs each fuzz target for some seconds.
pub(super) fn fuzz(seconds: &str) -> Result<u8> {
    if !seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) {
        return Err(format!("`{seconds}` is not a number of seconds"));
    }
    fuzzing()?;
    // Each target starts from real files.
    let seeds = root().join("fuzz").join("corpus");
    let seed = |target: &str, from: PathBuf| {
        let directory = seeds.join(target);
        let copied = fs::create_dir_all(&directory)
            .and_then(|()| fs::copy(&from, directory.join(from.file_name().unwrap_or_default())));
        copied.map_err(|error| format!("{}: {error}", from.display()))
    };
    plugins()?;
    for plugin in built()? {
        seed("loader", root().join(plugin))?;
    }
    seed("host_toml", root().join("tests").join("sample").join("host.toml"))?;
    let queries = root().join("fuzz").join("seeds").join("reprint");
    let entries = fs::read_dir(&queries).map_err(|error| format!("{}: {error}", queries.display()))?;
    for query in entries.flatten() {
        seed("reprint", query.path())?;
        seed("sql_guard", query.path())?;
    }
    for target in ["loader", "sql_guard", "reprint", "lock_file", "host_toml", "registry_answers", "names"] {
        step(&format!("fuzzing {target} for {seconds} s"));
        let limit = format!("-max_total_time={seconds}");
        let mut fuzz = cargo_command();
        fuzz.args(["+nightly", "fuzz", "run", "--sanitizer", "none"]);
        fuzz.args([target, "--"]);
        fuzz.args([&limit, "-timeout=10", "-rss_limit_mb=4096"]);
        // Fuzzing needs the nightly toolchain, not the one that runs this program.
        fuzz.env_remove("RUSTUP_TOOLCHAIN");
        match run_for_code(&mut fuzz)? {
            0 => {}
            _ => return Err(format!("{target}: the fuzzer found a failure; see fuzz/artifacts/{target}")),
        }
    }
    Ok(0)
}
