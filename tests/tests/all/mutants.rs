//! What a check notices of faults in a copy of its data.

use std::fs;

use rusqlite::Connection;

use crate::{
    prove::{host, json, past, record, recorded},
    support::command::{Sample, python_plugin, shipped},
};

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

/// Of a real table, too, an operator changes what its name says, and nothing else.
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
    assert!(null.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains(", NULL, ")), "{null}");
}

/// A table with every kind of column, ten rows, eight of them of the date.
fn odd() -> Sample {
    let sample = Sample::new(None).unwrap();
    let toml = r##"
timezone = "UTC"
[slack]
deliver = "console"
[warehouse]
kind = "sqlite"
path = "warehouse"
[grants.canary-sql]
warehouse = ["odd"]
slack = ["#canary-alerts"]
[checks.odd]
plugin = "canary-sql"
channel = "#canary-alerts"
[checks.odd.settings]
sql = """SELECT COUNT(*) AS records, COUNT(DISTINCT id) AS ids, COUNTIF(state = 'open') AS open, SUM(amount) AS amount,
  TIMESTAMP_DIFF(TIMESTAMP '2026-02-06 00:00:00 UTC', MAX(loaded), HOUR) AS age FROM odd.t WHERE day = @date"""
thresholds.records.min = 1
"##;
    sample.configure(toml).unwrap();
    let mut rows = "CREATE TABLE t (day DATE, id INT64, state TEXT, amount FLOAT64, loaded TIMESTAMP);".to_owned();
    for row in ODD {
        let cells: Vec<String> = row.split(", ").map(|cell| format!("'{cell}'")).collect();
        rows += &format!("INSERT INTO t VALUES ({});", cells.join(", "));
    }
    Connection::open(sample.path().join("warehouse/odd.db")).unwrap().execute_batch(&rows).unwrap();
    sample
}

const ODD: [&str; 10] = [
    "2026-02-04, 1, open, 7.5, 2026-02-04 10:00:00 UTC",
    "2026-02-04, 2, shut, 7.5, 2026-02-04 10:00:00 UTC",
    "2026-02-05, 3, shut, 1.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 3, open, 2.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 4, open, 3.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 4, shut, 4.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 5, open, 5.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 5, open, 6.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 6, shut, 7.5, 2026-02-05 10:00:00 UTC",
    "2026-02-05, 6, open, 8.5, 2026-02-05 10:00:00 UTC",
];

/// What a row becomes, by its place among the rows of the date and its cells; `None` if it is gone.
type Oracle = fn(usize, &mut Vec<String>) -> Option<()>;

/// Each operator against an oracle of its own, which makes the rows again.
#[test]
fn each_operator_changes_the_rows_that_its_oracle_changes() {
    fn set(cells: &mut [String], at: usize, value: impl ToString) -> Option<()> {
        cells[at] = value.to_string();
        Some(())
    }
    let sample = odd();
    let file = crate::prove::plugin("canary-sql");
    let oracles: [(&str, Oracle); 20] = [
        ("/missing", |_, _| None),
        ("/half-missing", |at, _| (at % 2 == 0).then_some(())),
        (".day/shifted", |_, row| set(row, 0, "2026-02-04")),
        (".id/one-missing", |_, row| (row[1] != "3").then_some(())),
        (".id/null-one", |at, row| if at < 1 { set(row, 1, "NULL") } else { Some(()) }),
        (".id/null-50", |at, row| if at < 4 { set(row, 1, "NULL") } else { Some(()) }),
        (".id/null-100", |_, row| set(row, 1, "NULL")),
        (".id/zero", |_, row| set(row, 1, 0)),
        (".id/times-10", |_, row| {
            let ten = 10 * row[1].parse::<i64>().unwrap();
            set(row, 1, ten)
        }),
        (".state/one-missing", |_, row| (row[2] != "open").then_some(())),
        (".state/null-50", |at, row| if at < 4 { set(row, 2, "NULL") } else { Some(()) }),
        (".state/truncated", |_, row| {
            let first = row[2][..1].to_owned();
            set(row, 2, first)
        }),
        (".state/unknown", |at, row| if at < 1 { set(row, 2, "NOBODY_KNOWS") } else { Some(()) }),
        (".amount/null-one", |at, row| if at < 1 { set(row, 3, "NULL") } else { Some(()) }),
        (".amount/null-100", |_, row| set(row, 3, "NULL")),
        (".amount/zero", |_, row| set(row, 3, 0)),
        (".amount/times-10", |_, row| {
            let ten = 10.0 * row[3].parse::<f64>().unwrap();
            set(row, 3, ten)
        }),
        (".loaded/null-100", |_, row| set(row, 4, "NULL")),
        (".loaded/stale", |_, row| set(row, 4, "2026-02-03 10:00:00 UTC")),
        (".loaded/late", |_, row| set(row, 4, "2026-02-07 10:00:00 UTC")),
    ];
    let show = |name: &str| {
        let name = format!("odd.t{name}");
        let asked = ["mutate", "odd", file.to_str().unwrap(), "--date", "2026-02-05", "--show", &name];
        let ended = sample.host(&asked).unwrap();
        assert_eq!(ended.code, 0, "{name}: {}", ended.err);
        ended.out.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    for (name, oracle) in oracles {
        let mut expected = Vec::new();
        for (at, row) in ODD.iter().filter(|row| row.starts_with("2026-02-05")).enumerate() {
            let mut cells: Vec<String> = row.split(", ").map(str::to_owned).collect();
            let left = oracle(at, &mut cells).map(|()| cells.join(", "));
            if left.as_deref() != Some(*row) {
                expected.push(format!("- {row}"));
                expected.extend(left.map(|left| format!("+ {left}")));
            }
        }
        assert_eq!(show(name), expected, "{name}");
    }
    let of_date = ODD.iter().filter(|row| row.starts_with("2026-02-05"));
    assert_eq!(show("/doubled"), of_date.map(|row| format!("+ {row}")).collect::<Vec<_>>());
    assert_eq!(show("/empty"), ODD.map(|row| format!("- {row}")));
}

/// The date of a row is in the column that the query compares with the date, whatever its type and its place in the table.
#[test]
fn the_column_with_the_date_is_the_one_that_the_query_compares() {
    let rows: Vec<String> = (1..=8)
        .map(|at| format!("('2025-06-01', '2026-02-0{}', 'a{at}', '2026-02-05 10:00:00')", 4 + at % 2))
        .collect();
    let file = crate::prove::plugin("canary-sql");
    for kind in ["DATE", "TEXT"] {
        let sample = odd();
        let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
        let begin = toml.find("sql = ").unwrap();
        let sql = "sql = \"SELECT COUNT(*) AS records, COUNTIF(signup IS NULL) AS early, COUNTIF(loaded IS NULL) AS late, COUNT(DISTINCT who) AS who FROM odd.people WHERE day = @date\"";
        let sql =
            if kind == "TEXT" { sql.replace("day = @date", "day = CAST(@date AS STRING)") } else { sql.to_owned() };
        sample.configure(&format!("{}{sql}\nthresholds.records.min = 1\n", &toml[..begin])).unwrap();
        let table = format!(
            "CREATE TABLE people (signup DATE, day {kind}, who TEXT, loaded DATETIME); INSERT INTO people VALUES {}",
            rows.join(", ")
        );
        sample.sql("odd", &table).unwrap();
        let asked = ["mutate", "odd", file.to_str().unwrap(), "--date", "2026-02-05", "--output", "json"];
        let scored = sample.host(&asked).unwrap();
        assert_eq!(scored.code, 0, "{kind}: {} {}", scored.out, scored.err);
        let found = json(&scored);
        let of = |name: &str| {
            let mutants = found["mutants"].as_array().unwrap();
            let found = mutants.iter().find(|one| one["name"] == format!("odd.people{name}"));
            found.unwrap_or_else(|| panic!("{kind} {name}: {:#}", json(&scored))).clone()
        };
        for (name, result) in [("/missing", "caught"), ("/doubled", "missed"), (".day/shifted", "caught")] {
            assert_eq!(of(name)["result"], result, "{kind}: {:#}", of(name));
        }
        // Its times are moved to other times, which the check does not look at.
        for name in [".loaded/stale", ".loaded/late"] {
            assert_eq!(of(name)["result"], "equivalent", "{kind}: {:#}", of(name));
        }
        // Of four rows 1 and 10 percent are one row.
        assert!(
            found["mutants"].as_array().unwrap().iter().all(|one| !one["name"].as_str().unwrap().ends_with("null-1"))
        );
    }
    let sample = odd();
    let asked = ["mutate", "odd", file.to_str().unwrap(), "--date", "2026-02-05", "--only", "half-mising"];
    let typo = sample.host(&asked).unwrap();
    assert!(typo.code == 64 && typo.err.contains("no mutant has half-mising in its name; did you mean"), "{typo:?}");
}

/// `DATE(at)` is the date in UTC, whatever the zone of the check; days may be written without hyphens, as text and as a number.
#[test]
fn the_rows_of_a_date_are_those_that_the_query_asks_for() {
    let file = crate::prove::plugin("canary-sql");
    let hour = |hour: i32| (4 + hour / 24, hour % 24);
    let hours = (0..72).map(hour).map(|(day, hour)| {
        format!(
            "('2026-02-{day:02} {hour:02}:30:00 UTC', '202602{day:02}', 202602{day:02}, '2026-02-{day:02}T{hour:02}')"
        )
    });
    let hours: Vec<String> = hours.collect();
    let conditions = [
        ("at", "DATE(at) = @date"),
        ("at", "CAST(at AS DATE) = @date"),
        ("at", "DATE(at, 'America/New_York') = @date"),
        ("at", "at >= @day_start AND at < @day_end"),
        ("day", "day = FORMAT_DATE('%Y%m%d', @date)"),
        ("day", "PARSE_DATE('%Y%m%d', day) = @date"),
        ("number", "number = CAST(FORMAT_DATE('%Y%m%d', @date) AS INT64)"),
        ("text", "SUBSTR(text, 1, 10) = CAST(@date AS STRING)"),
    ];
    for (column, condition) in conditions {
        let sample = odd();
        let toml = fs::read_to_string(sample.path().join("host.toml")).unwrap();
        let begin = toml.find("sql = ").unwrap();
        let sql = format!("sql = \"SELECT COUNT(*) AS records FROM odd.hours WHERE {condition}\"");
        let toml = toml[..begin].replace("timezone = \"UTC\"", "timezone = \"America/New_York\"");
        sample.configure(&format!("{toml}{sql}\nthresholds.records.min = 13\n")).unwrap();
        sample
            .sql(
                "odd",
                &format!(
                    "CREATE TABLE hours (at TIMESTAMP, day TEXT, number INT64, text TEXT); INSERT INTO hours VALUES {}",
                    hours.join(", ")
                ),
            )
            .unwrap();
        let asked = ["mutate", "odd", file.to_str().unwrap(), "--date", "2026-02-05", "--output", "json"];
        let scored = sample.host(&asked).unwrap();
        let found = json(&scored);
        for name in ["/missing", "/half-missing", &format!(".{column}/shifted")] {
            let mutants = found["mutants"].as_array().unwrap();
            let mutant = mutants.iter().find(|one| one["name"] == format!("odd.hours{name}"));
            assert_eq!(mutant.map(|mutant| &mutant["result"]), Some(&"caught".into()), "{condition} {name}: {found:#}");
        }
    }
}

/// What a warehouse keeps about its tables goes wrong, too: for a date of long ago as well.
#[test]
fn tables_that_nobody_wrote_are_noticed() {
    let sample = Sample::new(None).unwrap();
    let file = crate::prove::plugin("phase1-scrapers");
    let asked = ["mutate", "phase1-scrapers", file.to_str().unwrap(), "--date", "2026-02-01", "--output", "json"];
    let scored = sample.host(&asked).unwrap();
    assert_eq!(scored.code, 0, "{} {}", scored.out, scored.err);
    let found = json(&scored);
    let named: Vec<(&str, &str)> = found["mutants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["result"].as_str().unwrap()))
        .collect();
    let expected =
        ["stale", "half-stale", "half-gone", "gone"].map(|kind| (format!("nba_raw.__TABLES__/{kind}"), "caught"));
    assert_eq!(named, expected.each_ref().map(|(name, result)| (name.as_str(), *result)));
}

/// Of a date that becomes one to skip nobody hears.
#[test]
fn a_mutant_that_makes_a_check_skip_says_so() {
    let sample = past(10, &[], "");
    let asked = ["mutate", "phase2-raw", "--date", "2025-09-03", "--only", "nba_schedule/missing", "--output", "json"];
    let found = json(&host(&sample, &asked));
    let mutant = &found["mutants"][0];
    assert_eq!(mutant["result"], "missed", "{found:#}");
    assert!(mutant["why"].as_str().unwrap().starts_with("the check skips the date: "), "{mutant:#}");
}

/// A plugin in Python is no other: its tables, its columns, its deployments.
#[test]
fn plugins_in_any_language_have_a_score() {
    let sample = Sample::new(None).unwrap();
    let python = python_plugin();
    let scored = sample
        .host(&["mutate", "predicted-players", python.to_str().unwrap(), "--date", "2026-02-05", "--output", "json"])
        .unwrap();
    assert_eq!(scored.code, 0, "{} {}", scored.out, scored.err);
    let found = json(&scored);
    assert!(found["caught"].as_u64().unwrap() > 0 && found["counted"].as_u64().unwrap() > 5, "{found:#}");
}

/// A deployment that falls behind, and a repository that cannot be read, are mutants as well.
#[test]
fn a_check_of_deployed_code_is_mutated_too() {
    let sample = Sample::new(None).unwrap();
    let shipped = shipped().unwrap();
    let drift = shipped.iter().find(|path| path.ends_with("deployment-drift.wasm")).unwrap();
    let scored = sample
        .host(&["mutate", "deployment-drift", drift.to_str().unwrap(), "--date", "2026-02-05", "--output", "json"])
        .unwrap();
    assert_eq!(scored.code, 0, "{} {}", scored.out, scored.err);
    let found = json(&scored);
    let result = |name: &str| {
        let mutants = found["mutants"].as_array().unwrap();
        mutants.iter().find(|mutant| mutant["name"] == name).unwrap_or_else(|| panic!("{name}: {found:#}"))["why"]
            .to_string()
    };
    assert!(result("prediction-worker/behind").contains("hours behind"));
    assert!(result("prediction-worker/old-traffic").contains("traffic is not routed to the latest revision"));
    assert!(result("git.pipeline/unreadable").contains("it cannot be read"));
    assert_eq!(found["score"], 1.0);
}
