//! The steps that the commands are made of.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use super::{
    build::{
        HOST, SAMPLE, as_components, built, components, demo_builds, host_packages, packages_in, plugin_names, plugins,
        python_plugin,
    },
    dist,
    once::Artifacts,
    run::{Pace, Result, cargo, cargo_command, root, run_for_code, step, target},
    tests, tools,
};

/// The demo; its exit code is that of `host run --once`.
pub(super) fn demo(fault: Option<&str>) -> Result<u8> {
    tools::prerequisites()?;
    let binary = |name: &str| target().join("debug").join(name);
    // The sample comes first: it takes the least to build, and it knows the faults.
    step("building and making the sample pipeline under demo/");
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
    // The host's last minute keeps one core busy: the plugins take what it leaves.
    step("building the host, and the plugins beside it");
    let in_python = thread::scope(|scope| {
        let beside = scope.spawn(|| plugins(Pace::Background).map(|()| python_plugin()));
        cargo(&HOST)?;
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

/// Clippy: natively for the host and the tests, for WebAssembly for the plugins and guests. It runs as the compiler of this
/// repository's packages, so that everything else is as the demo built it; `cargo clippy` would build the metadata of each crate again.
pub(super) fn lint() -> Result<u8> {
    tools::prerequisites()?;
    let mut demo = Artifacts::default();
    for mut command in demo_builds()? {
        demo.build(&mut command)?;
    }
    step("clippy: host, its crates, tests, sdk, xtask");
    let others = ["--package", "sdk", "--package", "xtask"].map(str::to_owned);
    let native = host_packages()?.into_iter().chain(others).chain(["--all-targets".to_owned()]);
    demo.nothing_twice(clippy().args(native))?;
    step("clippy: plugins and guests");
    let guests: Vec<String> = plugin_names()?.into_iter().chain(packages_in("tests/guests")?).collect();
    demo.nothing_twice(clippy().args(as_components(&guests)))?;
    Ok(0)
}

/// Cargo with clippy in the compiler's place, all warnings denied.
fn clippy() -> Command {
    let mut cargo = cargo_command(Pace::Foreground);
    cargo.env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver");
    // What `cargo clippy -- --deny warnings` hands over.
    cargo.env("CLIPPY_ARGS", "--deny__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    cargo.arg("build");
    cargo
}

/// What is too long for every commit, or needs large tools.
pub(super) fn interop() -> Result<u8> {
    let marked = tests::marked()?;
    if marked != 0 {
        return Ok(marked);
    }
    step("making a release twice, in two directories");
    dist::twice()?;
    fuzz("60")
}

/// Benchmarks: of what is installed, or of what the demo and the tests build.
pub(super) fn bench(names: &[&str]) -> Result<u8> {
    let (profile, names) = match names {
        ["--dev", names @ ..] => ("dev", names),
        names => ("release", names),
    };
    plugins(Pace::Foreground)?;
    components(&packages_in("tests/guests")?, Pace::Foreground)?;
    tools::emulator()?;
    tools::toolchains()?;
    step("building the benchmarks");
    cargo(&["build", "--package", "host", "--package", "host-tests", "--profile", profile])?;
    step("measuring; close what else is running");
    let command = ["bench", "--package", "host-tests", "--bench", "host", "--profile", profile, "--"];
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
