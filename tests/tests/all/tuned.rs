//! Limits from a check's own history: which answers count, which proposals are made, and which are not.

use std::fs;

use jiff::{
    ToSpan,
    civil::{Date, date},
};
use serde_json::Value;

use crate::{
    prove::{json, plugin},
    support::command::{Ended, Sample},
};

/// The first date.
const FIRST: Date = date(2025, 9, 1);

/// A canary about a table of so many rows a day.
fn counted(min: u32, more: &str, rows: impl Fn(i64) -> i64) -> Sample {
    let sample = Sample::new(None).unwrap();
    let toml = format!(
        "timezone = \"America/New_York\"\n[slack]\ndeliver = \"console\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
         [state]\nkeep = \"40000d\"\n[grants.canary-sql]\nwarehouse = [\"odd\"]\nslack = [\"#canary-alerts\"]\n\
         [checks.n]\nplugin = \"canary-sql\"\n{more}\n[checks.n.settings]\n\
         sql = \"SELECT SUM(n) AS n FROM odd.t WHERE day = @date\"\nthresholds.n.min = {min}\n"
    );
    sample.configure(&toml).unwrap();
    let mut table = "CREATE TABLE t (day DATE, n INT64);".to_owned();
    for at in 0..250 {
        let day = FIRST.checked_add(at.days()).unwrap();
        table += &format!("INSERT INTO t VALUES ('{day}', {});", rows(at));
    }
    sample.sql("odd", &table).unwrap();
    // Now there is a record.
    let file = plugin("canary-sql");
    let once = sample.host(&["run", "--once", "--date", &FIRST.to_string(), file.to_str().unwrap()]).unwrap();
    assert!(once.code <= 3, "{once:?}");
    sample
}

fn tune(sample: &Sample, more: &[&str]) -> Ended {
    host(sample, "tune", more)
}

fn host(sample: &Sample, command: &str, more: &[&str]) -> Ended {
    let file = plugin("canary-sql");
    sample.host(&[&[command, "n", file.to_str().unwrap()], more].concat()).unwrap()
}

/// Changes host.toml.
fn edit(sample: &Sample, from: &str, to: &str) {
    let path = sample.path().join("host.toml");
    let toml = fs::read_to_string(&path).unwrap();
    assert!(toml.contains(from), "{from}: {toml}");
    fs::write(path, toml.replace(from, to)).unwrap();
}

/// From the first date to the last one.
const ALL: [&str; 4] = ["--from", "2025-09-01", "--to", "2026-05-08"];

/// A limit that catches all that another one would, and alarms as rarely, stays; and none is proposed that loses a known bad date.
#[test]
fn a_limit_that_does_as_well_stays() {
    let usual = |at: i64| 100 + at % 7 - 3;
    let sample = counted(85, "", usual);
    let tuned = tune(&sample, &[&ALL[..], &["--output", "json"]].concat());
    let found = json(&tuned);
    let limits = found["limits"].as_array().unwrap();
    let fixed = limits.iter().find(|limit| limit["setting"] == "thresholds.n.min").unwrap();
    assert_eq!(fixed["proposed"], Value::Null, "{found:#}");
    assert!(fixed["why"].as_str().unwrap().contains("it catches as much as"), "{fixed:#}");
    // A bad date that is nearer to the good ones than half of them.
    let bad = FIRST.checked_add(50.days()).unwrap();
    for (min, at) in [(85, 50), (1, 50), (85, 200)] {
        let bad = if at == 50 { bad } else { FIRST.checked_add(at.days()).unwrap() };
        let known = format!("known_bad = [\"{bad} lost\"]");
        let sample = counted(min, &known, |day| if day == at { 78 } else { usual(day) });
        let tuned = tune(&sample, &[&ALL[..], &["--write", "--output", "json"]].concat());
        let found = json(&tuned);
        let known = &found["known"][0];
        let kept = known["then"] == true || known["now"] == false;
        assert!(kept || tuned.code == 3, "{min} {at}: {found:#}");
        if at == 50 {
            assert_eq!(known["then"], true, "{min}: {found:#}");
        }
    }
}

/// What the check answered to another question says nothing about this one, and what-ifs are not written.
#[test]
fn answers_to_another_question_do_not_count() {
    let sample = counted(1, "", |at| 100 + at % 7 - 3);
    assert_eq!(tune(&sample, &ALL).code, 0);
    let path = sample.path().join("host.toml");
    let toml = fs::read_to_string(&path).unwrap();
    fs::write(&path, toml.replace("SUM(n) AS n", "SUM(n) * 10 AS n")).unwrap();
    let other = tune(&sample, &[]);
    assert!(other.code == 3 && other.err.contains("n: no date is judged"), "{other:?}");
    // Another limit is the same question; after it is written the same dates count.
    fs::write(&path, toml.replace("n.min = 1", "n.min = 60")).unwrap();
    let again = tune(&sample, &["--output", "json"]);
    assert_eq!(json(&again)["tuned_on"]["dates"], 150, "{again:?}");
    assert_eq!(tune(&sample, &["--write"]).code, 0);
    let after = json(&tune(&sample, &["--output", "json"]));
    assert_eq!(after["now"]["caught"]["value"], 1.0, "{after:#}");
    assert!(after["limits"].as_array().unwrap().iter().all(|limit| limit["proposed"].is_null()), "{after:#}");
    let refused = tune(&sample, &["--set", "thresholds.n.min=75", "--write"]);
    assert!(refused.code == 64 && refused.err.contains("leave out --set"), "{refused:?}");
}

/// A column may be written in capitals: what is proposed is spelled as the settings spell it, and a warning limit changes no question.
#[test]
fn columns_are_the_same_in_upper_and_lower_case() {
    let weekly = |at: i64| if at % 7 < 2 { 40 + at % 3 } else { 100 + at % 5 };
    let sample = counted(1, "", weekly);
    edit(&sample, "SUM(n) AS n", "SUM(n) AS N");
    let written = tune(&sample, &[&ALL[..], &["--write"]].concat());
    assert_eq!(written.code, 0, "{written:?}");
    assert!(written.err.contains("+ thresholds.n.change.max_drop_percent"), "{written:?}");
    edit(&sample, "thresholds.n.min = 1", "thresholds.n.min = 1\nthresholds.n.warn_min = 2");
    let again = json(&tune(&sample, &["--output", "json"]));
    assert_eq!((&again["tuned_on"]["dates"], &again["others"]), (&150.into(), &0.into()), "{again:#}");
}

/// A change from other dates is another value: it is computed again, as it comes out when the dates are asked about again.
#[test]
fn a_change_from_other_dates_is_another_value() {
    let weekly = |at: i64| if at % 7 < 2 { 40 + at % 3 } else { 100 + at % 5 };
    let sample = counted(1, "", weekly);
    edit(&sample, "thresholds.n.min = 1", "thresholds.n = { min = 1, change = { days = 7, max_drop_percent = 90 } }");
    let of = |ended: &Ended| {
        let found = json(ended);
        let limits = found["limits"].as_array().unwrap();
        limits.iter().find(|limit| limit["metric"] == "n_change").unwrap_or_else(|| panic!("{found:#}"))["why"].clone()
    };
    let by_day = of(&tune(&sample, &[&ALL[..], &["--output", "json"]].concat()));
    edit(&sample, "days = 7", "weeks = 4");
    let computed = of(&tune(&sample, &["--output", "json"]));
    let asked = of(&tune(&sample, &[&ALL[..], &["--output", "json"]].concat()));
    assert_eq!(computed, asked);
    assert_ne!(computed, by_day);
}

/// A known date from years ago does not change how many dates a month has.
#[test]
fn a_known_date_of_years_ago_changes_no_rate() {
    let sample = counted(1, "known_bad = [\"2020-01-01 long ago\"]", |at| 100 + at % 7 - 3);
    let rate = |ended: &Ended| json(ended)["now"]["false_alarms_per_month"]["high"].as_f64().unwrap();
    let before = rate(&tune(&sample, &[&ALL[..], &["--output", "json"]].concat()));
    let known = host(&sample, "backtest", &["--known"]);
    assert_eq!(known.code, 0, "{known:?}");
    let after = rate(&tune(&sample, &["--output", "json"]));
    assert!((before - after).abs() < 0.1 * before, "{before} {after}");
}

/// Below zero a rise is a rise: the check with the proposals does on later dates what was said of it.
#[test]
fn values_below_zero_rise_and_drop_as_the_plugin_has_it() {
    let sample = counted(1, "", |at| -(100 + at % 11));
    edit(&sample, "thresholds.n.min = 1", "thresholds.n.min = -1000");
    let tuned = tune(&sample, &[&ALL[..], &["--write", "--output", "json"]].concat());
    let found = json(&tuned);
    let alarmed = found["then"]["alarmed"].as_array().unwrap().len();
    let later = found["reported_on"]["from"].as_str().unwrap().to_owned();
    let tried = host(&sample, "backtest", &["--from", &later, "--to", "2026-05-08", "--output", "json"]);
    let tried = json(&tried);
    let dates = tried["checks"][0]["dates"].as_array().unwrap();
    let failed = dates.iter().filter(|day| day["status"] == "fail").count();
    assert_eq!(failed, alarmed, "{found:#}");
}

/// What a check would say with other settings makes no date good or bad for the check itself.
#[test]
fn what_ifs_are_no_good_dates() {
    let sample = counted(1, "", |at| 100 + at % 7 - 3);
    let range = ["--from", "2026-04-20", "--to", "2026-05-08"];
    assert_eq!(host(&sample, "backtest", &range).code, 0);
    let what_if = [&range[..], &["--set", "thresholds.n.min=1000", "--again"]].concat();
    assert_eq!(host(&sample, "backtest", &what_if).code, 1);
    let mutated = json(&host(&sample, "mutate", &["--output", "json"]));
    assert_eq!(mutated["data_date"], "2026-05-08", "{mutated:#}");
}

/// The dates on which a backtest of the whole history alarms, from one on.
fn failed(sample: &Sample, since: &str) -> Vec<Value> {
    let tried = json(&host(sample, "backtest", &[&ALL[..], &["--again", "--output", "json"]].concat()));
    let dates = tried["checks"][0]["dates"].as_array().unwrap();
    let failed = dates.iter().filter(|day| day["status"] == "fail" && day["data_date"].as_str().unwrap() >= since);
    failed.map(|day| day["data_date"].clone()).collect()
}

/// The check with the proposals alarms on the dates that are named, and on no others, also when it is tuned once more: it compares with
/// dates that it judged good itself, and without a value it alarms.
#[test]
fn what_is_promised_is_what_a_backtest_then_says() {
    let weekend = |at: i64| if at % 7 >= 5 { 50 + at * 7 % 10 } else { 100 + at * 7 % 10 };
    let mondays = |at: i64| match (at % 7, at >= 150) {
        (0, true) => 550,
        (5 | 6, _) => 35 + at % 5,
        _ => 1000 + at * 13 % 40,
    };
    let by_day = "thresholds.n = { min = 1, change = { days = 7, max_drop_percent = 90, max_rise_percent = 900 } }";
    type Rows = fn(i64) -> i64;
    let cases: [(&str, &str, Rows); 4] = [
        ("changes by day", by_day, weekend),
        ("another level", "thresholds.n.min = 1", mondays),
        ("growth that ends", "thresholds.n.min = 1", |at| if at < 200 { 10 + at } else { 205 + at * 7 % 9 - 4 }),
        ("no value", "thresholds.n.min = 1", |at| 100 + at * 7 % 10),
    ];
    for (name, limits, rows) in cases {
        let sample = counted(1, "", rows);
        edit(&sample, "thresholds.n.min = 1", limits);
        if name == "no value" {
            edit(&sample, "SUM(n) AS n", "COUNT(*) AS n, SUM(n) AS total");
            sample.sql("odd", "UPDATE t SET n = NULL WHERE rowid % 20 = 7").unwrap();
        }
        let mut written = Value::Null;
        for round in 0..3 {
            let asked: &[&str] = if round == 0 { &ALL } else { &[] };
            let tuned = tune(&sample, &[asked, &["--write", "--output", "json"]].concat());
            let found = json(&tuned);
            let later = found["reported_on"]["from"].as_str().unwrap_or_else(|| panic!("{name}: {found:#}"));
            let which = if tuned.code == 0 { "then" } else { "now" };
            let alarmed = found[which]["alarmed"].as_array().unwrap();
            assert_eq!(&failed(&sample, later), alarmed, "{name}, round {round}: {found:#}");
            assert!(written.is_null() || written == found["now"], "{name}, round {round}: {written:#} {found:#}");
            written = found[which].clone();
        }
        assert!(!fs::read_to_string(sample.path().join("host.toml")).unwrap().contains("total.min"), "{name}");
    }
}

/// A date that somebody named counts wherever it is, a good one is not accused, and what is said of those that nobody judged is that.
#[test]
fn named_dates_bound_the_limits() {
    let usual = |at: i64| if at == 240 { 60 } else { 85 + at * 7 % 30 };
    let bad = FIRST.checked_add(240.days()).unwrap();
    let known = format!("known_bad = [\"{bad} lost\"]");
    let sample = counted(70, &known, usual);
    let before = tune(&sample, &["--from", "2025-09-01", "--to", "2026-03-31"]);
    assert!(before.out.contains(&format!("{bad} was bad:")), "{before:?}");
    // Without a word about dates to ask for, it says which it does not know.
    let sample = counted(70, &known, usual);
    host(&sample, "backtest", &["--from", "2025-09-01", "--to", "2026-03-31"]);
    let unknown = tune(&sample, &[]);
    assert!(unknown.out.contains(&format!("never judged, so nothing here is about them: {bad}")), "{unknown:?}");
    // A holiday.
    let good = FIRST.checked_add(100.days()).unwrap();
    let known = format!("known_good = [\"{good} holiday\"]");
    let sample = counted(1, &known, |at| if at == 100 { 20 } else { usual(at) });
    let tuned = json(&tune(&sample, &[&ALL[..], &["--write", "--output", "json"]].concat()));
    assert_eq!(tuned["known"][0]["then"], false, "{tuned:#}");
    assert_eq!(host(&sample, "backtest", &["--known"]).code, 0);
}

/// A table with rules has no thresholds, so none is proposed.
#[test]
fn a_table_with_rules_is_tuned_too() {
    let sample = counted(1, "", |at| 100 + at % 7 - 3);
    let sql = "sql = \"SELECT SUM(n) AS n FROM odd.t WHERE day = @date\"\nthresholds.n.min = 1";
    edit(&sample, sql, "table = \"odd.t\"\nwhere = \"day = @date\"\nrow_count = { min = 0 }");
    let more = "WITH RECURSIVE i (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 60) INSERT INTO t SELECT day, 1 FROM t, i";
    sample.sql("odd", more).unwrap();
    let tuned = tune(&sample, &[&ALL[..], &["--write"]].concat());
    assert_eq!(tuned.code, 0, "{tuned:?}");
    assert!(tuned.err.contains("+ row_count = { min = "), "{tuned:?}");
}

/// Nothing beside host.toml is followed or lost, and a file that nobody may write stays as it is.
#[test]
fn writing_touches_nothing_else() {
    let sample = counted(1, "", |at| 100 + at % 7 - 3);
    let (path, victim) = (sample.path().join("host.toml"), sample.path().join("victim"));
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink(&victim, sample.path().join("host.toml.new")).unwrap();
    let toml = fs::read_to_string(&path).unwrap();
    fs::write(&path, toml.replacen('\n', "\r\n", 1)).unwrap();
    let mut read_only = fs::metadata(&path).unwrap().permissions();
    read_only.set_readonly(true);
    fs::set_permissions(&path, read_only).unwrap();
    let refused = tune(&sample, &[&ALL[..], &["--write"]].concat());
    assert!(refused.code == 64 && refused.err.contains("is read-only, so nothing is written"), "{refused:?}");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
    assert_eq!(tune(&sample, &["--write"]).code, 0);
    let after = fs::read_to_string(&path).unwrap();
    assert_eq!((after.matches("\r\n").count(), fs::read_to_string(&victim).unwrap().as_str()), (1, "mine"));
    assert!(!path.is_symlink() && sample.path().join("host.toml.new").is_symlink());
}
