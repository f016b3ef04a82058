//! Grants of views by name: what such a view reads is its author's decision, and nothing else is.

use serde_json::{Value, json};

use super::functions::ask;
use crate::support::{
    command::Sample,
    google::{asking, bigquery::BigQueryDouble},
    watched::plugin,
};

/// The result of one query with these grants; what it would read, of what BigQuery says, and its views.
fn result(sql: &str, grants: &str, reads: &[(&str, &str)], views: &[&str]) -> (BigQueryDouble, Value) {
    let bigquery = BigQueryDouble::start().unwrap();
    bigquery.reads(reads, 1);
    views.iter().for_each(|view| bigquery.shows(view));
    let ended = ask(&bigquery, &[sql], grants);
    (bigquery, ended.run("case0"))
}

const FINANCE: &[(&str, &str)] = &[("finance", "salaries")];

#[test]
fn a_granted_view_reads_what_its_author_decided() {
    let granted = "views = [\"shared.totals\"]";
    // In a dataset that is granted, and in one that is not.
    for (sql, grants) in [
        ("SELECT * FROM shared.totals", granted),
        ("SELECT * FROM ds.totals", "views = [\"ds.totals\"]"),
        ("SELECT * FROM shared.totals JOIN ds.t USING (y)", granted),
    ] {
        let (bigquery, run) = result(sql, grants, FINANCE, &["shared.totals", "ds.totals"]);
        assert_eq!((&run["status"], bigquery.jobs()), (&json!("pass"), 1), "{sql}: {run:#}");
    }
    // Also in another project.
    let reads = &[("elsewhere.finance", "salaries")];
    let (_, run) = result("SELECT * FROM shared.totals", granted, reads, &["shared.totals"]);
    assert_eq!(run["status"], "pass", "{run:#}");
}

/// A function of the query's own may read tables too, which the view's author did not decide.
#[test]
fn a_function_beside_a_granted_view_reads_nothing_more() {
    let sql = "SELECT * FROM shared.totals WHERE x = ops.f(1)";
    let grants = "views = [\"shared.totals\"]\nfunctions = [\"ops.f\"]";
    let (bigquery, run) = result(sql, grants, FINANCE, &["shared.totals"]);
    let error = run["error"].as_str().unwrap_or_default();
    assert!(error.contains("dataset finance is not granted") && bigquery.jobs() == 0, "{run:#}");
    // Without it, the same view is read.
    let (bigquery, run) = result("SELECT * FROM shared.totals", grants, FINANCE, &["shared.totals"]);
    assert_eq!((&run["status"], bigquery.jobs()), (&json!("pass"), 1), "{run:#}");
}

#[test]
fn nothing_else_is_read_through_the_grant_of_a_view() {
    let granted = "views = [\"shared.totals\"]";
    for (sql, grants, reads, expected) in [
        (
            "a view that is not granted by name",
            ("SELECT * FROM ds.totals", granted),
            FINANCE,
            "dataset finance is not granted; add \"finance\" to grants.misbehaving.warehouse in host.toml, or the view that \
             reads finance.salaries to grants.misbehaving.views",
        ),
        (
            "another view beside a granted one",
            ("SELECT * FROM shared.totals, ds.other", granted),
            FINANCE,
            "; ds.other, which the query names too, is a view that is not granted by name",
        ),
        (
            "the table itself",
            ("SELECT * FROM finance.salaries, shared.totals", granted),
            FINANCE,
            "dataset finance is not granted; add \"finance\" to grants.misbehaving.warehouse",
        ),
        (
            "another table of the view's dataset",
            ("SELECT * FROM shared.members", granted),
            &[("shared", "members")],
            "dataset shared is not granted",
        ),
        (
            "the dataset's list of tables",
            ("SELECT * FROM shared.__TABLES__", granted),
            &[("shared", "__TABLES__")],
            "dataset shared is not granted",
        ),
    ]
    .map(|(_, (sql, grants), reads, expected)| (sql, grants, reads, expected))
    {
        let (bigquery, run) = result(sql, grants, reads, &["shared.totals", "ds.totals", "ds.other"]);
        let error = run["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("query denied: ") && error.contains(expected), "{sql}: {run:#}");
        assert_eq!(bigquery.jobs(), 0, "{sql}");
    }
}

/// A function that a view calls keeps its own grant.
#[test]
fn the_grant_of_a_view_is_no_grant_of_its_functions() {
    for (grants, status) in [("", "error"), ("functions = [\"finance.round_up\"]", "pass")] {
        let bigquery = BigQueryDouble::start().unwrap();
        bigquery.reads(FINANCE, 1);
        bigquery.calls(&[("finance", "round_up")]);
        let ended = ask(&bigquery, &["SELECT * FROM shared.totals"], &format!("views = [\"shared.totals\"]\n{grants}"));
        assert_eq!(ended.run("case0")["status"], status, "{ended:?}");
    }
}

/// On the embedded warehouse too; and whoever reviews the grants sees it.
#[test]
fn the_grant_of_a_view_is_shown_wherever_grants_are() {
    let sample = Sample::new(None).unwrap();
    let old = host_tests::HOST_TOML;
    let from = "[grants.phase2-raw]\nwarehouse = [\"nba_raw\"]";
    assert!(old.contains(from));
    let named = |views: &str| old.replace(from, &format!("[grants.phase2-raw]\nviews = [{views}]"));
    sample.configure(&named("\"nba_raw.nbac_player_boxscore\"")).unwrap();
    let run = sample.once(&["--output", "json", "--check", "phase2-raw"]).unwrap();
    assert_eq!(run.run("phase2-raw")["status"], "pass", "{run:?}");
    let inspected = sample.host(&["inspect", &plugin("phase2-raw").display().to_string()]).unwrap();
    assert!(inspected.out.contains("granted: only nba_raw.nbac_player_boxscore"), "{}", inspected.out);
    let doctor = sample.host(&["doctor", "--output", "json"]).unwrap();
    assert!(doctor.out.contains("warehouse nba_raw.nbac_player_boxscore"), "{}", doctor.out);
    let file = plugin("phase2-raw").display().to_string();
    let plan = sample.host(&["plan", "--output", "json", &file]).unwrap().json();
    let planned = plan["checks"].as_array().unwrap().iter().find(|check| check["check"] == "phase2-raw").unwrap();
    assert_eq!(planned["grants"]["views"], json!(["nba_raw.nbac_player_boxscore"]), "{plan:#}");

    sample.configure(&named("\"nba_raw.something_else\"")).unwrap();
    let run = sample.once(&["--output", "json", "--check", "phase2-raw"]).unwrap();
    let error = run.run("phase2-raw")["error"].to_string();
    assert!(error.contains("query denied: dataset nba_raw is not granted"), "{error}");
    let audit = sample.host(&["audit", "--output", "json"]).unwrap();
    assert!(audit.out.contains("grants.phase2-raw.views"), "{}", audit.out);
}

/// `host doctor` tries a granted view as a query would.
#[test]
fn a_granted_view_is_probed_by_a_dry_run() {
    let bigquery = BigQueryDouble::start().unwrap();
    bigquery.places("shared", "EU");
    let sample = Sample::new(None).unwrap();
    let google = "[google]\ncredentials = \"none\"\n";
    let view = "[grants.other]\nviews = [\"shared.totals\"]\n[warehouse.locations]\nshared = \"EU\"\n";
    sample.configure(&asking(&format!("{google}{}\n{view}", bigquery.warehouse()))).unwrap();
    let doctor = sample.host(&["doctor", "--output", "json"]).unwrap().json();
    let findings = doctor["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["what"] == "warehouse shared.totals").unwrap();
    let words = "it can be queried, in EU of project nba-props-platform";
    assert_eq!((&found["result"], &found["detail"]), (&json!("ok"), &json!(words)));
    assert_eq!(bigquery.jobs(), 0);
}
