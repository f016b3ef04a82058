-- The tables that the checks of host.toml ask, as they are on a good afternoon of {today}: 30 days of two games a day, with
-- tonight's predictions and a matinee that is on. A line `-- @ DATASET` begins the tables of one dataset. {days}, {games},
-- {players} and {models} are tables of one column; tests/support/pipeline.rs fills them in, and makes the sources that are
-- only counted.

-- @ nba_reference
CREATE TABLE nba_schedule (game_id TEXT, game_date DATE, status TEXT, loaded TIMESTAMP);
INSERT INTO nba_schedule
SELECT day || '-' || game, day, CASE WHEN day < '{today}' THEN 'final' WHEN game = 0 THEN 'live' ELSE 'scheduled' END,
    '{today} 10:00:00 UTC' FROM {days}, {games};
CREATE TABLE worker_heartbeats (worker TEXT, beat TIMESTAMP);
INSERT INTO worker_heartbeats SELECT 'worker-' || game, '{today} 19:59:00 UTC' FROM {games};

-- @ nba_raw
CREATE TABLE nbac_gamebook_player_stats (game_id TEXT, game_date DATE, player_name TEXT, team_abbr TEXT);
INSERT INTO nbac_gamebook_player_stats
SELECT day || '-' || game, day, 'Player ' || player, CASE WHEN player % 2 THEN 'BOS' ELSE 'LAL' END FROM {days}, {games}, {players}
WHERE day < '{today}';
CREATE TABLE closing_lines (game_id TEXT, game_date DATE, line FLOAT64);
INSERT INTO closing_lines SELECT day || '-' || game, day, -3.5 FROM {days}, {games} WHERE day < '{today}';
CREATE TABLE live_scores (game_id TEXT, scraped TIMESTAMP);
INSERT INTO live_scores VALUES ('{today}-0', '{today} 19:58:00 UTC');

-- @ nba_analytics
CREATE TABLE player_game_summary (player_lookup TEXT, game_id TEXT, game_date DATE, minutes FLOAT64, points INT64);
INSERT INTO player_game_summary
SELECT 'p' || game || '-' || player, day || '-' || game, day, 20.0 + player % 10, 8 + player % 10
FROM {days}, {games}, {players} WHERE day < '{today}';
CREATE TABLE ml_feature_store_v2
    (player_lookup TEXT, game_date DATE, quality FLOAT64, is_ready BOOL, is_red BOOL, has_matchup BOOL, missed_cache BOOL);
INSERT INTO ml_feature_store_v2
SELECT 'p' || game || '-' || player, day, 85.0, player > 2, player = 0, player > 5, 0 FROM {days}, {games}, {players}
WHERE day < '{today}';
CREATE TABLE phase_runs (phase INT64, game_date DATE, ended TIMESTAMP);
INSERT INTO phase_runs SELECT 4, day, day || ' 15:00:00 UTC' FROM {days};

-- @ nba_predictions
CREATE TABLE predictions
    (player_lookup TEXT, game_date DATE, model TEXT, predicted FLOAT64, line FLOAT64, confidence FLOAT64);
INSERT INTO predictions
SELECT 'p' || game || '-' || player, day, model, 10.0 + player, 8.0 + player, 0.6 FROM {days}, {games}, {players}, {models};
CREATE TABLE candidates (player_lookup TEXT, game_date DATE);
INSERT INTO candidates SELECT 'p0-' || player, day FROM {days}, {players};
CREATE TABLE daily_prediction_signals (game_date DATE, system_id TEXT, daily_signal TEXT, pct_over FLOAT64);
INSERT INTO daily_prediction_signals SELECT day, 'catboost', 'GREEN', 34.5 FROM {days};
CREATE TABLE picks (player_lookup TEXT, game_date DATE, quality TEXT);
INSERT INTO picks SELECT 'p0-' || player, day, 'green' FROM {days}, {players} WHERE player < 5;
CREATE TABLE grades (player_lookup TEXT, game_date DATE, is_hit BOOL);
INSERT INTO grades SELECT 'p0-' || player, day, player % 2 FROM {days}, {players} WHERE player < 5 AND day < '{today}';
CREATE TABLE filter_audit (game_date DATE, considered INT64, passed INT64);
INSERT INTO filter_audit SELECT day, 100, 20 FROM {days};
CREATE TABLE model_registry
    (model TEXT, family TEXT, is_enabled BOOL, is_blocked BOOL, is_healthy BOOL, registered TIMESTAMP);
INSERT INTO model_registry
SELECT model, CASE WHEN model = 'ridge' THEN 'linear' ELSE 'trees' END, 1, 0, 1, '{yesterday} 12:00:00 UTC' FROM {models};

-- @ mlb
CREATE TABLE schedule (game_id TEXT, game_date DATE, loaded TIMESTAMP);
INSERT INTO schedule SELECT day || '-' || game, day, '{today} 10:00:00 UTC' FROM {days}, {games};
CREATE TABLE predictions (player_lookup TEXT, game_date DATE, is_published BOOL);
INSERT INTO predictions SELECT 'b' || player, day, player = 0 FROM {days}, {players};
CREATE TABLE plate_appearances (game_id TEXT, game_date DATE, batter TEXT, number INT64);
INSERT INTO plate_appearances SELECT day || '-' || game, day, 'b' || player, player FROM {days}, {games}, {players};
