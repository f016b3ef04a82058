//! Deployment drift: do the deployed services contain the latest commits?

mod drift;

use drift::{Finding, Kind, examine};
use sdk::{
    About, Alert, Check, Dates, Need, Report, Repository, Request, Result, Severity, Verdict, Violation, join_all,
    lookup, measured, step, utc,
};
use sdk::{schemars, serde};

sdk::settings! {
    /// Settings of the drift detector.
    pub struct Settings {
        /// The services and jobs, and the directories of each.
        pub services: Vec<Watched> = defaults(),
        /// The repository's name under [git] in host.toml; empty for the only one granted.
        pub repository: String = "",
        /// The command that deploys a service; {service} is replaced by its name, {region} by the region in it.
        pub deploy_command: String = "./bin/deploy-service.sh {service}",
        /// How many of the commits that are not deployed an alert lists.
        pub commits_listed: u32 = 5u32,
    }
}

/// A service or a job to watch.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(crate = "sdk::serde", deny_unknown_fields)]
#[schemars(crate = "sdk::schemars")]
pub struct Watched {
    /// The service's name; REGION/NAME if several regions have it. A Cloud Run job is job:NAME or job:REGION/NAME.
    pub name: String,
    /// The directories of the repository that it is built from.
    pub directories: Vec<String>,
    /// The minimum of instances it should have.
    #[serde(default)]
    pub min_instances: u32,
    /// The command that deploys it, if it is not the one of all services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy_command: Option<String>,
}

impl Watched {
    /// What it is, its region if the name has one, and its name where it is deployed.
    fn parts(&self) -> (&'static str, &str, &str) {
        let (kind, name) = match self.name.strip_prefix("job:") {
            Some(name) => ("job", name),
            None => ("service", self.name.as_str()),
        };
        let (region, name) = name.split_once('/').unwrap_or(("", name));
        (kind, region, name)
    }
}

fn defaults() -> Vec<Watched> {
    let service = |name: &str, directories: &[&str], min_instances| Watched {
        name: name.to_owned(),
        directories: directories.iter().map(|&directory| directory.to_owned()).collect(),
        min_instances,
        deploy_command: None,
    };
    vec![
        service("prediction-worker", &["predictions/worker", "shared"], 0),
        service("prediction-coordinator", &["predictions/coordinator", "shared"], 1),
        service("nba-phase1-scrapers", &["scrapers"], 0),
        service("nba-phase2-raw-processors", &["data_processors/raw"], 0),
        service("nba-phase3-analytics-processors", &["data_processors/analytics", "shared"], 0),
        service("nba-phase4-precompute-processors", &["data_processors/precompute", "shared"], 0),
        service("nba-grading-service", &["data_processors/grading/nba", "shared", "predictions/shared"], 0),
        service("phase3-to-phase4-orchestrator", &["orchestration/cloud_functions/phase3_to_phase4"], 1),
        service("phase4-to-phase5-orchestrator", &["orchestration/cloud_functions/phase4_to_phase5"], 1),
        service("nba-admin-dashboard", &["services/admin_dashboard"], 0),
    ]
}

struct Drift;

impl Check for Drift {
    type Settings = Settings;
    const ABOUT: About = About {
        summary: "Checks that every service runs the newest commit that touches its directories, with the traffic and instances it should have.",
        group: "drift",
        cron: "0 */2 * * *",
        timezone: None,
        channel: "#deployment-alerts",
        runbook: include_str!("../RUNBOOK.md"),
    };

    fn needs(_: &Settings) -> Vec<Need> {
        vec![Need::Repository, Need::Deployments]
    }

    /// Deployed code is compared with the branch as it is now.
    fn dates(_: &Settings) -> Dates {
        Dates::Now
    }

    async fn run(request: Request, settings: Settings) -> Result<Report> {
        let name = Some(settings.repository.clone()).filter(|name| !name.is_empty());
        let repository = Repository { name };
        // Make all lookups of one kind concurrently, so that the host can answer them together.
        let deployments = join_all(settings.services.iter().map(|service| lookup(&service.name))).await;
        let examined = settings.services.iter().zip(deployments);
        let examined = examined.map(|(service, found)| examine(&repository, service, found, request.due));
        let findings: Vec<Finding<'_>> = join_all(examined).await;

        let mut report = report(&findings);
        if findings.iter().any(Finding::drifted) {
            report.unknown.extend(alert(&request.channel, &settings, &findings).told().await);
        }
        Ok(report)
    }
}

fn report(findings: &[Finding<'_>]) -> Report {
    let drifted: Vec<&Finding<'_>> = findings.iter().filter(|finding| finding.drifted()).collect();
    let unknown: Vec<String> = findings.iter().filter_map(Finding::unknown).collect();
    let in_sync = findings.iter().filter(|finding| !finding.drifted() && finding.unknown().is_none()).count();
    let violations: Vec<Violation> = drifted
        .iter()
        .flat_map(|finding| finding.kinds.iter().map(|kind| format!("{}: {}", finding.watched.name, kind.brief())))
        .map(|message| Violation { metric: Some("drifted".to_owned()), message })
        .collect();
    let summary = match drifted.is_empty() {
        true => format!("{in_sync} of {} services in sync", findings.len()),
        false => violations.iter().map(|violation| violation.message.as_str()).collect::<Vec<_>>().join("; "),
    };
    Report {
        verdict: if drifted.is_empty() { Verdict::Pass } else { Verdict::Fail },
        summary,
        metrics: vec![
            measured("drifted", Some(drifted.len() as f64)).at_most(0.0),
            measured("in_sync", Some(in_sync as f64)),
            measured("unknown", Some(unknown.len() as f64)).at_most(0.0),
        ],
        violations,
        unknown,
        gate: None,
    }
}

fn alert(channel: &str, settings: &Settings, findings: &[Finding<'_>]) -> Alert {
    let drifted: Vec<&Finding<'_>> = findings.iter().filter(|finding| finding.drifted()).collect();
    let title = match drifted.as_slice() {
        [one] => format!("Deployment drift: {}", one.watched.name),
        many => format!("Deployment drift: {} services", many.len()),
    };
    let run = if drifted.len() == 1 { "runs" } else { "run" };
    let summary =
        format!("{} of {} services {run} an old commit or the wrong configuration.", drifted.len(), findings.len());
    let mut alert = Alert::new(channel, Severity::Warning, title, summary);
    for finding in &drifted {
        alert = alert.lines(&finding.watched.name, lines(finding, settings.commits_listed));
    }
    alert.steps(drifted.iter().map(|finding| {
        let (_, region, name) = finding.watched.parts();
        let command = finding.watched.deploy_command.as_ref().unwrap_or(&settings.deploy_command);
        let command = command.replace("{service}", name).replace("{region}", region);
        step(format!("Deploy {}", finding.watched.name), command)
    }))
}

fn lines(finding: &Finding<'_>, commits_listed: u32) -> Vec<String> {
    let mut lines = Vec::new();
    for kind in &finding.kinds {
        match kind {
            Kind::Code { deployed, changes, hours } => {
                let newest = changes.commits.first().map_or(*deployed, |commit| commit.time);
                lines.push(format!("{hours:.0} hours behind", hours = hours.floor()));
                lines.push(format!("Deployed {}, code changed {}", utc(*deployed), utc(newest)));
                let listed = changes.commits.iter().take(commits_listed as usize);
                lines.extend(
                    listed.map(|commit| format!("• {} {}", commit.id.get(..7).unwrap_or(&commit.id), commit.subject)),
                );
                let more = changes.total.saturating_sub(commits_listed);
                if more > 0 {
                    let commits = if more == 1 { "commit" } else { "commits" };
                    lines.push(format!("… and {more} more {commits}"));
                }
            }
            other => lines.push(other.brief()),
        }
    }
    lines
}

sdk::export!(Drift);
