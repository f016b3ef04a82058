SELECT COUNT(DISTINCT game_id) AS games, COUNTIF(player_name IS NULL) AS nulls -- comment
FROM `nba_raw.games` AS g LEFT JOIN ds.t USING (id) WHERE game_date = @date AND x NOT IN (1, 2.5e3, 'it''s')
GROUP BY 1 HAVING COUNT(*) > 1 ORDER BY games DESC NULLS LAST LIMIT 20 OFFSET 1
