SELECT COUNT(*) AS records,
       COUNT_IF(NOT is_dnp AND possessions IS NULL) AS null_possessions,
       COUNT_IF(NOT is_dnp AND minutes_played IS NULL) AS null_minutes_played,
       COUNT_IF(NOT is_dnp AND points IS NULL) AS null_points,
       AVG(CASE WHEN NOT is_dnp THEN possessions END) AS average_possessions
FROM nba_analytics.player_game_summary
WHERE game_date = DATE '{{ var("date") }}'
HAVING records < 40 OR null_possessions > 0 OR null_minutes_played > 0 OR null_points > 0 OR average_possessions < 50
   OR average_possessions IS NULL
