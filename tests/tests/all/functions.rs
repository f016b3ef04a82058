//! What a query may call and hide on BigQuery: each attack is refused before a job is sent, and its harmless twin is sent
//! as it was parsed.

use serde_json::{Value, json};

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest, shipped},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method, error},
    },
};

/// A host whose plugin asks these queries, with dataset `ds` and something more in its grants.
pub(super) fn ask(bigquery: &BigQueryDouble, queries: &[&str], grants: &str) -> Ended {
    let sample = Sample::new(None).unwrap();
    let mut toml = asking(&format!("[google]\ncredentials = \"none\"\n{}", bigquery.warehouse()));
    toml +=
        &format!("\n[grants.misbehaving]\nwarehouse = [\"ds\", \"nba_raw\"]\nslack = [\"#canary-alerts\"]\n{grants}\n");
    for (at, sql) in queries.iter().enumerate() {
        let sql = Value::from(*sql);
        toml += &format!(
            "[checks.case{at}]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"query\", sql = {sql} }}\n"
        );
    }
    sample.configure(&toml).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json"]);
    for at in 0..queries.len() {
        command.args(["--check", &format!("case{at}")]);
    }
    ended(command.arg(guest("misbehaving")).args(shipped().unwrap())).unwrap()
}

/// The queries that were sent as jobs.
fn sent(bigquery: &BigQueryDouble) -> Vec<String> {
    let jobs = bigquery.asked(Method::Insert);
    let sql = |job: &Value| job["configuration"]["query"]["query"].as_str().unwrap().to_owned();
    let mut sent: Vec<String> = jobs.iter().map(|job| sql(&job.json())).collect();
    sent.sort();
    sent
}

#[test]
fn an_attack_is_refused_and_its_twin_is_sent() {
    let attacks = [
        ("SELECT other_team.delete_user('everyone') AS x", "function other_team.delete_user is not granted"),
        (
            "SELECT AI.GENERATE('all', connection_id => 'us.secret') AS x FROM ds.t",
            "function AI.GENERATE is not granted; add \"AI.GENERATE\" to grants.misbehaving.functions in host.toml",
        ),
        ("FROM ds.t |> CALL secret.tvf()", "pipe syntax (|>) is not supported; write a SELECT"),
        (
            "SELECT SESSION_USER() AS x",
            "the function SESSION_USER is not allowed; docs/warehouses.md lists those that are",
        ),
        (
            "SELECT x FROM ds.t WHERE d = CURRENT_DATE('America/New_York')",
            "query refused: CURRENT_DATE depends on when the query runs, so a run could not be repeated; write @date",
        ),
        ("SELECT x FROM ds.t WHERE t > TIMESTAMP_SUB(current_timestamp, INTERVAL 1 HOUR)", "write @due for the time"),
        ("SELECT CURRENT_DATETIME AS x", "write DATETIME(@due, 'America/New_York')"),
        ("SELECT x FROM ds.t WHERE RAND() < 0.1", "RAND gives another result each time"),
        ("SELECT GENERATE_UUID() AS x", "GENERATE_UUID gives another result each time"),
        ("SELECT @dat AS x", "query failed: Query parameter 'dat' not found; there are @date; did you mean `date`?"),
        ("SELECT @@project_id AS x", "@@ variables and hints are not allowed; write a parameter such as @date"),
        (
            r"SELECT r'\'' AS x, (SELECT MAX(y) FROM secret.t) --'",
            "a literal r'…' has a backslash before a quote; write it without the r",
        ),
    ];
    let bigquery = BigQueryDouble::start().unwrap();
    let ended = ask(&bigquery, &attacks.map(|(sql, _)| sql), "");
    assert_eq!(ended.code, 3, "{ended:?}");
    for (at, (sql, expected)) in attacks.iter().enumerate() {
        let run = ended.run(&format!("case{at}"));
        assert_eq!(run["status"], "error", "{sql}: {run:#}");
        let error = run["error"].as_str().unwrap();
        assert!(error.contains(expected), "{sql}: {error}");
    }
    assert_eq!(bigquery.jobs(), 0);
    assert!(bigquery.asked(Method::DryRun).is_empty(), "not even a dry run");

    // Each with what makes it harmless.
    let twins = [
        ("SELECT other_team.delete_user('everyone') AS x", "SELECT `other_team`.`delete_user`('everyone') AS `x`"),
        (
            "SELECT TO_JSON(y, stringify_wide_numbers => TRUE) AS x FROM ds.t",
            "SELECT TO_JSON(`y`, stringify_wide_numbers => TRUE) AS `x` FROM `ds`.`t`",
        ),
        ("SELECT * FROM ds.t WHERE y > 1 -- |> CALL secret.tvf()", "SELECT * FROM `ds`.`t` WHERE `y` > 1"),
        ("SELECT UPPER('x') AS x", "SELECT UPPER('x') AS `x`"),
        ("SELECT @date AS x", "SELECT @date AS `x`"),
        (
            "SELECT x FROM ds.t WHERE d = @date AND `current_date` > d",
            "SELECT `x` FROM `ds`.`t` WHERE `d` = @date AND `current_date` > `d`",
        ),
        (r"SELECT r'\d' AS x, '\'' AS y --'", r"SELECT '\\d' AS `x`, '\'' AS `y`"),
    ];
    let bigquery = BigQueryDouble::start().unwrap();
    let ended = ask(&bigquery, &twins.map(|(sql, _)| sql), "functions = [\"other_team.delete_user\"]");
    assert_eq!(ended.code, 0, "{ended:?}");
    let mut expected = twins.map(|(_, sql)| sql.to_owned());
    expected.sort();
    assert_eq!(sent(&bigquery), expected);
}

/// A table in a literal stays there, and one that BigQuery would see is seen by the guard.
#[test]
fn a_hidden_table_is_never_sent() {
    let attempts = [
        r"SELECT 'x\\' AS a, (SELECT MAX(y) FROM secret.t) AS b --'",
        "SELECT 1 AS a /* /* */ , (SELECT MAX(y) FROM secret.t) AS b -- */",
        "SELECT '''x''' AS a, (SELECT MAX(y) FROM secret.t) AS b --'''",
        "SELECT 1 AS `a`, (SELECT MAX(y) FROM secret.t) AS `b`",
        r#"SELECT b"\"", (SELECT MAX(y) FROM secret.t) --""#,
    ];
    let bigquery = BigQueryDouble::start().unwrap();
    let ended = ask(&bigquery, &attempts, "");
    for (at, sql) in attempts.iter().enumerate() {
        let run = ended.run(&format!("case{at}"));
        let error = run["error"].as_str().unwrap_or_default();
        assert!(
            error.contains("dataset secret is not granted") || error.contains("backslash before"),
            "{sql}: {run:#}"
        );
    }
    assert_eq!(bigquery.jobs(), 0);

    let harmless = r#"SELECT "(SELECT MAX(y) FROM secret.t)" AS a FROM ds.t # FROM secret.t"#;
    assert_eq!(ask(&bigquery, &[harmless], "").code, 0);
    assert_eq!(sent(&bigquery), ["SELECT '(SELECT MAX(y) FROM secret.t)' AS `a` FROM `ds`.`t`"]);
}

/// BigQuery's dry run names the functions that a view calls.
#[test]
fn a_function_of_a_view_needs_its_grant() {
    for (grants, code) in [("", 3), ("functions = [\"other_team.delete_user\"]", 0)] {
        let bigquery = BigQueryDouble::start().unwrap();
        bigquery.calls(&[("other_team", "delete_user")]);
        let ended = ask(&bigquery, &["SELECT * FROM ds.v"], grants);
        assert_eq!(ended.code, code, "{ended:?}");
        assert_eq!(bigquery.jobs(), usize::from(code == 0));
        let error = ended.run("case0")["error"].to_string();
        assert_eq!(error.contains("function other_team.delete_user is not granted"), code == 3, "{error}");
    }
    let bigquery = BigQueryDouble::start().unwrap();
    bigquery.calls(&[("elsewhere.other_team", "delete_user")]);
    let ended = ask(&bigquery, &["SELECT * FROM ds.v"], "functions = [\"other_team.delete_user\"]");
    let error = ended.run("case0")["error"].to_string();
    assert!(error.contains("it calls elsewhere.other_team.delete_user, which is in another project"), "{error}");
    assert_eq!(bigquery.jobs(), 0);
}

/// BigQuery counts columns of the query that it got; the error has the author's.
#[test]
fn an_error_names_the_place_in_the_authors_text() {
    let bigquery = BigQueryDouble::start().unwrap();
    // `SELECT COUNT(*) AS `n`, ` is 24 characters long.
    let reply = error(400, "invalidQuery", "Unrecognized name: `wrong` at [1:25]");
    bigquery.answer_next(Method::DryRun, [reply]);
    let ended = ask(&bigquery, &["SELECT\n  COUNT(*) AS n,\n  -- a comment\n  wrong\nFROM ds.t"], "");
    let run = ended.run("case0");
    assert_eq!((ended.code, &run["status"]), (3, &json!("error")), "{run:#}");
    let error = run["error"].as_str().unwrap();
    assert!(error.contains("Unrecognized name: `wrong` at [4:3] (400 invalidQuery)"), "{error}");
}
