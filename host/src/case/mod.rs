//! Test cases of a plugin: the input and the expected result in one readable file. `host test` runs them on the embedded
//! warehouse, without any cloud.

mod outcome;
mod table;
mod world;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use jiff::{Timestamp, civil::Date};
use serde::Deserialize;

use crate::{
    check::{Check, Family, Ready, Work},
    config::{Budgets, Config, Cron, DataDate, Dates, Zone},
    contract::Need,
    lanes::Pace,
    package::files_in,
    plugin::Plugin,
    record::Record,
    run::{Moment, Run},
};
use outcome::Outcome;
use table::Table;
use world::{Commit, Deployment};

/// The extension of case files.
const EXTENSION: &str = "toml";

/// The file of a case.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What the case shows, for readers.
    #[serde(default)]
    #[allow(dead_code)]
    about: String,
    /// The data date.
    date: toml::value::Datetime,
    /// The run's clock. Default: noon on the next day, in the time zone.
    due: Option<toml::value::Datetime>,
    /// By when the data of the date is expected. Default: the run's clock.
    deadline: Option<toml::value::Datetime>,
    /// The dates that the check judged good before.
    #[serde(default)]
    good_dates: Vec<toml::value::Datetime>,
    /// The pipeline's time zone. Default: America/New_York.
    #[serde(default = "Zone::new_york")]
    timezone: Zone,
    /// The channel of alerts. Default: the plugin's.
    channel: Option<String>,
    /// The check's settings.
    #[serde(default)]
    settings: toml::Table,
    /// The tables, by `dataset.table`.
    #[serde(default)]
    tables: BTreeMap<String, Table>,
    /// The history of the branch, oldest first.
    #[serde(default)]
    commits: Vec<Commit>,
    /// The deployments.
    #[serde(default)]
    deployments: Vec<Deployment>,
    /// The backends that are down.
    #[serde(default)]
    unavailable: Vec<Backend>,
    /// The expected result. Keys that are left out may have any value.
    #[serde(default)]
    expect: Option<Outcome>,
}

/// A backend of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Backend {
    Warehouse,
    Git,
    Deployments,
}

/// The result of one case.
#[derive(Debug)]
pub struct Tried {
    /// The case's file.
    pub path: PathBuf,
    /// How long it took.
    pub duration: Duration,
    /// The problem; none when the result is as expected.
    pub problem: Option<Problem>,
}

/// The problem of a case.
#[derive(Debug)]
pub enum Problem {
    /// The file or its content cannot be used.
    Unusable(String),
    /// The result differs from the expected one.
    Differs(Box<Difference>),
}

/// The expected and the actual result.
#[derive(Debug)]
pub struct Difference {
    /// The whole actual result.
    found: Outcome,
    /// The expected result in the file.
    expected: Option<Outcome>,
}

/// The case files at some paths: files themselves, and every `*.toml` of a directory, sorted by name.
pub fn cases(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut cases = Vec::new();
    for path in paths {
        if !path.is_dir() {
            cases.push(path.clone());
            continue;
        }
        let mut found = files_in(path, EXTENSION).with_context(|| path.display().to_string())?;
        if found.is_empty() {
            bail!("{}: no case file (*.{EXTENSION}) here", path.display());
        }
        cases.append(&mut found);
    }
    Ok(cases)
}

/// Runs a plugin on one case.
pub async fn try_one(plugin: &Arc<Plugin>, path: &Path, record: &Record) -> Tried {
    let started = Instant::now();
    let problem = match tried(plugin, path, record).await {
        Ok(None) => None,
        Ok(Some(difference)) => Some(Problem::Differs(Box::new(difference))),
        Err(error) => Some(Problem::Unusable(format!("{error:#}"))),
    };
    Tried { path: path.to_owned(), duration: started.elapsed(), problem }
}

async fn tried(plugin: &Arc<Plugin>, path: &Path, record: &Record) -> Result<Option<Difference>> {
    let text = std::fs::read_to_string(path).context("cannot be read")?;
    let case: Case = toml::from_str(&text)?;
    let settings = serde_json::to_value(&case.settings)?;
    let wrong = plugin.mistakes(&settings).await?;
    if !wrong.is_empty() {
        bail!("settings: {}", wrong.join("; "));
    }
    let moment = case.moment()?;
    let dates = plugin.dates(settings.to_string(), &Budgets::default()).await?;
    let check = case.check(plugin, settings.to_string(), dates);
    let beside = path.parent().unwrap_or(Path::new("")).to_owned();
    let expected = case.expect.clone();
    let good_dates = case.good_dates()?;
    let world =
        crate::lanes::own(move || case.world(&beside)).await.context("making the tables stopped unexpectedly")??;
    let run = check.run(&world.backends(record, good_dates), record, moment).await;
    let found = Outcome::of(&run).without(&world.path());
    let same = expected.as_ref().is_some_and(|expected| expected.same(&found));
    Ok((!same).then_some(Difference { found, expected }))
}

impl Case {
    fn moment(&self) -> Result<Moment> {
        let date: Date = self.date.to_string().parse().context("date: write a date like 2026-02-05")?;
        let due = match &self.due {
            Some(due) => due.to_string().parse::<Timestamp>().context("due: write a time like 2026-02-06T11:30:00Z")?,
            None => date.tomorrow()?.at(12, 0, 0, 0).to_zoned(self.timezone.rules())?.timestamp(),
        };
        let moment = Moment::new(due, date, &self.timezone)?;
        Ok(match &self.deadline {
            Some(deadline) => {
                let deadline = deadline.to_string().parse::<Timestamp>();
                Moment { deadline: deadline.context("deadline: write a time like 2026-02-06T11:30:00Z")?, ..moment }
            }
            None => moment,
        })
    }

    fn good_dates(&self) -> Result<Vec<Date>> {
        let parsed = |date: &toml::value::Datetime| date.to_string().parse::<Date>();
        let parsed: Result<_, _> = self.good_dates.iter().map(parsed).collect();
        parsed.context("good_dates: write dates like 2026-02-05")
    }

    /// The plugin as a check that may use everything it asks for and everything in the case.
    fn check(&self, plugin: &Arc<Plugin>, settings: String, dates: Dates) -> Check {
        let descriptor = &plugin.descriptor;
        let channel = self.channel.clone().unwrap_or_else(|| descriptor.channel.clone());
        let mut grants = self.grants();
        for need in &descriptor.needs {
            match need {
                Need::Dataset(dataset) => grants.warehouse.push(dataset.clone()),
                Need::Channel(channel) => grants.slack.push(channel.clone()),
                // Every case grants these.
                Need::Repository | Need::Deployments => {}
            }
        }
        grants.slack.push(channel.clone());
        let (budgets, pace) = (Budgets::default(), Pace::default());
        let ready = Ready { plugin: plugin.clone(), grants, settings, dates, budgets, skip: None, pace };
        Check {
            name: plugin.file.name.clone(),
            schedule: Cron::hourly(),
            zone: self.timezone.clone(),
            data_date: DataDate::default(),
            family: Some(Family { channel, group: descriptor.group.clone() }),
            work: Work::Plugin(Box::new(ready)),
            waits: false,
        }
    }
}

impl Difference {
    /// The difference line by line: `-` for expected, `+` for actual.
    pub fn shown(&self) -> String {
        match &self.expected {
            None => format!(
                "the case has no [expect]; --update writes the actual result:\n{}",
                prefixed("+ ", &self.found.text())
            ),
            Some(expected) => expected.difference(&self.found),
        }
    }

    /// Writes the actual result into the case's file: the keys that it has, or all keys when it has none.
    pub fn accept(&self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path)?;
        let found = match &self.expected {
            Some(expected) => self.found.like(expected),
            None => self.found.clone(),
        };
        let accepted = accepted(&text, &found.text()).with_context(|| path.display().to_string())?;
        toml::from_str::<Case>(&accepted).context("the new text is not a valid case")?;
        std::fs::write(path, accepted).with_context(|| path.display().to_string())
    }
}

/// The text of a case with a new `[expect]` at its end.
fn accepted(text: &str, found: &str) -> Result<String> {
    let ours = |line: &str| line.starts_with("[expect]") || line.starts_with("[expect.");
    let before: Vec<&str> = text.lines().take_while(|line| !ours(line)).collect();
    let after = text.lines().skip(before.len());
    if let Some(other) = after.into_iter().find(|line| line.starts_with('[') && !ours(line) && line.ends_with(']')) {
        bail!("`{other}` comes after [expect]; put [expect] last, so that it can be rewritten");
    }
    Ok(format!("{}\n\n{found}", before.join("\n").trim_end()))
}

fn prefixed(prefix: &str, text: &str) -> String {
    text.lines().map(|line| format!("{prefix}{line}\n")).collect()
}

/// An empty configuration for a case to fill.
fn nothing() -> Config {
    Config::default()
}

impl Tried {
    /// The case's name: its file name without the extension.
    pub fn name(&self) -> String {
        self.path.file_stem().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned()
    }
}

/// The alerts of a run as text.
fn alerts(run: &Run) -> String {
    crate::alert::with_evidence(run, run.alerts.clone())
        .iter()
        .map(crate::alert::plain)
        .collect::<Vec<_>>()
        .join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_replaces_what_was_expected_and_nothing_else() {
        let found = "[expect]\nverdict = \"pass\"\n";
        let text = "date = 2026-02-05 # a day\n\n[expect]\nverdict = \"fail\"\n\n[expect.metrics]\ngames = 2\n";
        let expected = "date = 2026-02-05 # a day\n\n[expect]\nverdict = \"pass\"\n";
        assert_eq!(accepted(text, found).expect("accepted"), expected);
        assert_eq!(accepted("date = 2026-02-05 # a day", found).expect("accepted"), expected);
        assert!(accepted("[expect]\nverdict = \"fail\"\n[settings]\n", found).is_err());
    }
}
