SELECT CURRENT_DATETIME, `current_date`, t.current_time, 'RAND()', MOD(x, 10), DATE(@due, 'UTC'), current_date AS rand
FROM a.b AS t FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(@due, INTERVAL 1 HOUR) WHERE CURRENT_TIMESTAMP() > y OR z = CURRENT_DATE
