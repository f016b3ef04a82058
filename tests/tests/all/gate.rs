//! The gate's rules, each on both sides of its boundary, on the embedded engine.

use crate::support::{
    AT, DATE,
    command::{Sample, ended, shipped},
    watched::Watched,
};
use host::run::{Run, Status};
use jiff::{Span, Timestamp};
use rusqlite::Connection;
use serde_json::Value;

struct Case {
    what: &'static str,
    dataset: &'static str,
    sql: String,
    status: Status,
    /// The messages of all violations.
    expected: &'static [&'static str],
}

fn case(
    what: &'static str,
    dataset: &'static str,
    sql: &str,
    status: Status,
    expected: &'static [&'static str],
) -> Case {
    Case { what, dataset, sql: sql.replace("$DATE", &format!("'{DATE}'")), status, expected }
}

/// A date that is asked about days later: its data is as old as it was at its deadline, and late data is good, and late.
#[test]
fn a_date_that_is_repaired_late_becomes_good() {
    let sample = Sample::new(None).unwrap();
    let scraped = |at: &str| {
        let raw = Connection::open(sample.path().join("warehouse/nba_raw.db")).unwrap();
        let at = stored(at.parse().unwrap());
        let sql = "UPDATE nbac_player_boxscore SET processed_at = ?1 WHERE game_date = ?2";
        assert!(raw.execute(sql, (at, DATE)).unwrap() > 0);
    };
    let asked = |arguments: &[&str]| {
        let mut command = sample.command();
        command.args(["run", "--once", "--output", "json", "--check", "phase2-gate"]).args(arguments);
        ended(command.args(shipped().unwrap())).unwrap().run("phase2-gate")
    };
    let three_days_later = ["--date", DATE, "--at", "2026-02-08T12:00:00Z"];
    let late = |run: &Value| {
        let metrics = run["metrics"].as_array().unwrap().iter();
        metrics.clone().find(|metric| metric["name"] == "late").map(|metric| metric["value"].as_f64().unwrap())
    };
    for (at, status, words, hours) in [
        ("2026-02-06T08:30:00Z", "pass", "scraped 3.0 hours ago", None),
        ("2026-02-08T10:30:00Z", "pass", "scraped 47.0 hours late", Some(47.0)),
        ("2026-02-05T11:30:00Z", "fail", "age is not below its limit: 24 h ≥ 24 h", None),
    ] {
        scraped(at);
        let run = asked(&three_days_later);
        assert_eq!((run["status"].as_str(), late(&run)), (Some(status), hours), "{at}: {run:#}");
        assert!(run["summary"].as_str().unwrap().contains(words), "{at}: {run:#}");
    }
    // In time, the deadline is the run's own clock.
    scraped("2026-02-06T08:30:00Z");
    let run = asked(&["--at", AT]);
    assert!(run["summary"].as_str().unwrap().contains("scraped 3.0 hours ago") && late(&run).is_none(), "{run:#}");
}

fn messages(run: &Run) -> Vec<String> {
    run.report.iter().flat_map(|report| &report.violations).map(|violation| violation.message.clone()).collect()
}

#[test]
fn each_rule_on_both_sides_of_its_boundary() {
    let watched = Watched::new(&["phase2-gate"], |toml| toml).unwrap();
    // 120 records of the date, of which 100 active.
    let null = |column: &str, count: u32| {
        format!(
            "UPDATE nbac_player_boxscore SET {column} = NULL WHERE rowid IN (SELECT rowid FROM nbac_player_boxscore WHERE game_date = $DATE AND player_status = 'active' LIMIT {count})"
        )
    };
    let trim = |count: u32| {
        format!(
            "DELETE FROM nbac_player_boxscore WHERE rowid IN (SELECT rowid FROM nbac_player_boxscore WHERE game_id = '2026020502' ORDER BY player_status DESC LIMIT {count})"
        )
    };
    let (raw, reference) = ("nba_raw", "nba_reference");
    let (pass, warn, fail, error) = (Status::Pass, Status::Warn, Status::Fail, Status::Error);
    let cases = [
        case("as it is", raw, "SELECT 1", pass, &[]),
        case(
            "a scheduled game is missing",
            raw,
            "DELETE FROM nbac_player_boxscore WHERE game_id = '2026020503'",
            fail,
            &[
                "fewest_players_of_a_game is below its minimum: 0 < 20",
                "game 2026020503 is scheduled but has no box score",
            ],
        ),
        case("twenty records of a game", raw, &trim(4), pass, &[]),
        case(
            "nineteen records of a game",
            raw,
            &trim(5),
            fail,
            &[
                "fewest_players_of_a_game is below its minimum: 19 < 20",
                "game 2026020502 has 19 player records, fewer than 20",
            ],
        ),
        case(
            "a game that is not scheduled",
            reference,
            "DELETE FROM nba_schedule WHERE game_id = '2026020504'",
            warn,
            &["game 2026020504 has box scores but is not scheduled"],
        ),
        case("one name of 120 is NULL", raw, &null("player_name", 1), warn, &["1 of 120 records has no player_name"]),
        case(
            "just under 5 % of the names",
            raw,
            &null("player_name", 5),
            warn,
            &["5 of 120 records have no player_name"],
        ),
        case(
            "exactly 5 % of the names",
            raw,
            &null("player_name", 6),
            fail,
            &["null_rate_player_name is not below its limit: 5 % ≥ 5 %"],
        ),
        case(
            "half of the names",
            raw,
            &null("player_name", 60),
            fail,
            &["null_rate_player_name is not below its limit: 50 % ≥ 5 %"],
        ),
        case("team_abbr", raw, &null("team_abbr", 6), fail, &["null_rate_team_abbr is not below its limit: 5 % ≥ 5 %"]),
        case(
            "points of active players",
            raw,
            &null("points", 5),
            fail,
            &["null_rate_points is not below its limit: 5 % ≥ 5 %"],
        ),
        case("points, just under", raw, &null("points", 4), warn, &["4 of 100 active players have no points"]),
        case(
            "two of the active players without points",
            raw,
            &null("points", 2),
            warn,
            &["2 of 100 active players have no points"],
        ),
        case(
            "minutes_played",
            raw,
            &null("minutes_played", 5),
            fail,
            &["null_rate_minutes_played is not below its limit: 5 % ≥ 5 %"],
        ),
        case(
            "points of inactive players do not count",
            raw,
            "UPDATE nbac_player_boxscore SET points = NULL WHERE player_status = 'inactive'",
            pass,
            &[],
        ),
        case(
            "nobody is active",
            raw,
            "UPDATE nbac_player_boxscore SET player_status = NULL",
            fail,
            &[
                "null_rate_points has no value (required: below 5 %)",
                "null_rate_minutes_played has no value (required: below 5 %)",
            ],
        ),
        case(
            "processed_at is NULL",
            raw,
            "UPDATE nbac_player_boxscore SET processed_at = NULL",
            fail,
            &["age has no value (required: below 24 h)"],
        ),
        case(
            "a scheduled game has no id",
            reference,
            "UPDATE nba_schedule SET game_id = NULL WHERE game_id = '2026020504'",
            error,
            &[],
        ),
        case("the schedule is empty", reference, "DELETE FROM nba_schedule", error, &[]),
        case(
            "the schedule knows only long ago",
            reference,
            "UPDATE nba_schedule SET game_date = '2026-01-01'",
            error,
            &[],
        ),
        case("the schedule is gone", reference, "DROP TABLE nba_schedule", error, &[]),
        case("a column is gone", raw, "ALTER TABLE nbac_player_boxscore DROP COLUMN minutes_played", error, &[]),
    ];
    for Case { what, dataset, sql, status, expected } in &cases {
        watched.restore().unwrap();
        watched.sql(dataset, sql).unwrap();
        let run = watched.run("phase2-gate").unwrap();
        assert_eq!(
            (run.status(), messages(&run)),
            (*status, expected.iter().map(|text| (*text).to_owned()).collect()),
            "{what}: {}",
            run.summary()
        );
        assert_eq!(run.alerts.len(), usize::from(matches!(status, Status::Warn | Status::Fail)), "{what}");
    }
}

#[test]
fn all_players_of_a_game_without_an_id_are_seen() {
    let watched = Watched::new(&["phase2-gate"], |toml| toml).unwrap();
    watched.sql("nba_raw", "UPDATE nbac_player_boxscore SET game_id = NULL WHERE game_id = '2026020500'").unwrap();
    let run = watched.run("phase2-gate").unwrap();
    assert_eq!(run.status(), Status::Fail);
    assert!(
        messages(&run).iter().any(|message| message.starts_with("null_rate_game_id is not below its limit: 20 %")),
        "{:?}",
        messages(&run)
    );
}

#[test]
fn age_is_held_against_the_deadline_whenever_the_gate_is_asked() {
    let watched = Watched::new(&["phase2-gate"], |toml| toml).unwrap();
    let due: Timestamp = AT.parse().unwrap();
    let hour = 3600;
    for (seconds, status) in [
        (12 * hour - 1, Status::Pass),
        (12 * hour, Status::Warn),
        (24 * hour - 1, Status::Warn),
        (24 * hour, Status::Fail),
        // After this run's clock.
        (-1, Status::Warn),
    ] {
        let scraped = stored(due.checked_sub(Span::new().seconds(seconds)).unwrap());
        let sql = format!("UPDATE nbac_player_boxscore SET processed_at = '{scraped}' WHERE game_date = '{DATE}'");
        watched.sql("nba_raw", &sql).unwrap();
        let run = watched.run("phase2-gate").unwrap();
        assert_eq!(run.status(), status, "{seconds} s: {}", run.summary());
        // The due time is at 06:30; hours later the data is as old as it was then, and what came in between is late.
        let later = watched.run_at("phase2-gate", due.checked_add(Span::new().hours(10)).unwrap()).unwrap();
        let expected = if seconds < 0 { Status::Pass } else { status };
        assert_eq!(later.status(), expected, "{seconds} s, later: {}", later.summary());
    }
}

/// A time as the sample pipeline stores it.
fn stored(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S").to_string()
}

#[test]
fn a_date_without_games_proceeds_only_when_the_schedule_is_known() {
    let watched = Watched::new(&["phase2-gate"], |toml| toml).unwrap();
    watched.sql("nba_reference", &format!("DELETE FROM nba_schedule WHERE game_date = '{DATE}'")).unwrap();
    watched.sql("nba_raw", &format!("DELETE FROM nbac_player_boxscore WHERE game_date = '{DATE}'")).unwrap();
    let run = watched.run("phase2-gate").unwrap();
    assert_eq!(run.status(), Status::Pass);
    assert_eq!(run.summary(), "PROCEED: no games were scheduled on 2026-02-05; the schedule has 35 around it");

    watched.restore().unwrap();
    watched.sql("nba_reference", &format!("DELETE FROM nba_schedule WHERE game_date = '{DATE}'")).unwrap();
    let run = watched.run("phase2-gate").unwrap();
    assert_eq!(run.status(), Status::Warn, "box scores that nobody scheduled: {}", run.summary());

    watched.sql("nba_reference", "DELETE FROM nba_schedule").unwrap();
    let run = watched.run("phase2-gate").unwrap();
    assert_eq!(run.exit_code(), 3);
    assert!(run.summary().contains("no game within 7 days"), "{}", run.summary());
}

#[test]
fn two_games_are_the_least_when_any_are_scheduled() {
    let watched = Watched::new(&["phase2-gate"], |toml| toml).unwrap();
    for dataset_table in [("nba_reference", "nba_schedule"), ("nba_raw", "nbac_player_boxscore")] {
        let (dataset, table) = dataset_table;
        watched.sql(dataset, &format!("DELETE FROM {table} WHERE game_date = '{DATE}' AND game_id NOT LIKE '%00' AND game_id NOT LIKE '%01'")).unwrap();
    }
    assert_eq!(watched.run("phase2-gate").unwrap().status(), Status::Pass);
    watched.sql("nba_reference", "DELETE FROM nba_schedule WHERE game_id LIKE '%01'").unwrap();
    watched.sql("nba_raw", "DELETE FROM nbac_player_boxscore WHERE game_id LIKE '%01'").unwrap();
    assert_eq!(messages(&watched.run("phase2-gate").unwrap()), ["games is below its minimum: 1 < 2"]);
}

#[test]
fn the_decision_has_all_its_numbers() {
    let watched = Watched::new(&["phase2-gate"], |toml| toml).unwrap();
    watched.sql("nba_raw", "DELETE FROM nbac_player_boxscore WHERE game_id = '2026020503'").unwrap();
    let run = watched.run("phase2-gate").unwrap();
    let gate = run.report.unwrap().gate.unwrap();
    assert_eq!((gate.expected, gate.actual, gate.completeness), (5, 4, Some(80.0)));
    assert_eq!(gate.missing, ["2026020503"]);
    assert!(gate.score > 0.0 && gate.score < 1.0, "{}", gate.score);
    assert!(gate.metadata.iter().any(|(name, value)| name == "player_records" && value == "96"), "{:?}", gate.metadata);
}
