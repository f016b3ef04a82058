//! A longer past of the sample pipeline: games by weekday, holidays, growth and noise, and faults on some dates.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use jiff::{ToSpan, civil::Date};
use rusqlite::{Connection, params};

/// Games on a day, Monday first.
const GAMES: [f64; 7] = [7.0, 5.0, 9.0, 4.0, 9.0, 7.0, 6.0];
/// Players of a game; the last of them do not play.
const PLAYERS: u64 = 24;
const BENCHED: u64 = 4;
/// How much more there is after a year.
const GROWTH: f64 = 0.1;

/// What goes wrong on a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    /// The box scores of half of the games are missing.
    HalfOfTheGames,
    /// No box score came.
    NoBoxScores,
    /// Box scores came twice.
    TwiceTheBoxScores,
    /// A tenth of the box scores has no player name.
    NamesMissing,
    /// Half of the summaries are missing.
    HalfOfTheSummaries,
    /// A tenth of the summaries has no points.
    PointsMissing,
    /// Half of the season averages are missing.
    HalfOfTheAverages,
    /// Half of the predictions are missing.
    HalfOfThePredictions,
    /// A tenth of the predictions has no edge.
    EdgesMissing,
    /// No signal was published.
    NoSignal,
}

impl Wrong {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::HalfOfTheGames,
        Self::NoBoxScores,
        Self::TwiceTheBoxScores,
        Self::NamesMissing,
        Self::HalfOfTheSummaries,
        Self::PointsMissing,
        Self::HalfOfTheAverages,
        Self::HalfOfThePredictions,
        Self::EdgesMissing,
        Self::NoSignal,
    ];

    /// The check whose data it is in.
    pub fn check(self) -> &'static str {
        match self {
            Self::HalfOfTheGames | Self::NoBoxScores | Self::TwiceTheBoxScores | Self::NamesMissing => "phase2-raw",
            Self::HalfOfTheSummaries | Self::PointsMissing => "phase3-analytics",
            Self::HalfOfTheAverages => "phase4-precompute",
            Self::HalfOfThePredictions | Self::EdgesMissing => "phase5-predictions",
            Self::NoSignal => "phase6-publishing",
        }
    }

    fn sql(self) -> (&'static str, &'static str) {
        let (raw, analytics, predictions) = ("nba_raw", "nba_analytics", "nba_predictions");
        match self {
            Self::HalfOfTheGames => (
                raw,
                "DELETE FROM nbac_player_boxscore WHERE game_date = ?1 AND CAST(substr(game_id, 9) AS INTEGER) % 2 = 0",
            ),
            Self::NoBoxScores => (raw, "DELETE FROM nbac_player_boxscore WHERE game_date = ?1"),
            Self::TwiceTheBoxScores => {
                (raw, "INSERT INTO nbac_player_boxscore SELECT * FROM nbac_player_boxscore WHERE game_date = ?1")
            }
            Self::NamesMissing => {
                (raw, "UPDATE nbac_player_boxscore SET player_name = NULL WHERE game_date = ?1 AND rowid % 10 = 0")
            }
            Self::HalfOfTheSummaries => {
                (analytics, "DELETE FROM player_game_summary WHERE game_date = ?1 AND rowid % 2 = 0")
            }
            Self::PointsMissing => {
                (analytics, "UPDATE player_game_summary SET points = NULL WHERE game_date = ?1 AND rowid % 10 < 2")
            }
            Self::HalfOfTheAverages => {
                (analytics, "DELETE FROM player_season_averages WHERE as_of_date = ?1 AND rowid % 2 = 0")
            }
            Self::HalfOfThePredictions => {
                (predictions, "DELETE FROM player_prop_predictions WHERE game_date = ?1 AND rowid % 2 = 0")
            }
            Self::EdgesMissing => (
                predictions,
                "UPDATE player_prop_predictions SET edge_percent = NULL WHERE game_date = ?1 AND rowid % 10 = 0",
            ),
            Self::NoSignal => (predictions, "DELETE FROM daily_prediction_signals WHERE game_date = ?1"),
        }
    }
}

/// Numbers that look random, the same for the same seed: SplitMix64 (Steele, Lea, Flood, 2014).
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below one.
    pub fn below(&mut self, most: u64) -> u64 {
        self.number() % most.max(1)
    }

    /// A number from 0 to 1.
    fn part(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// About normal, with a standard deviation of 1: the sum of twelve, less six.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.part()).sum::<f64>() - 6.0
    }
}

/// Whether nobody plays on a date.
fn is_holiday(date: Date) -> bool {
    [(11, 26), (12, 24), (2, 14), (2, 15), (4, 7)].contains(&(date.month(), date.day()))
}

/// Makes a warehouse with `days` dates from a first one, with faults on some of them.
pub fn season(directory: &Path, seed: u64, first: Date, days: i64, wrong: &[(Date, Wrong)]) -> Result<()> {
    fs::create_dir_all(directory)?;
    let open = |dataset: &str| -> Result<Connection> {
        let connection = Connection::open(directory.join(format!("{dataset}.db")))?;
        connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN")?;
        Ok(connection)
    };
    let (raw, reference) = (open("nba_raw")?, open("nba_reference")?);
    let (analytics, predictions) = (open("nba_analytics")?, open("nba_predictions")?);
    raw.execute_batch(
        "CREATE TABLE nbac_player_boxscore (
            game_id TEXT, game_date DATE, player_name TEXT, player_lookup TEXT, team_abbr TEXT,
            points INT64, minutes_played FLOAT64, player_status TEXT, processed_at TIMESTAMP);
         CREATE INDEX by_date ON nbac_player_boxscore (game_date);",
    )?;
    reference.execute_batch(
        "CREATE TABLE nba_schedule (game_id TEXT, game_date DATE, home_team TEXT, away_team TEXT);
         CREATE INDEX by_date ON nba_schedule (game_date);",
    )?;
    analytics.execute_batch(
        "CREATE TABLE player_game_summary (
            player_lookup TEXT, game_id TEXT, game_date DATE, is_dnp BOOL, possessions INT64,
            minutes_played FLOAT64, points INT64);
         CREATE INDEX by_date ON player_game_summary (game_date);
         CREATE TABLE player_season_averages (
            player_lookup TEXT, season TEXT, as_of_date DATE, games_played INT64, points_avg FLOAT64);
         CREATE INDEX by_day ON player_season_averages (as_of_date);",
    )?;
    predictions.execute_batch(
        "CREATE TABLE player_prop_predictions (
            player_lookup TEXT, game_date DATE, system_id TEXT, is_active BOOL, predicted_value FLOAT64,
            edge_percent FLOAT64);
         CREATE INDEX by_date ON player_prop_predictions (game_date);
         CREATE TABLE daily_prediction_signals (
            game_date DATE, system_id TEXT, daily_signal TEXT, pct_over FLOAT64);",
    )?;
    let mut draw = Draw::new(seed);
    for at in 0..days {
        let date = first.checked_add(at.days())?;
        let day = date.to_string();
        let grown = 1.0 + GROWTH * at as f64 / 365.0;
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset())?;
        let usual = GAMES.get(weekday).copied().context("a weekday")? * grown;
        let games = if is_holiday(date) { 0 } else { (usual + draw.noise() * 0.7).round().max(2.0) as u64 };
        let written = format!("{} 09:{:02}:00 UTC", date.tomorrow()?, draw.below(60));
        for game in 0..games {
            let id = format!("{}{game:02}", date.strftime("%Y%m%d"));
            reference
                .prepare_cached("INSERT INTO nba_schedule VALUES (?, ?, 'BOS', 'LAL')")?
                .execute(params![id, day])?;
            // Some games have a player more or less.
            for player in 0..PLAYERS + draw.below(3) - 1 {
                let played = player < PLAYERS - BENCHED;
                let (lookup, name) = (format!("player{:03}", game * PLAYERS + player), format!("Name {game} {player}"));
                let points = played.then(|| i64::try_from(draw.below(38)).unwrap_or_default());
                let minutes = played.then(|| 12.0 + draw.below(24) as f64);
                raw.prepare_cached("INSERT INTO nbac_player_boxscore VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")?.execute(
                    params![
                        id,
                        day,
                        name,
                        lookup,
                        if player % 2 == 0 { "BOS" } else { "LAL" },
                        points,
                        minutes,
                        if played { "active" } else { "inactive" },
                        written
                    ],
                )?;
                let possessions = played.then(|| 55 + i64::try_from(draw.below(12)).unwrap_or_default());
                analytics
                    .prepare_cached("INSERT INTO player_game_summary VALUES (?, ?, ?, ?, ?, ?, ?)")?
                    .execute(params![lookup, id, day, !played, possessions, minutes, points])?;
            }
        }
        if games > 0 {
            for player in 0..(230.0 * grown + draw.noise() * 3.0) as u64 {
                analytics
                    .prepare_cached("INSERT INTO player_season_averages VALUES (?, '2025-26', ?, ?, ?)")?
                    .execute(params![
                        format!("player{player:03}"),
                        day,
                        18 + draw.below(20) as i64,
                        4.5 + draw.below(50) as f64 * 0.5
                    ])?;
            }
            for player in 0..(12.0 * games as f64 + draw.noise() * 2.0) as u64 {
                predictions
                    .prepare_cached("INSERT INTO player_prop_predictions VALUES (?, ?, 'catboost_v8', 1, ?, ?)")?
                    .execute(params![
                        format!("player{player:03}"),
                        day,
                        8.5 + player as f64 * 0.25,
                        1.5 + draw.below(10) as f64
                    ])?;
            }
            predictions
                .prepare_cached("INSERT INTO daily_prediction_signals VALUES (?, 'catboost_v8', 'GREEN', 34.5)")?
                .execute(params![day])?;
        }
    }
    for (date, wrong) in wrong {
        let (dataset, sql) = wrong.sql();
        let connection = match dataset {
            "nba_raw" => &raw,
            "nba_analytics" => &analytics,
            _ => &predictions,
        };
        connection.execute(sql, [date.to_string()])?;
    }
    for connection in [raw, reference, analytics, predictions] {
        connection.execute_batch("COMMIT")?;
    }
    Ok(())
}
