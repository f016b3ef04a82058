//! Every piece of configuration in README.md and docs/ is put into the sample's host.toml, validated there, and run.

use std::fs;

use host_tests::HOST_TOML;
use serde_json::json;
use toml::{Table, Value};

use crate::{
    docs::{blocks, pages},
    google::on_cloud_run,
    support::{
        AT,
        command::{Ended, Sample, ended, shipped},
        google::{bigquery::BigQueryDouble, cloud_run::CloudRunDouble},
        watched::plugin,
    },
};

/// A page's configuration, all of its blocks together; cases have a form of their own.
fn example(text: &str) -> Option<Table> {
    let mut whole = Table::new();
    let blocks: Vec<String> = blocks(text, "toml").into_iter().filter(|block| !block.contains("[expect]")).collect();
    for block in &blocks {
        merge(&mut whole, block.parse().unwrap());
    }
    (!blocks.is_empty()).then_some(whole)
}

/// Adds tables, and replaces everything else.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Validates and runs an example in the sample's pipeline, with the plugins in these files.
fn tried(sample: &Sample, page: &str, example: &Table, arguments: &[String]) -> Ended {
    let mut toml: Table = HOST_TOML.parse().unwrap();
    for section in ["warehouse", "deployments"] {
        // Another kind has other keys.
        if example.get(section).is_some() {
            toml.remove(section);
        }
    }
    merge(&mut toml, example.clone());
    let toml = toml::to_string(&toml).unwrap();
    sample.configure(&toml).unwrap();
    let command = |arguments: &[&str], more: &[String]| {
        let mut command = sample.command();
        for channel in ["ON_CALL", "DATA_QUALITY"] {
            command.env(format!("SLACK_WEBHOOK_URL_{channel}"), sample.slack.webhook(channel));
        }
        command.env("HEARTBEAT_URL", sample.slack.webhook("heartbeat"));
        ended(command.args(arguments).args(more)).unwrap()
    };
    let validated = command(&["validate", "--output", "json"], arguments);
    assert_eq!(validated.code, 0, "{page}: {validated:?}\n{toml}");
    let ran = command(&["run", "--once", "--at", AT, "--output", "json"], arguments);
    assert_eq!(ran.code, 0, "{page}: {ran:?}\n{toml}");
    ran
}

fn all_plugins() -> Vec<String> {
    shipped().unwrap().into_iter().map(|path| path.display().to_string()).collect()
}

/// What docs/canary-sql.md checks: orders for eight weeks, all sound, and this morning's predictions.
const SHOP: &str = "
    CREATE TABLE predictions (written TIMESTAMP);
    WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 59)
    INSERT INTO predictions SELECT '2026-02-06 10:45:00 UTC' FROM numbers;
    CREATE TABLE customers (id TEXT);
    INSERT INTO customers VALUES ('c0'), ('c1');
    CREATE TABLE orders (id INT64, customer TEXT, coupon TEXT, amount FLOAT64, state TEXT, written TIMESTAMP, day DATE);
    WITH RECURSIVE days(day) AS (SELECT '2025-12-11' UNION ALL SELECT DATE(day, '+1 day') FROM days WHERE day < '2026-02-05'),
    numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 599)
    INSERT INTO orders SELECT 1000 * strftime('%j', day) + n + 1000000 * strftime('%Y', day), 'c' || (n % 2),
        CASE WHEN n % 10 = 0 THEN 'spring' END, 20.5, 'paid',
        strftime('%Y-%m-%d %H:%M:%S UTC', day, '+' || (60 * 16 + n / 2) || ' minutes', '+' || (n % 2) || ' seconds'), day
    FROM days, numbers;
    CREATE TABLE returns (day DATE);
    INSERT INTO returns SELECT day FROM orders WHERE id % 10 = 0;
    CREATE TABLE summary (day DATE);
    INSERT INTO summary SELECT DISTINCT day FROM orders;";

/// What docs/pipeline.md checks: two final games, both with box scores.
const LEAGUE: &str = "
    CREATE TABLE schedule (game_id TEXT, game_date DATE, status TEXT, loaded TIMESTAMP);
    INSERT INTO schedule VALUES
        ('g1', '2026-02-05', 'final', '2026-02-06 10:00:00 UTC'), ('g2', '2026-02-05', 'final', '2026-02-06 10:00:00 UTC');
    CREATE TABLE box_scores (game_id TEXT, game_date DATE);
    INSERT INTO box_scores SELECT game_id, game_date FROM schedule;";

#[test]
fn every_configuration_in_the_documents_is_validated_and_run() {
    let mut run = Vec::new();
    for (page, text) in pages() {
        assert!(blocks(&text, "sql").is_empty(), "{page}: SQL by itself is not run; show it in a check's settings");
        let Some(mut example) = example(&text) else { continue };
        match page.as_str() {
            // Its services are elsewhere, and only the host's own keys sign for them.
            "docs/warehouses.md" => in_google_cloud(&page, example),
            "docs/deployments.md" => on_cloud_run_in_two_regions(&page, example),
            // Its record is on a server: the tests of `fleet` run with these lines.
            "docs/fleet.md" => {}
            "docs/plugins.md" => {
                let sample = Sample::new(None).unwrap();
                let key = sample.host(&["keygen", "team-a.key"]).unwrap().out.trim().to_owned();
                fs::copy(plugin("phase2-raw"), sample.path().join("phase2-raw.wasm")).unwrap();
                assert_eq!(sample.host(&["sign", "--key", "team-a.key", "phase2-raw.wasm"]).unwrap().code, 0);
                example["trust"]["keys"][0] = Value::String(key);
                let only = ["--check", "phase2-raw", "phase2-raw.wasm"].map(str::to_owned);
                let ran = tried(&sample, &page, &example, &only);
                assert_eq!(ran.run("phase2-raw")["status"], "pass", "{page}: {ran:?}");
            }
            _ => {
                let sample = Sample::new(None).unwrap();
                sample.sql("shop", SHOP).unwrap();
                sample.sql("league", LEAGUE).unwrap();
                // One grant for a plugin: the sample's check and the page's.
                if let Some(granted) = example.get_mut("grants").and_then(|grants| grants.get_mut("canary-sql")) {
                    for (key, name) in [("warehouse", "nba_predictions"), ("slack", "#canary-alerts")] {
                        granted[key].as_array_mut().unwrap().push(name.into());
                    }
                }
                let ran = tried(&sample, &page, &example, &all_plugins());
                let named = example.get("checks").and_then(Value::as_table).into_iter().flat_map(Table::keys);
                // A definition of many is no check itself.
                for check in named.filter(|name| !name.contains('{')) {
                    assert_eq!(ran.run(check)["status"], "pass", "{page}: {check}: {ran:?}");
                }
            }
        }
        run.push(page);
    }
    run.sort();
    let expected = [
        "alerts",
        "canary-sql",
        "dates",
        "deployments",
        "fleet",
        "gate",
        "operations",
        "pipeline",
        "plugins",
        "proof",
        "slack",
        "warehouses",
    ];
    assert_eq!(run, expected.map(|page| format!("docs/{page}.md")));
}

/// The same as the page says, except for the addresses and the credentials, which are those of doubles.
fn in_google_cloud(page: &str, mut example: Table) {
    let (sample, cloud_run) = on_cloud_run(None, |_| json!({}));
    let bigquery = BigQueryDouble::start().unwrap();
    let double = |toml: String| toml.parse::<Table>().unwrap();
    for (section, toml) in
        [("warehouse", double(bigquery.warehouse())), ("deployments", double(cloud_run.deployments()))]
    {
        let mut doubled = toml[section].as_table().unwrap().clone();
        let endpoint = doubled.remove("endpoint").unwrap();
        // The page names a dataset that is elsewhere, which the checks do not ask.
        if let Some(elsewhere) = example[section].get("locations") {
            doubled.insert("locations".to_owned(), elsewhere.clone());
        }
        assert_eq!(example[section].as_table(), Some(&doubled), "{page}");
        example[section].as_table_mut().unwrap().insert("endpoint".to_owned(), endpoint);
    }
    let google = example["google"].as_table_mut().unwrap();
    assert!(google.remove("key_file").is_some(), "{page}");
    google.insert("credentials".to_owned(), "none".into());
    google.insert("secrets_endpoint".to_owned(), double(bigquery.warehouse())["warehouse"]["endpoint"].clone());
    let mut arguments: Vec<String> = ["phase2-raw", "deployment-drift"]
        .iter()
        .flat_map(|check| ["--check".to_owned(), (*check).to_owned()])
        .collect();
    arguments.extend(all_plugins());
    let ran = tried(&sample, page, &example, &arguments);
    for check in ["phase2-raw", "deployment-drift"] {
        assert_eq!(ran.run(check)["status"], "pass", "{page}: {ran:?}");
    }
    assert!(bigquery.jobs() > 0 && !cloud_run.asked().is_empty(), "{page}: nobody asked them");
}

/// The services and the job that the page names, each in one of its regions; all run the newest commit.
fn on_cloud_run_in_two_regions(page: &str, mut example: Table) {
    let sample = Sample::new(None).unwrap();
    let cloud_run = CloudRunDouble::start().unwrap();
    let newest = host_tests::git(&sample.path().join("repository"), &["rev-parse", "main"], "").unwrap();
    let services = example["checks"]["deployment-drift"]["settings"]["services"].as_array().unwrap();
    for service in services {
        let name = service["name"].as_str().unwrap();
        let minimum = service.get("min_instances").and_then(Value::as_integer).unwrap_or_default() as u32;
        let (region, plain) = name.rsplit_once('/').unwrap_or(("us-west2", name));
        match plain.strip_prefix("job:") {
            Some(job) => cloud_run.job("us-central1", job, newest.trim(), AT, json!({})),
            None => cloud_run.deploy_in(region, plain, Some(newest.trim()), AT, minimum, json!({})),
        }
    }
    example["deployments"].as_table_mut().unwrap().insert("endpoint".to_owned(), cloud_run.address.url().into());
    example.insert("google".to_owned(), "credentials = 'none'".parse::<Table>().unwrap().into());
    let only = ["--check", "deployment-drift"].map(str::to_owned);
    let ran = tried(&sample, page, &example, &[&only[..], &all_plugins()].concat());
    assert_eq!(ran.run("deployment-drift")["summary"], "4 of 4 services in sync", "{page}: {ran:?}");
}
