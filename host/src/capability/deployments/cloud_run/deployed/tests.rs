use serde_json::{Value, json};

use super::*;

fn changed<T: serde::de::DeserializeOwned>(mut json: Value, change: &str) -> T {
    let change: Value = serde_json::from_str(change).expect("JSON");
    for (key, value) in change.as_object().expect("an object") {
        json[key] = value.clone();
    }
    serde_json::from_value(json).expect("an answer")
}

fn worker(change: &str) -> Service {
    let service = json!({
        "name": "projects/p/locations/r/services/worker",
        "labels": { "commit-sha": "3f2a1bc" },
        "latestReadyRevision": "projects/p/locations/r/services/worker/revisions/worker-2",
        "latestCreatedRevision": "projects/p/locations/r/services/worker/revisions/worker-2",
        "template": { "containers": [{ "image": "us-docker.pkg.dev/p/i/worker:3f2a1bc" }] },
        "trafficStatuses": [{ "type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100 }],
        "scaling": { "minInstanceCount": 1 },
        "terminalCondition": { "type": "Ready", "state": "CONDITION_SUCCEEDED" },
    });
    changed(service, change)
}

fn revision(change: &str) -> Revision {
    let revision = json!({
        "name": "projects/p/locations/r/services/worker/revisions/worker-2",
        "createTime": "2026-02-04T15:00:00.5Z",
        "labels": { "commit-sha": "3f2a1bc9d8" },
        "containers": [{ "image": "us-docker.pkg.dev/p/i/worker@sha256:aa" }],
    });
    changed(revision, change)
}

fn nightly(change: &str) -> Job {
    let job = json!({
        "name": "projects/p/locations/r/jobs/nightly",
        "generation": "7",
        "labels": { "commit-sha": "3f2a1bc9d8" },
        "updateTime": "2026-02-04T15:00:00.5Z",
        "template": { "template": { "containers": [{ "image": "us-docker.pkg.dev/p/i/nightly:latest@sha256:aa" }] } },
        "terminalCondition": { "type": "Ready", "state": "CONDITION_SUCCEEDED" },
        "latestCreatedExecution": { "name": "nightly-x7k2p", "completionStatus": "EXECUTION_FAILED" },
    });
    changed(job, change)
}

fn known(service: &Service) -> Deployment {
    super::service(service, Some(&revision("{}"))).expect("known")
}

#[test]
fn a_service_and_its_revision_say_what_is_deployed() {
    let found = known(&worker("{}"));
    assert_eq!((found.service.as_str(), found.revision.as_str()), ("worker", "worker-2"));
    assert_eq!((found.commit.as_deref(), found.deployed), (Some("3f2a1bc9d8"), 1_770_217_200));
    assert!(found.serves_latest);
    assert_eq!(found.min_instances, 1);
    assert!(!known(&worker(r#"{"latestReadyRevision": "x/worker-1"}"#)).serves_latest);
    let split = worker(
        r#"{"trafficStatuses": [{"revision": "worker-2", "percent": 90}, {"revision": "worker-1", "percent": 10}]}"#,
    );
    assert!(!known(&split).serves_latest);
    let unlabelled = worker(r#"{"labels": {}}"#);
    assert_eq!(service(&unlabelled, Some(&revision(r#"{"labels": {}}"#))).expect("known").commit, None);
    let annotated = worker(r#"{"labels": {}, "annotations": {"commit-sha": "3f2a1bc9d8e7"}}"#);
    assert_eq!(known(&annotated).commit.as_deref(), Some("3f2a1bc9d8e7"), "the most exact one");
}

#[test]
fn what_contradicts_itself_is_unknown_with_both_facts() {
    for (change, facts) in [
        (r#"{"labels": {"commit-sha": "aaaaaaa"}}"#, ["aaaaaaa", "3f2a1bc9d8"]),
        (r#"{"annotations": {"commit-sha": "bbbbbbb"}}"#, ["annotation commit-sha of worker is bbbbbbb", "3f2a1bc"]),
        (r#"{"template": {"containers": [{"image": "i@sha256:bb"}]}}"#, ["sha256:bb", "sha256:aa"]),
        (r#"{"template": {"containers": [{"image": "i:0123abc"}]}}"#, ["0123abc", "3f2a1bc"]),
        (r#"{"trafficStatuses": []}"#, ["worker", "0 %"]),
        (r#"{"trafficStatuses": [{"revision": "worker-2", "percent": 60}]}"#, ["worker", "60 %"]),
    ] {
        match service(&worker(change), Some(&revision("{}"))) {
            Err(Unknown::Contradiction(why)) => assert!(facts.iter().all(|fact| why.contains(fact)), "{change}: {why}"),
            other => panic!("{change}: {other:?}"),
        }
    }
    let missing = service(&worker("{}"), None).expect_err("no revision");
    assert!(matches!(missing, Unknown::Contradiction(why) if why.contains("does not exist")));
    assert!(service(&worker("{}"), Some(&revision(r#"{"createTime": null}"#))).is_err());
}

#[test]
fn a_service_that_is_not_settled_says_why() {
    assert_eq!(settled(&worker("{}")), Ok(()));
    let older = r#"{"latestReadyRevision": "x/worker-1", "terminalCondition": {"state": "CONDITION_FAILED"}}"#;
    assert_eq!(settled(&worker(older)), Ok(()), "an older revision serves");
    let said = |change: &str| match settled(&worker(change)) {
        Err(Unknown::Stated(why)) => why,
        other => panic!("{change}: {other:?}"),
    };
    assert_eq!(said(r#"{"reconciling": true}"#), "worker is being deployed right now");
    let failed = r#""latestReadyRevision": "", "trafficStatuses": []"#;
    for (change, why) in [
        (
            r#""terminalCondition": {"state": "CONDITION_FAILED", "message": "The container failed to start.\n\nLogs URL: x"}"#,
            "worker never became ready: The container failed to start.",
        ),
        (
            r#""terminalCondition": {"state": "CONDITION_FAILED"},
               "conditions": [{"state": "CONDITION_SUCCEEDED", "message": "Fine."}, {"state": "CONDITION_FAILED", "message": "No image."}]"#,
            "worker never became ready: No image.",
        ),
        (
            r#""terminalCondition": {"state": "CONDITION_FAILED", "reason": "CONTAINER_MISSING"}"#,
            "worker never became ready: CONTAINER_MISSING",
        ),
        (r#""terminalCondition": {}"#, "worker never became ready"),
    ] {
        assert_eq!(said(&format!("{{{failed}, {change}}}")), why);
    }
    let contradiction = settled(&worker(r#"{"latestReadyRevision": ""}"#));
    assert!(matches!(contradiction, Err(Unknown::Contradiction(_))), "{contradiction:?}");
}

#[test]
fn the_template_of_a_job_is_what_is_deployed() {
    let found = job(&nightly("{}")).expect("known");
    assert_eq!((found.service.as_str(), found.revision.as_str()), ("nightly", "generation 7"));
    assert_eq!((found.commit.as_deref(), found.deployed), (Some("3f2a1bc9d8"), 1_770_217_200));
    assert!(found.serves_latest, "a job has no traffic");
    assert_eq!(found.min_instances, 0);
    let image = |image: &str| json!({ "template": { "containers": [{ "image": image }] } });
    for (change, commit) in [
        (json!({ "labels": {} }), None),
        (json!({ "labels": {}, "annotations": { "commit-sha": "0123abc" } }), Some("0123abc")),
        (json!({ "labels": {}, "template": image("us-docker.pkg.dev/p/i/nightly:0123abc") }), Some("0123abc")),
        (json!({ "template": image("us-docker.pkg.dev/p/i/nightly:3f2a1bc") }), Some("3f2a1bc9d8")),
    ] {
        assert_eq!(job(&nightly(&change.to_string())).expect("known").commit.as_deref(), commit, "{change}");
    }
}

#[test]
fn a_job_that_does_not_say_what_it_runs_is_unknown() {
    let image = |image: &str| json!({ "template": { "containers": [{ "image": image }] } });
    for (change, words) in [
        (json!({ "reconciling": true }), "job nightly is being deployed right now"),
        (
            json!({ "terminalCondition": { "state": "CONDITION_FAILED", "message": "Image 'x' not found.\nMore" } }),
            "job nightly is not ready: Image 'x' not found.",
        ),
        (json!({ "template": {} }), "job nightly names no image"),
        (json!({ "updateTime": null }), "job nightly does not say when it was changed"),
        (json!({ "template": image("us-docker.pkg.dev/p/i/nightly:latest") }), "a tag that Cloud Run resolves anew"),
        (json!({ "template": image("us-docker.pkg.dev/p/i/nightly") }), "a tag that Cloud Run resolves anew"),
        (
            json!({ "template": image("i:0123abc") }),
            "the label commit-sha of job nightly is 3f2a1bc9d8, but the tag of its image is 0123abc",
        ),
        (
            json!({ "template": { "labels": { "commit-sha": "0123abc" }, "template": { "containers": [{ "image": "i@sha256:aa" }] } } }),
            "the label commit-sha of job nightly is 3f2a1bc9d8, but the label commit-sha of its template is 0123abc",
        ),
    ] {
        let unknown = job(&nightly(&change.to_string())).expect_err("unknown");
        let (Unknown::Stated(why) | Unknown::Contradiction(why)) = unknown;
        assert!(why.contains(words), "{change}: {why}");
    }
}
