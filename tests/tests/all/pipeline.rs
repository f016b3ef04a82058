//! The checks of a real pipeline as configuration, tests/sample/pipeline/host.toml: each passes on good data, fails on its own
//! fault, and is skipped on a day without games, but never because the schedule is not loaded.

use std::{collections::BTreeMap, fs};

use jiff::{Zoned, civil::Date};
use rusqlite::Connection;
use serde_json::Value;
use toml::Table;

use crate::{
    support::{
        command::Ended,
        pipeline::{change_on, host_toml, make},
    },
    tables::Shop,
};

/// Three in the afternoon in New York.
const AT: &str = "2026-02-06T20:00:00Z";
const TODAY: Date = jiff::civil::date(2026, 2, 6);
/// Expected 24 hours after its date, so nobody is told at that time.
const PENDING: &str = "output-plate_appearances";

/// What breaks the data in one round, and which checks say so; all others pass.
struct Round {
    /// Statements, by dataset.
    faults: &'static [(&'static str, &'static str)],
    /// Each check with one of its violations, and with the names that it shows.
    found: &'static [(&'static str, &'static str, &'static [&'static str])],
}

/// The data is there, and something is wrong with it.
const WRONG: Round = Round {
    faults: &[
        (
            "nba_raw",
            "UPDATE nbac_gamebook_player_stats SET player_name = NULL WHERE game_date = '{yesterday}' AND player_name = 'Player 3'",
        ),
        ("nba_raw", "DELETE FROM closing_lines WHERE game_id = '{yesterday}-1'"),
        ("nba_raw", "UPDATE live_scores SET scraped = '{today} 19:45:00 UTC'"),
        ("nba_raw", "DELETE FROM nbac_team_boxscore WHERE game_date = '{yesterday}' AND record % 2"),
        ("nba_analytics", "UPDATE player_game_summary SET minutes = 5 WHERE game_date = '{yesterday}'"),
        ("nba_analytics", "UPDATE ml_feature_store_v2 SET missed_cache = 1 WHERE NOT is_ready"),
        (
            "nba_analytics",
            "INSERT INTO player_game_summary SELECT * FROM player_game_summary WHERE game_id = '2026-01-30-0' LIMIT 3",
        ),
        ("nba_predictions", "UPDATE predictions SET confidence = 0.2 WHERE game_date = '{today}'"),
        (
            "nba_predictions",
            "UPDATE predictions SET predicted = line + 0.5 WHERE game_date = '{today}' AND model = 'xgboost'",
        ),
        (
            "nba_predictions",
            "UPDATE picks SET quality = 'yellow' WHERE game_date = '2026-02-01' AND player_lookup = 'p0-1'",
        ),
        ("nba_predictions", "UPDATE picks SET quality = 'red' WHERE game_date = '{today}'"),
        ("nba_predictions", "UPDATE daily_prediction_signals SET pct_over = NULL WHERE game_date = '{today}'"),
        ("nba_predictions", "DELETE FROM candidates WHERE game_date = '{today}'"),
        ("nba_predictions", "UPDATE filter_audit SET passed = 0 WHERE game_date IN ('{yesterday}', '2026-02-04')"),
        ("nba_predictions", "UPDATE model_registry SET is_blocked = 1 WHERE model = 'ridge'"),
        ("nba_predictions", "UPDATE model_registry SET family = 'trees'"),
        ("nba_reference", "UPDATE worker_heartbeats SET beat = '{today} 19:40:00 UTC' WHERE worker = 'worker-1'"),
        ("mlb", "DELETE FROM predictions WHERE game_date = '{today}' AND player_lookup > 'b1'"),
        ("mlb", "UPDATE predictions SET is_published = 0 WHERE game_date IN ('{yesterday}', '2026-02-04')"),
        (
            "mlb",
            "INSERT INTO plate_appearances SELECT * FROM plate_appearances WHERE game_date IN ('{yesterday}', '2026-02-04')",
        ),
    ],
    found: &[
        ("candidates-today", "overdue is above its maximum: 1 > 0", &[]),
        ("closing-lines", "covered_percent is below its minimum: 50 < 90", &["2026-02-05-1"]),
        ("duplicate-groups", "duplicate_groups is above its maximum: 96 > 50", &["2026-02-04-0", "b10"]),
        ("edge-collapse", "collapsed is above its warning maximum: 1 > 0", &["xgboost"]),
        ("filter-audit", "jammed is above its maximum: 2 > 1", &["2026-02-04", "2026-02-05"]),
        ("fleet-diversity", "families is below its minimum: 1 < 2", &[]),
        ("live-scores", "minutes_old is above its maximum: 15 > 10", &[]),
        ("mlb-phase5-predictions", "row_count is below its minimum: 2 < 3", &[]),
        ("mlb-pick-drought", "dry_days is above its maximum: 2 > 1", &["2026-02-04", "2026-02-05"]),
        ("model-recovery", "kept_out is above its maximum: 1 > 0", &["ridge"]),
        ("phase2-raw", "null_names is above its maximum: 2 > 0", &[]),
        ("phase3-analytics", "avg_minutes is below its minimum: 5 < 15", &[]),
        (
            "phase3-duplicates",
            "duplicates_player_lookup_game_id is above its maximum: 3 > 0",
            &["p0-2", "2026-01-30-0"],
        ),
        ("phase4-precompute", "missed_percent is above its maximum: 12.5 > 5", &[]),
        ("phase5-predictions", "avg_confidence is below its minimum: 0.2 < 0.4", &[]),
        ("phase6-publishing", "null_percent_pct_over is above its maximum: 100 % > 0 %", &["GREEN"]),
        ("quality-distribution", "unaccepted_quality is above its maximum: 5 > 0", &["red"]),
        ("quality-filter", "unaccepted_quality is above its maximum: 1 > 0", &["yellow"]),
        ("registry-blocked", "blocked is above its maximum: 1 > 0", &["ridge"]),
        ("source-nbac_team_boxscore", "records is below its minimum: 3 < 4", &[]),
        ("workers", "dead is above its maximum: 1 > 0", &["worker-1"]),
    ],
};

/// A part of the data is missing.
const PARTIAL: Round = Round {
    faults: &[
        ("nba_analytics", "DELETE FROM player_game_summary WHERE game_id = '{yesterday}-1'"),
        ("nba_predictions", "DELETE FROM predictions WHERE game_date = '{today}' AND model = 'ridge'"),
        (
            "nba_predictions",
            "UPDATE predictions SET predicted = line + 0.5 WHERE game_date = '{today}' AND model = 'xgboost'",
        ),
        ("mlb", "UPDATE predictions SET is_published = 0 WHERE game_date = '{today}'"),
    ],
    found: &[
        ("edge-collapse", "healthy is below its minimum: 1 < 2", &["xgboost"]),
        ("mlb-phase6-publishing", "published_share is below its minimum: 0 < 0.001", &[]),
        ("new-model", "silent_new_models is above its maximum: 1 > 0", &["ridge"]),
        ("phase3-partial", "missing_games is above its maximum: 1 > 0", &["2026-02-05-1"]),
        ("phase5-models", "silent_models is above its maximum: 1 > 0", &["ridge"]),
    ],
};

/// The data did not come, for one day or for three.
const MISSING: Round = Round {
    faults: &[
        ("nba_raw", "DELETE FROM {source} WHERE game_date > '2026-02-02'"),
        ("nba_raw", "DELETE FROM closing_lines WHERE game_date = '{yesterday}'"),
        ("nba_analytics", "DELETE FROM player_game_summary WHERE game_date = '{yesterday}'"),
        ("nba_analytics", "DELETE FROM ml_feature_store_v2 WHERE game_date = '{yesterday}'"),
        ("nba_predictions", "DELETE FROM predictions WHERE game_date >= '{yesterday}'"),
        ("nba_predictions", "DELETE FROM candidates WHERE game_date = '{yesterday}'"),
        ("nba_predictions", "DELETE FROM daily_prediction_signals WHERE game_date > '2026-01-30'"),
        ("nba_predictions", "DELETE FROM picks WHERE game_date IN ('{yesterday}', '2026-02-03')"),
        ("nba_predictions", "DELETE FROM grades WHERE game_date = '{yesterday}'"),
        ("nba_predictions", "DELETE FROM filter_audit WHERE game_date IN ('{yesterday}', '2026-02-03')"),
        ("mlb", "DELETE FROM predictions WHERE game_date = '{today}'"),
        ("mlb", "DELETE FROM plate_appearances WHERE game_date = '{yesterday}'"),
    ],
    found: &[
        ("closing-lines", "covered_percent is below its minimum: 0 < 90", &["2026-02-05-0", "2026-02-05-1"]),
        ("edge-collapse", "healthy is below its minimum: 0 < 2", &[]),
        ("filter-audit", "jammed is above its maximum: 2 > 1", &["2026-02-03", "2026-02-05"]),
        ("grading-freshness", "ungraded_days is above its maximum: 1 > 0", &["2026-02-05"]),
        ("mlb-phase5-gap", "row_count is below its minimum: 0 < 1", &[]),
        ("mlb-phase5-predictions", "row_count is below its minimum: 0 < 3", &[]),
        ("mlb-phase6-publishing", "published_share has no value (required: at least 0.001)", &[]),
        ("new-model", "silent_new_models is above its maximum: 3 > 0", &["catboost", "ridge", "xgboost"]),
        ("output-candidates", "row_count is below its minimum: 0 < 1", &[]),
        ("output-closing_lines", "row_count is below its minimum: 0 < 1", &[]),
        ("output-daily_prediction_signals", "row_count is below its minimum: 0 < 1", &[]),
        ("output-filter_audit", "row_count is below its minimum: 0 < 1", &[]),
        ("output-grades", "row_count is below its minimum: 0 < 1", &[]),
        ("output-ml_feature_store_v2", "row_count is below its minimum: 0 < 1", &[]),
        ("output-picks", "row_count is below its minimum: 0 < 1", &[]),
        ("output-plate_appearances", "row_count is below its minimum: 0 < 1", &[]),
        ("output-player_game_summary", "row_count is below its minimum: 0 < 1", &[]),
        ("output-predictions", "row_count is below its minimum: 0 < 1", &[]),
        ("phase1-scrapers", "dates is below its minimum: 0 < 1", &[]),
        ("phase2-raw", "games is below its minimum: 0 < 2", &[]),
        ("phase3-analytics", "records is below its minimum: 0 < 20", &[]),
        ("phase3-gap", "row_count is below its minimum: 0 < 1", &[]),
        ("phase3-partial", "missing_games is above its maximum: 2 > 0", &["2026-02-05-0", "2026-02-05-1"]),
        ("phase4-precompute", "players is below its minimum: 0 < 20", &[]),
        ("phase5-gap", "row_count is below its minimum: 0 < 1", &[]),
        ("phase5-models", "silent_models is above its maximum: 3 > 0", &["catboost", "ridge", "xgboost"]),
        ("phase5-predictions", "row_count is below its minimum: 0 < 50", &[]),
        ("phase6-publishing", "row_count is below its minimum: 0 < 1", &[]),
        ("pick-drought", "dry_days is above its maximum: 2 > 1", &["2026-02-03", "2026-02-05"]),
        ("signal-firing", "change_percent is below its minimum: -85.7143 < -70", &[]),
        ("signal-health", "days_old is above its maximum: 7 > 2", &[]),
        ("source-bdl_player_boxscores", "dark_days is above its maximum: 3 > 2", &[]),
        ("source-bettingpros_player_points_props", "dark_days is above its maximum: 3 > 2", &[]),
        ("source-bigdataball_play_by_play", "records is below its minimum: 0 < 500", &[]),
        ("source-espn_boxscores", "dark_days is above its maximum: 3 > 2", &[]),
        ("source-nbac_gamebook_player_stats", "dark_days is above its maximum: 3 > 2", &[]),
        ("source-nbac_injury_report", "records is below its minimum: 0 < 10", &[]),
        ("source-nbac_play_by_play", "records is below its minimum: 0 < 500", &[]),
        ("source-nbac_referee_game_assignments", "records is below its minimum: 0 < 3", &[]),
        ("source-nbac_team_boxscore", "dark_days is above its maximum: 3 > 2", &[]),
        ("source-odds_api_game_lines", "dark_days is above its maximum: 3 > 2", &[]),
        ("source-odds_api_player_points_props", "records is below its minimum: 0 < 60", &[]),
    ],
};

/// The pipeline on one date: its configuration and its tables.
struct Pipeline {
    shop: Shop,
    today: Date,
}

impl Pipeline {
    /// On a good afternoon, as in data.sql. Only `host validate` validates the checks.
    fn new(today: Date) -> Self {
        let shop = Shop::new("");
        fs::remove_file(shop.path().join("warehouse/shop.db")).unwrap();
        make(shop.path(), today);
        Self { shop, today }
    }

    /// Changes a dataset, or does so for each of the sources.
    fn change(&self, dataset: &str, sql: &str) {
        change_on(self.shop.path(), self.today, dataset, sql);
    }

    /// Nothing is played, and nothing comes, from 30 January to this date.
    fn pause(&self, until: &str) {
        for dataset in ["mlb", "nba_analytics", "nba_predictions", "nba_raw", "nba_reference"] {
            let place = self.shop.path().join(format!("warehouse/{dataset}.db"));
            let dated = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%game_date%'";
            let tables: Vec<String> = {
                let connection = Connection::open(place).unwrap();
                let mut tables = connection.prepare(dated).unwrap();
                tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
            };
            for table in tables {
                self.change(
                    dataset,
                    &format!("DELETE FROM {table} WHERE game_date BETWEEN '2026-01-30' AND '{until}'"),
                );
            }
        }
    }

    fn run(&self, more: &[&str]) -> Ended {
        let ended = self.shop.host(&[&["run", "--once", "--output", "json"], more].concat());
        assert!(ended.out.starts_with('{'), "{ended:?}");
        ended
    }

    /// The checks that can be skipped, each with the reason for it.
    fn skips(&self) -> BTreeMap<String, String> {
        let plan = self.shop.host(&["plan", "--output", "json"]).json();
        let checks = plan["checks"].as_array().unwrap().iter();
        let skips = checks.filter(|check| !check["skip"].is_null());
        skips.map(|check| (text(&check["check"]), text(&check["skip"]["when"]["why"]))).collect()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The runs that did not pass, by check.
fn found(ended: &Ended) -> BTreeMap<String, Value> {
    let round = ended.json();
    let runs = round["runs"].as_array().unwrap().iter().filter(|run| run["status"] != "pass");
    runs.map(|run| (text(&run["check"]), run.clone())).collect()
}

#[test]
fn each_check_passes_on_good_data_and_fails_on_its_fault() {
    let good = Pipeline::new(TODAY).run(&["--at", AT]);
    assert!(good.code == 0 && found(&good).is_empty(), "{:#?}", found(&good));
    let mut failed: Vec<String> = Vec::new();
    for round in [WRONG, PARTIAL, MISSING] {
        let pipeline = Pipeline::new(TODAY);
        for (dataset, sql) in round.faults {
            pipeline.change(dataset, sql);
        }
        let ended = pipeline.run(&["--at", AT]);
        let found = found(&ended);
        let expected: Vec<&str> = round.found.iter().map(|(check, ..)| *check).collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), expected, "{found:#?}");
        for (check, violation, names) in round.found {
            let run = &found[*check];
            let warns = violation.contains("warning");
            assert_eq!(run["status"], if warns { "warn" } else { "fail" }, "{run:#}");
            let violations = run["violations"].as_array().unwrap();
            assert!(violations.iter().any(|one| one["message"] == *violation), "{check}: {run:#}");
            let rows = run["evidence"].to_string();
            for name in *names {
                assert!(rows.contains(&format!("\"{name}\"")), "{check}: {name}: {rows}");
            }
            // The message has them too, below the check's name.
            let message = ended.err.split(&format!("│ {check}\n")).nth(1).unwrap_or_default();
            let message = message.split("\n│\n").next().unwrap_or_default();
            assert_eq!(message.contains(violation), *check != PENDING, "{check}: {}", ended.err);
            assert!(names.iter().all(|name| message.contains(name)), "{check}: {message}");
        }
        failed.extend(expected.into_iter().map(str::to_owned));
    }
    failed.sort_unstable();
    failed.dedup();
    let all = good.json();
    let all: Vec<String> = all["runs"].as_array().unwrap().iter().map(|run| text(&run["check"])).collect();
    assert_eq!(failed, all, "each check has a fault");
}

/// A break is a reason, which is recorded; an empty schedule, or one that nobody loaded since, is none.
#[test]
fn a_break_is_skipped_but_not_a_schedule_that_is_not_loaded() {
    let pipeline = Pipeline::new(TODAY);
    let skips = pipeline.skips();
    pipeline.pause("2026-02-06");
    let ended = pipeline.run(&["--at", AT]);
    let skipped = found(&ended);
    assert!(ended.code == 0 && skipped.keys().eq(skips.keys()), "{skipped:#?}");
    for (check, run) in &skipped {
        assert_eq!(run["status"], "skip", "{run:#}");
        assert_eq!(run["summary"], format!("skipped: {} (skip_when)", skips[check]), "{run:#}");
    }

    // Nobody loaded the second sport's schedule for three days, and the first one's is empty.
    pipeline.change("nba_reference", "DELETE FROM nba_schedule");
    pipeline.change("mlb", "UPDATE schedule SET loaded = '2026-02-03 10:00:00 UTC'");
    let ended = pipeline.run(&["--at", AT]);
    let mut unknown = found(&ended);
    for (check, violation) in [
        ("filter-audit", "days is below its minimum: 0 < 3"),
        ("grading-freshness", "days is below its minimum: 0 < 2"),
    ] {
        assert_eq!(unknown.remove(check).unwrap()["violations"][0]["message"], violation);
    }
    assert!(unknown.keys().eq(skips.keys()), "{unknown:#?}");
    for (check, run) in &unknown {
        let error = text(&run["error"]);
        assert!(run["status"] == "error" && error.starts_with("its data is not loaded yet"), "{check}: {run:#}");
    }
}

/// The first games after a break are judged, and nothing that the break did is held against them.
#[test]
fn the_first_games_after_a_break_pass() {
    let pipeline = Pipeline::new(TODAY);
    pipeline.pause("2026-02-04");
    let ended = pipeline.run(&["--at", AT]);
    assert!(ended.code == 0 && found(&ended).is_empty(), "{:#?}", found(&ended));
}

/// Tonight's predictions are pending until 14:00 in New York, and are a failure then.
#[test]
fn tonights_predictions_are_expected_by_14() {
    let pipeline = Pipeline::new(TODAY);
    pipeline.change("nba_predictions", "DELETE FROM predictions WHERE game_date = '{today}'");
    for (at, told) in [("2026-02-06T18:59:00Z", false), ("2026-02-06T19:00:00Z", true)] {
        let ended = pipeline.run(&["--at", at]);
        let late = found(&ended);
        let expected = ["edge-collapse", "new-model", "phase5-gap", "phase5-models", "phase5-predictions"];
        assert!(late.keys().eq(expected), "{at}: {late:#?}");
        for check in expected {
            assert_eq!(ended.err.contains(&format!("│ {check}\n")), told, "{at}: {check}: {}", ended.err);
        }
    }
}

/// A source that brings a quarter of the usual: against the dates that were good.
#[test]
fn a_source_is_compared_with_its_good_dates() {
    let pipeline = Pipeline::new(TODAY);
    let source = "source-odds_api_game_lines";
    let run = |more: &[&str]| pipeline.run(&[&["--check", source], more].concat()).run(source);
    for date in ["2026-01-31", "2026-02-01", "2026-02-02", "2026-02-03", "2026-02-04"] {
        assert_eq!(run(&["--date", date])["status"], "pass", "{date}");
    }
    for _ in 0..2 {
        pipeline.change("nba_raw", "INSERT INTO odds_api_game_lines SELECT * FROM odds_api_game_lines");
    }
    pipeline.change(
        "nba_raw",
        "DELETE FROM odds_api_game_lines WHERE game_date = '{yesterday}';
         INSERT INTO odds_api_game_lines SELECT '{yesterday}', record FROM odds_api_game_lines LIMIT 4",
    );
    let broken = run(&["--at", AT]);
    let said = "records_change is below its minimum: -80 % < -70 % (4, against a median of 20 on 2026-02-04, \
        2026-02-03 and 3 more good dates)";
    assert_eq!(broken["summary"], said, "{broken:#}");
}

/// `host validate` has nothing to refuse, and `host plan` shows each check that a definition made.
#[test]
fn the_configuration_is_valid_and_the_plan_shows_each_check() {
    // `host validate` asks about today.
    let pipeline = Pipeline::new(Zoned::now().date());
    let validated = pipeline.shop.host(&["validate", "--output", "json"]);
    assert_eq!(validated.code, 0, "{validated:?}");
    let validated = validated.json();
    // Over several dates, other checks see to it that there are rows.
    let empty = "it passes when its tables are empty; if it should not, add `row_count = { min = 1 }` to its settings";
    let remarks = [("phase3-duplicates", empty), ("quality-filter", empty)];
    let mut found: Vec<(String, String)> = Vec::new();
    for check in validated["checks"].as_array().unwrap() {
        for finding in check["findings"].as_array().unwrap() {
            found.push((text(&check["check"]), text(&finding["text"])));
        }
    }
    assert_eq!(found, remarks.map(|(check, said)| (check.to_owned(), said.to_owned())), "{validated:#}");

    let plan = pipeline.shop.host(&["plan", "--output", "json"]).json();
    let mut made: BTreeMap<String, usize> = BTreeMap::new();
    for check in plan["checks"].as_array().unwrap() {
        let by = check["made_by"].as_str().unwrap_or_default();
        *made.entry(by.split(" with ").next().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let expected = [
        ("", 28),
        ("checks.\"output-{table}\"", 10),
        ("checks.\"source-{table}\"", 11),
        ("checks.\"{of}phase5-gap\"", 2),
        ("checks.\"{of}pick-drought\"", 2),
    ];
    assert_eq!(made, BTreeMap::from(expected.map(|(by, count)| (by.to_owned(), count))), "{plan:#}");
}

/// `cargo test -p host-tests --test all pipeline::lines -- --nocapture` prints the table: the lines of TOML of a definition,
/// without comments and empty lines, and how many checks it makes.
#[test]
#[allow(clippy::print_stdout)]
fn lines_of_each_check_are_few() {
    let toml: Table = host_toml().parse().unwrap();
    let mut lines: BTreeMap<String, usize> = BTreeMap::new();
    let mut current = None;
    for line in host_toml().lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            let key: Table = format!("{line}\n").parse().unwrap();
            current = key.get("checks").and_then(|checks| checks.as_table()?.keys().next().cloned());
        }
        if let Some(check) = &current {
            *lines.entry(check.clone()).or_default() += 1;
        }
    }
    let mut all = 0;
    println!("{:24} {:>5} {:>6}", "definition", "lines", "checks");
    for (definition, count) in &lines {
        let elements = toml["checks"][definition].get("for_each").and_then(|each| each.as_array().map(Vec::len));
        let checks = elements.unwrap_or(1);
        all += checks;
        println!("{definition:24} {count:>5} {checks:>6}");
        assert!(*count <= 30, "{definition}: {count} lines");
    }
    let total: usize = lines.values().sum();
    println!("{:24} {total:>5} {all:>6}", "all");
    assert!(total / all <= 10, "{total} lines for {all} checks");
}
