"""The questions of the six canaries, as a plain script would ask SQLite: script.py WAREHOUSE DATE."""

import datetime
import pathlib
import sqlite3
import sys
import zoneinfo

QUESTIONS = {
    "phase2-raw": (
        """SELECT COUNT(DISTINCT game_id), COUNT(*), COUNT(*) - COUNT(player_name), COUNT(*) - COUNT(team_abbr)
           FROM nba_raw.nbac_player_boxscore WHERE game_date = ?""",
        {"games": (2, None), "player_records": (40, None), "null_player_names": (None, 0), "null_team_abbrs": (None, 0)},
    ),
    "phase3-analytics": (
        """SELECT COUNT(*), COUNT(*) FILTER (WHERE NOT is_dnp AND possessions IS NULL),
                  COUNT(*) FILTER (WHERE NOT is_dnp AND minutes_played IS NULL),
                  COUNT(*) FILTER (WHERE NOT is_dnp AND points IS NULL), AVG(possessions) FILTER (WHERE NOT is_dnp)
           FROM nba_analytics.player_game_summary WHERE game_date = ?""",
        {
            "records": (40, None),
            "null_possessions": (None, 0),
            "null_minutes_played": (None, 0),
            "null_points": (None, 0),
            "average_possessions": (50, None),
        },
    ),
    "phase4-precompute": (
        """SELECT COUNT(DISTINCT player_lookup), AVG(games_played), COUNT(*) - COUNT(points_avg)
           FROM nba_analytics.player_season_averages WHERE as_of_date = ?""",
        {"players": (200, None), "average_games_played": (10, None), "null_points_avg": (None, 0)},
    ),
    "phase5-predictions": (
        """SELECT COUNT(*), COUNT(DISTINCT player_lookup), COUNT(*) - COUNT(predicted_value),
                  COUNT(*) - COUNT(edge_percent)
           FROM nba_predictions.player_prop_predictions WHERE game_date = ? AND is_active""",
        {
            "predictions": (50, None),
            "players": (20, None),
            "null_predicted_values": (None, 0),
            "null_edge_percents": (None, 0),
        },
    ),
    "phase6-publishing": (
        """SELECT COUNT(*), COUNT(*) - COUNT(daily_signal), COUNT(*) - COUNT(pct_over)
           FROM nba_predictions.daily_prediction_signals WHERE game_date = ?""",
        {"signals": (1, None), "null_daily_signals": (None, 0), "null_pct_overs": (None, 0)},
    ),
}


def main(warehouse, date):
    connection = sqlite3.connect(":memory:", uri=True)
    for file in sorted(pathlib.Path(warehouse).glob("*.db")):
        connection.execute(f"ATTACH ? AS {file.stem}", [f"file:{file}?mode=ro"])
    midnight = datetime.datetime.fromisoformat(date).replace(tzinfo=zoneinfo.ZoneInfo("America/New_York"))
    written = "SELECT COUNT(*) FROM nba_raw.__TABLES__ WHERE last_modified_time >= ?"
    answers = [("phase1-scrapers", connection.execute(written, [midnight.timestamp() * 1000]).fetchone())]
    limits = {"phase1-scrapers": {"tables_written": (10, None)}}
    for check, (query, wanted) in QUESTIONS.items():
        answers.append((check, connection.execute(query, [date]).fetchone()))
        limits[check] = wanted
    failed = False
    for check, values in answers:
        for (metric, (least, most)), value in zip(limits[check].items(), values):
            bad = value is None or least is not None and value < least or most is not None and value > most
            failed |= bad
            print(f"{check} {metric} {value} {'FAIL' if bad else 'pass'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
