//! The tools that the steps need. Missing ones are installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::run::{Result, output, root, run, step, target};

/// The compilation target of plugins.
pub(super) const TARGET: &str = "wasm32-wasip2";
/// The version of axe-core, which audits accessibility.
const AXE: &str = "4.14.1";
/// The version of cargo-cyclonedx, which lists the crates of a release.
const CYCLONEDX: &str = "0.5.9";
/// The version of wkg, and the longest time to build it, in seconds. 0.16 publishes no component, not even with `--package`: it looks
/// for a version in the component's own WIT package, and that is always `root:component` without a version.
const WKG: &str = "0.15.1";
const WKG_SECONDS: &str = "2400";

/// Installs the BigQuery emulator of the tests beside the build output.
pub(super) fn emulator() -> Result<()> {
    let wanted = root().join("tests").join("support").join("google").join("bqemulator.txt");
    python("the BigQuery emulator", "bqemulator", &wanted, |python, home| {
        // Otherwise each start would load this extension from the network.
        let spatial = "from duckdb_extensions import import_extension; import_extension('spatial')";
        run(Command::new(python).args(["-c", spatial]).env("HOME", home))
    })
}

/// Installs what reads the manifests of Kubernetes, beside the build output.
pub(super) fn kubernetes() -> Result<()> {
    let wanted = root().join("tests").join("support").join("kubernetes").join("requirements.txt");
    python("the schemas of Kubernetes", "kubernetes", &wanted, |_, _| Ok(()))
}

/// Installs a Python environment with the packages in a file, beside the build output.
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
        .map_err(|error| format!("{error}; install Python 3.11 or newer with venv: `apt-get install python3-venv`"))?;
    let python = home.join("bin").join("python");
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["-r"])
        .arg(wanted))?;
    finish(&python, &home)?;
    fs::write(&installed, text).map_err(|error| format!("{}: {error}", installed.display()))
}

/// Installs the tool that builds plugins in Python, in the version of their template. Gives its Python.
pub(super) fn componentize_py() -> Result<PathBuf> {
    let wanted = root().join("host").join("templates").join("python").join("requirements.txt");
    python("componentize-py", "python", &wanted, |_, _| Ok(()))?;
    Ok(target().join("python").join("bin").join("python"))
}

/// Installs the programs that the host is compared with.
pub(super) fn peers() -> Result<()> {
    let peers = root().join("tests").join("benches").join("peers");
    ["soda", "dbt", "extism"].iter().try_for_each(|name| {
        let wanted = peers.join(name).join("requirements.txt");
        python(name, &format!("peers-{name}"), &wanted, |_, _| Ok(()))
    })
}

/// Makes the table of flights that a benchmark tunes on.
pub(super) fn flights() -> Result<()> {
    let place = root().join("tests").join("benches").join("flights");
    python("the flights of 2013", "flights", &place.join("requirements.txt"), |python, home| {
        run(Command::new(python).arg(place.join("flights.py")).arg(home.join("flights.db")))
    })
}

/// Installs the tools that build plugins in Python and JavaScript, in the versions of their templates.
pub(super) fn toolchains() -> Result<()> {
    let templates = root().join("host").join("templates");
    componentize_py()?;
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
    run(&mut npm).map_err(|error| format!("{error}; install Node.js 20 with npm: `sudo apt-get install npm`"))?;
    written(installed, &text)
}

/// Sees to it that symbols can be taken out of a program, and archives made.
pub(super) fn archiving() -> Result<()> {
    for (command, package) in
        [("objcopy", "binutils"), ("tar", "tar"), ("gzip", "gzip"), ("sha256sum", "coreutils"), ("find", "findutils")]
    {
        installed(command, &[package], "the files of a release")?;
    }
    Ok(())
}

/// Installs cargo-cyclonedx beside the build output, and gives its path.
pub(super) fn cyclonedx() -> Result<PathBuf> {
    let home = target().join("tools");
    let program = home.join("bin").join("cargo-cyclonedx");
    if !program.is_file() {
        step("installing cargo-cyclonedx");
        let mut install = Command::new("cargo");
        install
            .args(["install", "--quiet", "--locked", "cargo-cyclonedx", "--version", CYCLONEDX, "--root"])
            .arg(&home);
        run(install.current_dir(root()))?;
    }
    Ok(program)
}

/// Installs wkg, the Wasm ecosystem's own client of registries, beside the build output.
pub(super) fn wkg() -> Result<()> {
    let home = target().join("tools");
    let (version, installed) = (home.join("wkg.txt"), home.join("bin").join("wkg"));
    if installed.is_file() && fs::read_to_string(&version).is_ok_and(|version| version == WKG) {
        return Ok(());
    }
    step("installing wkg, which takes some minutes");
    // A registry of crates that hangs must not keep everything else waiting. What is built by then is kept for the next time.
    let mut install = Command::new("timeout");
    install.args([
        WKG_SECONDS,
        "cargo",
        "install",
        "--quiet",
        "--locked",
        "--debug",
        "wkg",
        "--version",
        WKG,
        "--root",
    ]);
    let build = home.join("build");
    run(install.arg(&home).env("CARGO_TARGET_DIR", &build).current_dir(root()))?;
    fs::remove_dir_all(&build).map_err(|error| format!("{}: {error}", build.display()))?;
    fs::write(&version, WKG).map_err(|error| format!("{}: {error}", version.display()))
}

/// Installs the registry of the tests.
pub(super) fn registry() -> Result<()> {
    installed("docker-registry", &["docker-registry"], "the tests of registries")
}

/// Installs what gives a process a clock of its own.
pub(super) fn faketime() -> Result<()> {
    installed("faketime", &["faketime"], "the tests of hosts whose clocks differ")
}

/// Installs Postgres, of which the tests start servers of their own.
pub(super) fn postgres() -> Result<()> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    // Debian keeps the server's programs outside of the path.
    let is_there = versions.map(|version| version.path().join("bin").join("initdb")).any(|program| program.is_file());
    let client = Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success());
    match is_there && client {
        true => Ok(()),
        false => installed("initdb", &["postgresql", "postgresql-client"], "the tests of several hosts"),
    }
}

/// Gets the program that tests Prometheus' alarms, beside the build output and without the server. Without it, the tests
/// leave that part out.
pub(super) fn promtool() -> Result<()> {
    let home = target().join("promtool");
    let there = Command::new("promtool").arg("--version").output().is_ok_and(|output| output.status.success());
    if there || home.join("usr").join("bin").join("promtool").is_file() {
        return Ok(());
    }
    step("fetching promtool");
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let fetch = "apt-get --quiet download prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool; rm -f prometheus_*.deb; test -x usr/bin/promtool";
    if let Err(error) = run(Command::new("sh").args(["-c", fetch]).current_dir(&home)) {
        step(&format!(
            "{error}; the alarms of docs/operations.md are not tested. On Debian: `sudo apt-get install prometheus`"
        ));
    }
    Ok(())
}

/// Installs what builds and runs an image, and what its base is made with.
pub(super) fn podman() -> Result<()> {
    let packages = ["podman", "runc", "debootstrap"];
    packages.iter().try_for_each(|command| installed(command, &packages, "the image and its base"))?;
    match output(Command::new("id").arg("--user"))?.as_str() {
        "0" => Ok(()),
        user => Err(format!("only root can make the image and its base, and this is user {user}")),
    }
}

/// Installs what counts instructions.
pub(super) fn valgrind() -> Result<()> {
    installed("valgrind", &["valgrind"], "instruction counts")
}

/// Installs a missing command from packages of Debian.
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
    // The package lists may be old.
    apt(&install)
        .or_else(|_| apt(&["update", "--quiet"]).and_then(|()| apt(&install)))
        .map_err(|error| format!("{error}; {whose} need it: `sudo apt-get install {}`", packages.join(" ")))
}

/// Installs the browser of the tests, and the tool that audits the accessibility of the page.
pub(super) fn browser() -> Result<()> {
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
            .map_err(|error| format!("{error}; install npm: `sudo apt-get install npm`"))?;
        fs::write(&installed, "").map_err(|error| format!("{}: {error}", installed.display()))?;
    }
    Ok(())
}

/// Checks the tools that build everything.
pub(super) fn prerequisites() -> Result<()> {
    let missing = |command: &str, argument: &str| Command::new(command).arg(argument).output().is_err();
    if missing("git", "--version") {
        return Err("git is missing; install it, for example with `apt-get install git`".to_owned());
    }
    if missing("cc", "--version") {
        return Err("a C compiler is missing (SQLite is built from source); install one, for example with `apt-get install gcc libc6-dev`".to_owned());
    }
    let installed = Command::new("rustup").args(["target", "list", "--installed"]).current_dir(root()).output();
    match installed {
        Err(_) => {
            Err("rustup is missing, which adds the target wasm32-wasip2; get it from https://rustup.rs".to_owned())
        }
        Ok(output) if String::from_utf8_lossy(&output.stdout).lines().any(|line| line == TARGET) => Ok(()),
        Ok(_) => {
            step(&format!("adding the target {TARGET}"));
            run(Command::new("rustup").args(["target", "add", TARGET]).current_dir(root()))
                .map_err(|error| format!("{error}; add it with `rustup target add {TARGET}`"))
        }
    }
}
