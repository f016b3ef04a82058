//! The repository's own commands. Nothing but the standard library, so that they start at once on a fresh machine.

mod build;
mod run;
mod steps;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
The repository's own commands.

  cargo xtask demo [--fault NAME]   build everything, make the sample pipeline under demo/, run every check on it once;
                                    --fault help lists what can be made wrong first
  cargo xtask test                  build everything and run every test
  cargo xtask lint                  run clippy over everything, warnings denied
  cargo xtask plugins               build the plugins into plugins/*.wasm
  cargo xtask fuzz [SECONDS]        feed the loader, the SQL guard, plugins.lock and host.toml with noise, each for a minute
                                    unless said otherwise; needs a nightly compiler
  cargo xtask bench [NAME…]         measure; tests/BENCH.md says what
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => steps::demo(None),
        ["demo", "--fault", name] => steps::demo(Some(name)),
        ["test"] => steps::test(),
        ["lint"] => steps::lint(),
        ["plugins"] => build::plugins(run::Pace::Foreground).map(|()| 0),
        ["fuzz"] => steps::fuzz("60"),
        ["fuzz", seconds] => steps::fuzz(seconds),
        ["bench", names @ ..] => steps::bench(names),
        [] | ["help" | "--help" | "-h"] => {
            eprint!("{HELP}");
            Ok(0)
        }
        _ => Err(format!("`cargo xtask {}` is not known\n\n{HELP}", arguments.join(" "))),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(64)
        }
    }
}
