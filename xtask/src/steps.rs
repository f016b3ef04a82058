//! The steps that the commands are made of.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "wasm32-wasip2";
/// The version of axe-core, which audits accessibility.
const AXE: &str = "4.14.1";

/// What is wrong and what to do.
type Result<T> = std::result::Result<T, String>;

/// The demo; its exit code is that of `host run --once`.
pub(super) fn demo(fault: Option<&str>) -> Result<u8> {
    prerequisites()?;
    let binary = |name: &str| target().join("debug").join(name);
    // The sample comes first: it takes the least to build, and it knows the faults.
    step("building and making the sample pipeline under demo/");
    cargo(&["build", "--package", "host-tests", "--bin", "sample"])?;
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
    cargo(&["build", "--package", "host"])?;

    let host = |arguments: &str| {
        step(&format!("host {arguments} plugins/*.wasm"));
        let mut host = Command::new(binary("host"));
        host.current_dir(root()).args(arguments.split(' ')).args(built()?);
        run_for_code(&mut host)
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
    plugins()?;
    let guests = packages_in("tests/guests")?;
    step(&format!("building {} misbehaving guests", guests.len()));
    components(&guests)?;
    emulator()?;
    browser()?;
    registry()?;
    toolchains()?;
    step("building and running every test");
    cargo(&["build", "--package", "host", "--package", "host-tests"])?;
    // Not the plugins: only a WebAssembly linker understands what they export.
    // The SDK by itself: together with the host it would change the features of what they share, and all that is built on it.
    cargo(&["test", "--package", "sdk"])?;
    run_for_code(cargo_command().args(["test", "--package", "host", "--package", "host-tests"]))
}

/// The BigQuery emulator that tests run on, with all that it needs, beside the build output.
fn emulator() -> Result<()> {
    let wanted = root().join("tests").join("support").join("google").join("bqemulator.txt");
    python("the BigQuery emulator", "bqemulator", &wanted, |python, home| {
        // It would load this extension from the network each time it starts.
        let spatial = "from duckdb_extensions import import_extension; import_extension('spatial')";
        run(Command::new(python).args(["-c", spatial]).env("HOME", home))
    })
}

/// A Python environment beside the build output, with what a file asks for.
fn python(what: &str, name: &str, wanted: &Path, finish: impl Fn(&Path, &Path) -> Result<()>) -> Result<()> {
    let text = fs::read_to_string(wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let home = target().join(name);
    let installed = home.join("installed.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    step(&format!("installing {what}"));
    let home_text = home.display().to_string();
    run(Command::new("python3").args(["-m", "venv", "--clear", &home_text]))
        .map_err(|error| format!("{error}; it needs Python 3.11 or newer with venv: `apt-get install python3-venv`"))?;
    let python = home.join("bin").join("python");
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["-r"])
        .arg(wanted))?;
    finish(&python, &home)?;
    fs::write(&installed, text).map_err(|error| format!("{}: {error}", installed.display()))
}

/// What builds plugins in other languages, as their templates ask for it.
fn toolchains() -> Result<()> {
    let templates = root().join("host").join("templates");
    python("componentize-py", "python", &templates.join("python").join("requirements.txt"), |_, _| Ok(()))?;
    let wanted = templates.join("javascript").join("package.json");
    let text = fs::read_to_string(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let home = target().join("javascript");
    let installed = home.join("installed.json");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == text) {
        return Ok(());
    }
    step("installing componentize-qjs");
    let written =
        |path: PathBuf, text: &str| fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()));
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    written(home.join("package.json"), &text.replace("{{name}}", "template"))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund"]).current_dir(&home);
    run(&mut npm).map_err(|error| format!("{error}; it needs Node.js 20 with npm: `sudo apt-get install npm`"))?;
    written(installed, &text)
}

/// The registry that plugins are published in by tests.
fn registry() -> Result<()> {
    installed("docker-registry", &["docker-registry"], "the tests of registries")
}

/// Sees to it that commands are there, from Debian's package of the first name and the others.
fn installed(command: &str, packages: &[&str], whose: &str) -> Result<()> {
    if Command::new(command).arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    step(&format!("installing {}", packages.join(" and ")));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let install = [&["install", "--yes", "--quiet"], packages].concat();
    // What is known of packages may be old.
    apt(&install)
        .or_else(|_| apt(&["update", "--quiet"]).and_then(|()| apt(&install)))
        .map_err(|error| format!("{error}; {whose} need it: `sudo apt-get install {}`", packages.join(" ")))
}

/// The browser that tests look at the page with, and what audits its accessibility.
fn browser() -> Result<()> {
    let packages = ["chromium", "chromium-driver"];
    installed("chromium", &packages, "the tests of the page")?;
    installed("chromedriver", &packages, "the tests of the page")?;
    let home = target().join("axe");
    let script = home.join("node_modules").join("axe-core").join("axe.min.js");
    let installed = home.join(AXE);
    if !script.is_file() || !installed.is_file() {
        step("installing axe-core");
        fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]);
        run(npm.arg(format!("axe-core@{AXE}")).arg("--prefix").arg(&home))
            .map_err(|error| format!("{error}; it needs npm: `sudo apt-get install npm`"))?;
        fs::write(&installed, "").map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    Ok(())
}

/// Clippy: natively for the host and the tests, for WebAssembly for what becomes components.
pub(super) fn lint() -> Result<u8> {
    prerequisites()?;
    step("clippy: host, tests, sdk, xtask");
    for packages in [&["--package", "host", "--package", "host-tests"][..], &["--package", "sdk", "--package", "xtask"]]
    {
        cargo(&[&["clippy", "--all-targets"][..], packages, &["--", "--deny", "warnings"]].concat())?;
    }
    let guests: Vec<String> = plugin_names()?.into_iter().chain(packages_in("tests/guests")?).collect();
    step("clippy: plugins and guests");
    let mut arguments = vec!["clippy", "--profile", "plugin", "--target", TARGET];
    for guest in &guests {
        arguments.extend(["--package", guest]);
    }
    arguments.extend(["--", "--deny", "warnings"]);
    run_for_code(cargo_command().args(arguments))
}

/// Benchmarks.
pub(super) fn bench(names: &[&str]) -> Result<u8> {
    plugins()?;
    components(&packages_in("tests/guests")?)?;
    emulator()?;
    toolchains()?;
    step("building the benchmarks");
    cargo(&["build", "--package", "host", "--package", "host-tests"])?;
    step("measuring; close what else is running");
    let command = ["bench", "--package", "host-tests", "--bench", "host", "--profile", "dev", "--"];
    run_for_code(cargo_command().args(command).args(names))
}

/// Each fuzz target for so many seconds.
pub(super) fn fuzz(seconds: &str) -> Result<u8> {
    if !seconds.parse::<u32>().is_ok_and(|seconds| seconds > 0) {
        return Err(format!("`{seconds}` is no number of seconds"));
    }
    if !cargo_command().args(["fuzz", "--version"]).output().is_ok_and(|output| output.status.success()) {
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
    plugins()?;
    for plugin in built()? {
        seed("loader", root().join(plugin))?;
    }
    seed("host_toml", root().join("tests").join("sample").join("host.toml"))?;
    for target in ["loader", "sql_guard", "lock_file", "host_toml"] {
        step(&format!("fuzzing {target} for {seconds} s"));
        let limit = format!("-max_total_time={seconds}");
        let mut fuzz = cargo_command();
        fuzz.args(["+nightly", "fuzz", "run", "--sanitizer", "none", target, "--"]);
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

/// Builds the plugins into `plugins/*.wasm`.
pub(super) fn plugins() -> Result<()> {
    prerequisites()?;
    let names = plugin_names()?;
    step(&format!("building {} plugins", names.len()));
    components(&names)?;
    for name in &names {
        let file = format!("{}.wasm", name.replace('-', "_"));
        let from = target().join(TARGET).join("plugin").join(file);
        let to = root().join("plugins").join(format!("{name}.wasm"));
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(())
}

fn components(names: &[String]) -> Result<()> {
    let mut arguments = vec!["build", "--profile", "plugin", "--target", TARGET];
    for name in names {
        arguments.extend(["--package", name]);
    }
    cargo(&arguments)
}

fn prerequisites() -> Result<()> {
    let missing = |command: &str, argument: &str| Command::new(command).arg(argument).output().is_err();
    if missing("git", "--version") {
        return Err("git is needed; install it, for example with `apt-get install git`".to_owned());
    }
    if missing("cc", "--version") {
        return Err("a C compiler is needed (SQLite is built from source); install one, for example with `apt-get install gcc libc6-dev`".to_owned());
    }
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).current_dir(root()).output();
    match installed {
        Err(_) => Err("rustup is needed to add the target wasm32-wasip2; get it from https://rustup.rs".to_owned()),
        Ok(output) if String::from_utf8_lossy(&output.stdout).lines().any(|line| line == TARGET) => Ok(()),
        Ok(_) => {
            step(&format!("adding the target {TARGET}"));
            run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root()))
                .map_err(|error| format!("{error}; add it with `rustup target add {TARGET}`"))
        }
    }
}

/// The packages in plugins/ that become components.
fn plugin_names() -> Result<Vec<String>> {
    let mut names = packages_in("plugins")?;
    names.retain(|name| name != "sdk");
    Ok(names)
}

fn packages_in(directory: &str) -> Result<Vec<String>> {
    let directory = root().join(directory);
    let entries = fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

fn built() -> Result<Vec<PathBuf>> {
    Ok(plugin_names()?.iter().map(|name| Path::new("plugins").join(format!("{name}.wasm"))).collect())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(cargo_command().args(arguments))
}

fn cargo_command() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    // What cargo told this program about its own package would make build scripts believe that they changed.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(command: &mut Command) -> Result<()> {
    match run_for_code(command)? {
        0 => Ok(()),
        code => Err(format!("`{}` failed with exit code {code}", shown(command))),
    }
}

fn run_for_code(command: &mut Command) -> Result<u8> {
    let status = command.status().map_err(|error| format!("`{}` cannot be run: {error}", shown(command)))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn step(what: &str) {
    eprintln!("▸ {what}");
}

/// The repository: asked when run, because a target directory that clones share may hold this program built in another one.
fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    package.join("..")
}

fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}
