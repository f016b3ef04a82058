//! What queries cost on BigQuery, and the budgets for it.

use serde_json::json;

use super::bigquery::Cloud;
use crate::support::{
    command::{ended, shipped},
    google::bigquery::{Method, error},
    service::install,
};

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

/// A canary that fails for each date, and then asks for the rows that explain it: a second query that no estimate has seen.
const FAILING: &str = "[checks.games]\nplugin = \"canary-sql\"\nchannel = \"#canary-alerts\"\n[checks.games.settings]\n\
    sql = \"SELECT COUNT(*) AS games FROM nba_raw.nbac_player_boxscore WHERE game_date = @date\"\n\
    rows = \"SELECT game_id FROM nba_raw.nbac_player_boxscore WHERE game_date = @date\"\nthresholds.games.min = 1000\n";

/// The bytes of ten dates, by dry runs, before anything is asked.
#[test]
fn a_backtest_is_estimated_before_it_bills() {
    let cloud = Cloud::new();
    let dates = ["backtest", "phase2-raw", "--from", "2026-01-20", "--to", "2026-01-29"];
    let ask = |more: &[&str]| {
        let mut command = cloud.sample.command();
        command.env("GCE_METADATA_HOST", cloud.identity.address.host()).args(dates).args(more);
        ended(command.args(shipped().unwrap())).unwrap()
    };
    let dry = ask(&["--dry-run"]);
    assert_eq!((dry.code, cloud.bigquery.jobs()), (0, 0), "{dry:?}");
    assert!(dry.err.contains("phase2-raw: 10 dates bill up to about 250.0 MiB"), "{dry:?}");
    let dry = ask(&["--dry-run", "--output", "json"]).json();
    let expected = json!({ "check": "phase2-raw", "asks": 10, "kept": 0, "estimated_bytes": 250 << 20 });
    assert_eq!(dry["checks"][0], expected, "{dry}");
    let refused = ask(&["--max-bytes", "249 MiB"]);
    assert_eq!((refused.code, cloud.bigquery.jobs()), (64, 0), "{refused:?}");
    assert!(refused.err.contains("250.0 MiB, more than 249.0 MiB; raise --max-bytes"), "{refused:?}");
    let whole = ask(&["--max-bytes", "250 MiB"]);
    assert_eq!((whole.code, cloud.bigquery.jobs()), (0, 10), "{whole:?}");
    assert!(
        whole.out.contains("10 dates: 10 passed.") && whole.out.contains("Its queries read 250.0 MiB."),
        "{whole:?}"
    );
    // What a running host may bill is not touched.
    let wrong = ask(&["--max-bytes", "much"]);
    assert!(wrong.code == 64 && wrong.err.contains("`much` is not a size"), "{wrong:?}");
}

/// The queries that decide whether a date is skipped are part of the estimate.
#[test]
fn an_estimate_has_the_queries_of_skip_when() {
    let cloud = Cloud::new();
    let path = cloud.sample.path().join("host.toml");
    let toml = std::fs::read_to_string(&path).unwrap();
    let skip = "skip_when = \"SELECT COUNT(*) = 0 FROM nba_raw.nbac_player_boxscore WHERE game_date = @date\"";
    std::fs::write(&path, toml.replacen("[checks.phase2-raw]", &format!("[checks.phase2-raw]\n{skip}"), 1)).unwrap();
    let mut command = cloud.sample.command();
    command.env("GCE_METADATA_HOST", cloud.identity.address.host());
    command.args(["backtest", "phase2-raw", "--from", "2026-01-20", "--to", "2026-01-29", "--dry-run"]);
    let dry = ended(command.args(shipped().unwrap())).unwrap();
    assert_eq!((dry.code, cloud.bigquery.jobs()), (0, 0), "{dry:?}");
    assert!(dry.err.contains("phase2-raw: 10 dates bill up to about 500.0 MiB"), "{dry:?}");
}

/// What an estimate has not seen does not go beyond the limit either: it ends the backtest, which goes on with a higher one.
#[test]
fn a_backtest_never_bills_more_than_its_limit() {
    let cloud = Cloud::new();
    let toml = std::fs::read_to_string(cloud.sample.path().join("host.toml")).unwrap();
    let granted = toml.replace("warehouse = [\"nba_predictions\"]", "warehouse = [\"nba_predictions\", \"nba_raw\"]");
    std::fs::write(cloud.sample.path().join("host.toml"), format!("{granted}\n{FAILING}")).unwrap();
    let ran = cloud.check("games");
    assert!(ran.code <= 3, "there is a record: {ran:?}");
    let before = cloud.bigquery.jobs();
    let asked = |more: &[&str]| {
        let mut command = cloud.sample.command();
        command.env("GCE_METADATA_HOST", cloud.identity.address.host());
        command.args(["backtest", "games", "--from", "2026-01-20", "--to", "2026-01-29"]).args(more);
        ended(command.args(shipped().unwrap())).unwrap()
    };
    let ask = |most: &str| asked(&["--max-bytes", most]);
    let stopped = ask("300 MiB");
    assert_eq!(stopped.code, 3, "{stopped:?}");
    assert!(
        stopped.out.contains("Stopped: 2026-01-")
            && stopped.out.contains(
                "the queries have billed 300.0 MiB of 300 MiB in all, and this one needs 25.0 MiB; raise --max-bytes"
            ),
        "{stopped:?}"
    );
    let billed = cloud.bigquery.jobs() - before;
    assert!(billed <= 12, "{billed} jobs of 25 MiB");
    let whole = ask("1 GiB");
    assert_eq!(whole.code, 1, "{whole:?}");
    assert!(
        whole.out.contains("10 dates: 10 failed.") && whole.out.contains("asked about in the last day"),
        "{whole:?}"
    );
    let dry = asked(&["--dry-run"]);
    assert!(dry.err.contains("0 dates bill up to about 0 B; 10 were asked about in the last day"), "{dry:?}");
}

/// Of several checks with one limit, dates that only teach the next ones count for all of them.
#[test]
fn known_dates_of_several_checks_share_a_limit() {
    let cloud = Cloud::new();
    let toml = std::fs::read_to_string(cloud.sample.path().join("host.toml")).unwrap();
    let granted = toml.replace("warehouse = [\"nba_predictions\"]", "warehouse = [\"nba_predictions\", \"nba_raw\"]");
    let known = FAILING.replace("channel =", "known_bad = [\"2026-01-25 nothing came\"]\nchannel =");
    let others = known.replace("checks.games", "checks.others");
    std::fs::write(cloud.sample.path().join("host.toml"), format!("{granted}\n{known}\n{others}")).unwrap();
    let ask = |more: &[&str]| {
        let mut command = cloud.sample.command();
        command.env("GCE_METADATA_HOST", cloud.identity.address.host());
        ended(command.args(["backtest", "--known", "--learn", "5d"]).args(more)).unwrap()
    };
    assert!(cloud.check("games").code <= 3, "there is a record");
    install(&cloud.sample, &[]).unwrap();
    let before = cloud.bigquery.jobs();
    // Six dates of two queries each: all of it.
    let refused = ask(&["--max-bytes", "300 MiB"]);
    assert!(refused.code == 64 && refused.err.contains("raise --max-bytes"), "{refused:?}");
    assert_eq!(cloud.bigquery.jobs() - before, 12, "{refused:?}");
    let whole = ask(&["--max-bytes", "600 MiB"]);
    assert_eq!((whole.code, cloud.bigquery.jobs() - before), (0, 36), "{whole:?}");
}
