//! A check proves itself: backtests, tuned limits, mutants, labels and the report.

use std::{fs, path::PathBuf};

use host_tests::season::{Wrong, season};
use jiff::civil::{Date, date};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::command::{Ended, Sample, guest, shipped};

/// The first date of the past.
const FIRST: Date = date(2025, 9, 1);
/// The host.toml of a longer past: games are scheduled or the checks are skipped.
const HOST_TOML: &str = r##"
timezone = "America/New_York"
[slack]
deliver = "console"
[warehouse]
kind = "sqlite"
path = "warehouse"
[state]
keep = "40000d"
[record]
answers = "40000d"

# Box scores.
[checks.phase2-raw]
skip_when = "SELECT COUNT(*) = 0 FROM nba_reference.nba_schedule WHERE game_date = @date"
skip_at_most = "never"
KNOWN
[checks.phase2-raw.settings]
min_player_records = 10 # guessed
[grants.phase2-raw]
warehouse = ["nba_raw", "nba_reference"]
slack = ["#canary-alerts"]
"##;

/// A sample with a longer past, and its host.toml with more keys of the check.
fn past(days: i64, wrong: &[(Date, Wrong)], more: &str) -> Sample {
    let sample = Sample::new(None).unwrap();
    let warehouse = sample.path().join("warehouse");
    fs::remove_dir_all(&warehouse).unwrap();
    season(&warehouse, 7, FIRST, days, wrong).unwrap();
    sample.configure(&HOST_TOML.replace("KNOWN", more)).unwrap();
    sample
}

fn plugin(name: &str) -> PathBuf {
    let all = shipped().unwrap();
    all.into_iter().find(|path| path.ends_with(format!("{name}.wasm"))).unwrap()
}

fn host(sample: &Sample, arguments: &[&str]) -> Ended {
    let file = plugin("phase2-raw");
    let (command, rest) = arguments.split_first().unwrap();
    let check: Vec<&str> = rest.first().filter(|first| !first.starts_with('-')).copied().into_iter().collect();
    let rest = &rest[check.len()..];
    // A record must be there for answers to be kept.
    let file = file.to_str().unwrap();
    let plugins: &[&str] = if check.is_empty() { &[] } else { &[file] };
    sample.host(&[&[*command], check.as_slice(), plugins, rest].concat()).unwrap()
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {} {}", ended.out, ended.err))
}

/// Runs the check once, so that there is a record.
fn recorded(sample: &Sample) {
    let file = plugin("phase2-raw");
    let once = ["run", "--once", "--date", "2025-10-01", file.to_str().unwrap()];
    let ended = sample.host(&once).unwrap();
    assert!(ended.code <= 3, "{}", ended.err);
}

fn record(sample: &Sample) -> Connection {
    Connection::open(sample.path().join("state/host.db")).unwrap()
}

#[test]
fn a_backtest_shows_what_a_check_says_of_past_dates() {
    let bad = date(2025, 10, 8);
    let sample = past(60, &[(bad, Wrong::NoBoxScores), (date(2025, 10, 9), Wrong::NamesMissing)], "");
    let tried =
        host(&sample, &["backtest", "phase2-raw", "--from", "2025-09-15", "--to", "2025-10-14", "--html", "page.html"]);
    assert_eq!(tried.code, 1, "{}", tried.err);
    for line in [
        "2025-09                ················",
        "2025-10  ·······FF·····",
        "player_records",
        "2025-10-08  1      fail    games is below its minimum: 0 < 2; player_records is below its minimum: 0 < 10",
        "phase2-raw: 30 dates: 2 failed, 28 passed.",
        "People would have got 2 messages:",
    ] {
        assert!(tried.out.contains(line), "{line}: {}", tried.out);
    }
    let page = fs::read_to_string(sample.path().join("page.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("player_records") && !page.contains("<script"), "{page}");
    // Other settings, and nothing is recorded as a run.
    let other = ["--set", "min_player_records=1", "--set", "min_games=0", "--set", "max_null_player_names=1000"];
    let all = [&["backtest", "phase2-raw", "--from", "2025-09-15", "--to", "2025-10-14"][..], &other].concat();
    let tried = host(&sample, &all);
    assert_eq!((tried.code, tried.out.contains("1 failed, 29 passed")), (1, true), "{}", tried.out);
    let ended = host(&sample, &["backtest", "phase2-raw", "--from", "2999-01-01"]);
    assert_eq!(ended.code, 64, "{}", ended.err);
    let ended = host(&sample, &["backtest", "phase2-rw", "--from", "2025-09-15"]);
    assert!(ended.code == 64 && ended.err.contains("did you mean `phase2-raw`"), "{}", ended.err);
}

#[test]
fn known_dates_are_a_test() {
    let bad = date(2025, 10, 8);
    let sample = past(
        60,
        &[(bad, Wrong::NoBoxScores)],
        "known_bad = [\"2025-10-08 no box scores\"]\nknown_good = [\"2025-10-07\"]",
    );
    let file = plugin("phase2-raw");
    let file = file.to_str().unwrap();
    let known = |more: &[&str]| {
        let all = [&["backtest", "phase2-raw", file, "--known"][..], more].concat();
        sample.host(&all).unwrap()
    };
    let tried = known(&[]);
    assert_eq!(tried.code, 0, "{} {}", tried.out, tried.err);
    assert!(tried.out.contains("2 known dates: each is as it is known."), "{}", tried.out);
    let blind = known(&["--set", "min_player_records=0", "--set", "min_games=0", "--output", "junit"]);
    assert_eq!(blind.code, 1, "{} {}", blind.out, blind.err);
    assert!(blind.out.contains("it was bad, and the check says pass"), "{}", blind.out);
    let strict = known(&["--set", "min_player_records=100000", "--output", "json"]);
    let found = json(&strict);
    assert_eq!((strict.code, &found["checks"][0]["known"][1]["as_known"]), (1, &Value::Bool(false)));
    let twice = sample.path().join("host.toml");
    let text =
        fs::read_to_string(&twice).unwrap().replace("known_good = [\"2025-10-07\"]", "known_good = [\"2025-10-08\"]");
    sample.configure(&text).unwrap();
    let ended = known(&[]);
    assert!(ended.code == 64 && ended.err.contains("2025-10-08 is named twice"), "{}", ended.err);
}

/// What was asked is kept: the next time only the rest is asked.
#[test]
fn a_backtest_goes_on_where_it_was() {
    let sample = past(60, &[], "");
    recorded(&sample);
    let until = |to: &str| host(&sample, &["backtest", "phase2-raw", "--from", "2025-09-15", "--to", to]);
    assert_eq!(until("2025-09-20").code, 0);
    let kept: i64 = record(&sample).query_row("SELECT COUNT(*) FROM backtests", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 6);
    // As if the warehouse had changed: kept dates are not asked about.
    sample.sql("nba_raw", "DELETE FROM nbac_player_boxscore").unwrap();
    let on = until("2025-09-22");
    assert!(on.out.contains("9 dates") || on.out.contains("8 dates: 2 failed, 6 passed."), "{}", on.out);
    assert!(on.out.contains("6 of the dates were asked about in the last day"), "{}", on.out);
    let again = host(&sample, &["backtest", "phase2-raw", "--from", "2025-09-15", "--to", "2025-09-20", "--again"]);
    assert!(again.out.contains("6 dates: 6 failed."), "{}", again.out);
}

#[test]
fn limits_are_tuned_on_earlier_dates_and_reported_on_later_ones() {
    let sample =
        past(250, &[(date(2025, 10, 8), Wrong::HalfOfTheGames)], "known_bad = [\"2025-10-08 half of the games\"]");
    recorded(&sample);
    let tuned =
        host(&sample, &["tune", "phase2-raw", "--from", "2025-09-01", "--to", "2026-05-08", "--output", "json"]);
    assert_eq!(tuned.code, 0, "{} {}", tuned.out, tuned.err);
    let found = json(&tuned);
    println!("{found:#}");
    let shown = host(&sample, &["tune", "phase2-raw", "--write"]);
    println!("{} {}", shown.out, shown.err);
    let text = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    assert!(text.contains("# guessed") && text.contains("# Box scores."), "{text}");
    assert!(!text.contains("min_player_records = 10 "), "{text}");
    let _ = guest("misbehaving");
}
