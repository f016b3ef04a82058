//! The checks of a real pipeline as configuration, tests/sample/pipeline/host.toml: each passes on good data, and fails on
//! the fault that it is for.

use std::fs;

use rusqlite::Connection;
use serde_json::Value;

use crate::{
    support::command::{change, repository},
    tables::Shop,
};

/// Three in the afternoon in New York.
const AT: &str = "2026-02-06T20:00:00Z";
const TODAY: &str = "2026-02-06";
const YESTERDAY: &str = "2026-02-05";

/// Each check with its dataset, what breaks it, and what it says then.
const FAULTS: [(&str, &str, &str, &str); 29] = [
    (
        "phase1-scrapers",
        "nba_raw",
        "DELETE FROM nbac_gamebook_player_stats WHERE game_date >= '2026-02-04'",
        "dates is below its minimum: 0 < 1",
    ),
    (
        "phase2-raw",
        "nba_raw",
        "UPDATE nbac_gamebook_player_stats SET player_name = NULL WHERE game_date = '{yesterday}' AND player_name = 'Player 3'",
        "null_names is above its maximum: 2 > 0",
    ),
    (
        "phase3-analytics",
        "nba_analytics",
        "UPDATE player_game_summary SET minutes = 5 WHERE game_date = '{yesterday}'",
        "avg_minutes is below its minimum: 5 < 15",
    ),
    (
        "phase4-precompute",
        "nba_analytics",
        "UPDATE ml_feature_store_v2 SET missed_cache = 1 WHERE NOT is_ready",
        "missed_percent is above its maximum: 12.5 > 5",
    ),
    (
        "phase3-gap",
        "nba_analytics",
        "DELETE FROM player_game_summary WHERE game_date = '{yesterday}'",
        "gaps is above its maximum: 1 > 0",
    ),
    (
        "phase3-partial",
        "nba_analytics",
        "DELETE FROM player_game_summary WHERE game_id = '{yesterday}-1'",
        "missing_games is above its maximum: 1 > 0",
    ),
    (
        "phase3-duplicates",
        "nba_analytics",
        "INSERT INTO player_game_summary SELECT * FROM player_game_summary WHERE game_id = '2026-01-30-0' LIMIT 3",
        "duplicates_player_lookup_game_id is above its maximum: 3 > 0",
    ),
    (
        "phase5-predictions",
        "nba_predictions",
        "UPDATE predictions SET confidence = 0.2 WHERE game_date = '{today}'",
        "avg_confidence is below its minimum: 0.2 < 0.4",
    ),
    (
        "phase5-gap",
        "nba_predictions",
        "DELETE FROM predictions WHERE game_date = '{today}'",
        "gaps is above its maximum: 1 > 0",
    ),
    (
        "phase5-models",
        "nba_predictions",
        "DELETE FROM predictions WHERE game_date = '{today}' AND model = 'ridge'",
        "silent_models is above its maximum: 1 > 0",
    ),
    (
        "phase6-publishing",
        "nba_predictions",
        "DELETE FROM daily_prediction_signals WHERE game_date = '{today}'",
        "row_count is below its minimum: 0 < 1",
    ),
    (
        "quality-filter",
        "nba_predictions",
        "UPDATE picks SET quality = 'yellow' WHERE game_date = '2026-02-01' AND player_lookup = 'p0-1'",
        "unaccepted_quality is above its maximum: 1 > 0",
    ),
    (
        "quality-distribution",
        "nba_predictions",
        "UPDATE picks SET quality = 'red' WHERE game_date = '{today}'",
        "unaccepted_quality is above its maximum: 5 > 0",
    ),
    (
        "mlb-predictions",
        "mlb",
        "DELETE FROM predictions WHERE game_date = '{today}' AND player_lookup > 'b1'",
        "row_count is below its minimum: 2 < 3",
    ),
    (
        "mlb-publishing",
        "mlb",
        "UPDATE predictions SET is_published = 0 WHERE game_date = '{today}'",
        "published_share is below its minimum: 0 < 0.001",
    ),
    (
        "mlb-drought",
        "mlb",
        "UPDATE predictions SET is_published = 0 WHERE game_date IN ('{yesterday}', '2026-02-02')",
        "dry_days is above its maximum: 2 > 1",
    ),
    (
        "signal-health",
        "nba_predictions",
        "DELETE FROM daily_prediction_signals WHERE game_date > '2026-02-03'",
        "days_old is above its maximum: 3 > 2",
    ),
    (
        "pick-drought",
        "nba_predictions",
        "DELETE FROM picks WHERE game_date IN ('{yesterday}', '2026-02-03')",
        "dry_days is above its maximum: 2 > 1",
    ),
    (
        "filter-audit",
        "nba_predictions",
        "UPDATE filter_audit SET passed = 0 WHERE game_date IN ('{yesterday}', '2026-02-04')",
        "jammed is above its maximum: 2 > 1",
    ),
    (
        "registry-blocked",
        "nba_predictions",
        "UPDATE model_registry SET is_blocked = 1, is_healthy = 0 WHERE model = 'ridge'",
        "blocked is above its maximum: 1 > 0",
    ),
    (
        "model-recovery",
        "nba_predictions",
        "UPDATE model_registry SET is_blocked = 1, is_enabled = 0 WHERE model = 'ridge'",
        "kept_out is above its maximum: 1 > 0",
    ),
    (
        "candidates-today",
        "nba_predictions",
        "DELETE FROM candidates WHERE game_date = '{today}'",
        "overdue is above its maximum: 1 > 0",
    ),
    (
        "grading-freshness",
        "nba_predictions",
        "DELETE FROM grades WHERE game_date = '{yesterday}'",
        "ungraded_days is above its maximum: 1 > 0",
    ),
    (
        "edge-collapse",
        "nba_predictions",
        "UPDATE predictions SET predicted = line + 0.5 WHERE game_date = '{today}' AND model = 'xgboost'",
        "collapsed is above its maximum: 1 > 0",
    ),
    (
        "new-model",
        "nba_predictions",
        "DELETE FROM predictions WHERE game_date = '{today}' AND model = 'ridge'",
        "silent_new_models is above its maximum: 1 > 0",
    ),
    (
        "closing-lines",
        "nba_raw",
        "DELETE FROM closing_lines WHERE game_id = '{yesterday}-1'",
        "covered_percent is below its minimum: 50 < 90",
    ),
    (
        "fleet-diversity",
        "nba_predictions",
        "UPDATE model_registry SET is_enabled = 0 WHERE family = 'linear'",
        "families is below its minimum: 1 < 2",
    ),
    (
        "duplicate-groups",
        "mlb",
        "INSERT INTO plate_appearances SELECT * FROM plate_appearances WHERE game_date IN ('{yesterday}', '2026-02-04')",
        "duplicate_groups is above its maximum: 96 > 50",
    ),
    (
        "signal-firing",
        "nba_predictions",
        "DELETE FROM daily_prediction_signals WHERE game_date > '2026-01-30'",
        "change_percent is below its minimum: -85.0649 < -70",
    ),
];

fn dated(sql: &str) -> String {
    sql.replace("{today}", TODAY).replace("{yesterday}", YESTERDAY)
}

/// The warehouse of data.sql, beside the configuration.
fn pipeline() -> Shop {
    let shop = Shop::new("");
    fs::remove_file(shop.path().join("warehouse/shop.db")).unwrap();
    let sample = repository().join("tests/sample/pipeline");
    fs::copy(sample.join("host.toml"), shop.path().join("host.toml")).unwrap();
    let count = |name: &str, of: &str, below: u32| {
        let n = format!("WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x + 1 < {below})");
        format!("({n} SELECT {of} AS {name} FROM n)")
    };
    let sql = fs::read_to_string(sample.join("data.sql")).unwrap();
    let sql = sql
        .replace("{days}", &count("day", &format!("date('{TODAY}', '-' || x || ' days')"), 30))
        .replace("{games}", &count("game", "x", 2))
        .replace("{players}", &count("player", "x", 24))
        .replace("{models}", "(SELECT 'catboost' AS model UNION ALL SELECT 'xgboost' UNION ALL SELECT 'ridge')");
    for part in dated(&sql).split("\n-- @ ").skip(1) {
        let (dataset, tables) = part.split_once('\n').unwrap();
        Connection::open(shop.path().join(format!("warehouse/{dataset}.db"))).unwrap().execute_batch(tables).unwrap();
    }
    shop
}

fn run(shop: &Shop, more: &[&str]) -> Value {
    let ended = shop.host(&[&["run", "--once", "--output", "json"], more].concat());
    assert!(ended.out.starts_with('{'), "{ended:?}");
    ended.json()
}

#[test]
fn each_check_passes_on_good_data_and_fails_on_its_fault() {
    let shop = pipeline();
    let round = run(&shop, &["--at", AT]);
    let runs = round["runs"].as_array().unwrap();
    assert!(runs.iter().all(|run| run["status"] == "pass"), "{round:#}");
    let mut checked: Vec<&str> = FAULTS.iter().map(|(check, ..)| *check).chain(["source-gamebook"]).collect();
    checked.sort_unstable();
    assert_eq!(runs.iter().map(|run| run["check"].as_str().unwrap()).collect::<Vec<_>>(), checked);

    let place = |dataset: &str| shop.path().join(format!("warehouse/{dataset}.db"));
    for (check, dataset, fault, said) in FAULTS {
        let good = fs::read(place(dataset)).unwrap();
        change(shop.path(), dataset, &dated(fault)).unwrap();
        let broken = &run(&shop, &["--at", AT, "--check", check])["runs"][0];
        let messages: Vec<_> =
            broken["violations"].as_array().into_iter().flatten().map(|one| &one["message"]).collect();
        assert!(broken["status"] == "fail" && messages.contains(&&said.into()), "{check}: {broken:#}");
        fs::write(place(dataset), good).unwrap();
    }
}

/// A source that brings a tenth of the usual, and one that goes dark: against the dates that were good.
#[test]
fn a_source_is_compared_with_its_good_dates() {
    let shop = pipeline();
    for date in ["2026-01-31", "2026-02-01", "2026-02-02", "2026-02-03", "2026-02-04"] {
        assert_eq!(run(&shop, &["--check", "source-gamebook", "--date", date])["runs"][0]["status"], "pass", "{date}");
    }
    let few = "DELETE FROM nbac_gamebook_player_stats WHERE game_date = '{yesterday}' AND player_name > 'Player 1'";
    change(shop.path(), "nba_raw", &dated(few)).unwrap();
    let broken = &run(&shop, &["--check", "source-gamebook", "--at", AT])["runs"][0];
    let said = "records_change is below its minimum: -91.6667 % < -70 % (4, against a median of 48 on 2026-02-04, 2026-02-03 and 3 more \
        good dates)";
    assert_eq!(broken["violations"][0]["message"], said, "{broken:#}");
    change(shop.path(), "nba_raw", "DELETE FROM nbac_gamebook_player_stats WHERE game_date > '2026-02-02'").unwrap();
    let dark = &run(&shop, &["--check", "source-gamebook", "--at", AT])["runs"][0];
    assert!(dark["summary"].as_str().unwrap().contains("dark_days is above its maximum: 3 > 2"), "{dark:#}");
}
