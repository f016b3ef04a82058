//! `host validate` on checks as people write them: what is right is not accused, what is wrong is found, and what could
//! not be tried is said to be that.

use std::fs;

use host_tests::HOST_TOML;
use serde_json::{Value, json};

use crate::support::{
    command::{Ended, Sample, ended, guest, shipped},
    slack::words,
};

const SHOP: &str = "
    CREATE TABLE orders (id INT64, customer TEXT, amount FLOAT64, state TEXT, paid BOOL, written TIMESTAMP, day DATE);
    CREATE TABLE customers (id TEXT);
    INSERT INTO customers VALUES ('c1'), ('c2');";

const REST: &str = "
[slack]
deliver = 'webhook'
[warehouse]
kind = 'sqlite'
path = 'warehouse'
[grants.canary-sql]
warehouse = ['shop']
slack = ['#canary-alerts']
";

/// A shop of which every day of the last two months has ten orders.
fn shop() -> Sample {
    let sample = Sample::new(None).unwrap();
    sample.sql("shop", SHOP).unwrap();
    let fill = "
        WITH RECURSIVE days(day) AS (SELECT '2025-12-01' UNION ALL SELECT DATE(day, '+1 day') FROM days WHERE day < '2026-02-05'),
        numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 10)
        INSERT INTO orders SELECT CAST(strftime('%s', day) AS INTEGER) + n, 'c' || (1 + n % 2), 20.5, 'paid', 1, day || ' 23:00:00 UTC', day
        FROM days, numbers;";
    sample.sql("shop", fill).unwrap();
    sample
}

fn plugin() -> std::path::PathBuf {
    shipped().unwrap().into_iter().find(|plugin| plugin.ends_with("canary-sql.wasm")).unwrap()
}

fn plugin_file(name: &str) -> String {
    crate::support::watched::plugin(name).display().to_string()
}

fn check(name: &str, settings: &str) -> String {
    format!("[checks.{name}]\nplugin = \"canary-sql\"\n[checks.{name}.settings]\n{settings}\n")
}

/// The findings of checks of these settings: kind and text, by check.
fn validated(sample: &Sample, checks: &[(&str, &str)]) -> (i32, Vec<Vec<(String, String)>>) {
    let checks: String =
        checks.iter().enumerate().map(|(at, (_, settings))| check(&format!("c{at:03}"), settings)).collect();
    sample.configure(&format!("{REST}{checks}")).unwrap();
    let ended = ended(sample.command().args(["validate", "--output", "json"]).arg(plugin())).unwrap();
    (ended.code, findings(&ended))
}

fn findings(ended: &Ended) -> Vec<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let json = ended.json();
    let of = |check: &Value| {
        let findings = check["findings"].as_array().unwrap();
        findings.iter().map(|finding| (text(&finding["kind"]), text(&finding["text"]))).collect()
    };
    json["checks"].as_array().unwrap().iter().map(of).collect()
}

const BY_DAY: &str = "sql = 'SELECT COUNT(*) AS orders, SUM(amount) AS revenue, MIN(amount) AS least FROM shop.orders WHERE day = @date'\n";

/// Sound checks of all kinds, and limits of all sizes, signs and units. A remark is not an accusation.
#[test]
fn the_innocent_are_not_accused() {
    let sample = shop();
    let thresholds = |line: &str| format!("{BY_DAY}thresholds.{line}");
    let table =
        |rules: &str| format!("table = 'shop.orders'\nwhere = 'day = @date'\nrow_count = {{ min = 1 }}\n{rules}");
    let settings = [
        thresholds("orders = { min = 1, change = { days = 7, max_rise_percent = 40 } }"),
        thresholds("orders = { min = 1, change = { days = 7, max_drop_percent = 40 } }"),
        thresholds("orders = { min = 1, change = { weeks = 4, max_rise_percent = 500, max_drop_percent = 99 } }"),
        thresholds("orders = { min = 1, max = 5000000 }"),
        thresholds("orders = { min = 1000000, max = 1000001 }"),
        thresholds("orders = { min = 9000000000000 }"),
        thresholds("orders = { min = 1, warn_max = 2500000 }"),
        thresholds("orders = { min = 1, warn_min = 123456789, warn_max = 123456790, max = 987654321 }"),
        thresholds("revenue = { warn_min = -7777777, warn_max = 0.0625 }"),
        thresholds("revenue = { warn_max = 7e12 }"),
        thresholds("revenue = { min = -5000000, max = 1e15 }"),
        thresholds("revenue = { min = 0.001, max = 0.002 }"),
        thresholds("revenue = { max = -2000000 }"),
        thresholds("revenue = { min = 1e-9 }"),
        thresholds("least = { min = 0 }"),
        thresholds("ORDERS = { min = 1 }"),
        "sql = 'SELECT COUNT(*) AS Orders FROM shop.orders WHERE day = @date'\nthresholds.orders = { min = 1 }".to_owned(),
        "sql = 'SELECT (SELECT COUNT(*) FROM shop.orders) AS orders, (SELECT COUNT(*) FROM shop.customers) AS customers'\nthresholds = { orders.min = 1, customers.max = 7000000 }".to_owned(),
        "sql = 'SELECT SAFE_DIVIDE(SUM(amount), COUNT(*)) AS share FROM shop.orders WHERE day = @date'\nthresholds.share = { min = 0.4 }".to_owned(),
        "sql = 'SELECT COUNT(*) AS orders FROM shop.orders WHERE day = @date LIMIT 1'\nthresholds.orders.min = 3000000".to_owned(),
        "sql = 'SELECT amount FROM shop.orders WHERE day = @date LIMIT 1'\nthresholds.amount.max = 3000000".to_owned(),
        "sql = 'SELECT SUM(n) AS rows_of_all FROM (SELECT COUNT(*) AS n FROM shop.orders WHERE paid UNION ALL SELECT COUNT(*) AS n FROM shop.customers WHERE id IS NOT NULL)'\nthresholds.rows_of_all.min = 10".to_owned(),
        "sql = 'SELECT COUNT(*) AS orders, (SELECT COUNT(*) FROM shop.customers WHERE id IS NOT NULL) AS customers FROM shop.orders WHERE day = @date'\nthresholds = { orders.min = 1, customers.min = 1 }".to_owned(),
        table("freshness = { column = 'written', max_hours = 26, warn_hours = 25 }"),
        table("freshness = { column = 'written', max_hours = 100000 }"),
        table("null_percent = { customer = 0, state = 99.5 }"),
        table("unique = ['id', 'customer, written']"),
        table("accepted_values = { state = ['open', 'paid'] }\nreferences = { customer = 'shop.customers.id' }"),
        table("schema = { id = 'INTEGER', paid = 'BOOLEAN', amount = 'FLOAT', customer = 'string(20)', written = 'TIMESTAMP' }"),
    ];
    let named: Vec<(&str, &str)> = settings.iter().map(|settings| ("", settings.as_str())).collect();
    let (code, found) = validated(&sample, &named);
    for (settings, found) in settings.iter().zip(&found) {
        assert_eq!(found, &[], "{settings}");
    }
    assert_eq!((code, found.len()), (0, settings.len()));
}

/// The first example of docs/canary-sql.md's `change`, as a host tells it.
#[test]
fn a_change_is_not_told_as_a_check_that_cannot_fail() {
    let sample = shop();
    let settings = format!("{BY_DAY}thresholds.orders = {{ min = 1, change = {{ days = 7, max_rise_percent = 40 }} }}");
    sample.configure(&format!("validate_schedule = '0 5 * * *'\n{REST}{}", check("orders", &settings))).unwrap();
    let once = ended(sample.command().args(["run", "--once", "--at", crate::support::AT]).arg(plugin())).unwrap();
    assert_eq!((once.code, once.err.contains("validation:")), (0, false), "{once:?}");
    assert!(sample.slack.received().is_empty(), "{:?}", sample.slack.received());
}

/// Each is found, with the words that say what is wrong.
#[test]
fn the_guilty_are_found() {
    let sample = shop();
    let thresholds = |line: &str| format!("{BY_DAY}thresholds.{line}");
    let table = |rules: &str| format!("table = 'shop.orders'\nrow_count = {{ min = 1 }}\n{rules}");
    let cases = [
        // No data can make it fail.
        (
            thresholds("orders = { min = 0 }"),
            "cannot-fail",
            "orders must be at least 0, and every simulated result meets that",
        ),
        (thresholds("orders = { min = -5000000 }"), "cannot-fail", "orders must be at least -5000000, and every"),
        (thresholds("orders = { min = 0, max = 5000000 }"), "cannot-fail", "orders must be at least 0, and every"),
        // No data can make it pass.
        (
            thresholds("ordres = { min = 1 }"),
            "cannot-pass",
            "ordres must be at least 1, but it never has a value; its queries return least, orders, revenue; did you mean `orders`?",
        ),
        (thresholds("sales = { warn_min = 1 }"), "cannot-pass", "sales must be at least 1, but it never has a value"),
        (
            thresholds("ordres.change = { days = 2, max_drop_percent = 5 }"),
            "cannot-pass",
            "ordres_change must be at least -5, but it never has a value",
        ),
        (
            thresholds("orders = { min = 10, max = 5 }"),
            "refused",
            "thresholds.orders: min = 10 is above max = 5, so no value passes; write min = 5 and max = 10",
        ),
        (
            thresholds("orders = { min = 10, warn_max = 5 }"),
            "refused",
            "min = 10 is above warn_max = 5, so no value passes; write min = 5 and warn_max = 10",
        ),
        (
            thresholds("orders = { min = 10, warn_min = 5 }"),
            "refused",
            "thresholds.orders: min = 10 is above warn_min = 5, so warn_min never warns; write min = 5 and warn_min = 10",
        ),
        (
            thresholds("orders = { max = 10, warn_max = 15 }"),
            "refused",
            "warn_max = 15 is above max = 10, so warn_max never warns; write warn_max = 10 and max = 15",
        ),
        (
            thresholds("orders = { min = 10.5, warn_min = 10.5 }"),
            "refused",
            "min = 10.5 equals warn_min = 10.5, so warn_min never warns; write warn_min above 10.5, or leave it out",
        ),
        (thresholds("orders = { max = -1 }"), "cannot-pass", "orders must be at most -1, but it is a count"),
        (thresholds("orders = { min = 1, warn_min = 0 }"), "refused", "min = 1 is above warn_min = 0"),
        (
            thresholds("orders = { warn_min = 0 }"),
            "cannot-fail",
            "orders warns below 0, and no simulated result is beyond that",
        ),
        (
            thresholds("orders = { min = nan }"),
            "refused",
            "settings: thresholds.orders.min: NaN is not a number that a plugin can be given",
        ),
        (thresholds("orders = { max = inf }"), "refused", "thresholds.orders.max: inf is not a number"),
        (thresholds("orders = { min = 2026-02-05 }"), "refused", "min: 2026-02-05 has no quotes; write \"2026-02-05\""),
        (thresholds("orders = {}"), "refused", "thresholds.orders: it sets no limit; add min, max"),
        (
            format!("{BY_DAY}thresholds.orders.min = 1\nthresholds.Orders.max = 9"),
            "refused",
            "thresholds.Orders is for the same column; merge the two",
        ),
        (
            thresholds("orders.change = { days = 7, max_drop_percent = -40 }"),
            "refused",
            "thresholds.orders.change.max_drop_percent: -40 is less than the minimum of 0",
        ),
        (
            "table = 'shop.orders'\nwhere = 'day = @date'\nrow_count.change = { days = 7, max_drop_percent = 100 }"
                .to_owned(),
            // A change is computed by the check, so that nothing is certain of it.
            "not-tried",
            "reached row_count_change at least -100",
        ),
        (
            thresholds("orders.change = { days = 7, max_rise_percent = -1 }"),
            "refused",
            "max_rise_percent: -1 is less than the minimum of 0",
        ),
        (thresholds("orders.change = { days = 7 }"), "refused", "add max_drop_percent or max_rise_percent"),
        (table("row_count.max = 0"), "refused", "row_count: min = 1 is above max = 0, so no value passes"),
        (
            table("freshness = { column = 'written', max_hours = 24, warn_hours = 48 }"),
            "refused",
            "freshness: warn_hours = 48 is above max_hours = 24, so warn_hours never warns; write warn_hours = 24 and max_hours = 48",
        ),
        (table("null_percent = { customer = 100 }"), "refused", "null_percent.customer: no share is above 100"),
        (
            table("freshness = { column = 'written', max_hours = -1 }"),
            "refused",
            "freshness: max_hours = -1; write hours above 0",
        ),
        (
            table("freshness = { column = 'written', max_hours = 24, warn_hours = -2 }"),
            "refused",
            "freshness: warn_hours = -2; write hours above 0",
        ),
        (table("null_percent = { customer = -1 }"), "refused", "null_percent.customer: -1 is not a percentage of rows"),
        (
            table("null_percent = { customer = 101 }"),
            "refused",
            "null_percent.customer: 101 is not a percentage of rows",
        ),
        (
            table("schema = { id = 'INT46' }"),
            "refused",
            "schema.id: `INT46` is not a type of BigQuery; write STRING, INT64",
        ),
        (table("unique = ['ids']"), "refused", "Unrecognized name: ids"),
        (table("references = { customer = 'shop.clients.id' }"), "refused", "there is no table shop.clients"),
        (table("references = { customer = 'shopp.customers.id' }"), "refused", "dataset shopp is not granted"),
    ];
    let cases: Vec<(String, &str, &str)> = cases
        .into_iter()
        .map(|(settings, kind, text)| {
            (
                settings.replace("row_count = { min = 1 }\nrow_count.max = 0", "row_count = { min = 1, max = 0 }"),
                kind,
                text,
            )
        })
        .collect();
    let named: Vec<(&str, &str)> = cases.iter().map(|(settings, ..)| ("", settings.as_str())).collect();
    let (code, found) = validated(&sample, &named);
    assert_eq!(code, 2);
    for ((settings, kind, text), found) in cases.iter().zip(&found) {
        let told = found.iter().any(|(found_kind, found_text)| found_kind == kind && found_text.contains(text));
        assert!(told, "{settings}: {found:?}");
    }
}

/// What no simulated result reaches is neither right nor wrong: it is not told as a fault.
#[test]
fn a_limit_out_of_reach_is_not_tried() {
    let sample = shop();
    // No time is that long ago.
    let settings =
        "table = 'shop.orders'\nrow_count.min = 1\nfreshness = { column = 'written', max_hours = 200000000 }";
    let (code, found) = validated(&sample, &[("", settings)]);
    let [(kind, text)] = found[0].as_slice() else { panic!("{found:?}") };
    assert_eq!((code, kind.as_str()), (3, "not-tried"), "{text}");
    assert!(
        text.starts_with("no simulated result, of ") && text.ends_with(" reached freshness at most 200000000"),
        "{text}"
    );
    let tried: usize = text.split(" of ").nth(1).unwrap().split(',').next().unwrap().parse().unwrap();
    assert!((24..=200).contains(&tried), "{text}");
    // A fault that is certain decides the exit code.
    let lax = format!("{BY_DAY}thresholds.orders.min = 0");
    assert_eq!(validated(&sample, &[("", settings), ("", &lax)]).0, 2);

    sample.configure(&format!("validate_schedule = '0 5 * * *'\n{REST}{}", check("orders", settings))).unwrap();
    let once = ended(sample.command().args(["run", "--once", "--at", crate::support::AT]).arg(plugin())).unwrap();
    assert_eq!(once.code, 0, "{once:?}");
    assert!(sample.slack.received().is_empty(), "{:?}", sample.slack.received());
}

/// The commonest checks of dbt pass without rows. That is a remark with the line to add, told once, and no error.
#[test]
fn a_check_that_passes_without_rows_is_remarked_on_once() {
    let sample = shop();
    let sql = "sql = 'SELECT COUNTIF(amount < 0) AS negative FROM shop.orders WHERE day = @date'\nthresholds.negative.max = 0";
    let (code, found) = validated(&sample, &[("", sql), ("", "table = 'shop.orders'\nunique = ['id']")]);
    let remark = |advice: &str| {
        vec![("remark".to_owned(), format!("it passes when its tables are empty; if it should not, {advice}"))]
    };
    let with_sql = "add `COUNT(*) AS row_count` to its sql, and `thresholds.row_count = { min = 1 }` to its settings";
    let with_table = "add `row_count = { min = 1 }` to its settings";
    assert_eq!((code, found), (0, vec![remark(with_sql), remark(with_table)]));
    // A schema alone can fail too.
    let (code, found) = validated(&sample, &[("", "table = 'shop.orders'\nschema = { id = 'INT64' }")]);
    assert_eq!((code, found), (0, vec![remark(with_table)]));
    // With the line there is nothing to remark.
    let (code, found) = validated(
        &sample,
        &[
            (
                "",
                &sql.replace("SELECT", "SELECT COUNT(*) AS row_count,")
                    .replace("\nthresholds", "\nthresholds.row_count = { min = 1 }\nthresholds"),
            ),
            ("", "table = 'shop.orders'\nunique = ['id']\nrow_count = { min = 1 }"),
        ],
    );
    assert_eq!((code, found), (0, vec![Vec::new(), Vec::new()]));

    let checks = check("negative", sql) + &check("unique", "table = 'shop.orders'\nunique = ['id']");
    let toml = format!("validate_schedule = '0 5 * * *'\n{REST}{checks}");
    let once = |toml: &str| {
        sample.configure(toml).unwrap();
        let once = ended(
            sample.command().args(["run", "--once", "--at", crate::support::AT, "--output", "json"]).arg(plugin()),
        )
        .unwrap();
        assert_eq!(
            (once.code, &once.run("unique")["status"], &once.run("unique")["error"]),
            (0, &json!("pass"), &json!(null)),
            "{once:?}"
        );
        once
    };
    assert!(!once(&toml).err.contains("validation:"), "it is not a problem of the run");
    let received = sample.slack.received();
    let [(channel, message)] = received.as_slice() else { panic!("{received:?}") };
    let said = words(message);
    assert_eq!(channel, "canary-alerts");
    assert!(
        said.contains("Remark: negative, unique") && said.contains("add row_count = { min = 1 } to its settings"),
        "{said}"
    );
    assert!(!said.contains("Could not be evaluated") && !said.contains("cannot"), "{said}");
    // Validated again after a change, it is known; the page and the history have no error of it.
    once(&toml.replace("'0 5 * * *'", "'0 6 * * *'"));
    assert_eq!(sample.slack.received().len(), 1);
    let history = sample.host(&["history", "--output", "json"]).unwrap().json();
    assert_eq!(history["alerts"], json!([]), "nothing was ever wrong");
    assert!(history["runs"].as_array().unwrap().iter().all(|run| run["error"].is_null()), "{history:#}");
    // Without the reason nothing is told: nothing was wrong.
    once(&toml.replace("unique = ['id']", "unique = ['id']\nrow_count = { min = 1 }"));
    assert_eq!(sample.slack.received().len(), 1);
}

/// Whatever a check asks about and is not there is found before its first run.
#[test]
fn what_does_not_exist_is_found() {
    let sample = Sample::new(None).unwrap();
    let services = |services: &str| format!("settings = {{ services = [{services}] }}");
    let worker = "{ name = 'prediction-worker', directories = ['predictions/worker', 'shared'] }";
    let drift = |settings: &str| {
        HOST_TOML.replace("settings = { deploy_command = \"./bin/deploy-service.sh {service}\" }", settings)
    };
    let sound = drift(&services(worker));
    for (what, toml, code, words) in [
        ("all is there", sound.clone(), 0, ""),
        (
            "a directory",
            drift(&services(&worker.replace("shared", "shred"))),
            2,
            "branch main of repository pipeline has no shred",
        ),
        (
            "a service",
            drift(&services(&worker.replace("prediction-worker", "prediction-wroker"))),
            2,
            "prediction-wroker: no such service is deployed",
        ),
        (
            "its branch",
            sound.replace("branch = \"main\"", "branch = \"trunk\""),
            2,
            "it has no branch trunk; set git.pipeline.branch",
        ),
        (
            "its section",
            drift(&services(worker).replace("}]", "}], repository = 'pipelin'")),
            2,
            "repository pipelin is not granted",
        ),
    ] {
        sample.configure(&toml).unwrap();
        let plugin = shipped().unwrap().into_iter().find(|plugin| plugin.ends_with("deployment-drift.wasm")).unwrap();
        let mut command = sample.command();
        let ended =
            ended(command.args(["validate", "--output", "json", "--check", "deployment-drift"]).arg(plugin)).unwrap();
        let found = findings(&ended).concat();
        assert_eq!(ended.code, code, "{what}: {found:?}");
        assert!(found.iter().all(|(kind, _)| kind == "refused"), "{what}: {found:?}");
        assert!(words.is_empty() || found.iter().any(|(_, text)| text.contains(words)), "{what}: {found:?}");
    }
    // What host.toml itself names stops it before any check.
    for (path, elsewhere, words) in [
        ("path = \"repository\"", "path = \"elsewhere\"", "git.pipeline.path: there is no directory elsewhere"),
        ("deployments.json", "elsewhere.json", "deployments.path: there is no file elsewhere.json"),
    ] {
        sample.configure(&sound.replace(path, elsewhere)).unwrap();
        let ended = sample.host(&[&["validate"][..], &[plugin_file("deployment-drift").as_str()]].concat()).unwrap();
        assert!(ended.code == 64 && ended.err.contains(words), "{ended:?}");
    }
    // A backend that does not work says nothing about the check.
    sample.configure(&sound).unwrap();
    for (file, broken) in [("deployments.json", "[{"), ("repository/.git/config", "[nonsense")] {
        let path = sample.path().join(file);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, broken).unwrap();
        let plugin = shipped().unwrap().into_iter().find(|plugin| plugin.ends_with("deployment-drift.wasm")).unwrap();
        let mut command = sample.command();
        let ended =
            ended(command.args(["validate", "--output", "json", "--check", "deployment-drift"]).arg(plugin)).unwrap();
        let found = findings(&ended).concat();
        assert!(ended.code == 3 && found.iter().all(|(kind, _)| kind == "unknown"), "{file}: {} {found:?}", ended.code);
        fs::write(&path, whole).unwrap();
    }
    // A dataset, for a check that lists tables.
    let toml =
        HOST_TOML.replace("[checks.phase1-scrapers]", "[checks.phase1-scrapers]\nsettings = { dataset = 'nba_rwa' }");
    let toml = toml.replace(
        "[grants.phase1-scrapers]\nwarehouse = [\"nba_raw\"]",
        "[grants.phase1-scrapers]\nwarehouse = [\"nba_rwa\"]",
    );
    sample.configure(&toml).unwrap();
    let mut command = sample.command();
    let ended =
        ended(command.args(["validate", "--output", "json", "--check", "phase1-scrapers"]).args(shipped().unwrap()))
            .unwrap();
    let found = findings(&ended).concat();
    assert_eq!((ended.code, found[0].0.as_str()), (2, "refused"), "{found:?}");
    assert!(
        found[0].1.contains("there is no dataset nba_rwa") && found[0].1.contains("did you mean `nba_raw`?"),
        "{found:?}"
    );
    // No warehouse at all.
    sample
        .configure(
            &HOST_TOML
                .replace("[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\nproject = \"nba-props-platform\"", ""),
        )
        .unwrap();
    let mut command = sample.command();
    let ended = crate::support::command::ended(
        command.args(["validate", "--output", "json", "--check", "phase2-raw"]).args(shipped().unwrap()),
    )
    .unwrap();
    assert!(ended.code == 2 && ended.out.contains("host.toml has no [warehouse]"), "{ended:?}");
}

/// A plugin that decides by texts is not accused of deciding nothing.
#[test]
fn a_verdict_that_depends_on_texts_is_not_tried() {
    let sample = Sample::new(None).unwrap();
    let grants = "\n[grants.misbehaving]\nwarehouse = [\"nba_raw\"]\nslack = [\"#canary-alerts\"]\n";
    let check = |sql: &str| {
        format!("[checks.texts]\nplugin = \"misbehaving\"\nsettings = {{ behaviour = \"query\", sql = \"{sql}\" }}\n")
    };
    let kind = |sql: &str| {
        sample.configure(&format!("{HOST_TOML}{grants}{}", check(sql))).unwrap();
        let mut command = sample.command();
        let ended = ended(
            command
                .args(["validate", "--output", "json", "--check", "texts"])
                .args(shipped().unwrap())
                .arg(guest("misbehaving")),
        )
        .unwrap();
        (ended.code, findings(&ended).concat())
    };
    let (code, found) =
        kind("SELECT MAX(player_name) AS name FROM nba_raw.nbac_player_boxscore WHERE game_date = @date");
    assert!(
        code == 3 && found.iter().any(|(kind, text)| kind == "not-tried" && text.contains("it may depend on texts")),
        "{found:?}"
    );
    // Its twin reads numbers only: then nothing makes it fail.
    let (code, found) = kind("SELECT COUNT(*) AS games FROM nba_raw.nbac_player_boxscore WHERE game_date = @date");
    assert!(
        code == 2 && found.iter().any(|(kind, text)| kind == "cannot-fail" && text.contains("made it fail")),
        "{found:?}"
    );
}
