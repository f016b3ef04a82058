//! A check proves itself: what it says of past dates, and limits from its own history.

use std::{
    fs,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use host_tests::season::{Wrong, season};
use jiff::civil::{Date, date};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::command::{Ended, Sample, repository, shipped};

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
pub(crate) fn past(days: i64, wrong: &[(Date, Wrong)], more: &str) -> Sample {
    let sample = Sample::new(None).unwrap();
    let warehouse = sample.path().join("warehouse");
    fs::remove_dir_all(&warehouse).unwrap();
    season(&warehouse, 7, FIRST, days, wrong).unwrap();
    sample.configure(&HOST_TOML.replace("KNOWN", more)).unwrap();
    sample
}

pub(crate) fn plugin(name: &str) -> PathBuf {
    let all = shipped().unwrap();
    all.into_iter().find(|path| path.ends_with(format!("{name}.wasm"))).unwrap()
}

pub(crate) fn host(sample: &Sample, arguments: &[&str]) -> Ended {
    let file = plugin("phase2-raw");
    let (command, rest) = arguments.split_first().unwrap();
    let check: Vec<&str> = rest.first().filter(|first| !first.starts_with('-')).copied().into_iter().collect();
    let rest = &rest[check.len()..];
    // A record must be there for answers to be kept.
    let file = file.to_str().unwrap();
    let plugins: &[&str] = if check.is_empty() { &[] } else { &[file] };
    sample.host(&[&[*command], check.as_slice(), plugins, rest].concat()).unwrap()
}

pub(crate) fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {} {}", ended.out, ended.err))
}

/// Runs the check once, so that there is a record.
pub(crate) fn recorded(sample: &Sample) {
    let file = plugin("phase2-raw");
    let once = ["run", "--once", "--date", "2025-10-01", file.to_str().unwrap()];
    let ended = sample.host(&once).unwrap();
    assert!(ended.code <= 3, "{}", ended.err);
}

pub(crate) fn record(sample: &Sample) -> Connection {
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
        "People would have got 2 messages, and 5 reminders until somebody mends the dates:\n  2025-10-09 ",
        " EDT  ",
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
    assert!(tried.out.contains("2 known dates: all as expected."), "{}", tried.out);
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

/// Killed in the middle, it goes on with the dates that it had not asked about.
#[test]
fn a_killed_backtest_goes_on_where_it_was() {
    let sample = past(250, &[], "");
    recorded(&sample);
    let file = plugin("phase2-raw");
    let asked = ["backtest", "phase2-raw", file.to_str().unwrap(), "--from", "2025-09-02", "--to", "2026-05-01"];
    let mut killed = sample.command().args(asked).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let kept = || {
        let count = record(&sample).query_row("SELECT COUNT(*) FROM backtests", [], |row| row.get(0));
        count.unwrap_or(0_i64)
    };
    let began = Instant::now();
    while kept() < 5 && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let before = kept();
    assert!((5..242).contains(&before), "{before}");
    let on = sample.host(&asked).unwrap();
    assert_eq!(on.code, 0, "{} {}", on.out, on.err);
    assert!(
        on.out.contains(&format!("{before} of the dates were asked about in the last day")),
        "{before}: {}",
        on.out
    );
    assert_eq!(kept(), 242);
}

#[test]
fn limits_are_tuned_on_earlier_dates_and_reported_on_later_ones() {
    let half = date(2025, 10, 8);
    let known = "known_bad = [\"2025-10-08 half of the games\"]\nknown_good = [\"2025-10-09\"]";
    let sample = past(250, &[(half, Wrong::NoBoxScores), (date(2026, 3, 4), Wrong::NoBoxScores)], known);
    recorded(&sample);
    let asked = ["tune", "phase2-raw", "--from", "2025-09-01", "--to", "2026-05-08", "--output", "json"];
    let tuned = host(&sample, &asked);
    assert_eq!(tuned.code, 0, "{} {}", tuned.out, tuned.err);
    let found = json(&tuned);
    assert_eq!(found["bad"], serde_json::json!(["2025-10-08"]), "a bad date is not tuned on");
    let limit = |setting: &str| {
        let limits = found["limits"].as_array().unwrap();
        limits
            .iter()
            .find(|limit| limit["setting"] == setting)
            .unwrap_or_else(|| panic!("{setting}: {found:#}"))
            .clone()
    };
    // Half of a day with many games is more than a day with few, so the limit is by weekday, between noise and half.
    let records = limit("change.player_records");
    assert_eq!(records["proposed"]["weeks"], 4, "{records:#}");
    let drop = records["proposed"]["max_drop_percent"].as_f64().unwrap();
    assert!((20.0..50.0).contains(&drop), "{records:#}");
    assert_eq!(limit("max_null_team_abbrs")["proposed"], Value::Null, "0 is right already");
    // The fault of March is on a later date, and nobody has said that it was one.
    assert_eq!(found["then"]["alarmed"], serde_json::json!(["2026-03-04"]));
    assert_eq!(found["then"]["false_alarms_per_month"]["hits"], 1);
    let caught = |figures: &str| found[figures]["caught"]["value"].as_f64().unwrap();
    assert!(caught("then") > 0.95 && caught("now") < 0.8, "{found:#}");
    let said: Vec<(&Value, &Value)> =
        found["known"].as_array().unwrap().iter().map(|known| (&known["bad"], &known["then"])).collect();
    assert_eq!(said, [(&Value::Bool(true), &Value::Bool(true)), (&Value::Bool(false), &Value::Bool(false))]);
    // Written, with all that stands around it.
    let before = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let written = host(&sample, &["tune", "phase2-raw", "--write"]);
    assert_eq!(written.code, 0, "{} {}", written.out, written.err);
    assert!(written.err.contains("+ change.player_records.weeks = 4"), "{}", written.err);
    let after = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let others: Vec<&str> = after.lines().filter(|line| !line.starts_with("change.")).collect();
    assert_eq!(others, before.lines().collect::<Vec<_>>(), "{after}");
    // The check takes them: it compares now.
    let asked = ["backtest", "phase2-raw", "--from", "2026-03-01", "--to", "2026-03-10"];
    let tried = host(&sample, &asked);
    assert!(tried.out.contains("player_records_change"), "{} {}", tried.out, tried.err);
}

#[test]
fn too_few_dates_promise_nothing() {
    let sample = past(60, &[], "");
    recorded(&sample);
    let none = host(&sample, &["tune", "phase2-raw"]);
    assert!(none.code == 3 && none.err.contains("phase2-raw: no date is judged, which is too few"), "{none:?}");
    assert!(none.err.contains("host backtest phase2-raw --from DATE"), "{none:?}");
    let few = host(&sample, &["tune", "phase2-raw", "--from", "2025-09-02", "--to", "2025-10-20"]);
    assert_eq!(few.code, 3, "{} {}", few.out, few.err);
    assert!(
        few.out.contains("more good dates to tune on: 29 can promise no fewer than 1.0 alarms a month"),
        "{}",
        few.out
    );
    assert!(few.out.contains("stays"), "{}", few.out);
    // With more alarms allowed the same dates are enough.
    let asked = ["tune", "phase2-raw", "--from", "2025-09-02", "--to", "2025-10-20", "--alarms-per-month", "10"];
    assert_eq!(host(&sample, &asked).code, 0);
    for wrong in ["0", "-1", "31", "often"] {
        assert_eq!(host(&sample, &["tune", "phase2-raw", "--alarms-per-month", wrong]).code, 64, "{wrong}");
    }
}

/// Histories that no limit can be made of, or that a careless method would be misled by.
#[test]
fn odd_histories_are_not_tuned_into_nonsense() {
    let sample = Sample::new(None).unwrap();
    fs::remove_dir_all(sample.path().join("warehouse")).unwrap();
    fs::create_dir(sample.path().join("warehouse")).unwrap();
    let toml = r##"
timezone = "America/New_York"
[slack]
deliver = "console"
[warehouse]
kind = "sqlite"
path = "warehouse"
[state]
keep = "40000d"
[grants.canary-sql]
warehouse = ["odd"]
slack = ["#canary-alerts"]
[checks.odd]
plugin = "canary-sql"
channel = "#canary-alerts"
[checks.odd.settings]
sql = "SELECT SUM(constant) AS constant, SUM(empty) AS empty, SUM(trend) AS trend, SUM(tail) AS tail, SUM(weekly) AS weekly FROM odd.t WHERE day = @date"
[checks.odd.settings.thresholds]
constant.min = 1
empty.max = 5
trend.min = 1
tail.max = 1000000
weekly.min = 1
"##;
    sample.configure(toml).unwrap();
    let mut rows = String::new();
    for at in 0..300_i64 {
        let day = date(2025, 1, 1).checked_add(jiff::Span::new().days(at)).unwrap();
        // Heavy tails: one in forty is a hundred times as large.
        let tail = if at % 40 == 7 { 10_000 } else { 100 + at % 13 };
        let weekend = day.weekday().to_monday_zero_offset() >= 5;
        let weekly = if weekend { 20 + at % 3 } else { 1000 + at % 50 };
        rows += &format!("INSERT INTO t VALUES ('{day}', 7, NULL, {}, {tail}, {weekly});", 100 + at);
    }
    let tables = "CREATE TABLE t (day DATE, constant INT64, empty INT64, trend INT64, tail INT64, weekly INT64);";
    sample.sql("odd", &format!("{tables}{rows}")).unwrap();
    let file = plugin("canary-sql");
    let once = ["run", "--once", "--date", "2025-10-01", file.to_str().unwrap()];
    assert!(sample.host(&once).unwrap().code <= 3);
    let asked =
        ["tune", "odd", file.to_str().unwrap(), "--from", "2025-01-01", "--to", "2025-10-27", "--output", "json"];
    let tuned = sample.host(&asked).unwrap();
    assert_eq!(tuned.code, 0, "{} {}", tuned.out, tuned.err);
    let found = json(&tuned);
    let limit = |metric: &str| {
        let limits = found["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["metric"] == metric).cloned()
    };
    let constant = limit("constant").unwrap();
    assert!((4.0..=7.0).contains(&constant["proposed"].as_f64().unwrap()), "{constant:#}");
    // No value at all: there is nothing to tune, and nothing is invented.
    assert!(limit("empty").is_none_or(|limit| limit["proposed"].is_null()), "{found:#}");
    let tail = limit("tail").unwrap();
    assert!(tail["proposed"].as_f64().is_none_or(|limit| limit > 112.0), "{tail:#}");
    // Half of a weekday is far above a weekend: only a limit by weekday notices it.
    let weekly = limit("weekly").unwrap();
    assert_eq!(weekly["proposed"]["weeks"], 4, "{weekly:#}");
    assert!(weekly["caught"]["value"].as_f64().unwrap() > 0.95, "{weekly:#}");
    // A trend: the later dates are above all earlier ones, so a minimum alarms on none of them.
    assert_eq!(limit("trend").unwrap()["false_alarms_per_month"]["hits"], 0);
}

/// The whole example of docs/proof.md: its host.toml, its data, its commands, and what it says that they print.
#[test]
fn the_example_of_the_page_is_followed() {
    let page = fs::read_to_string(repository().join("docs/proof.md")).unwrap();
    let (_, example) = page.split_once("## A whole example").unwrap();
    let (example, _) = example.split_once("\n## ").unwrap();
    let sample = Sample::new(None).unwrap();
    fs::create_dir(sample.path().join("plugins")).unwrap();
    fs::copy(plugin("canary-sql"), sample.path().join("plugins/canary-sql.wasm")).unwrap();
    let mut followed = 0;
    for block in example.split("```").skip(1).step_by(2) {
        let (language, text) = block.split_once('\n').unwrap();
        match language {
            // As it is, since the example shows how it is changed.
            "toml" => fs::write(sample.path().join("host.toml"), text).unwrap(),
            "text" => sample.sql("shop", text).unwrap(),
            "console" => {
                for step in text.split("$ host ").skip(1) {
                    let (command, printed) = step.split_once('\n').unwrap();
                    let ended = sample.host(&command.split(' ').collect::<Vec<_>>()).unwrap();
                    // What is written into host.toml is a note beside the result.
                    let found = if command.contains("--write") { ended.err } else { ended.out };
                    assert_eq!(found.trim(), printed.trim(), "host {command}");
                    followed += 1;
                }
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(followed, 10);
}
