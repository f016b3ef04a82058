//! The drift detector: in sync, drifted and unknown are three things.

use crate::support::{
    AT,
    command::{Sample, ended, shipped},
    watched::Watched,
};
use host::run::Status;
use host_tests::{Fault, HOST_TOML};
use jiff::{Span, Timestamp};
use serde_json::json;

fn watched() -> Watched {
    Watched::new(&["deployment-drift"], |toml| toml).unwrap()
}

fn ago(hours: i64) -> String {
    AT.parse::<Timestamp>().unwrap().checked_sub(Span::new().hours(hours)).unwrap().to_string()
}

#[test]
fn the_deployed_commit_is_the_evidence_when_it_is_known() {
    let watched = watched();
    let newest = watched.git(&["log", "-1", "--format=%H", "main", "--", "scrapers"]).unwrap();
    let deploy = |commit: &str| {
        watched
            .redeploy("nba-phase1-scrapers", |service| {
                service["commit"] = json!(commit.trim());
                // Long ago by the clock, which is irrelevant.
                service["deployed"] = json!(ago(2000));
                Some(())
            })
            .unwrap();
    };
    deploy(&newest);
    assert_eq!(
        watched.run("deployment-drift").unwrap().status(),
        Status::Pass,
        "the newest that touches its directory"
    );
    let before = watched.git(&["rev-parse", &format!("{}~1", newest.trim())]).unwrap();
    deploy(&before);
    let run = watched.run("deployment-drift").unwrap();
    assert_eq!(run.status(), Status::Fail);
    assert!(run.summary().starts_with("nba-phase1-scrapers: 1 commit and "), "{}", run.summary());
    let short = before.trim().get(..10).unwrap();
    deploy(short);
    assert_eq!(watched.run("deployment-drift").unwrap().status(), Status::Fail, "a short hash is a hash");
}

#[test]
fn the_time_decides_when_the_commit_is_not_known() {
    let watched = watched();
    let newest: i64 = watched
        .git(&["log", "-1", "--format=%ct", "main", "--", "services/admin_dashboard"])
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    for (deployed, status) in [(newest, Status::Pass), (newest - 1, Status::Fail), (newest + 1, Status::Pass)] {
        watched
            .redeploy("nba-admin-dashboard", |service| {
                assert!(service["commit"].is_null());
                service["deployed"] = json!(Timestamp::from_second(deployed).unwrap().to_string());
                Some(())
            })
            .unwrap();
        let run = watched.run("deployment-drift").unwrap();
        assert_eq!(run.status(), status, "{deployed}: {}", run.summary());
    }
}

/// Sets the minimum of a service with one instance to zero.
fn without_instances(watched: &Watched) {
    watched
        .redeploy("prediction-coordinator", |service| {
            service["min_instances"] = json!(0);
            Some(())
        })
        .unwrap();
}

#[test]
fn traffic_and_instances_drift_too() {
    let watched = watched();
    without_instances(&watched);
    watched
        .redeploy("nba-phase1-scrapers", |service| {
            service["serves_latest"] = json!(false);
            Some(())
        })
        .unwrap();
    let run = watched.run("deployment-drift").unwrap();
    assert_eq!(
        run.summary(),
        "prediction-coordinator: minimum instances are 0, expected 1; nba-phase1-scrapers: traffic is not routed to the latest revision, nba-phase1-scrapers-00042-abc"
    );
    assert_eq!(run.alerts.len(), 1, "one message for all services");
    assert_eq!(run.alerts[0].steps.len(), 2, "and the command for each");
}

/// Unknown is never in sync.
#[test]
fn what_is_not_known_is_an_error() {
    let watched = watched();
    for (what, words, change) in [
        (
            "an unknown commit",
            "has no commit 0123456789abcdef0123456789abcdef01234567",
            Some(json!("0123456789abcdef0123456789abcdef01234567")),
        ),
        ("a commit that is none", "`latest` is not a commit", Some(json!("latest"))),
        ("no such service", "no such service is deployed", None),
    ] {
        watched.restore().unwrap();
        watched
            .redeploy("prediction-worker", |service| {
                service["commit"] = change.clone()?;
                Some(())
            })
            .unwrap();
        let run = watched.run("deployment-drift").unwrap();
        assert_eq!((run.status(), run.exit_code()), (Status::Error, 3), "{what}");
        assert!(
            run.summary().starts_with("unknown: prediction-worker: ") && run.summary().contains(words),
            "{what}: {}",
            run.summary()
        );
        assert!(run.report.is_some(), "the results of the others are kept");
    }
    watched.restore().unwrap();
    std::fs::write(watched.path().join("deployments.json"), "[").unwrap();
    let run = watched.run("deployment-drift").unwrap();
    assert_eq!(run.exit_code(), 3);
    assert!(run.summary().contains("deployments.json"), "{}", run.summary());
}

/// A missing or removed directory has no trustworthy newest commit.
#[test]
fn a_directory_that_does_not_exist_is_not_in_sync() {
    let settings = |directory: &str| {
        let line = format!(
            "settings = {{ services = [{{ name = \"prediction-worker\", directories = [\"{directory}\", \"shared\"] }}] }}"
        );
        move |toml: String| toml.replace("settings = { deploy_command = \"./bin/deploy-service.sh {service}\" }", &line)
    };
    let watched = Watched::new(&["deployment-drift"], settings("predictions/wroker")).unwrap();
    let run = watched.run("deployment-drift").unwrap();
    assert_eq!(run.exit_code(), 3);
    assert!(run.summary().contains("the branch has no predictions/wroker"), "{}", run.summary());

    let watched = Watched::new(&["deployment-drift"], settings("scrapers")).unwrap();
    watched.git(&["rm", "-r", "--quiet", "scrapers"]).unwrap();
    watched
        .git(&["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "-m", "Remove the scrapers"])
        .unwrap();
    let newest = watched.git(&["rev-parse", "main"]).unwrap();
    watched
        .redeploy("prediction-worker", |service| {
            service["commit"] = json!(newest.trim());
            Some(())
        })
        .unwrap();
    let run = watched.run("deployment-drift").unwrap();
    assert_eq!(run.exit_code(), 3, "deployed with the removal, and still not in sync");
    assert!(run.summary().contains("the branch has no scrapers"), "{}", run.summary());
}

/// Drift is reported although another service is unknown; the exit code covers both.
#[test]
fn drift_is_told_although_something_else_is_not_known() {
    let watched = watched();
    without_instances(&watched);
    watched.redeploy("nba-grading-service", |_| None).unwrap();
    let run = watched.run("deployment-drift").unwrap();
    assert_eq!((run.status(), run.exit_code()), (Status::Fail, 3));
    assert!(run.summary().contains("expected 1; unknown: nba-grading-service"), "{}", run.summary());
    let unknown = run.report.as_ref().unwrap().unknown.join("; ");
    assert!(unknown.contains("nba-grading-service"), "{unknown}");
    let titles: Vec<&str> = run.alerts[0].sections.iter().map(|section| section.title.as_str()).collect();
    assert!(!titles.contains(&"Not known"), "the host reports it once: {titles:?}");
}

/// The sample's repository has the directories of the pipeline, and no others.
#[test]
fn validation_finds_directories_that_were_never_there() {
    let sample = Sample::new(None).unwrap();
    let drift = shipped().unwrap().into_iter().find(|plugin| plugin.ends_with("deployment-drift.wasm")).unwrap();
    let validated = |settings: &str| {
        let own = "settings = { deploy_command = \"./bin/deploy-service.sh {service}\" }";
        sample.configure(&HOST_TOML.replace(own, settings)).unwrap();
        let mut command = sample.command();
        ended(command.args(["validate", "--output", "json", "--check", "deployment-drift"]).arg(&drift)).unwrap()
    };
    let defaults = validated("");
    assert_eq!(defaults.code, 0, "the ten services that the plugin watches by itself: {defaults:?}");
    for directory in ["admin_dashboard", "data_processors/phase2", "orchestration/phase3_to_phase4"] {
        let settings =
            format!("settings = {{ services = [{{ name = 'nba-admin-dashboard', directories = ['{directory}'] }}] }}");
        let found = validated(&settings);
        assert_eq!(found.code, 2, "{directory}: {found:?}");
        let words = format!("branch main of repository pipeline has no {directory}");
        assert!(found.out.contains(&words), "{directory}: {found:?}");
    }
}

/// The validation of a new plugin and its first run find the same, and say it in the same words: people hear of it once.
#[test]
fn what_a_validation_said_is_not_told_again() {
    let sample = Sample::now(Some(Fault::UnknownService)).unwrap();
    sample.configure(&format!("validate_schedule = \"0 9 * * *\"\n{HOST_TOML}")).unwrap();
    for _ in 0..2 {
        let mut command = sample.command();
        command.args(["run", "--once", "--check", "deployment-drift"]).args(shipped().unwrap());
        let run = ended(&mut command).unwrap();
        assert!(run.out.contains("nba-grading-service: no such service is deployed"), "{run:?}");
        let told: Vec<String> = sample.slack.received().iter().map(|(_, message)| message.to_string()).collect();
        assert!(
            told.len() == 1 && told[0].contains("nba-grading-service: no such service is deployed"),
            "{told:#?} {run:?}"
        );
    }
}
