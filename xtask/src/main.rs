//! The repository's own commands. Nothing but the standard library, so that they start at once on a fresh machine.

mod build;
mod dist;
mod once;
mod run;
mod steps;
mod tests;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
The repository's own commands.

  cargo xtask demo [--fault NAME]   build everything, make the sample pipeline under demo/, run every check on it once;
                                    --fault help lists what can be made wrong first
  cargo xtask test [NAME…]          build everything and run every test, or those whose name contains a NAME
  cargo xtask test --timings        and list the ten that took longest
  cargo xtask interop               what takes long or needs large tools: the tests marked so, noise, a release made twice
  cargo xtask dist                  make under dist/ what is attached to a release
  cargo xtask lint                  run clippy over everything, warnings denied
  cargo xtask plugins               build the plugins into plugins/*.wasm
  cargo xtask fuzz [SECONDS]        feed the loader, the SQL guard, plugins.lock and host.toml with noise, each for a minute
                                    unless said otherwise; needs a nightly compiler
  cargo xtask bench [--dev] [NAME…] measure the release build, or the development build; tests/BENCH.md says what
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => steps::demo(None),
        ["demo", "--fault", name] => steps::demo(Some(name)),
        ["test", "--timings", names @ ..] => tests::test(tests::Wanted { names, timings: true }),
        ["test", names @ ..] => tests::test(tests::Wanted { names, timings: false }),
        ["lint"] => steps::lint(),
        ["plugins"] => build::plugins(run::Pace::Foreground).map(|()| 0),
        ["fuzz"] => steps::fuzz("60"),
        ["fuzz", seconds] => steps::fuzz(seconds),
        ["dist"] => dist::dist(),
        ["interop"] => steps::interop(),
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
