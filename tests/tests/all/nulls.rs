//! A NULL parameter with a type: BigQuery gets the type, and SQLite checks it.

use serde_json::json;

use crate::support::{
    AT,
    command::{Sample, ended, guest},
    google::{
        asking,
        bigquery::{BigQueryDouble, Method},
        emulator::emulator,
    },
};

/// The run of a query with `@day` as NULL of the type DATE.
fn asked(toml: &str, sql: &str) -> serde_json::Value {
    let sample = Sample::new(None).unwrap();
    let check = format!(
        "\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n[checks.null]\nplugin = \
         \"misbehaving\"\nsettings = {{ behaviour = \"null of a type\", sql = {} }}\n",
        serde_json::Value::from(sql)
    );
    sample.configure(&format!("{toml}{check}")).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", "json", "--check", "null"]);
    ended(command.arg(guest("misbehaving"))).unwrap().run("null")
}

#[test]
fn bigquery_gets_the_type_of_a_null() {
    let bigquery = BigQueryDouble::start().unwrap();
    let toml = asking(&format!("[google]\ncredentials = \"none\"\n{}", bigquery.warehouse()));
    let run = asked(&toml, "SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore WHERE game_date = @day");
    assert_eq!(run["status"], "pass", "{run:#}");
    let parameters = json!([{ "name": "day", "parameterType": { "type": "DATE" }, "parameterValue": {} }]);
    for method in [Method::DryRun, Method::Insert] {
        let [request] = bigquery.asked(method).try_into().unwrap();
        assert_eq!(request.json()["configuration"]["query"]["queryParameters"], parameters);
    }
}

#[test]
fn sqlite_checks_the_type_of_a_null() {
    let from = "SELECT COUNT(*) AS n FROM nba_raw.nbac_player_boxscore WHERE";
    let run = asked(host_tests::HOST_TOML, &format!("{from} game_date = @day OR @day IS NULL"));
    assert_eq!(run["status"], "pass", "{run:#}");
    let run = asked(host_tests::HOST_TOML, &format!("{from} points = @day"));
    assert!(run["error"].as_str().unwrap().contains("DATE"), "{run:#}");
}

/// An expression that a STRING does not fit.
#[test]
fn the_emulator_takes_a_null_of_a_type() {
    let emulator = emulator().unwrap();
    let sql = "SELECT DATE_ADD(@day, INTERVAL 1 DAY) AS next, @day IS NULL AS missing";
    let run = asked(&asking(&emulator.warehouse("nulls")), sql);
    assert_eq!(run["status"], "pass", "{run:#}");
    assert!(run["summary"].as_str().unwrap().contains("[Value::Null, Value::Boolean(true)]"), "{run:#}");
}
