//! The shipped plugins, unchanged, on BigQuery's protocol: against the emulator, over real HTTP.

use host_tests::{Fault, HOST_TOML};
use serde_json::{Value, json};

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest, shipped},
    google::{
        asking,
        emulator::{Emulator, emulator},
    },
    slack::words,
};

/// A sample whose data is in a project of the emulator.
fn sample(emulator: &Emulator, project: &str, fault: Option<Fault>) -> Sample {
    let sample = Sample::new(fault).unwrap();
    emulator.load(project, &sample.path().join("warehouse")).unwrap();
    sample.configure(&asking(&emulator.warehouse(project))).unwrap();
    sample
}

fn statuses(ended: &Ended) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let runs = ended.json()["runs"].as_array().unwrap().clone();
    runs.iter().map(|run| (text(&run["check"]), text(&run["status"]))).collect()
}

/// All of them, with the same reports as on the embedded engine, but for what the calls took.
#[test]
fn the_same_data_gives_the_same_reports() {
    let emulator = emulator().unwrap();
    let sample = sample(&emulator, "whole", None);
    let theirs = sample.once(&["--output", "json"]).unwrap();
    assert_eq!(theirs.code, 0, "{theirs:?}");
    sample.configure(HOST_TOML).unwrap();
    let ours = sample.once(&["--output", "json"]).unwrap();
    assert_eq!(statuses(&theirs), statuses(&ours));
    assert_eq!(statuses(&ours).len(), 9);
    for run in ours.json()["runs"].as_array().unwrap() {
        let check = run["check"].as_str().unwrap();
        for part in ["verdict", "summary", "metrics", "violations", "unknown", "gate"] {
            assert_eq!(theirs.run(check)[part], run[part], "{check}: {part}");
        }
    }
    assert_eq!(sample.slack.received(), []);
}

/// The three scenarios.
#[test]
fn what_is_wrong_is_told_the_same_way() {
    let emulator = emulator().unwrap();
    let drifted = sample(&emulator, "stale", Some(Fault::StaleDeployment));
    assert_eq!(drifted.once(&[]).unwrap().code, 2);
    let [(channel, message)] = drifted.slack.received().try_into().unwrap();
    assert_eq!(channel, "deployment-alerts");
    assert!(words(&message).contains("./bin/deploy-service.sh prediction-worker"), "{message}");

    let nameless = sample(&emulator, "nameless", Some(Fault::NullNames));
    let ended = nameless.once(&["--output", "json"]).unwrap();
    assert_eq!(ended.code, 2, "{ended:?}");
    let [(channel, message)] = nameless.slack.received().try_into().unwrap();
    assert_eq!(channel, "canary-alerts");
    assert!(words(&message).contains("null_player_names is above its maximum: 3 > 0"), "{message}");

    let half = sample(&emulator, "half", Some(Fault::HalfNullNames));
    let ended = half.once(&["--output", "json", "--check", "phase2-gate"]).unwrap();
    assert_eq!((ended.code, &ended.run("phase2-gate")["verdict"]), (2, &json!("fail")));
    let violations = ended.run("phase2-gate")["violations"].to_string();
    assert!(violations.contains("null_rate_player_name is not below its limit: 50 %"), "{violations}");
}

#[test]
fn what_does_not_exist_is_an_error_and_never_a_verdict() {
    let emulator = emulator().unwrap();
    let sample = sample(&emulator, "gone", None);
    emulator.sql("gone", "DROP TABLE nba_analytics.player_game_summary").unwrap();
    let ended = sample.once(&["--output", "json"]).unwrap();
    assert_eq!(ended.code, 3, "{ended:?}");
    let run = ended.run("phase3-analytics");
    assert_eq!((&run["status"], &run["verdict"]), (&json!("error"), &Value::Null));
    assert!(run["error"].as_str().unwrap().contains("player_game_summary"), "{run}");
}

/// More rows than one page has, whole and in order.
#[test]
fn an_answer_of_many_pages_arrives_whole() {
    let emulator = emulator().unwrap();
    let sample = Sample::new(None).unwrap();
    let sql = "SELECT n FROM UNNEST(GENERATE_ARRAY(1, 120000)) AS n";
    let check = format!(
        "[checks.many]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"add up\", sql = \"{sql}\" }}\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\nbudgets = {{ rows = 120000 }}\n"
    );
    sample.configure(&format!("{}\n{check}", asking(&emulator.warehouse("many")))).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--check", "many", "--output", "json"]);
    let ended = run(command.arg(guest("misbehaving")).args(shipped().unwrap()));
    assert_eq!(ended.run("many")["summary"], "120000 rows, 7200060000 in all", "{ended:?}");

    let less = format!("{}\n{}", asking(&emulator.warehouse("many")), check.replace("rows = 120000", "rows = 119999"));
    sample.configure(&less).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--check", "many", "--output", "json"]);
    let ended = run(command.arg(guest("misbehaving")).args(shipped().unwrap()));
    let error = ended.run("many")["error"].to_string();
    assert!(error.contains("the answer has more than 119999 rows") && error.contains("budgets.rows"), "{error}");
}

fn run(command: &mut std::process::Command) -> Ended {
    ended(command).unwrap()
}

/// A GoogleSQL type, an expression of it, and the value for a plugin on each engine; `None` where the embedded one
/// lacks the type.
const TYPES: &[(&str, &str, Option<&str>, &str)] = &[
    ("INT64", "9007199254740993", Some("Integer(9007199254740993)"), "Integer(9007199254740993)"),
    (
        "INT64, lowest",
        "-9223372036854775807 - 1",
        Some("Integer(-9223372036854775808)"),
        "Integer(-9223372036854775808)",
    ),
    ("INT64, NULL", "CAST(NULL AS INT64)", Some("Null"), "Null"),
    ("FLOAT64", "1.5", Some("Float(1.5)"), "Float(1.5)"),
    ("FLOAT64, NaN", "CAST('NaN' AS FLOAT64)", Some("Null"), "Float(NaN)"),
    ("FLOAT64, infinite", "CAST('inf' AS FLOAT64)", Some("Float(inf)"), "Float(inf)"),
    ("FLOAT64, minus infinite", "CAST('-inf' AS FLOAT64)", Some("Float(-inf)"), "Float(-inf)"),
    ("FLOAT64, NULL", "CAST(NULL AS FLOAT64)", Some("Null"), "Null"),
    ("NUMERIC", "CAST(1.25 AS NUMERIC)", Some("Float(1.25)"), "Float(1.25)"),
    ("NUMERIC, NULL", "CAST(NULL AS NUMERIC)", Some("Null"), "Null"),
    ("BIGNUMERIC", "CAST(1.25 AS BIGNUMERIC)", Some("Float(1.25)"), "Float(1.25)"),
    ("BIGNUMERIC, NULL", "CAST(NULL AS BIGNUMERIC)", Some("Null"), "Null"),
    ("BOOL", "TRUE", Some("Boolean(true)"), "Boolean(true)"),
    ("BOOL, NULL", "CAST(NULL AS BOOL)", Some("Null"), "Null"),
    ("STRING", "'ä'", Some("Text(\"ä\")"), "Text(\"ä\")"),
    ("STRING, NULL", "CAST(NULL AS STRING)", Some("Null"), "Null"),
    ("BYTES", "b'ab'", None, "Text(\"6162\")"),
    ("BYTES, NULL", "CAST(NULL AS BYTES)", None, "Null"),
    ("DATE", "DATE '2026-02-05'", Some("Date(\"2026-02-05\")"), "Date(\"2026-02-05\")"),
    ("DATE, NULL", "CAST(NULL AS DATE)", Some("Null"), "Null"),
    (
        "DATETIME",
        "DATETIME '2026-02-05 06:30:00.500'",
        Some("Text(\"2026-02-05 06:30:00.5\")"),
        "Text(\"2026-02-05 06:30:00.5\")",
    ),
    ("DATETIME, NULL", "CAST(NULL AS DATETIME)", Some("Null"), "Null"),
    ("TIME", "TIME '06:30:00'", None, "Text(\"06:30:00\")"),
    ("TIME, NULL", "CAST(NULL AS TIME)", None, "Null"),
    ("TIMESTAMP", "TIMESTAMP '2026-02-05 06:30:00.9 UTC'", Some("Timestamp(1770273000)"), "Timestamp(1770273000)"),
    ("TIMESTAMP, before 1970", "TIMESTAMP '1969-12-31 23:59:59.5 UTC'", Some("Timestamp(-1)"), "Timestamp(-1)"),
    ("TIMESTAMP, NULL", "CAST(NULL AS TIMESTAMP)", Some("Null"), "Null"),
    ("INTERVAL", "INTERVAL 1 DAY", None, "Text(\"0-0 1 0:0:0\")"),
    ("INTERVAL, NULL", "CAST(NULL AS INTERVAL)", None, "Null"),
    ("JSON", "JSON '{\"a\":1}'", None, "Text(\"{\\\"a\\\":1}\")"),
    ("JSON, NULL", "CAST(NULL AS JSON)", None, "Null"),
    ("ARRAY", "[1, 9007199254740993]", None, "Text(\"[1,\\\"9007199254740993\\\"]\")"),
    ("ARRAY, NULL", "CAST(NULL AS ARRAY<INT64>)", None, "Text(\"[]\")"),
    ("STRUCT", "STRUCT(1 AS x, 'y' AS y)", None, "Text(\"{\\\"x\\\":1,\\\"y\\\":\\\"y\\\"}\")"),
    ("STRUCT, nested", "[STRUCT([DATE '2026-02-05'] AS d)]", None, "Text(\"[{\\\"d\\\":[\\\"2026-02-05\\\"]}]\")"),
];

#[test]
fn every_type_has_one_value() {
    let emulator = emulator().unwrap();
    let sample = Sample::new(None).unwrap();
    let mut checks = "\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n".to_owned();
    for (at, (_, expression, ..)) in TYPES.iter().enumerate() {
        checks += &format!(
            "[checks.type-{at}]\nplugin = \"misbehaving\"\n[checks.type-{at}.settings]\nbehaviour = \"query\"\nsql = '''SELECT {expression} AS v'''\n"
        );
    }
    let ask = |warehouse: &str| {
        sample.configure(&format!("{warehouse}{checks}")).unwrap();
        let mut command = sample.command();
        command.args(["run", "--once", "--at", AT, "--output", "json"]);
        let ended = run(command.arg(guest("misbehaving")).args(shipped().unwrap()));
        let value = |at| {
            let run = ended.run(&format!("type-{at}"));
            let value = run["summary"].as_str().and_then(|text| text.split_once("values: [")?.1.strip_suffix("] }"));
            value
                .map(|value| value.replace("Value::", ""))
                .ok_or_else(|| run["error"].as_str().unwrap_or_default().to_owned())
        };
        (0..TYPES.len()).map(value).collect::<Vec<_>>()
    };
    let theirs = ask(&asking(&emulator.warehouse("types")));
    let ours = ask(HOST_TOML);
    let mut wrong = Vec::new();
    for (at, (name, expression, embedded, bigquery)) in TYPES.iter().enumerate() {
        if theirs[at].as_deref() != Ok(*bigquery) {
            wrong.push(format!("{name} on BigQuery: {expression}: {:?}", theirs[at]));
        }
        if ours[at].as_deref().ok() != *embedded {
            wrong.push(format!("{name} on SQLite: {expression}: {:?}", ours[at]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
