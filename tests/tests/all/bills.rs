//! What queries cost on BigQuery, and the budgets for it.

use serde_json::json;

use super::bigquery::Cloud;
use crate::support::google::bigquery::{Method, error};

#[test]
fn bytes_are_counted_by_check_and_day_and_have_a_budget() {
    let cloud = Cloud::new();
    cloud.configure("[grants.phase2-raw.budgets]\nbytes_per_day = \"60 MiB\"\n");
    for _ in 0..2 {
        assert_eq!(cloud.check("phase2-raw").code, 0);
    }
    let error = cloud.error();
    assert!(error.contains("phase2-raw has billed 50.0 MiB of its 60 MiB for "), "{error}");
    assert!(
        error.contains("and this query needs 25.0 MiB; it resets at ") && error.contains("budgets.bytes_per_day"),
        "{error}"
    );
    assert_eq!(cloud.bigquery.jobs(), 2);

    let costs = cloud.sample.host(&["costs"]).unwrap();
    assert!(
        costs.out.contains("phase2-raw") && costs.out.contains("50.0 MiB") && costs.out.contains("60 MiB"),
        "{costs:?}"
    );
    let json = cloud.sample.host(&["costs", "--output", "json"]).unwrap().json();
    assert_eq!(
        (&json["checks"][0]["check"], &json["checks"][0]["today"]["bytes"]),
        (&json!("phase2-raw"), &json!(50 << 20))
    );
    assert_eq!(json["checks"][0]["today"]["queries"], 2);
}

/// A job that ran is counted, whatever became of its answer; a job that failed is free.
#[test]
fn a_job_that_ran_is_counted_also_without_its_answer() {
    let prohibited = "VPC Service Controls: Request is prohibited by organization's policy.";
    for reply in [
        error(403, "accessDenied", "Access Denied: Table t"),
        error(403, "policyViolation", prohibited),
        error(400, "invalid", "Bad request"),
    ] {
        let cloud = Cloud::new();
        cloud.bigquery.answer_next(Method::Results, vec![reply; 9]);
        cloud.error();
        let json = cloud.sample.host(&["costs", "--output", "json"]).unwrap().json();
        assert_eq!((cloud.bigquery.jobs(), &json["checks"][0]["today"]["bytes"]), (1, &json!(25 << 20)));
        assert_eq!(cloud.bigquery.asked(Method::Cancel).len(), 1);
    }
    let cloud = Cloud::new();
    cloud.bigquery.fail_jobs(&[("invalidQuery", "Division by zero")]);
    cloud.error();
    let json = cloud.sample.host(&["costs", "--output", "json"]).unwrap().json();
    assert_eq!(json["checks"][0]["today"]["bytes"], 0);
}

/// The first attempt may have begun the job that the second was refused for: it is cancelled, and counted.
#[test]
fn a_job_that_may_have_begun_is_cancelled() {
    let cloud = Cloud::new();
    let (busy, refused) = (error(503, "backendError", "later"), error(403, "quotaExceeded", "Quota exceeded"));
    cloud.bigquery.answer_next(Method::Insert, [busy, refused]);
    let said = cloud.error();
    assert!(said.contains("a quota is used up"), "{said}");
    assert_eq!((cloud.bigquery.jobs(), cloud.bigquery.asked(Method::Cancel).len()), (1, 1));
}

/// A cached result is free. Each table is billed by itself: whole MiB, at least ten. BigQuery does not say which table the
/// bytes are of, so the most is counted.
#[test]
fn what_is_billed_follows_bigquerys_rules() {
    let (one, two) = (&[("nba_raw", "a")][..], &[("nba_raw", "a"), ("nba_raw", "b")][..]);
    for (tables, bytes, cached, billed) in [
        (one, 1_u64, false, 10_u64 << 20),
        (one, 25 << 20, true, 0),
        (one, (30 << 20) + 1, false, 31 << 20),
        (two, 1, false, 20 << 20),
        (two, (30 << 20) + 1, false, 41 << 20),
    ] {
        let cloud = Cloud::new();
        cloud.bigquery.reads(tables, bytes);
        if cached {
            cloud.bigquery.cached();
        }
        assert_eq!(cloud.check("phase2-raw").code, 0);
        let json = cloud.sample.host(&["costs", "--output", "json"]).unwrap().json();
        assert_eq!(json["checks"][0]["today"]["bytes"], billed, "{tables:?} {bytes} {cached}");
    }
}

/// BigQuery compares `maximumBytesBilled` with what it bills, not with what it reads.
#[test]
fn a_query_is_limited_by_what_it_bills() {
    for (most, refused) in [("41 MiB", false), ("40 MiB", true)] {
        let cloud = Cloud::new();
        cloud.configure(&format!("[grants.phase2-raw.budgets]\nquery_bytes = \"{most}\"\n"));
        cloud.bigquery.reads(&[("nba_raw", "a"), ("nba_raw", "b")], (30 << 20) + 1);
        match refused {
            false => assert_eq!(cloud.check("phase2-raw").code, 0, "{most}"),
            true => {
                let error = cloud.error();
                let words = "it would bill up to 42991616 bytes, more than 40 MiB; raise budgets.query_bytes";
                assert!(error.contains(words), "{error}");
            }
        }
        assert_eq!(cloud.bigquery.jobs(), usize::from(!refused));
    }
}
