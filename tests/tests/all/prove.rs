//! A check proves itself: backtests, tuned limits, mutants, labels and the report.

use std::{fs, path::PathBuf};

use host_tests::season::{Wrong, season};
use jiff::civil::{Date, date};
use rusqlite::Connection;
use serde_json::Value;

use crate::support::{
    command::{Ended, Sample, shipped},
    service::{Service, TOKEN, install},
};

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
        "People would have got 2 messages, and 5 reminders until somebody mends the dates:",
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
    // Between half of the smallest day and the smallest day: neither the guess nor what a fault leaves.
    let records = limit("min_player_records");
    let proposed = records["proposed"].as_f64().unwrap();
    assert!(proposed > 30.0 && proposed < 90.0, "{records:#}");
    assert_eq!(limit("max_null_team_abbrs")["proposed"], Value::Null, "0 is right already");
    // The fault of March is on a later date, and nobody has said that it was one.
    assert_eq!(found["then"]["alarmed"], serde_json::json!(["2026-03-04"]));
    assert_eq!(found["then"]["false_alarms_per_month"]["hits"], 1);
    let caught = |figures: &str| found[figures]["caught"]["value"].as_f64().unwrap();
    assert!(caught("then") >= caught("now"), "{found:#}");
    let said: Vec<(&Value, &Value)> =
        found["known"].as_array().unwrap().iter().map(|known| (&known["bad"], &known["then"])).collect();
    assert_eq!(said, [(&Value::Bool(true), &Value::Bool(true)), (&Value::Bool(false), &Value::Bool(false))]);
    // Written, with all that stands around it.
    let before = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let written = host(&sample, &["tune", "phase2-raw", "--write"]);
    assert_eq!(written.code, 0, "{} {}", written.out, written.err);
    assert!(written.err.contains("- min_player_records = 10 # guessed"), "{}", written.err);
    let after = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    assert!(after.contains(" # guessed") && after.contains("# Box scores."), "{after}");
    assert!(!after.contains("min_player_records = 10 "), "{after}");
    assert_eq!(before.lines().filter(|line| !line.contains("min_")).collect::<Vec<_>>(), {
        after.lines().filter(|line| !line.contains("min_")).collect::<Vec<_>>()
    });
    let again = host(&sample, &["tune", "phase2-raw"]);
    assert!(again.out.contains("stays"), "{}", again.out);
}

#[test]
fn too_few_dates_promise_nothing() {
    let sample = past(60, &[], "");
    recorded(&sample);
    let none = host(&sample, &["tune", "phase2-raw"]);
    assert!(none.code == 64 && none.err.contains("host backtest phase2-raw --from DATE"), "{} {}", none.out, none.err);
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

#[test]
fn a_mutation_score_says_what_a_check_notices() {
    let sample = past(40, &[], "");
    recorded(&sample);
    let tables = || fs::read(sample.path().join("warehouse/nba_raw.db")).unwrap();
    let before = tables();
    let all = host(&sample, &["mutate", "phase2-raw", "--date", "2025-09-24", "--output", "json"]);
    assert_eq!(all.code, 0, "{} {}", all.out, all.err);
    let found = json(&all);
    let mutants = found["mutants"].as_array().unwrap();
    let of = |name: &str| {
        let found = mutants.iter().find(|mutant| mutant["name"] == format!("nba_raw.nbac_player_boxscore{name}"));
        found.unwrap_or_else(|| panic!("{name}: {:#}", json(&all))).clone()
    };
    for (name, result) in [
        ("/empty", "caught"),
        ("/missing", "caught"),
        (".game_date/shifted", "caught"),
        (".player_name/null-10", "caught"),
        (".team_abbr/null-100", "caught"),
        ("/half-missing", "missed"),
        ("/doubled", "missed"),
        (".player_name/truncated", "equivalent"),
    ] {
        assert_eq!(of(name)["result"], result, "{name}: {:#}", of(name));
    }
    // What would catch it.
    let why = of("/half-missing")["why"].as_str().unwrap().to_owned();
    assert!(why.contains("min_player_records is too loose for it"), "{why}");
    assert!(of("/doubled")["why"].as_str().unwrap().contains("no setting limits it"));
    let (caught, counted) = (found["caught"].as_u64().unwrap(), found["counted"].as_u64().unwrap());
    let count = |result: &str| mutants.iter().filter(|mutant| mutant["result"] == result).count() as u64;
    assert_eq!((caught, counted), (count("caught"), count("caught") + count("missed")));
    // The setting that it names does catch it.
    let stricter = ["--set", "min_player_records=150", "--only", "/half-missing", "--min-score", "1"];
    let stricter = host(&sample, &[&["mutate", "phase2-raw", "--date", "2025-09-24"][..], &stricter].concat());
    assert_eq!(stricter.code, 0, "{} {}", stricter.out, stricter.err);
    let low =
        host(&sample, &["mutate", "phase2-raw", "--date", "2025-09-24", "--min-score", "0.99", "--output", "junit"]);
    assert!(low.code == 1 && low.out.contains("half-missing\"><failure"), "{} {}", low.out, low.err);
    assert_eq!(tables(), before, "nothing is written to the warehouse");
    // It stands in the record, for the page and the report.
    let kept = "SELECT caught || ' of ' || counted FROM scores WHERE check_name = 'phase2-raw'";
    let kept: String = record(&sample).query_row(kept, [], |row| row.get(0)).unwrap();
    assert_eq!(kept, format!("{caught} of {counted}"));
    // The changed rows.
    let shown = host(
        &sample,
        &["mutate", "phase2-raw", "--date", "2025-09-24", "--show", "nba_raw.nbac_player_boxscore.player_name/null-1"],
    );
    assert!(
        shown.out.contains("- ") && shown.out.contains("+ ") && shown.out.contains("NULL"),
        "{} {}",
        shown.out,
        shown.err
    );
    let typo = host(
        &sample,
        &["mutate", "phase2-raw", "--date", "2025-09-24", "--show", "nba_raw.nbac_player_boxscore/halfmissing"],
    );
    assert!(typo.code == 64 && typo.err.contains("did you mean"), "{}", typo.err);
}

/// Each operator changes what its name says, and nothing else.
#[test]
fn each_mutant_is_small_and_what_its_name_says() {
    let sample = past(10, &[], "");
    let show = |name: &str| {
        let name = format!("nba_raw.nbac_player_boxscore{name}");
        let ended = host(&sample, &["mutate", "phase2-raw", "--date", "2025-09-03", "--show", &name]);
        assert_eq!(ended.code, 0, "{name}: {}", ended.err);
        ended.out
    };
    let rows = |text: &str| -> (usize, usize) {
        let more = text.lines().find_map(|line| line.strip_prefix("and ")?.split(' ').next()?.parse::<usize>().ok());
        let lines = |mark: &str| text.lines().filter(|line| line.starts_with(mark)).count();
        (lines("- ") + more.unwrap_or_default(), lines("+ "))
    };
    let day: i64 = Connection::open(sample.path().join("warehouse/nba_raw.db"))
        .unwrap()
        .query_row("SELECT COUNT(*) FROM nbac_player_boxscore WHERE game_date = '2025-09-03'", [], |row| row.get(0))
        .unwrap();
    let day = usize::try_from(day).unwrap();
    assert_eq!(rows(&show("/missing")), (day, 0));
    assert_eq!(rows(&show("/half-missing")).0, day / 2);
    let null = show(".player_name/null-10");
    assert_eq!(rows(&null).0, day / 10);
    assert!(null.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains(", NULL, player")), "{null}");
    let shifted = show(".game_date/shifted");
    assert!(shifted.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains("2025-09-02")), "{shifted}");
    let truncated = show(".player_name/truncated");
    assert!(
        truncated.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains(", N, player")),
        "{truncated}"
    );
    let one = show(".game_id/one-missing");
    assert!(one.lines().filter(|line| line.starts_with("- ")).all(|line| line.starts_with("- 2025090300,")), "{one}");
}

/// Labels are set at the command line and by a form of the page, and are told apart in the report.
#[test]
fn labels_and_the_report_say_what_alerts_were() {
    let sample = past(
        40,
        &[(date(2025, 9, 20), Wrong::NoBoxScores), (date(2025, 9, 23), Wrong::NamesMissing)],
        "known_bad = [\"2025-09-24 a fault that the check does not see\"]",
    );
    let file = plugin("phase2-raw");
    let file = file.to_str().unwrap();
    for day in 19..=26 {
        let at = format!("2025-09-{day}T11:30:00Z");
        assert!(sample.host(&["run", "--once", "--at", &at, file]).unwrap().code <= 3);
    }
    let history = sample.host(&["history", "phase2-raw", "--output", "json"]).unwrap();
    let alerts = json(&history)["alerts"].as_array().unwrap().clone();
    assert_eq!(alerts.len(), 2, "{alerts:#?}");
    let id = |date: &str| alerts.iter().find(|alert| alert["data_date"] == date).unwrap()["id"].to_string();
    let label = |id: &str, what: &str| sample.host(&["label", id, what, "--why", "somebody looked"]).unwrap();
    let said = label(&id("2025-09-20"), "real");
    assert_eq!(
        said.out,
        format!("alert {} of phase2-raw, data of 2025-09-20: real\n", id("2025-09-20")),
        "{}",
        said.err
    );
    assert_eq!(label(&id("2025-09-23"), "noise").code, 0);
    assert_eq!(label(&id("2025-09-23"), "false").code, 0, "a new one takes the place of the old one");
    let wrong = label("999", "real");
    assert!(wrong.code == 64 && wrong.err.contains("there is no alert 999"), "{}", wrong.err);
    assert_eq!(sample.host(&["label", "1", "good", "--why", "x"]).unwrap().code, 64);
    assert_eq!(sample.host(&["label", "1", "real", "--why", " "]).unwrap().code, 64);
    let audit = sample.host(&["audit"]).unwrap();
    assert!(audit.out.contains("labelled false: somebody looked"), "{}", audit.out);
    let length = (jiff::Timestamp::now().as_second()
        - "2025-09-18T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_second())
        / 86_400
        + 1;
    let report = sample
        .host(&["report", file, "--about", &format!("{length}d"), "--html", "report.html", "--output", "json"])
        .unwrap();
    assert_eq!(report.code, 0, "{} {}", report.out, report.err);
    let found = json(&report);
    let own = found["checks"].as_array().unwrap().iter().find(|own| own["check"] == "phase2-raw").unwrap().clone();
    assert_eq!((&own["alerts"], &own["real"], &own["falsely"]), (&2.into(), &1.into(), &1.into()), "{own:#}");
    assert_eq!(own["missed"], serde_json::json!(["2025-09-24"]));
    assert_eq!(found["false_share"], serde_json::json!({ "hits": 1, "of": 2 }));
    let unread: Vec<&str> = found["unread"].as_array().unwrap().iter().map(|table| table.as_str().unwrap()).collect();
    assert!(
        !unread.contains(&"nba_raw.nbac_player_boxscore") && !unread.contains(&"nba_reference.nba_schedule"),
        "{unread:?}"
    );
    assert!(found["mend"][0]["why"].as_str().unwrap().contains("1 known bad dates were missed"), "{found:#}");
    let page = fs::read_to_string(sample.path().join("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("phase2-raw"), "{page}");
    let text = sample.host(&["report", file, "--about", &format!("{length}d")]).unwrap().out;
    assert!(text.contains("50 %, 1 of 2 (target: below 5 %)"), "{text}");
}

/// By the clock the report goes to its channel once; the page shows it, and has a form for each alert.
#[test]
fn the_report_is_sent_by_the_clock_and_alerts_are_labelled_on_the_page() {
    let sample = Sample::now(None).unwrap();
    install(&sample, &[]).unwrap();
    let whole = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    sample.sql("nba_raw", "UPDATE nbac_player_boxscore SET player_name = NULL").unwrap();
    let once = sample.host(&["run", "--once", "--check", "phase2-raw", "plugins"]).unwrap();
    assert_eq!(once.code, 2, "{} {}", once.out, once.err);
    let report = "[report]\nchannel = \"#deployment-alerts\"\nschedule = \"* * * * *\"\n";
    let service = Service::start(&sample, &format!("{whole}\n{report}"), &[]).unwrap();
    let reports = || {
        let received = sample.slack.received();
        received
            .iter()
            .map(|(_, message)| message.to_string())
            .filter(|text| text.contains("Report of"))
            .collect::<Vec<_>>()
    };
    service.wait_until("the report", 150, |_| !reports().is_empty());
    let text = &reports()[0];
    assert!(text.contains("Figures") && text.contains("target: below 5 %"), "{text}");
    let page = service.get("/report");
    assert!(page.body.contains("Alerts that were false"), "{page:?}");
    let page = service.get("/checks/phase2-raw").body;
    let at = page.find("action=\"/alerts/").unwrap_or_else(|| panic!("{page}"));
    let id: String = page[at + 16..].chars().take_while(char::is_ascii_digit).collect();
    // Looking changes nothing, and neither does a GET of the form's address.
    let address = format!("/alerts/{id}/label");
    assert_eq!(service.get(&address).status, 405);
    let form = |body: &str| {
        let token = format!("Bearer {TOKEN}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        service.ask("POST", &address, &headers, body).unwrap()
    };
    assert_eq!(
        service
            .ask("POST", &address, &[("content-type", "application/x-www-form-urlencoded")], "label=real&why=x")
            .unwrap()
            .status,
        401
    );
    assert_eq!(form("label=good&why=x").status, 400);
    assert_eq!(form("label=real&why=+").status, 400);
    assert_eq!(form("label=real&why=names+were+missing").status, 303);
    let page = service.get("/checks/phase2-raw").body;
    assert!(page.contains("labelled real") && page.contains("names were missing"), "{page}");
    service.host.end("TERM").unwrap();
}
