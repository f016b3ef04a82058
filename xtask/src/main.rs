//! The repository's own commands. They use only the standard library, so that they start at once on a fresh machine.
#![allow(clippy::print_stderr)] // its steps and errors

mod build;
mod container;
mod dist;
mod image;
mod once;
mod pictures;
mod run;
mod steps;
mod testing;
mod tools;

use std::{io::Write as _, process::ExitCode};

const HELP: &str = "\
The repository's own commands.

  cargo xtask demo [--fault NAME]   build everything, make a sample pipeline in demo/
                                    and run every check on it once; --fault breaks
                                    something first, and --fault help lists what
  cargo xtask test [--timings] [NAME…]
                                    build and run every test, or those whose name
                                    contains a NAME; --timings lists the slowest ten
  cargo xtask interop               exchange plugins with wkg, run deploy/setup.sh
                                    through gcloud, run in full what test runs in
                                    part, build a release twice and compare, try the
                                    image, and fuzz
  cargo xtask container [--dev]     build the image of deploy/Dockerfile, of a release
                                    or of the development build, and run its jobs on
                                    the sample pipeline; needs root and Debian
  cargo xtask lint                  run clippy on everything; warnings are errors
  cargo xtask plugins               build the plugins into plugins/*.wasm
  cargo xtask pictures              make docs/pictures/*.svg from the sample pipeline
  cargo xtask dist                  build the files of a release into dist/
  cargo xtask fuzz [SECONDS]        fuzz the loader, the SQL guard, the printed SQL,
                                    plugins.lock, host.toml, the answers of registries
                                    and names, 60 s each by default; needs a nightly
                                    compiler
  cargo xtask bench [--dev] [NAME…] run the benchmarks of tests/BENCH.md on a release
                                    build, or on the development build
  cargo xtask bench counts          count instructions, and compare them with
                                    tests/benches/counts/table.txt; --update writes it
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["demo"] => steps::demo(None),
        ["demo", "--fault", name] => steps::demo(Some(name)),
        [_, .., "--help" | "-h"] => shown(),
        ["test", names @ ..] => {
            let (timings, names) = without("--timings", names);
            testing::test(testing::Wanted { names: &names, timings })
        }
        ["lint"] => steps::lint(),
        ["plugins"] => build::plugins().map(|()| 0),
        ["pictures"] => pictures::pictures().map(|()| 0),
        ["fuzz"] => steps::fuzz("60"),
        ["fuzz", seconds] => steps::fuzz(seconds),
        ["dist"] => dist::dist(),
        ["interop"] => steps::interop(),
        ["container"] => container::container("release").map(|()| 0),
        ["container", "--dev"] => container::container("dev").map(|()| 0),
        ["bench", names @ ..] => {
            let (dev, names) = without("--dev", names);
            steps::bench(if dev { "dev" } else { "release" }, &names)
        }
        [] | ["help" | "--help" | "-h"] => shown(),
        _ => Err(format!("`cargo xtask {}` is not a command\n\n{HELP}", arguments.join(" "))),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(64)
        }
    }
}

/// Whether a flag is among some arguments, and the others.
fn without<'a>(flag: &str, arguments: &[&'a str]) -> (bool, Vec<&'a str>) {
    (arguments.contains(&flag), arguments.iter().copied().filter(|argument| *argument != flag).collect())
}

/// Prints the help. A reader such as `head` may have gone.
fn shown() -> run::Result<u8> {
    let _ = std::io::stdout().write_all(HELP.as_bytes());
    Ok(0)
}
