//! Rows that explain a violation: in messages, on the page, in the record and at the command line; never more than the
//! budgets allow, and only their number where rows may not leave the warehouse.

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::{
    AT,
    command::{Ended, Sample, ended, guest},
    google::bigquery::{BigQueryDouble, Method, row},
    service::{Service, install},
    slack::words,
    watched::plugin,
};

/// The embedded warehouse, and Slack's double.
const SQLITE: &str = "[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n";

/// The grants and settings of a misbehaving check.
fn misbehaving(behaviour: &str, count: u32, more: &str) -> String {
    format!(
        "{SQLITE}[checks.misbehaving.settings]\nbehaviour = \"{behaviour}\"\ncount = {count}\n\
         [grants.misbehaving]\nslack = [\"#canary-alerts\"]\n{more}\n"
    )
}

fn run(sample: &Sample, toml: &str, file: &str, output: &str) -> Ended {
    sample.configure(toml).unwrap();
    let mut command = sample.command();
    command.args(["run", "--once", "--at", AT, "--output", output]);
    let file = if file == "misbehaving" { guest(file) } else { plugin(file) };
    ended(command.arg(file)).unwrap()
}

/// The only message.
fn message(sample: &Sample) -> Value {
    let [(_, message)] = sample.slack.received().try_into().unwrap();
    message
}

/// No row of data can mention anyone or turn into markup; long texts are cut with a count, and NULL is NULL.
#[test]
fn rows_are_shown_as_what_they_are() {
    let sample = Sample::new(None).unwrap();
    let toml = misbehaving("show rows", 3, "");
    let json = run(&sample, &toml, "misbehaving", "json").run("misbehaving");
    let evidence = &json["evidence"][0];
    assert_eq!((&evidence["total"], &evidence["rows"].as_array().unwrap().len()), (&json!(3), &3));
    assert_eq!(evidence["rows"][0][0], "<!channel> & <@U1>");
    assert_eq!(evidence["rows"][1][1], "\u{0}\u{1b}[31m");
    assert!(evidence["rows"][0][1].as_str().unwrap().ends_with("… (4500 B left out)"), "{evidence}");
    assert_eq!(evidence["rows"][0][2], Value::Null);
    let sent = message(&sample);
    let text = sent["blocks"].to_string();
    assert!(text.contains("name: &lt;!channel&gt; &amp; &lt;@U1&gt;, note: long long"), "{text}");
    assert!(!text.contains("<!channel>") && !text.contains("\\u001b") && !text.contains('\u{202e}'), "{text}");
    assert!(words(&sent).contains("names: 3 rows"), "{text}");

    // At the command line.
    sample.slack.clear();
    let table = run(&sample, &toml, "misbehaving", "table").out;
    assert!(table.contains("\nmisbehaving, names: 3 rows\n  name: <!channel> & <@U1>, note: long long"), "{table}");
    assert!(table.contains("note: [31m, nothing: NULL\n") && !table.contains('\u{1b}'), "{table}");
    let history = sample.host(&["history", "misbehaving"]).unwrap().out;
    assert!(history.contains("\nmisbehaving of 2026-02-05, names: 3 rows\n  name: <!channel>"), "{history}");
    let history = sample.host(&["history", "misbehaving", "--output", "json"]).unwrap().json();
    assert_eq!(history["runs"][0]["evidence"], json["evidence"]);
}

#[test]
fn the_page_and_the_api_show_rows() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &["misbehaving"]).unwrap();
    let toml = misbehaving("show rows", 3, "");
    sample.configure(&toml).unwrap();
    sample.host(&["run", "--once", "plugins"]).unwrap();
    let service = Service::start(&sample, &toml, &[]).unwrap();
    let page = service.get("/checks/misbehaving").body;
    assert!(page.contains("<summary>names: 3 rows</summary>") && page.contains("<td>&lt;!channel&gt;"), "{page}");
    assert!(page.contains("<td>NULL</td>") && !page.contains("<!channel>") && !page.contains("<script>doc"), "{page}");
    let runs = service.get("/api/v1/runs?check=misbehaving&include=report").json();
    let evidence = &runs["runs"][0]["evidence"][0];
    assert_eq!((&evidence["metric"], &evidence["total"]), (&json!("names"), &json!(3)), "{runs}");
    let brief = service.get("/api/v1/runs?check=misbehaving").json();
    assert!(brief["runs"][0].get("evidence").is_none(), "{brief}");
}

/// 10,000 rows, or a million: the first are kept, and the rest is counted.
#[test]
fn no_plugin_fills_the_record() {
    let sample = Sample::new(None).unwrap();
    for count in [10_000, 300_000] {
        sample.slack.clear();
        let json = run(&sample, &misbehaving("show rows", count, ""), "misbehaving", "json").run("misbehaving");
        let evidence = &json["evidence"][0];
        let kept = evidence["rows"].as_array().unwrap().len();
        assert!((20..=100).contains(&kept), "{kept} of {count}: {json}");
        if count == 10_000 {
            assert_eq!((&json["status"], &evidence["total"]), (&json!("fail"), &json!(10_000)), "{json}");
            assert!(words(&message(&sample)).contains(&format!("names: {kept} of 10000 rows")), "{json}");
        } else {
            // It may also run out of time.
            let (total, error) = (evidence["total"].as_u64().unwrap(), json["error"].as_str().unwrap_or_default());
            assert!(total == 300_000 || error.contains("computed for more than"), "{json}");
        }
        assert!(json["evidence"].to_string().len() < 33 << 10);
        let recorded = Connection::open(sample.path().join("state/host.db")).unwrap();
        let bytes: i64 = recorded.query_row("SELECT MAX(LENGTH(evidence)) FROM runs", [], |row| row.get(0)).unwrap();
        assert!((1000..33 << 10).contains(&bytes), "{bytes}");
    }
}

#[test]
fn the_budgets_of_evidence_hold() {
    let sample = Sample::new(None).unwrap();
    let shown = |behaviour: &str, budgets: &str| {
        let more = format!("[grants.misbehaving.budgets]\n{budgets}\n");
        run(&sample, &misbehaving(behaviour, 1000, &more), "misbehaving", "json").run("misbehaving")["evidence"].clone()
    };
    let rows = shown("show rows", "evidence_rows = 7");
    assert_eq!((rows[0]["rows"].as_array().unwrap().len(), &rows[0]["total"]), (7, &json!(1000)));
    let rows = shown("show rows", "evidence_bytes = \"2 KiB\"");
    assert!(rows.to_string().len() < 2500 && rows[0]["total"] == 1000, "{rows}");
    let tables = shown("show ever new tables", "evidence_bytes = \"4 KiB\"");
    let total: u64 = tables.as_array().unwrap().iter().filter_map(|table| table["total"].as_u64()).sum();
    assert!(tables.to_string().len() < 5000 && total == 1000, "{tables}");
    assert_eq!(tables.as_array().unwrap().last().unwrap()["metric"], "other evidence");
    // The record has less room than the run.
    shown("show rows", "record_bytes = \"3 KiB\"");
    let history = sample.host(&["history", "misbehaving", "--output", "json"]).unwrap().json();
    let cut = history["runs"][0]["cut"].as_str().unwrap();
    assert!(cut.contains(" rows of evidence of names; the limit for one run is 3 KiB"), "{cut}");
    assert!(history["runs"][0]["evidence"][0]["rows"].as_array().unwrap().len() < 10, "{history}");
}

/// A check of duplicates, missing names and orphans, with rows of its own.
const SOUND: &str = r##"[grants.canary-sql]
warehouse = ["shop"]
slack = ["#canary-alerts"]
[checks.sound]
plugin = "canary-sql"
channel = "#canary-alerts"
[checks.sound.settings]
table = "shop.orders"
unique = ["id"]
null_percent = { customer = 0 }
accepted_values = { state = ["open", "paid"] }
references = { customer = "shop.customers.id" }
show = 2
[checks.own]
plugin = "canary-sql"
channel = "#canary-alerts"
[checks.own.settings]
sql = "SELECT COUNTIF(state = 'lost') AS lost FROM shop.orders"
thresholds.lost = { max = 0 }
rows = "SELECT id, customer FROM shop.orders WHERE state = 'lost' ORDER BY id, customer LIMIT 20"
"##;

fn shop(sample: &Sample) {
    let shop = Connection::open(sample.path().join("warehouse/shop.db")).unwrap();
    let orders = "CREATE TABLE orders (id INTEGER, customer TEXT, state TEXT); CREATE TABLE customers (id TEXT);
        INSERT INTO customers VALUES ('a'); INSERT INTO orders VALUES (1, 'a', 'open'), (1, 'a', 'paid'), (2, NULL, 'lost'),
        (2, '<!here>', 'lost'), (3, 'c', 'lost'), (3, NULL, 'lost'), (4, NULL, 'lost'), (5, 'd', 'lost')";
    shop.execute_batch(orders).unwrap();
}

/// The keys that break a rule are named without another line of configuration.
#[test]
fn canary_sql_shows_what_breaks_its_rules() {
    let sample = Sample::new(None).unwrap();
    shop(&sample);
    let ended = run(&sample, &format!("{SQLITE}{SOUND}"), "canary-sql", "json");
    let evidence = &ended.run("sound")["evidence"];
    assert_eq!(
        *evidence,
        json!([
            { "metric": "null_percent_customer", "columns": ["id"], "rows": [[2], [3]], "total": 3 },
            { "metric": "unaccepted_state", "columns": ["state", "found"], "rows": [["lost", 6]], "total": 1 },
            { "metric": "duplicates_id", "columns": ["id", "copies"], "rows": [[1, 2], [2, 2]], "total": 3 },
            { "metric": "orphans_customer", "columns": ["customer"], "rows": [["<!here>"], ["c"]], "total": 3 },
        ])
    );
    let own = &ended.run("own")["evidence"];
    let rows = json!([[2, null], [2, "<!here>"], [3, null], [3, "c"], [4, null]]);
    assert_eq!(*own, json!([{ "metric": "rows", "columns": ["id", "customer"], "rows": rows, "total": 6 }]));
    let said = words(&message(&sample));
    for words in [
        "duplicates_id: 2 of 3 rows id: 1, copies: 2 id: 2, copies: 2",
        "null_percent_customer: 2 of 3 rows id: 2 id: 3",
        "orphans_customer: 2 of 3 rows customer: <!here> customer: c",
        "unaccepted_state: 1 row state: lost, found: 6",
        "rows: 5 of 6 rows id: 2, customer: NULL",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

/// Rows are asked for only after a violation, and a query for them that fails hides nothing.
#[test]
fn rows_that_cannot_be_shown_hide_no_violation() {
    let sample = Sample::new(None).unwrap();
    shop(&sample);
    let own = |max: u32, rows: &str| {
        let check = SOUND.split_once("[checks.sound]").unwrap().0;
        let toml = format!(
            "{SQLITE}{check}[checks.own]\nplugin = \"canary-sql\"\nchannel = \"#canary-alerts\"\n[checks.own.settings]\n\
             sql = \"SELECT COUNTIF(state = 'lost') AS lost FROM shop.orders\"\nthresholds.lost = {{ max = {max} }}\nrows = \"{rows}\"\n"
        );
        sample.slack.clear();
        run(&sample, &toml, "canary-sql", "json").run("own")
    };
    let run = own(0, "SELECT nothing FROM shop.orders");
    assert_eq!(
        (&run["status"], &run["error"], &run["evidence"]),
        (&json!("fail"), &Value::Null, &json!([])),
        "{run:#}"
    );
    let said =
        "lost is above its maximum: 6 > 0; rows: the rows cannot be shown: query failed: Unrecognized name: nothing";
    assert!(run["summary"].as_str().unwrap().starts_with(said), "{run:#}");
    assert_eq!(run["violations"], json!([{ "metric": "lost", "message": "lost is above its maximum: 6 > 0" }]));
    let told = words(&message(&sample));
    assert!(told.contains("Rows rows: the rows cannot be shown: query failed: Unrecognized name: nothing"), "{told}");
    // Not asked.
    let run = own(9, "SELECT nothing FROM shop.orders");
    assert_eq!((&run["status"], run["calls"].as_array().unwrap().len()), (&json!("pass"), 1), "{run:#}");
}

/// A check with duplicates on BigQuery, whose double gives these rows to each query.
fn on_bigquery(privacy: &str) -> (Sample, Value, Value) {
    let bigquery = BigQueryDouble::start().unwrap();
    bigquery.holds(&[("found", "INTEGER")], vec![row(&["7".into()])], usize::MAX);
    let sample = Sample::new(None).unwrap();
    let check = "[grants.canary-sql]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n[checks.own]\nplugin = \
        \"canary-sql\"\nchannel = \"#canary-alerts\"\n[checks.own.settings]\nsql = \"SELECT COUNT(*) AS found FROM \
        nba_raw.nbac_player_boxscore\"\nthresholds.found = { max = 0 }\nrows = \"SELECT player_name AS found FROM \
        nba_raw.nbac_player_boxscore\"\n";
    let toml = format!("{privacy}[google]\ncredentials = \"none\"\n{}{check}", bigquery.warehouse());
    let run = run(&sample, &toml, "canary-sql", "json").run("own");
    assert_eq!(run["status"], "fail", "{run:#}");
    assert_eq!(bigquery.asked(Method::Insert).len(), 2);
    let message = message(&sample);
    (sample, run, message)
}

/// With BigQuery only the number of rows leaves the warehouse, unless host.toml says otherwise.
#[test]
fn rows_stay_in_bigquery_unless_host_toml_says_otherwise() {
    let (sample, run, message) = on_bigquery("");
    let withheld = json!([{ "metric": "rows", "columns": [], "rows": [], "total": 1, "withheld": true }]);
    assert_eq!(run["evidence"], withheld);
    let told = words(&message);
    assert!(told.contains("rows: 1 row [privacy] rows_in_messages = true in host.toml shows them"), "{told}");
    let history = sample.host(&["history", "own", "--output", "json"]).unwrap().json();
    assert_eq!(history["runs"][0]["evidence"], withheld);

    let (_, run, message) = on_bigquery("[privacy]\nrows_in_messages = true\n");
    assert_eq!(run["evidence"], json!([{ "metric": "rows", "columns": ["found"], "rows": [[7]], "total": 1 }]));
    assert!(words(&message).contains("rows: 1 row found: 7"), "{message}");
}

#[test]
fn rows_stay_in_sqlite_if_host_toml_says_so() {
    let sample = Sample::new(None).unwrap();
    shop(&sample);
    let toml = format!("{SQLITE}[privacy]\nrows_in_messages = false\n{SOUND}");
    let ended = run(&sample, &toml, "canary-sql", "json");
    assert!(!ended.run("sound")["evidence"].to_string().contains("here"), "{ended:?}");
    let said = words(&message(&sample));
    assert!(said.contains("duplicates_id: 3 rows [privacy] rows_in_messages") && !said.contains("<!here>"), "{said}");
}
