//! What plugins are written with. Only who writes some needs it.

use std::{process::Stdio, time::Duration};

use futures_util::future::join;
use tokio::{process::Command, time::timeout};

use super::Finding;

/// How long a tool may take to say what it is.
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
        return Finding::note(what, "there is no rustc that works; get it from https://rustup.rs");
    };
    match said("rustup", &["target", "list", "--installed"]).await {
        Some(targets) if !targets.lines().any(|target| target.trim() == "wasm32-wasip2") => {
            Finding::note(what, format!("{version}, without WebAssembly; `rustup target add wasm32-wasip2`"))
        }
        Some(_) => Finding::ok(what, format!("{version} with wasm32-wasip2")),
        None => Finding::note(what, format!("{version}; without rustup it is not known whether it has wasm32-wasip2")),
    }
}

async fn python() -> Finding {
    let what = "Python plugins";
    let Some(version) = said("python3", &["--version"]).await else {
        return Finding::note(what, "there is no python3 that works; install Python 3.11 or newer");
    };
    match numbers(&version) {
        found if found < PYTHON => Finding::note(what, format!("{version} is too old; install Python 3.11 or newer")),
        _ if said("python3", &["-c", "import ensurepip, venv"]).await.is_none() => {
            Finding::note(what, format!("{version} without venv; `apt-get install python3-venv`, where there is apt"))
        }
        _ => Finding::ok(what, format!("{version} with venv")),
    }
}

async fn javascript() -> Finding {
    let what = "JavaScript plugins";
    let Some(version) = said("node", &["--version"]).await else {
        return Finding::note(what, "there is no node that works; install Node.js 20 or newer");
    };
    match numbers(&version) {
        found if found < NODE => Finding::note(what, format!("Node.js {version} is too old; install 20 or newer")),
        _ if said("npm", &["--version"]).await.is_none() => {
            Finding::note(what, format!("Node.js {version} without npm; install it"))
        }
        _ => Finding::ok(what, format!("Node.js {version} with npm")),
    }
}

/// What a command prints; none when it is not there, fails or takes too long.
async fn said(command: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(command);
    // A question must not fetch a toolchain.
    command.args(arguments).env("RUSTUP_AUTO_INSTALL", "0").stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.ok()?.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// `Python 3.11.2` and `v20.19.2` are (3, 11) and (20, 19).
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
