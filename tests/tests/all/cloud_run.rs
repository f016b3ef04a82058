//! What is deployed on Cloud Run: services in several regions, functions, jobs, and deployments that failed.

use host_tests::HOST_TOML;
use serde_json::{Value, json};

use super::google::on_cloud_run;
use crate::support::{
    command::{Ended, Sample},
    google::{cloud_run::CloudRunDouble, deployed},
    http::Reply,
    slack,
};

/// The first attempt to start a service, as Cloud Run reports it.
fn never_started() -> Value {
    json!({
        "latestReadyRevision": "",
        "trafficStatuses": [],
        "terminalCondition": {
            "type": "Ready", "state": "CONDITION_FAILED",
            "message": "Revision 'w-00001' is not ready and cannot serve traffic. The user-provided container failed to start \
                        and listen on the port defined by the PORT=8080 environment variable.\n\nLogs URL: https://console",
        },
        "conditions": [
            { "type": "RoutesReady", "state": "CONDITION_FAILED" },
            { "type": "ConfigurationsReady", "state": "CONDITION_FAILED" },
        ],
    })
}

/// The sample with these regions, and a drift detector with these settings and grants.
fn watching(regions: &str, services: &str, grants: &str) -> (Sample, CloudRunDouble) {
    let sample = Sample::new(None).unwrap();
    let double = CloudRunDouble::start().unwrap();
    configure(&sample, &double, regions, services, grants);
    (sample, double)
}

fn configure(sample: &Sample, double: &CloudRunDouble, regions: &str, services: &str, grants: &str) {
    let own = "settings = { deploy_command = \"./bin/deploy-service.sh {service}\" }";
    assert!(HOST_TOML.contains(own) && HOST_TOML.contains("deployments = [\"*\"]"));
    let toml = deployed(&format!("[google]\ncredentials = \"none\"\n{}", double.deployments_in(regions)));
    let toml = toml.replace(own, &format!("settings = {{ services = [{services}] }}"));
    sample.configure(&toml.replace("deployments = [\"*\"]", &format!("deployments = [{grants}]"))).unwrap();
}

fn watched(name: &str) -> String {
    format!("{{ name = \"{name}\", directories = [\"scrapers\"] }}")
}

fn drift(sample: &Sample) -> Ended {
    sample.once(&["--output", "json", "--check", "deployment-drift"]).unwrap()
}

fn error(ended: &Ended) -> String {
    ended.run("deployment-drift")["error"].as_str().unwrap_or_default().to_owned()
}

/// The commits of the sample that touch the scrapers, the newest first.
fn commits(sample: &Sample) -> Vec<String> {
    let repository = sample.path().join("repository");
    let found = host_tests::git(&repository, &["log", "--format=%H", "main", "--", "scrapers"], "").unwrap();
    found.lines().map(str::to_owned).collect()
}

const NOW: &str = "2026-02-05T00:00:00Z";

#[test]
fn a_first_deployment_that_failed_never_became_ready() {
    let (sample, cloud_run) = on_cloud_run(None, |name| match name {
        "prediction-worker" => never_started(),
        _ => json!({}),
    });
    let ended = drift(&sample);
    let error = error(&ended);
    assert_eq!(ended.code, 3, "{ended:?}");
    let words = "lookup failed: prediction-worker never became ready: Revision 'w-00001' is not ready and cannot serve \
                 traffic. The user-provided container failed to start";
    assert!(error.contains(words), "{error}");
    for wrong in ["contradicts", "0 %", "Logs URL"] {
        assert!(!error.contains(wrong), "{wrong}: {error}");
    }
    assert!(!cloud_run.asked().iter().any(|path| path.contains("prediction-worker")), "its revision says no more");

    // A later one that failed leaves the traffic where it was: that is drift.
    let (sample, _cloud_run) = on_cloud_run(None, |name| match name {
        "prediction-worker" => json!({
            "latestReadyRevision": "projects/nba-props-platform/locations/us-west2/services/prediction-worker/revisions/prediction-worker-00000-old",
            "terminalCondition": { "type": "Ready", "state": "CONDITION_FAILED", "message": "The container failed to start." },
        }),
        _ => json!({}),
    });
    let ended = drift(&sample);
    assert_eq!(ended.code, 2, "{ended:?}");
    let summary = &ended.run("deployment-drift")["summary"];
    assert_eq!(summary, "prediction-worker: traffic is not routed to the latest revision, prediction-worker-00001-abc");

    // One that made no revision, since its image does not exist: nothing else shows it.
    let (sample, _cloud_run) = on_cloud_run(None, |name| match name {
        "prediction-worker" => json!({
            "terminalCondition": { "type": "Ready", "state": "CONDITION_FAILED", "message": "Image 'img:new' not found." },
        }),
        _ => json!({}),
    });
    let ended = drift(&sample);
    let said = ended.run("deployment-drift")["error"].as_str().unwrap_or_default().to_owned();
    let words = "the last deployment of prediction-worker failed: Image 'img:new' not found.";
    assert!(ended.code == 3 && said.contains(words), "{ended:?}");
}

/// Each revision is asked for by its name, once a round, however many checks look it up and however many there are.
#[test]
fn a_round_asks_once_for_each_service() {
    let (sample, cloud_run) = on_cloud_run(None, |_| json!({}));
    // Eighty services that nobody looks up are twelve more pages and no more.
    for number in 0..80 {
        cloud_run.deploy(&format!("other-{number}"), None, NOW, 0, json!({}));
    }
    let toml = std::fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let second = "[checks.second-drift]\nplugin = 'deployment-drift'\nschedule = '0 */2 * * *'\n";
    std::fs::write(sample.path().join("host.toml"), format!("{toml}\n{second}")).unwrap();
    let ended = sample.once(&["--output", "json", "--check", "deployment-drift", "--check", "second-drift"]).unwrap();
    for check in ["deployment-drift", "second-drift"] {
        assert_eq!(ended.run(check)["summary"], "10 of 10 services in sync", "{ended:?}");
    }
    let asked = cloud_run.asked();
    let of = |end: &str| asked.iter().filter(|path| path.ends_with(end)).count();
    assert_eq!((of("/services"), of("-00001-abc"), asked.len()), (13, 10, 23), "{asked:?}");
}

#[test]
fn services_are_found_in_several_regions() {
    let both = "[\"us-west2\", \"us-central1\"]";
    let services = [watched("scrapers-west"), watched("scrapers-central")].join(", ");
    let (sample, cloud_run) = watching(both, &services, "\"*\"");
    let commit = commits(&sample)[0].clone();
    cloud_run.deploy_in("us-west2", "scrapers-west", Some(&commit), NOW, 0, json!({}));
    cloud_run.deploy_in("us-central1", "scrapers-central", Some(&commit), NOW, 0, json!({}));
    let ended = drift(&sample);
    assert_eq!((ended.code, &ended.run("deployment-drift")["summary"]), (0, &json!("2 of 2 services in sync")));
    assert_eq!(cloud_run.asked().len(), 4, "a listing of each region and two revisions: {:?}", cloud_run.asked());

    // With one region, the other's service is not deployed: unknown, never in sync.
    configure(&sample, &cloud_run, "\"us-west2\"", &services, "\"*\"");
    let ended = drift(&sample);
    assert!(ended.code == 3 && error(&ended).contains("scrapers-central: no such service is deployed"), "{ended:?}");
}

/// A name that two regions have means two deployments: the check must say which.
#[test]
fn a_name_in_two_regions_needs_its_region() {
    let both = "[\"us-west2\", \"us-central1\"]";
    let (sample, cloud_run) = watching(both, &watched("scrapers"), "\"*\"");
    let [new, old] = [commits(&sample)[0].clone(), commits(&sample)[1].clone()];
    cloud_run.deploy_in("us-west2", "scrapers", Some(&new), NOW, 0, json!({}));
    cloud_run.deploy_in("us-central1", "scrapers", Some(&old), NOW, 0, json!({}));
    let ended = drift(&sample);
    let words = "scrapers exists in us-west2 and in us-central1; write us-west2/scrapers or us-central1/scrapers";
    assert!(ended.code == 3 && error(&ended).contains(words), "{ended:?}");

    let services = [watched("us-west2/scrapers"), watched("us-central1/scrapers")].join(", ");
    configure(&sample, &cloud_run, both, &services, "\"us-west2/scrapers\", \"us-central1/scrapers\"");
    let ended = drift(&sample);
    let run = ended.run("deployment-drift");
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(run["summary"].as_str().unwrap().starts_with("us-central1/scrapers: 1 commit and "), "{run}");
    assert_eq!(run["violations"].as_array().unwrap().len(), 1, "{run}");
    let (_, message) = sample.slack.received().pop().unwrap();
    let said = slack::words(&message);
    assert!(said.contains("./bin/deploy-service.sh scrapers"), "{said}");

    // What is granted is the name as the check writes it.
    configure(&sample, &cloud_run, both, &services, "\"us-west2/scrapers\"");
    let denied = "service us-central1/scrapers is not granted; add \"us-central1/scrapers\" to grants.deployment-drift.deployments";
    let ended = drift(&sample);
    assert!(ended.code == 3 && error(&ended).contains(denied), "{ended:?}");

    configure(&sample, &cloud_run, both, &watched("us-east1/scrapers"), "\"*\"");
    let missing = "us-east1, the region of us-east1/scrapers, is not in deployments.region in host.toml; add it";
    let ended = drift(&sample);
    assert!(ended.code == 3 && error(&ended).contains(missing), "{ended:?}");
}

/// A region that does not answer may have the name too, so the name alone is unknown; with its region it is not.
#[test]
fn a_region_that_does_not_answer_is_needed_by_the_names_that_it_may_have() {
    let both = "[\"us-west2\", \"us-central1\"]";
    let services = [watched("scrapers"), watched("job:nightly"), watched("us-west2/scrapers")].join(", ");
    let (sample, cloud_run) = watching(both, &services, "\"*\"");
    let commit = commits(&sample)[0].clone();
    cloud_run.deploy("scrapers", Some(&commit), NOW, 0, json!({}));
    cloud_run.job("us-west2", "nightly", &commit, NOW, json!({}));
    let doctor = || {
        let ended = sample.host(&["doctor", "--output", "json"]).unwrap();
        let findings = ended.json()["findings"].as_array().unwrap().clone();
        let found = findings.into_iter().find(|finding| finding["what"] == "deployments").unwrap();
        (found["result"].as_str().unwrap().to_owned(), found["detail"].as_str().unwrap().to_owned())
    };
    assert_eq!(drift(&sample).run("deployment-drift")["summary"], "3 of 3 services in sync");
    assert_eq!(doctor().1, "services: 1");

    let denied = json!({ "error": { "code": 403, "status": "PERMISSION_DENIED", "message": "Permission denied" } });
    cloud_run.refuse_in("us-central1", Reply::Answer(403, denied.to_string()));
    let ended = drift(&sample);
    let (run, error) = (ended.run("deployment-drift"), error(&ended));
    assert_eq!(ended.code, 3, "{run}");
    let [_, in_sync, unknown] = run["metrics"].as_array().unwrap().as_slice() else { panic!("{run}") };
    assert_eq!((&in_sync["value"], &unknown["value"]), (&json!(1.0), &json!(2.0)), "{run}");
    assert!(!error.contains("us-west2/scrapers"), "{error}");
    for name in ["scrapers", "job:nightly"] {
        let words = format!(
            "{name}: lookup failed: Cloud Run, region us-central1 of project nba-props-platform: Permission denied"
        );
        assert!(error.contains(&words) && error.contains("need roles/run.viewer"), "{name}: {error}");
    }
    let (result, detail) = doctor();
    assert!(result != "ok" && detail.contains("region us-central1"), "{result}: {detail}");
}

/// As the service of a function looks; the function's own name may have what a service's may not.
#[test]
fn a_function_of_the_second_generation_is_a_service() {
    let (sample, cloud_run) = watching("\"us-west2\"", &watched("phase3-to-phase4"), "\"*\"");
    let [new, old] = [commits(&sample)[0].clone(), commits(&sample)[1].clone()];
    let function = |commit: &str| {
        json!({
            "labels": {
                "commit-sha": commit,
                "goog-managed-by": "cloudfunctions",
                "goog-cloudfunctions-runtime": "python312",
                "goog-drz-cloudfunctions-id": "phase3_to_phase4",
                "goog-drz-cloudfunctions-location": "us-west2",
            },
            "annotations": { "cloudfunctions.googleapis.com/function-id": "phase3_to_phase4" },
            "buildConfig": {
                "functionTarget": "orchestrate",
                "imageUri": "us-west2-docker.pkg.dev/nba-props-platform/gcf-artifacts/phase3__to__phase4:version_1",
            },
            "template": { "containers": [{
                "name": "worker",
                "image": "us-west2-docker.pkg.dev/nba-props-platform/gcf-artifacts/phase3__to__phase4:version_1",
            }] },
        })
    };
    cloud_run.deploy("phase3-to-phase4", Some(&new), NOW, 0, function(&new));
    assert_eq!(drift(&sample).run("deployment-drift")["summary"], "1 of 1 services in sync");
    cloud_run.remove("phase3-to-phase4");
    cloud_run.deploy("phase3-to-phase4", Some(&old), NOW, 0, function(&old));
    let ended = drift(&sample);
    let summary = ended.run("deployment-drift")["summary"].as_str().unwrap().to_owned();
    assert!(ended.code == 2 && summary.starts_with("phase3-to-phase4: 1 commit and "), "{ended:?}");

    configure(&sample, &cloud_run, "\"us-west2\"", &watched("phase3_to_phase4"), "\"*\"");
    let ended = drift(&sample);
    let hint = "the function phase3_to_phase4 is the service phase3-to-phase4";
    assert!(ended.code == 3 && error(&ended).contains(hint), "{ended:?}");
}

#[test]
fn a_job_drifts_too() {
    let both = "[\"us-west2\", \"us-central1\"]";
    let (sample, cloud_run) = watching(both, &watched("job:nightly-export"), "\"job:nightly-export\"");
    let [new, old] = [commits(&sample)[0].clone(), commits(&sample)[1].clone()];
    // A service of the same name is something else.
    cloud_run.deploy("nightly-export", Some(&old), NOW, 0, json!({}));
    cloud_run.job("us-central1", "nightly-export", &new, NOW, json!({}));
    let ended = drift(&sample);
    assert_eq!((ended.code, &ended.run("deployment-drift")["summary"]), (0, &json!("1 of 1 services in sync")));
    assert_eq!(cloud_run.asked().len(), 2, "one request a region: {:?}", cloud_run.asked());

    cloud_run.job("us-central1", "nightly-export", &old, NOW, json!({}));
    let ended = drift(&sample);
    let summary = ended.run("deployment-drift")["summary"].as_str().unwrap().to_owned();
    assert!(ended.code == 2 && summary.starts_with("job:nightly-export: 1 commit and "), "{ended:?}");

    configure(
        &sample,
        &cloud_run,
        both,
        &watched("job:us-central1/nightly-export"),
        "\"job:us-central1/nightly-export\"",
    );
    assert_eq!(drift(&sample).code, 2, "with its region");
    for (services, grants, words) in [
        ("job:nightly-import", "\"*\"", "job:nightly-import: no such job is deployed"),
        ("job:us-west2/nightly-export", "\"*\"", "job:us-west2/nightly-export: no such job is deployed"),
        (
            "job:nightly-export",
            "\"nightly-export\"",
            "add \"job:nightly-export\" to grants.deployment-drift.deployments",
        ),
    ] {
        configure(&sample, &cloud_run, both, &watched(services), grants);
        let ended = drift(&sample);
        assert!(ended.code == 3 && error(&ended).contains(words), "{words}: {ended:?}");
    }
}

/// The image is the evidence: a tag that moves says nothing about what the next execution runs.
#[test]
fn a_job_that_does_not_say_what_it_runs_is_unknown() {
    let (sample, cloud_run) = watching("\"us-west2\"", &watched("job:nightly"), "\"*\"");
    let commit = commits(&sample)[0].clone();
    let image = |image: &str| json!({ "template": { "template": { "containers": [{ "image": image }] } } });
    let failed = json!({ "terminalCondition": {
        "type": "Ready", "state": "CONDITION_FAILED", "message": "Image 'i/nightly@sha256:aa' not found.",
    } });
    for (change, words) in [
        (
            image("us-docker.pkg.dev/p/i/nightly:latest"),
            "has the image us-docker.pkg.dev/p/i/nightly:latest, a tag that",
        ),
        (image("us-docker.pkg.dev/p/i/nightly"), "deploy it by digest (IMAGE@sha256:…), or with the commit as the tag"),
        (image("us-docker.pkg.dev/p/i/nightly:0123abc"), "but the tag of its image is 0123abc"),
        (failed, "job nightly is not ready: Image 'i/nightly@sha256:aa' not found."),
        (json!({ "reconciling": true }), "job nightly is being deployed right now"),
    ] {
        cloud_run.job("us-west2", "nightly", &commit, NOW, change);
        let ended = drift(&sample);
        assert!(ended.code == 3 && error(&ended).contains(words), "{words}: {ended:?}");
    }
    // The commit as the tag, and no label; a digest, and the time of the last change.
    let unlabelled =
        |image: &str| json!({ "labels": {}, "template": { "template": { "containers": [{ "image": image }] } } });
    for (change, changed, code) in [
        (image(&format!("us-docker.pkg.dev/p/i/nightly:{commit}")), NOW, 0),
        (unlabelled(&format!("us-docker.pkg.dev/p/i/nightly:{commit}")), NOW, 0),
        (unlabelled("us-docker.pkg.dev/p/i/nightly:latest@sha256:aa"), crate::support::AT, 0),
        (unlabelled("us-docker.pkg.dev/p/i/nightly:latest@sha256:aa"), "2020-01-01T00:00:00Z", 2),
    ] {
        cloud_run.job("us-west2", "nightly", &commit, changed, change.clone());
        let ended = drift(&sample);
        assert_eq!(ended.code, code, "{change}: {ended:?}");
    }
}
