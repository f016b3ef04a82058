SELECT COUNT(DISTINCT player_lookup) AS players,
       AVG(games_played) AS average_games_played,
       COUNT_IF(points_avg IS NULL) AS null_points_avg
FROM nba_analytics.player_season_averages
WHERE as_of_date = DATE '{{ var("date") }}'
HAVING players < 200 OR average_games_played < 10 OR average_games_played IS NULL OR null_points_avg > 0
