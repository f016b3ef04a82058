//! Jobs of BigQuery that end badly, or that BigQuery does not know yet.

use serde_json::json;

use super::bigquery::Cloud;
use crate::support::{
    google::bigquery::{Method, error},
    http::Reply,
};

/// A job that fails temporarily is followed by another one; any other failure is not.
#[test]
fn a_failed_job_is_begun_again_only_when_that_helps() {
    for (reason, message, jobs, expected) in [
        ("backendError", "try again", 2, ""),
        ("jobInternalError", "try again", 2, ""),
        ("stopped", "Job execution was cancelled: User requested cancellation", 1, "someone stopped the job"),
        (
            "stopped",
            "Job timed out after 2s",
            1,
            "timed out after 2s (400 stopped); the job ran out of this run's time",
        ),
        ("invalidQuery", "Division by zero", 1, "Division by zero (400 invalidQuery)"),
        ("accessDenied", "no", 1, "credentials need"),
    ] {
        let cloud = Cloud::new();
        cloud.bigquery.fail_jobs(&[(reason, message)]);
        match expected {
            "" => assert_eq!(cloud.check("phase2-raw").code, 0, "{reason}"),
            expected => {
                let error = cloud.error();
                assert!(error.contains(expected), "{reason}: {error}");
            }
        }
        assert_eq!(cloud.bigquery.jobs(), jobs, "{reason}");
        // A failed query bills nothing; a stopped one may have.
        let costs = cloud.sample.host(&["costs", "--output", "json"]).unwrap().json();
        let billed = if matches!(reason, "invalidQuery" | "accessDenied") { 0 } else { 25 << 20 };
        assert_eq!(costs["checks"][0]["today"]["bytes"], billed, "{reason}");
    }
}

/// A job that is stopped by the time that we gave it was stopped by nobody, also when its status says so.
#[test]
fn a_job_that_ran_out_of_time_was_stopped_by_nobody() {
    for (message, expected) in [
        ("Job execution was cancelled: Job timed out after 2s", "(stopped); the job ran out of this run's time"),
        ("Job execution was cancelled: User requested cancellation", "(stopped); someone stopped the job at BigQuery"),
    ] {
        let cloud = Cloud::new();
        cloud.bigquery.fail_jobs(&[("stopped", message)]);
        // So the host asks for the job itself, after one more attempt.
        cloud.bigquery.answer_next(Method::Results, vec![error(503, "backendError", "later"); 2]);
        let error = cloud.error();
        assert!(error.contains(expected), "{error}");
        assert_eq!(cloud.bigquery.asked(Method::Get).len(), 1);
    }
}

/// The answer to the request that began the job is lost. The next request says that the job exists; the one after that may
/// reach a server that has not heard of it.
#[test]
fn a_job_that_is_not_known_yet_is_asked_for_again() {
    let unknown = || error(404, "notFound", "Not found: Job nba-props-platform:us-west2.host_phase2-raw");
    let cloud = Cloud::new();
    cloud.bigquery.answer_next(Method::Insert, [Reply::Reset]);
    cloud.bigquery.answer_next(Method::Results, [unknown(), unknown()]);
    cloud.bigquery.answer_next(Method::Get, [unknown()]);
    let ended = cloud.check("phase2-raw");
    assert_eq!((ended.code, &ended.run("phase2-raw")["status"]), (0, &json!("pass")), "{ended:?}");
    let asked = |method| cloud.bigquery.asked(method).len();
    assert_eq!((cloud.bigquery.jobs(), asked(Method::Insert), asked(Method::Results)), (1, 2, 3), "paid once");

    // A table that does not exist is not waited for.
    let cloud = Cloud::new();
    cloud.bigquery.fail_jobs(&[("notFound", "Not found: Table nba-props-platform:nba_raw.t")]);
    let error = cloud.error();
    assert!(error.contains("Not found: Table") && cloud.bigquery.asked(Method::Results).len() == 1, "{error}");

    // One that stays unknown may be billed.
    let cloud = Cloud::new();
    cloud.configure("[grants.phase2-raw.budgets]\ntimeout = \"4s\"\n");
    cloud.bigquery.answer_next(Method::Results, vec![unknown(); 100]);
    let error = cloud.error();
    assert!(error.contains("Not found: Job") && error.contains("retried until this run's time was up"), "{error}");
    let costs = cloud.sample.host(&["costs", "--output", "json"]).unwrap().json();
    assert_eq!(costs["checks"][0]["today"]["bytes"], 25 << 20);
}
