SELECT COUNT(*) AS predictions,
       COUNT(DISTINCT player_lookup) AS players,
       COUNT_IF(predicted_value IS NULL) AS null_predicted_values,
       COUNT_IF(edge_percent IS NULL) AS null_edge_percents
FROM nba_predictions.player_prop_predictions
WHERE game_date = DATE '{{ var("date") }}' AND is_active
HAVING predictions < 50 OR players < 20 OR null_predicted_values > 0 OR null_edge_percents > 0
