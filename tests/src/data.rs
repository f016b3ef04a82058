//! The sample's data: ten days of box scores, summaries, averages, predictions and signals.

use std::{fs, path::Path};

use anyhow::Result;
use jiff::{Span, Timestamp, ToSpan, civil::Date};
use rusqlite::{Connection, params};

use crate::Moment;

/// Days with games, the data date being the last.
const DAYS: i64 = 10;
/// Games a day.
const GAMES: i64 = 5;
/// Players of a game, both teams together.
const PLAYERS: i64 = 24;
/// Of these, the last few do not play.
const BENCHED: i64 = 4;
/// Players of the league.
const LEAGUE: i64 = 240;

/// The tables that the scrapers write, besides the box scores.
const SOURCES: [&str; 12] = [
    "nbac_gamebook",
    "nbac_injury_report",
    "nbac_player_list",
    "nbac_play_by_play",
    "nbac_referees",
    "nbac_schedule",
    "nbac_team_boxscore",
    "bdl_active_players",
    "bdl_standings",
    "espn_scoreboard",
    "odds_api_props",
    "bettingpros_props",
];

pub(super) fn make(directory: &Path, moment: &Moment) -> Result<()> {
    fs::create_dir_all(directory)?;
    let days: Vec<Date> =
        (0..DAYS).rev().map(|back| moment.data_date.checked_sub(back.days())).collect::<Result<_, _>>()?;
    raw(&directory.join("nba_raw.db"), &days, moment)?;
    reference(&directory.join("nba_reference.db"), &days)?;
    analytics(&directory.join("nba_analytics.db"), &days)?;
    predictions(&directory.join("nba_predictions.db"), &days)
}

fn raw(path: &Path, days: &[Date], moment: &Moment) -> Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE nbac_player_boxscore (
            game_id TEXT, game_date DATE, player_name TEXT, player_lookup TEXT, team_abbr TEXT,
            points INT64, minutes_played FLOAT64, player_status TEXT, processed_at TIMESTAMP);
         CREATE TABLE __TABLES__ (
            project_id TEXT, dataset_id TEXT, table_id TEXT, creation_time INT64, last_modified_time INT64,
            row_count INT64, size_bytes INT64, type INT64);",
    )?;
    for source in SOURCES {
        transaction.execute_batch(&format!("CREATE TABLE {source} (source_file TEXT, processed_at TIMESTAMP);"))?;
    }
    let mut insert = transaction.prepare("INSERT INTO nbac_player_boxscore VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?;
    for day in days {
        // Each day was processed when the pipeline would have been: hours before it is asked about.
        let back = i64::from(moment.data_date.since(*day)?.get_days());
        let processed = text(moment.at.checked_sub(Span::new().hours(24 * back + 3))?);
        for game in 0..GAMES {
            for player in 0..PLAYERS {
                let active = player < PLAYERS - BENCHED;
                insert.execute(params![
                    game_id(*day, game),
                    day.to_string(),
                    name(game, player),
                    lookup(game * PLAYERS + player),
                    if player % 2 == 0 { "BOS" } else { "LAL" },
                    active.then_some((player * 7 + game) % 38),
                    active.then_some(12.0 + (player % 9) as f64 * 2.5),
                    if active { "active" } else { "inactive" },
                    processed,
                ])?;
            }
        }
    }
    drop(insert);
    let written = moment.at.checked_sub(2.hours())?.as_millisecond();
    for table in SOURCES.iter().chain(&["nbac_player_boxscore"]) {
        transaction.execute(
            "INSERT INTO __TABLES__ VALUES ('nba-props-platform', 'nba_raw', ?, ?, ?, ?, ?, 1)",
            params![table, written - 90 * 86_400_000, written, DAYS * GAMES * PLAYERS, 512_000],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

fn reference(path: &Path, days: &[Date]) -> Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction
        .execute_batch("CREATE TABLE nba_schedule (game_id TEXT, game_date DATE, home_team TEXT, away_team TEXT);")?;
    for day in days {
        for game in 0..GAMES {
            transaction.execute(
                "INSERT INTO nba_schedule VALUES (?, ?, 'BOS', 'LAL')",
                params![game_id(*day, game), day.to_string()],
            )?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn analytics(path: &Path, days: &[Date]) -> Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE player_game_summary (
            player_lookup TEXT, game_id TEXT, game_date DATE, is_dnp BOOL, possessions INT64,
            minutes_played FLOAT64, points INT64);
         CREATE TABLE player_season_averages (
            player_lookup TEXT, season TEXT, as_of_date DATE, games_played INT64, points_avg FLOAT64);",
    )?;
    for day in days {
        for game in 0..GAMES {
            for player in 0..PLAYERS {
                let played = player < PLAYERS - BENCHED;
                transaction.execute(
                    "INSERT INTO player_game_summary VALUES (?, ?, ?, ?, ?, ?, ?)",
                    params![
                        lookup(game * PLAYERS + player),
                        game_id(*day, game),
                        day.to_string(),
                        !played,
                        played.then_some(58 + player % 7),
                        played.then_some(12.0 + (player % 9) as f64 * 2.5),
                        played.then_some((player * 7 + game) % 38),
                    ],
                )?;
            }
        }
        for player in 0..LEAGUE {
            transaction.execute(
                "INSERT INTO player_season_averages VALUES (?, ?, ?, ?, ?)",
                params![
                    lookup(player),
                    season(*day),
                    day.to_string(),
                    18 + player % 20,
                    4.5 + (player % 50) as f64 * 0.5
                ],
            )?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn predictions(path: &Path, days: &[Date]) -> Result<()> {
    let mut connection = Connection::open(path)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE player_prop_predictions (
            player_lookup TEXT, game_date DATE, system_id TEXT, is_active BOOL, predicted_value FLOAT64,
            edge_percent FLOAT64);
         CREATE TABLE daily_prediction_signals (
            game_date DATE, system_id TEXT, daily_signal TEXT, pct_over FLOAT64);",
    )?;
    for day in days {
        for player in 0..80 {
            transaction.execute(
                "INSERT INTO player_prop_predictions VALUES (?, ?, 'catboost_v8', ?, ?, ?)",
                params![
                    lookup(player),
                    day.to_string(),
                    player < 72,
                    8.5 + player as f64 * 0.25,
                    1.5 + (player % 10) as f64
                ],
            )?;
        }
        transaction.execute(
            "INSERT INTO daily_prediction_signals VALUES (?, 'catboost_v8', 'GREEN', 34.5)",
            params![day.to_string()],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

fn game_id(day: Date, game: i64) -> String {
    format!("{}{game:02}", day.strftime("%Y%m%d"))
}

fn name(game: i64, player: i64) -> String {
    const FIRST: [&str; 6] = ["Marcus", "Luka", "Jalen", "Nikola", "Tyrese", "Anthony"];
    const LAST: [&str; 5] = ["Brown", "Johnson", "Williams", "Carter", "Green"];
    let pick = |names: &[&'static str], at: i64| {
        names.iter().cycle().nth(usize::try_from(at).unwrap_or(0)).copied().unwrap_or_default()
    };
    format!("{} {} {}", pick(&FIRST, player), pick(&LAST, player / 2 + game), game * PLAYERS + player)
}

fn lookup(player: i64) -> String {
    format!("player{player:03}")
}

/// The season that begins in October.
fn season(day: Date) -> String {
    let start = if day.month() >= 10 { day.year() } else { day.year() - 1 };
    format!("{start}-{:02}", (start + 1) % 100)
}

/// As BigQuery exports a TIMESTAMP.
pub(super) fn text(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
