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
