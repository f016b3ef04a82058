//! The tools that build plugins. Only authors of plugins need them.

use std::{process::Stdio, time::Duration};

use futures_util::future::join;
use tokio::{process::Command, time::timeout};

use super::Finding;

/// How long a tool may take to print its version.
const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest Python with the `tomllib` and the `venv` that the template's build uses.
const PYTHON: (u32, u32) = (3, 11);
/// The oldest Node.js that componentize-qjs runs on.
const NODE: (u32, u32) = (20, 0);

pub(super) async fn examine() -> [Finding; 3] {
    let (rust, (python, javascript)) = join(rust(), join(python(), javascript())).await;
    [rust, python, javascript]
}

async fn rust() -> Finding {
    let what = "Rust plugins";
    let Some(version) = said("rustc", &["--version"]).await else {
        return Finding::note(what, "no working rustc; get it from https://rustup.rs");
    };
    match said("rustup", &["target", "list", "--installed"]).await {
        Some(targets) if !targets.lines().any(|target| target.trim() == "wasm32-wasip2") => Finding::note(
            what,
            format!("{version}, without WebAssembly; add it with `rustup target add wasm32-wasip2`"),
        ),
        Some(_) => Finding::ok(what, format!("{version} with wasm32-wasip2")),
        None => Finding::note(what, format!("{version}; without rustup, whether it has wasm32-wasip2 is unknown")),
    }
}

async fn python() -> Finding {
    let what = "Python plugins";
    let Some(version) = said("python3", &["--version"]).await else {
        return Finding::note(what, "no working python3; install Python 3.11 or newer");
    };
    match numbers(&version) {
        found if found < PYTHON => Finding::note(what, format!("{version} is too old; install Python 3.11 or newer")),
        _ if said("python3", &["-c", "import ensurepip, venv"]).await.is_none() => Finding::note(
            what,
            format!("{version} without venv; install it, on Debian with `apt-get install python3-venv`"),
        ),
        _ => Finding::ok(what, format!("{version} with venv")),
    }
}

async fn javascript() -> Finding {
    let what = "JavaScript plugins";
    let Some(version) = said("node", &["--version"]).await else {
        return Finding::note(what, "no working node; install Node.js 20 or newer");
    };
    match numbers(&version) {
        found if found < NODE => Finding::note(what, format!("Node.js {version} is too old; install 20 or newer")),
        _ if said("npm", &["--version"]).await.is_none() => {
            Finding::note(what, format!("Node.js {version} without npm; install npm"))
        }
        _ => Finding::ok(what, format!("Node.js {version} with npm")),
    }
}

/// The output of a command; none when it is missing, fails or takes too long.
async fn said(command: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(command);
    // rustup must not install a toolchain because of this.
    command.args(arguments).env("RUSTUP_AUTO_INSTALL", "0").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// (3, 11) for `Python 3.11.2`, (20, 19) for `v20.19.2`.
fn numbers(version: &str) -> (u32, u32) {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    let mut next = || numbers.next().and_then(|number| number.parse().ok()).unwrap_or_default();
    (next(), next())
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_are_numbers() {
        assert_eq!(numbers("Python 3.11.2"), (3, 11));
        assert_eq!(numbers("v20.19.2"), (20, 19));
        assert_eq!(numbers("Python 3"), (3, 0));
        assert!(numbers("Python 3.9.1") < super::PYTHON);
    }
}
