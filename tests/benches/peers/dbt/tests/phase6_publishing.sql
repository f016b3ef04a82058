SELECT COUNT(*) AS signals,
       COUNT_IF(daily_signal IS NULL) AS null_daily_signals,
       COUNT_IF(pct_over IS NULL) AS null_pct_overs
FROM nba_predictions.daily_prediction_signals
WHERE game_date = DATE '{{ var("date") }}'
HAVING signals < 1 OR null_daily_signals > 0 OR null_pct_overs > 0
