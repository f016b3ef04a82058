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
    assert!(null.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains(", NULL, ")), "{null}");
    let shifted = show(".game_date/shifted");
    assert!(shifted.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains("2025-09-02")), "{shifted}");
    let truncated = show(".player_name/truncated");
    assert!(truncated.lines().filter(|line| line.starts_with("+ ")).all(|line| line.contains(", N, ")), "{truncated}");
    let one = show(".game_id/one-missing");
    assert!(one.lines().filter(|line| line.starts_with("- ")).all(|line| line.starts_with("- 2025090300,")), "{one}");
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
