"""Predicted players: every predicted player is known to the analytics."""

from sdk import Canary, at_least, at_most, export, setting


class PredictedPlayers(Canary):
    title = "Predicted players"
    summary = "Checks that every predicted player has season averages."
    datasets = ["nba_analytics", "nba_predictions"]

    class Settings:
        predictions: str = setting("nba_predictions.player_prop_predictions", "The table of predictions.")
        averages: str = setting("nba_analytics.player_season_averages", "The table of season averages.")
        min_players: float = setting(20, "Fails below this number of predicted players.")
        max_unknown: float = setting(0, "Fails above this number of players without averages.")

    def query(self, settings):
        return f"""
            SELECT COUNT(*) AS players, COUNTIF(known.player_lookup IS NULL) AS unknown_players
            FROM (SELECT DISTINCT player_lookup FROM `{settings.predictions}` WHERE game_date = @date AND is_active) AS predicted
            LEFT JOIN (SELECT DISTINCT player_lookup FROM `{settings.averages}`) AS known
              ON known.player_lookup = predicted.player_lookup"""

    def thresholds(self, settings):
        return [at_least("players", settings.min_players), at_most("unknown_players", settings.max_unknown)]


Plugin = export(PredictedPlayers())
