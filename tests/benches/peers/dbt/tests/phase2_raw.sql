SELECT COUNT(DISTINCT game_id) AS games,
       COUNT(*) AS player_records,
       COUNT_IF(player_name IS NULL) AS null_player_names,
       COUNT_IF(team_abbr IS NULL) AS null_team_abbrs
FROM nba_raw.nbac_player_boxscore
WHERE game_date = DATE '{{ var("date") }}'
HAVING games < 2 OR player_records < 40 OR null_player_names > 0 OR null_team_abbrs > 0
