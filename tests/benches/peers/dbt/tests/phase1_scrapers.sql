SELECT COUNT(*) AS tables_written
FROM nba_raw.__TABLES__
WHERE last_modified_time >= epoch_ms(TIMESTAMP '{{ var("date") }} 05:00:00')
HAVING tables_written < 10
