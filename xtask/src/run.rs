//! Running commands, and the directories they need.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The error says what is wrong and what to do.
pub(super) type Result<T> = std::result::Result<T, String>;

/// Runs cargo.
pub(super) fn cargo(arguments: &[&str]) -> Result<()> {
    run(cargo_command().args(arguments))
}

/// Cargo without arguments.
pub(super) fn cargo_command() -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root());
    // Cargo's variables about this package would make build scripts run again.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that must succeed.
pub(super) fn run(command: &mut Command) -> Result<()> {
    match run_for_code(command)? {
        0 => Ok(()),
        code => Err(format!("`{}` failed with exit code {code}", shown(command))),
    }
}

/// Runs a command, and gives its exit code.
pub(super) fn run_for_code(command: &mut Command) -> Result<u8> {
    let status = command.status().map_err(|error| format!("`{}` cannot be run: {error}", shown(command)))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Runs a command that must succeed, and gives what it prints, without the last line break.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("`{}` cannot be run: {error}", shown(command)))?;
    if !output.status.success() {
        return Err(format!("`{}` failed", shown(command)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// A command as it would be typed.
pub(super) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Prints the current step.
pub(super) fn step(what: &str) {
    eprintln!("▸ {what}");
}

/// The repository. Found at run time: clones can share a target directory, with this program built in another clone.
pub(super) fn root() -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("xtask"), PathBuf::from);
    package.join("..")
}

/// Cargo's target directory.
pub(super) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Where cargo keeps crates and programs.
pub(super) fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    home.ok_or_else(|| "neither CARGO_HOME nor HOME is set".to_owned())
}

/// An error of the file system, with the path.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> String + use<> {
    let path = path.display().to_string();
    move |error| format!("{path}: {error}")
}
