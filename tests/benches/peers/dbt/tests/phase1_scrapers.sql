SELECT COUNT(*) AS tables_written
FROM nba_raw.__TABLES__
WHERE last_modified_time >= {{ var("day_start") }}
HAVING tables_written < 10
