//! `host test`: runs a plugin on its cases.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{flags::CiFormat, output::xml, progress::Progress};
use crate::{
    case::{self, Problem, Tried},
    config::Config,
    package::File,
    plugin::{self, Cache, Plugin},
    record::Record,
    sandbox::Sandboxes,
    text::printable,
};

/// The directory of a plugin's cases, beside the plugin.
const CASES: &str = "cases";

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  host test my-check.wasm                      every case in cases/
  host test my-check.wasm cases/no-rows.toml   one case
  host test --update my-check.wasm             write the results into cases

A case, cases/no-rows.toml:
  date = 2026-02-05
  [settings]
  min_records = 2
  [tables.\"raw.games\"]
  columns = { game_id = \"STRING\", game_date = \"DATE\" }
  rows = []
  [expect]
  verdict = \"fail\"
  violations = [\"records is below its minimum: 0 < 2\"]

The tables of a case are made in memory, in /dev/shm, or in TMPDIR.

Exit codes: 0 all as expected, 1 some differ or cannot be used, 64 the plugin
or the arguments cannot be used.")]
pub(super) struct Test {
    /// The plugin file
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: PathBuf,
    /// Case files, or directories of them [default: cases/ here, or beside the plugin, or in the
    /// directory NAME/ beside the plugin]
    #[arg(value_name = "CASES")]
    cases: Vec<PathBuf>,
    /// Write the results into the cases that differ
    #[arg(long)]
    update: bool,
    /// The format on standard output
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = CiFormat::Table)]
    output: CiFormat,
}

impl Test {
    pub(super) fn execute(self) -> Result<u8> {
        let file = File::read(&self.plugin).map_err(|(_, error)| error)?;
        let paths = match self.cases.is_empty() {
            true => vec![self.found(&file.name)?],
            false => self.cases.clone(),
        };
        let cases = case::cases(&paths)?;
        let runtime = super::runtime()?;
        let started = Instant::now();
        let mut tried = runtime.block_on(try_all(file, &cases))?;
        let took = started.elapsed();
        let updated = if self.update { accept(&mut tried)? } else { 0 };
        super::print(&match self.output {
            CiFormat::Table => text(&tried, updated, took),
            CiFormat::Json => format!("{:#}\n", json(&tried)),
            CiFormat::Junit => junit(&tried, took),
        })?;
        Ok(tried.iter().any(|tried| tried.problem.is_some()).into())
    }

    /// The directory of cases, when none is named.
    fn found(&self, name: &str) -> Result<PathBuf> {
        let beside = self.plugin.parent().unwrap_or(Path::new(""));
        let places = [PathBuf::from(CASES), beside.join(CASES), beside.join(name).join(CASES)];
        let found = places.iter().find(|place| place.is_dir()).cloned();
        found.ok_or_else(|| {
            let places = places.map(|place| place.display().to_string()).join(", ");
            anyhow!("no cases found in {places}; give a file or directory of cases after the plugin. `host test --help` shows one")
        })
    }
}

/// Runs all cases, two at once for each processor; gives them in their order.
async fn try_all(file: File, cases: &[PathBuf]) -> Result<Vec<Tried>> {
    let config = Config::default();
    let sandboxes = Sandboxes::new(&config);
    let budgets = config.budgets(&file.name);
    let progress = Progress::new("compiling the plugin");
    let plugin: Arc<Plugin> = Arc::new(plugin::one(file, &sandboxes, Arc::new(Cache::open()), &budgets).await?);
    drop(progress);
    let progress = Progress::new("running cases");
    let record = Record::memory().await?;
    let room = Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, |cores| cores.get() * 2)));
    let mut tasks = JoinSet::new();
    for (at, path) in cases.iter().cloned().enumerate() {
        let (plugin, record, room) = (plugin.clone(), record.clone(), room.clone());
        tasks.spawn(async move {
            // The semaphore is never closed.
            let _room = room.acquire().await;
            (at, case::try_one(&plugin, &path, &record).await)
        });
    }
    let mut tried = Vec::with_capacity(cases.len());
    while let Some(one) = tasks.join_next().await {
        tried.push(one.context("a case stopped unexpectedly")?);
        progress.step(tried.len(), cases.len());
    }
    tried.sort_by_key(|(at, _)| *at);
    Ok(tried.into_iter().map(|(_, tried)| tried).collect())
}

/// Writes the results into the cases that differ. A case that cannot be used stays as it is.
fn accept(tried: &mut [Tried]) -> Result<usize> {
    let mut updated = 0;
    for one in tried {
        if let Some(Problem::Differs(difference)) = &one.problem {
            difference.accept(&one.path)?;
            one.problem = None;
            updated += 1;
        }
    }
    Ok(updated)
}

fn complaint(problem: &Problem) -> String {
    match problem {
        Problem::Unusable(reason) => format!("{}\n", printable(reason.trim_end())),
        // Line by line: the line breaks are the host's, the text is the plugin's.
        Problem::Differs(difference) => difference.shown().lines().map(|line| printable(line) + "\n").collect(),
    }
}

fn text(tried: &[Tried], updated: usize, took: Duration) -> String {
    let mut text = String::new();
    for one in tried {
        if let Some(problem) = &one.problem {
            let indented: String = complaint(problem).lines().map(|line| format!("  {line}\n")).collect();
            let _ = writeln!(text, "{}: not as expected\n{indented}", one.path.display());
        }
    }
    let failed = tried.iter().filter(|one| one.problem.is_some()).count();
    let cases = if tried.len() == 1 { "1 case".to_owned() } else { format!("{} cases", tried.len()) };
    let parts = [(tried.len() - failed - updated, "as expected"), (updated, "updated"), (failed, "not as expected")];
    let parts = parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
    let _ = writeln!(text, "{cases}: {} ({:.2} s)", parts.collect::<Vec<_>>().join(", "), took.as_secs_f64());
    text
}

fn json(tried: &[Tried]) -> serde_json::Value {
    let cases = tried.iter().map(|one| {
        json!({
            "name": one.name(),
            "path": one.path,
            "seconds": one.duration.as_secs_f64(),
            "as_expected": one.problem.is_none(),
            "problem": one.problem.as_ref().map(complaint),
        })
    });
    cases.collect()
}

/// The schema that CI systems read: <https://github.com/testmoapp/junitxml>
fn junit(tried: &[Tried], took: Duration) -> String {
    let count = |of: fn(&Problem) -> bool| tried.iter().filter(|one| one.problem.as_ref().is_some_and(of)).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"host test\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"0\" time=\"{:.3}\">\n",
        tried.len(),
        count(|problem| matches!(problem, Problem::Differs(_))),
        count(|problem| matches!(problem, Problem::Unusable(_))),
        took.as_secs_f64(),
    );
    for one in tried {
        let _ = write!(
            text,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
            xml(&one.path.display().to_string()),
            xml(&one.name()),
            one.duration.as_secs_f64()
        );
        let _ = match &one.problem {
            None => writeln!(text, "/>"),
            Some(problem) => {
                let kind = if matches!(problem, Problem::Differs(_)) { "failure" } else { "error" };
                let lines: Vec<String> = complaint(problem).lines().map(xml).collect();
                writeln!(text, "><{kind} message=\"not as expected\">{}</{kind}></testcase>", lines.join("\n"))
            }
        };
    }
    text + "  </testsuite>\n</testsuites>\n"
}
