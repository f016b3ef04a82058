//! Building plugins into components.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    run::{Result, cargo_command, root, run, step, target},
    tools::{self, TARGET},
};

/// The check of the sample pipeline in Python.
const PYTHON_PLUGIN: &str = "predicted-players";

/// Builds the plugins into `plugins/*.wasm`.
pub(super) fn plugins() -> Result<()> {
    tools::prerequisites()?;
    let names = plugin_names()?;
    step(&format!("building {} plugins", names.len()));
    components(&names)?;
    for name in &names {
        let file = format!("{}.wasm", name.replace('-', "_"));
        let from = target().join(TARGET).join("debug").join(file);
        let to = root().join("plugins").join(format!("{name}.wasm"));
        fs::copy(&from, &to).map_err(|error| format!("{}: {error}", from.display()))?;
    }
    Ok(())
}

/// Builds the plugins, and the guests of the tests.
pub(super) fn plugins_and_guests() -> Result<()> {
    plugins()?;
    let guests = packages_in("tests/guests")?;
    step(&format!("building {} misbehaving guests", guests.len()));
    components(&guests)
}

/// Builds packages as components.
fn components(names: &[String]) -> Result<()> {
    let mut cargo = cargo_command();
    run(as_components(cargo.arg("build"), names))
}

/// Adds packages as components to a cargo command. The package `features` makes them share the procedural macros of the host's
/// build. The same sources give the same bytes, which an incremental build does not promise.
pub(super) fn as_components<'a>(cargo: &'a mut Command, names: &[String]) -> &'a mut Command {
    let packages = names.iter().flat_map(|name| ["--package", name]);
    cargo.args(["--target", TARGET, "--package", "features"]).args(packages);
    // These would replace the flags in .cargo/config.toml.
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS").env("CARGO_INCREMENTAL", "0")
}

/// The host, its crates and the tests, as arguments for cargo.
pub(super) fn host_packages() -> Result<Vec<String>> {
    let crates = packages_in("host/crates")?.into_iter().map(|name| format!("host_{name}"));
    let names = ["host", "host-tests"].map(str::to_owned).into_iter().chain(crates);
    Ok(names.flat_map(|name| ["--package".to_owned(), name]).collect())
}

/// Each command that the demo builds with.
pub(super) fn demo_builds() -> Result<[Command; 3]> {
    let [mut sample, mut host, mut plugins] = [(); 3].map(|()| cargo_command());
    sample.args(SAMPLE);
    host.args(HOST);
    as_components(plugins.arg("build"), &plugin_names()?);
    Ok([sample, host, plugins])
}

/// Builds what makes the sample pipeline, as arguments for cargo. Named together with the host, what they share is built once.
pub(super) const SAMPLE: [&str; 7] = ["build", "--package", "host", "--package", "host-tests", "--bin", "sample"];
/// Builds the host, as arguments for cargo.
pub(super) const HOST: [&str; 3] = ["build", "--package", "host"];

/// Builds the plugin in Python as its authors would: from the sources of the sample and the template of `host new`. Builds
/// again only when one of them changed. Gives the component.
pub(super) fn python_plugin() -> Result<PathBuf> {
    let python = tools::componentize_py()?;
    let template = root().join("host").join("templates").join("python");
    let sample = root().join("tests").join("sample").join(PYTHON_PLUGIN);
    let contract = root().join("wit").join("v0.1");
    let mut sources: Vec<PathBuf> =
        ["sdk.py", "ending.py", "build.py"].iter().map(|name| template.join(name)).collect();
    sources.extend(["check.py", "pyproject.toml", "RUNBOOK.md"].map(|name| sample.join(name)));
    let mut definitions = files_in(&contract)?;
    definitions.sort();
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let mut text = String::new();
    for source in sources.iter().chain(&definitions) {
        text += &fs::read_to_string(source).map_err(failed(source))?;
    }
    let home = target().join(PYTHON_PLUGIN);
    let component = home.join(format!("{PYTHON_PLUGIN}.wasm"));
    let built = home.join("sources.txt");
    if component.is_file() && fs::read_to_string(&built).is_ok_and(|built| built == text) {
        return Ok(component);
    }
    step("building a plugin in Python");
    fs::create_dir_all(home.join("wit")).map_err(failed(&home))?;
    for (directory, files) in [(home.clone(), &sources), (home.join("wit"), &definitions)] {
        for file in files {
            let to = directory.join(file.file_name().unwrap_or_default());
            fs::copy(file, to).map_err(failed(file))?;
        }
    }
    run(Command::new(python).arg("build.py").current_dir(&home))?;
    fs::write(&built, text).map_err(failed(&built))?;
    Ok(component)
}

fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The packages in plugins/ to build into components.
pub(super) fn plugin_names() -> Result<Vec<String>> {
    let mut names = packages_in("plugins")?;
    names.retain(|name| name != "sdk");
    Ok(names)
}

pub(super) fn packages_in(directory: &str) -> Result<Vec<String>> {
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

/// The paths of the built plugins in the repository.
pub(super) fn built() -> Result<Vec<PathBuf>> {
    Ok(plugin_names()?.iter().map(|name| Path::new("plugins").join(format!("{name}.wasm"))).collect())
}
