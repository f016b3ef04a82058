//! The sample's code and deployments: a repository with two months of commits, and ten services that run its newest.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use crate::Moment;

/// The services, the directories each is built from, and its minimum of instances.
const SERVICES: [(&str, &[&str], u32); 10] = [
    ("prediction-worker", &["predictions/worker", "shared"], 0),
    ("prediction-coordinator", &["predictions/coordinator", "shared"], 1),
    ("nba-phase1-scrapers", &["scrapers"], 0),
    ("nba-phase2-raw-processors", &["data_processors/raw"], 0),
    ("nba-phase3-analytics-processors", &["data_processors/analytics", "shared"], 0),
    ("nba-phase4-precompute-processors", &["data_processors/precompute", "shared"], 0),
    ("nba-grading-service", &["data_processors/grading/nba", "shared", "predictions/shared"], 0),
    ("phase3-to-phase4-orchestrator", &["orchestration/cloud_functions/phase3_to_phase4"], 1),
    ("phase4-to-phase5-orchestrator", &["orchestration/cloud_functions/phase4_to_phase5"], 1),
    ("nba-admin-dashboard", &["services/admin_dashboard"], 0),
];

/// Two months of commits, the newest 30 hours old, 10 hours apart.
pub(super) const COMMITS: usize = 144;
const NEWEST_HOURS: i64 = 30;
const HOURS_APART: i64 = 10;

/// The verbs of commit subjects.
const SUBJECTS: [&str; 6] = ["Fix", "Speed up", "Rename a column in", "Log more in", "Handle empty input in", "Tidy"];

/// The repository and deployments.json, with a number of commits.
pub fn make_code(directory: &Path, moment: &Moment, commits: usize) -> Result<()> {
    let repository = directory.join("repository");
    fs::create_dir_all(&repository)?;
    git(&repository, &["init", "--quiet", "--initial-branch=main"], "")?;
    git(&repository, &["fast-import", "--quiet"], &stream(moment, commits)?)?;
    // The way a repository looks that was cloned: packed, with a working tree.
    git(&repository, &["reset", "--quiet", "--hard", "main"], "")?;
    let newest = git(&repository, &["rev-parse", "main"], "")?;
    let deployed = moment.at.checked_sub(Span::new().hours(NEWEST_HOURS - 2))?;
    let services: Vec<Value> =
        SERVICES.iter().map(|(name, _, instances)| deployment(name, newest.trim(), deployed, *instances)).collect();
    write(directory, &services)
}

/// The directories of each service.
pub fn services() -> Vec<Vec<String>> {
    SERVICES.iter().map(|(_, directories, _)| directories.iter().map(|path| (*path).to_owned()).collect()).collect()
}

/// One service's deployment. The dashboard's label is missing, as it may be in operation: it is compared by time.
fn deployment(name: &str, commit: &str, deployed: Timestamp, min_instances: u32) -> Value {
    let commit = (name != "nba-admin-dashboard").then_some(commit);
    json!({
        "service": name,
        "revision": format!("{name}-00042-abc"),
        "commit": commit,
        "deployed": deployed.to_string(),
        "serves_latest": true,
        "min_instances": min_instances,
    })
}

fn write(directory: &Path, services: &[Value]) -> Result<()> {
    fs::write(directory.join("deployments.json"), format!("{:#}\n", json!(services)))?;
    Ok(())
}

/// Changes one service's entry in deployments.json; none removes it.
pub fn redeploy(directory: &Path, name: &str, change: impl Fn(&mut Value) -> Option<()>) -> Result<()> {
    let text = fs::read_to_string(directory.join("deployments.json"))?;
    let mut services: Vec<Value> = serde_json::from_str(&text)?;
    services.retain_mut(|service| service["service"] != name || change(service).is_some());
    write(directory, &services)
}

/// The commit before the newest `count` that touch a path.
pub(super) fn commit_before(directory: &Path, path: &str, count: usize) -> Result<String> {
    let repository = directory.join("repository");
    let listed = git(&repository, &["log", "--format=%H", &format!("-{count}"), "main", "--", path], "")?;
    let oldest = listed.lines().last().context("too few commits")?;
    Ok(git(&repository, &["rev-parse", &format!("{oldest}~1")], "")?.trim().to_owned())
}

fn stream(moment: &Moment, commits: usize) -> Result<String> {
    let directories: Vec<&str> = {
        let mut all: Vec<&str> = SERVICES.iter().flat_map(|(_, directories, _)| directories.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all
    };
    let mut stream = String::new();
    for at in 0..commits {
        // The first commit has every directory in it; each later one touches one of them.
        let touched: Vec<&str> = match at {
            0 => directories.clone(),
            _ => directories.get(at % directories.len()).into_iter().copied().collect(),
        };
        let subject = match (at, touched.first()) {
            (0, _) => "Begin the pipeline".to_owned(),
            (_, Some(directory)) => {
                format!(
                    "{} {directory}",
                    SUBJECTS.get((at / directories.len() + at) % SUBJECTS.len()).unwrap_or(&"Change")
                )
            }
            (_, None) => bail!("no directory to touch"),
        };
        let back = i64::try_from(commits - 1 - at)? * HOURS_APART + NEWEST_HOURS;
        let time = moment.at.checked_sub(Span::new().hours(back))?.as_second();
        write!(
            stream,
            "commit refs/heads/main\ncommitter Sam Rivera <sam@example.com> {time} +0000\ndata {}\n{subject}\n",
            subject.len()
        )?;
        for directory in touched {
            let content = format!("version = {at}\n");
            write!(stream, "M 100644 inline {directory}/module_{}.py\ndata {}\n{content}\n", at % 4, content.len())?;
        }
    }
    Ok(stream + "done\n")
}

/// Runs git without this machine's configuration, with something on its standard input.
pub fn git(directory: &Path, arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("git")
        .args(arguments)
        .current_dir(directory)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("git cannot be run; install it, for example with `apt-get install git`")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
