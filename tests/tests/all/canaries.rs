//! Each threshold of each canary: on its boundary, beyond it, NULL, missing and empty, on the embedded engine.

use crate::support::{DATE, watched::Watched};

/// A change of the data, and the canary's violations: none for a pass.
struct Case {
    what: &'static str,
    sql: String,
    expected: &'static [&'static str],
}

fn case(what: &'static str, sql: &str, expected: &'static [&'static str]) -> Case {
    Case { what, sql: sql.replace("$DATE", &format!("'{DATE}'")), expected }
}

fn hold(plugin: &str, dataset: &str, cases: &[Case]) {
    let watched = Watched::new(&[plugin], |toml| toml).unwrap();
    for Case { what, sql, expected } in cases {
        watched.restore().unwrap();
        watched.sql(dataset, sql).unwrap();
        let run = watched.run(plugin).unwrap();
        assert_eq!(run.error, None, "{plugin}: {what}");
        let report = run.report.as_ref().unwrap();
        let messages: Vec<&str> = report.violations.iter().map(|violation| violation.message.as_str()).collect();
        assert_eq!(messages, *expected, "{plugin}: {what}");
        let verdict = if expected.is_empty() { "pass" } else { "fail" };
        assert_eq!(run.status().name(), verdict, "{plugin}: {what}");
        assert_eq!(run.alerts.len(), usize::from(!expected.is_empty()), "{plugin}: {what}");
    }
}

#[test]
fn phase1() {
    // The date begins at five in the morning, UTC, in winter New York.
    let start = 1_770_267_600_000_i64;
    let but = |count: u32, time: i64| {
        format!(
            "UPDATE __TABLES__ SET last_modified_time = {time} WHERE rowid IN (SELECT rowid FROM __TABLES__ LIMIT {count})"
        )
    };
    hold(
        "phase1-scrapers",
        "nba_raw",
        &[
            case("as it is", "SELECT 1", &[]),
            case("ten of thirteen", &but(3, start - 1000), &[]),
            case("nine of thirteen", &but(4, start - 1000), &["tables_written is below its minimum: 9 < 10"]),
            case("written in the date's first second", &but(13, start), &[]),
            case(
                "written in the second before",
                &but(13, start - 1000),
                &["tables_written is below its minimum: 0 < 10"],
            ),
            case(
                "some times are NULL",
                "UPDATE __TABLES__ SET last_modified_time = NULL WHERE rowid > 9",
                &["tables_written is below its minimum: 9 < 10"],
            ),
            case(
                "all times are NULL",
                "UPDATE __TABLES__ SET last_modified_time = NULL",
                &["tables_written has no value (required: at least 10)"],
            ),
            case("no table", "DELETE FROM __TABLES__", &["tables_written has no value (required: at least 10)"]),
            case("no metadata", "DROP TABLE __TABLES__", &["tables_written has no value (required: at least 10)"]),
        ],
    );
}

#[test]
fn phase2() {
    let of_date = |rest: &str| format!("(SELECT rowid FROM nbac_player_boxscore WHERE game_date = $DATE {rest})");
    let delete = |rest: &str| format!("DELETE FROM nbac_player_boxscore WHERE rowid IN {}", of_date(rest));
    let null = |column: &str, count: u32| {
        format!("UPDATE nbac_player_boxscore SET {column} = NULL WHERE rowid IN {}", of_date(&format!("LIMIT {count}")))
    };
    hold(
        "phase2-raw",
        "nba_raw",
        &[
            case("as it is", "SELECT 1", &[]),
            case("two games", &delete("AND game_id NOT LIKE '%00' AND game_id NOT LIKE '%01'"), &[]),
            case(
                "one game",
                &delete("AND game_id NOT LIKE '%00'"),
                &["games is below its minimum: 1 < 2", "player_records is below its minimum: 24 < 40"],
            ),
            case("forty records", &delete("LIMIT 80"), &[]),
            case("thirty-nine records", &delete("LIMIT 81"), &["player_records is below its minimum: 39 < 40"]),
            case("one name is NULL", &null("player_name", 1), &["null_player_names is above its maximum: 1 > 0"]),
            case("75 names are NULL", &null("player_name", 75), &["null_player_names is above its maximum: 75 > 0"]),
            case("one team is NULL", &null("team_abbr", 1), &["null_team_abbrs is above its maximum: 1 > 0"]),
            case(
                "a name of another date is NULL",
                "UPDATE nbac_player_boxscore SET player_name = NULL WHERE game_date < $DATE",
                &[],
            ),
            case("all games are NULL", &null("game_id", 120), &["games is below its minimum: 0 < 2"]),
            case(
                "empty",
                "DELETE FROM nbac_player_boxscore",
                &["games is below its minimum: 0 < 2", "player_records is below its minimum: 0 < 40"],
            ),
        ],
    );
}

#[test]
fn phase3() {
    let null = |column: &str, dnp: bool| {
        format!(
            "UPDATE player_game_summary SET {column} = NULL WHERE rowid IN (SELECT rowid FROM player_game_summary WHERE game_date = $DATE AND is_dnp = {dnp} LIMIT 1)"
        )
    };
    hold(
        "phase3-analytics",
        "nba_analytics",
        &[
            case("as it is", "SELECT 1", &[]),
            case(
                "forty records",
                "DELETE FROM player_game_summary WHERE rowid IN (SELECT rowid FROM player_game_summary WHERE game_date = $DATE LIMIT 80)",
                &[],
            ),
            case(
                "thirty-nine records",
                "DELETE FROM player_game_summary WHERE rowid IN (SELECT rowid FROM player_game_summary WHERE game_date = $DATE LIMIT 81)",
                &["records is below its minimum: 39 < 40"],
            ),
            case(
                "possessions of one who played",
                &null("possessions", false),
                &["null_possessions is above its maximum: 1 > 0"],
            ),
            case(
                "minutes of one who played",
                &null("minutes_played", false),
                &["null_minutes_played is above its maximum: 1 > 0"],
            ),
            case("points of one who played", &null("points", false), &["null_points is above its maximum: 1 > 0"]),
            case("points of one who did not play", &null("points", true), &[]),
            case("fifty possessions", "UPDATE player_game_summary SET possessions = 50 WHERE is_dnp = FALSE", &[]),
            case(
                "just under fifty",
                "UPDATE player_game_summary SET possessions = CASE rowid % 100 WHEN 0 THEN 49 ELSE 50 END WHERE is_dnp = FALSE",
                &["average_possessions is below its minimum: 49.99 < 50"],
            ),
            case(
                "possessions of those who did not play do not count",
                "UPDATE player_game_summary SET possessions = 0 WHERE is_dnp = TRUE",
                &[],
            ),
            case(
                "is_dnp is NULL",
                "UPDATE player_game_summary SET is_dnp = NULL",
                &["average_possessions has no value (required: at least 50)"],
            ),
            case(
                "empty",
                "DELETE FROM player_game_summary",
                &["records is below its minimum: 0 < 40", "average_possessions has no value (required: at least 50)"],
            ),
        ],
    );
}

#[test]
fn phase4() {
    hold(
        "phase4-precompute",
        "nba_analytics",
        &[
            case("as it is", "SELECT 1", &[]),
            case("two hundred players", "DELETE FROM player_season_averages WHERE player_lookup >= 'player200'", &[]),
            case(
                "one fewer",
                "DELETE FROM player_season_averages WHERE player_lookup >= 'player199'",
                &["players is below its minimum: 199 < 200"],
            ),
            case("ten games", "UPDATE player_season_averages SET games_played = 10", &[]),
            case(
                "just under ten",
                "UPDATE player_season_averages SET games_played = CASE player_lookup WHEN 'player000' THEN 7 ELSE 10 END",
                &["average_games_played is below its minimum: 9.9875 < 10"],
            ),
            case(
                "one average is NULL",
                "UPDATE player_season_averages SET points_avg = NULL WHERE player_lookup = 'player000' AND as_of_date = $DATE",
                &["null_points_avg is above its maximum: 1 > 0"],
            ),
            case(
                "all games_played are NULL",
                "UPDATE player_season_averages SET games_played = NULL",
                &["average_games_played has no value (required: at least 10)"],
            ),
            case(
                "empty",
                "DELETE FROM player_season_averages",
                &["players is below its minimum: 0 < 200", "average_games_played has no value (required: at least 10)"],
            ),
        ],
    );
}

#[test]
fn phase5() {
    let keep = |count: u32| {
        format!("DELETE FROM player_prop_predictions WHERE game_date = $DATE AND player_lookup >= 'player{count:03}'")
    };
    hold(
        "phase5-predictions",
        "nba_predictions",
        &[
            case("as it is", "SELECT 1", &[]),
            case("fifty predictions", &keep(50), &[]),
            case("forty-nine", &keep(49), &["predictions is below its minimum: 49 < 50"]),
            case(
                "of twenty players",
                "UPDATE player_prop_predictions SET player_lookup = 'player' || (rowid % 20)",
                &[],
            ),
            case(
                "of nineteen",
                "UPDATE player_prop_predictions SET player_lookup = 'player' || (rowid % 19)",
                &["players is below its minimum: 19 < 20"],
            ),
            case(
                "a value is NULL",
                "UPDATE player_prop_predictions SET predicted_value = NULL WHERE player_lookup = 'player000'",
                &["null_predicted_values is above its maximum: 1 > 0"],
            ),
            case(
                "an edge is NULL",
                "UPDATE player_prop_predictions SET edge_percent = NULL WHERE player_lookup = 'player000'",
                &["null_edge_percents is above its maximum: 1 > 0"],
            ),
            case(
                "a value that is not active is NULL",
                "UPDATE player_prop_predictions SET predicted_value = NULL WHERE is_active = FALSE",
                &[],
            ),
            case(
                "none is active",
                "UPDATE player_prop_predictions SET is_active = FALSE",
                &["predictions is below its minimum: 0 < 50", "players is below its minimum: 0 < 20"],
            ),
        ],
    );
}

#[test]
fn phase6() {
    hold(
        "phase6-publishing",
        "nba_predictions",
        &[
            case("as it is", "SELECT 1", &[]),
            case(
                "no signal for the date",
                "DELETE FROM daily_prediction_signals WHERE game_date = $DATE",
                &["signals is below its minimum: 0 < 1"],
            ),
            case(
                "the signal is NULL",
                "UPDATE daily_prediction_signals SET daily_signal = NULL",
                &["null_daily_signals is above its maximum: 1 > 0"],
            ),
            case(
                "the share is NULL",
                "UPDATE daily_prediction_signals SET pct_over = NULL",
                &["null_pct_overs is above its maximum: 1 > 0"],
            ),
        ],
    );
}

/// Tables, thresholds and filters are settings.
#[test]
fn settings_change_what_is_asked() {
    let settings = |toml: String| {
        toml.replace("[checks.phase6-publishing]", "[checks.phase6-publishing]\nsettings = { system_id = \"o'neil\", min_signals = 2 }")
            .replace("[checks.phase4-precompute]", "[checks.phase4-precompute]\nsettings = { season = '2024-25', min_players = 0, min_average_games_played = 0 }")
    };
    let watched = Watched::new(&["phase6-publishing", "phase4-precompute"], settings).unwrap();
    watched
        .sql(
            "nba_predictions",
            &format!("INSERT INTO daily_prediction_signals VALUES ('{DATE}', 'o''neil', 'RED', 20)"),
        )
        .unwrap();
    let run = watched.run("phase6-publishing").unwrap();
    assert_eq!(run.summary(), "signals is below its minimum: 1 < 2");
    let run = watched.run("phase4-precompute").unwrap();
    assert_eq!(run.summary(), "average_games_played has no value (required: at least 0)");
}
