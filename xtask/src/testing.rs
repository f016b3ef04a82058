//! `cargo xtask test`: builds what the tests need, and runs all of them or a part.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use super::{
    build::{HOST, built as built_plugins, host_packages, plugins_and_guests, python_plugin},
    once::{Artifacts, Program},
    run::{Result, cargo, cargo_command, root, run, run_for_code, step, target},
    tools,
};

/// How many tests `--timings` lists.
const SLOWEST: usize = 10;

/// Extra tools of the tests, by their module in tests/tests/all.
type Need = fn() -> Result<()>;
const NEEDS: &[(&str, Need)] = &[
    ("acceptance", in_python),
    ("alarms", tools::promtool),
    ("browser", tools::browser),
    ("cases", in_python),
    ("closed", tools::registry),
    ("configurations_of_fleet", tools::postgres),
    ("docs", tools::emulator),
    ("emulator", tools::emulator),
    ("fleet", tools::postgres),
    ("killed_in_fleet", tools::postgres),
    ("kubernetes", tools::kubernetes),
    ("layers", tools::postgres),
    ("mutants", in_python),
    ("outages_in_fleet", tools::faketime),
    ("outages_in_fleet", tools::postgres),
    ("reasons", tools::toolchains),
    ("record_of_fleet", tools::postgres),
    ("registries", tools::registry),
    ("registry", tools::registry),
    ("replay", in_python),
    ("suggested", tools::registry),
    ("templates", tools::registry),
    ("templates", tools::toolchains),
];

/// Tests that are smaller in `cargo xtask test`, by parts of their names.
const LARGE: [&str; 4] =
    ["cases::conditions_come_out", "record_of_fleet::a_copy_that_is_stopped", "killed::each_", "replay::days_of_runs"];

/// The program of the end-to-end tests.
const END_TO_END: &str = "all";

/// A part of the names of the tests that wait for minutes, for claims to end or clocks to go on. They run beside the others; otherwise
/// the processors would be idle, since a dozen of them follow each other.
const WAITING: &str = "fleet";

/// Tests at a time for each processor, in each of the two groups: most of them wait for a host to answer.
const AT_ONCE: usize = 4;

fn threads() -> String {
    (AT_ONCE * thread::available_parallelism().map_or(2, usize::from)).to_string()
}

/// Which tests, and how they are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Parts of test names; empty means all.
    pub names: &'a [&'a str],
    /// Lists the slowest.
    pub timings: bool,
}

/// Runs the tests that are wanted, with what they need.
pub(super) fn test(wanted: Wanted<'_>) -> Result<u8> {
    step("checking the layout of the source and the documents");
    cargo(&["test", "--quiet", "--package", "xtask"])?;
    plugins_and_guests()?;
    let demo = Artifacts::of_demo()?;
    step("building the tests");
    let built = demo.nothing_twice(cargo_command().args(["test", "--no-run"]).args(tested()?))?;
    compile(&built_plugins()?)?;
    let modules = modules(&built, wanted.names)?;
    for (_, need) in NEEDS.iter().filter(|(module, _)| modules.contains(*module)) {
        need()?;
    }
    step("running the tests");
    let all = wanted.names.is_empty();
    let names = if all { &["--skip", WAITING] } else { wanted.names };
    // Once, since it makes a link that running tests use.
    let path = python_first();
    thread::scope(|scope| {
        let waiting = all.then(|| scope.spawn(|| several(&built, &[WAITING], &path)));
        let mut ended = match wanted.timings {
            true => several(&built, names, &path)?,
            false => {
                let mut command = cargo_command();
                command.arg("test").args(tested()?).arg("--").args(["--test-threads", &threads()]).args(names);
                Ended { code: run_for_code(command.envs(path.clone()))?, times: Vec::new() }
            }
        };
        if let Some(waiting) = waiting {
            let also = waiting.join().map_err(|_| "running tests stopped unexpectedly".to_owned())??;
            ended.code = ended.code.max(also.code);
            ended.times.extend(also.times);
        }
        if wanted.timings {
            ended.times.sort_by(|(one, _), (other, _)| other.total_cmp(one));
            for (time, test) in ended.times.iter().take(SLOWEST) {
                eprintln!("{time:8.2} s  {test}");
            }
        }
        Ok(ended.code)
    })
}

/// What came of tests.
#[derive(Debug, Default)]
struct Ended {
    code: u8,
    /// How many seconds each took.
    times: Vec<(f64, String)>,
}

/// The sample's plugin in Python.
fn in_python() -> Result<()> {
    compile(&[python_plugin()?])
}

/// Compiles plugins into the cache of the tests, since a dozen tests at once would each compile all of them.
fn compile(files: &[PathBuf]) -> Result<()> {
    let mut host = Command::new(target().join("debug").join("host"));
    host.current_dir(root()).args(["init", "--config", "-"]).args(files);
    run(host.env("XDG_CACHE_HOME", target().join("debug").join("test-cache")).stdout(Stdio::null()))
}

/// `PATH` with the Python that `python3` starts first: that of a version manager is a script which starts eight programs.
fn python_first() -> Option<(&'static str, OsString)> {
    let asked = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().ok()?;
    let python = String::from_utf8(asked.stdout).ok()?;
    // In a directory of its own, since other programs beside Python may be those of another installation.
    let place = target().join("python-first");
    let link = place.join("python3");
    fs::create_dir_all(&place).ok()?;
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(python.trim(), link).ok()?;
    let usual = env::var_os("PATH").unwrap_or_default();
    Some(("PATH", env::join_paths([place].into_iter().chain(env::split_paths(&usual))).ok()?))
}

/// Runs the tests that `cargo xtask test` leaves out, since they are long or need large tools, and in full those that it runs in part;
/// gives their exit code.
pub(super) fn ignored() -> Result<u8> {
    plugins_and_guests()?;
    tools::registry()?;
    step("building the host");
    cargo(&HOST)?;
    step("running the long tests: with wkg, and with gcloud where it is installed");
    let long = ["test", "--package", "host-tests", "--test", END_TO_END, "--"];
    let code = run_for_code(cargo_command().args(long).arg("--ignored").envs(python_first()))?;
    if code != 0 {
        return Ok(code);
    }
    tools::postgres()?;
    in_python()?;
    step("running tests in full of which `cargo xtask test` runs a part");
    run_for_code(cargo_command().args(long).args(LARGE).env("HOST_TESTS_LONG", "1").envs(python_first()))
}

/// The modules of the end-to-end tests whose names contain one of these; of all without a name.
fn modules(built: &Artifacts, names: &[&str]) -> Result<BTreeSet<String>> {
    let mut modules = BTreeSet::new();
    for Program { path, .. } in built.programs.iter().filter(|program| program.name == END_TO_END) {
        let output =
            Command::new(path).arg("--list").args(names).output().map_err(|error| format!("{path}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        modules.extend(text.lines().filter_map(|line| Some(line.split_once("::")?.0.to_owned())));
    }
    Ok(modules)
}

/// The packages whose tests run on this machine, as arguments for cargo. Not the plugins: only a WebAssembly linker
/// understands what they export.
fn tested() -> Result<Vec<String>> {
    Ok([host_packages()?, ["--package", "sdk"].map(str::to_owned).to_vec()].concat())
}

/// Runs programs of tests one after the other, with some tests at a time for each processor, and shows what failed.
fn several(built: &Artifacts, names: &[&str], python: &Option<(&'static str, OsString)>) -> Result<Ended> {
    let mut ended = Ended::default();
    for Program { name, path, package } in &built.programs {
        let mut command = Command::new(path);
        // The test harness of a stable compiler tells times only so.
        command.args(["--test-threads", &threads()]).args(names);
        command.args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1");
        // As cargo would run it.
        command.current_dir(package).env("CARGO_MANIFEST_DIR", package).envs(python.clone());
        command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let output = command.output().map_err(|error| format!("{path}: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            eprintln!("{text}");
            ended.code = 101;
        }
        for line in
            text.lines().filter(|line| line.starts_with("test result: ") && !line.contains(" 0 passed; 0 failed"))
        {
            eprintln!("{name} {}: {line}", names.join(" "));
        }
        let times = text.lines().filter_map(|line| time(line));
        ended.times.extend(times.map(|(time, test)| (time, format!("{name}: {test}"))));
    }
    Ok(ended)
}

/// What the harness says of a test: `test budgets::tables ... ok <0.231s>`.
fn time(line: &str) -> Option<(f64, &str)> {
    let (test, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let (_, time) = result.split_once('<')?;
    Some((time.strip_suffix("s>")?.parse().ok()?, test))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_time_of_a_test_is_read() {
        let line = "test budgets::tables_do_not_grow_without_end ... ok <0.231s>";
        assert_eq!(super::time(line), Some((0.231, "budgets::tables_do_not_grow_without_end")));
        assert_eq!(super::time("running 3 tests"), None);
    }
}
