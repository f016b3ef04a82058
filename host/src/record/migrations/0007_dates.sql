-- One row a check and data date: its state, and its incident while it is not good. A check about now has one row, without
-- a date. Rows of good dates are removed in time; those of open incidents never.
CREATE TABLE dates (
    check_name TEXT NOT NULL,
    -- Empty for a check about now.
    data_date TEXT NOT NULL,
    -- good, warned, bad, pending, skipped, not_judged, given_up
    state TEXT NOT NULL,
    -- The due time of the run that says so.
    at BIGINT NOT NULL,
    -- When it is looked at again, how often it was, and since when.
    look_at BIGINT,
    look_tries INTEGER,
    look_from BIGINT,
    -- How long after its deadline it became good, in seconds, if it was late.
    late BIGINT,
    -- What the alert policy remembers of it, as JSON.
    incident TEXT,
    PRIMARY KEY (check_name, data_date)
);

-- What is known of the dates so far: the last run of each. Only the newest date of a check had an alert; older ones that
-- were bad when last judged are judged again.
INSERT INTO dates (check_name, data_date, state, at)
SELECT check_name, data_date, CASE status WHEN 'pass' THEN 'good' WHEN 'skip' THEN 'skipped' ELSE 'not_judged' END, due
FROM (
    SELECT check_name, data_date, status, due,
        ROW_NUMBER() OVER (PARTITION BY check_name, data_date ORDER BY due DESC, id DESC) AS place
    FROM runs WHERE NOT left_out
) AS latest
WHERE place = 1;

-- An alert is about a data date, or about the check: then the date is empty. The date was not part of what tells alerts
-- apart. A constraint cannot be changed, so the table is made anew.
CREATE TABLE dated_alerts (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    -- Empty if it is not about one date.
    data_date TEXT NOT NULL,
    -- failure, or error: it could not be evaluated
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    summary TEXT NOT NULL,
    began BIGINT NOT NULL,
    ended BIGINT,
    -- When people were first told; or why they were not.
    announced BIGINT,
    held TEXT,
    recorded BIGINT NOT NULL,
    UNIQUE (check_name, data_date, kind, began)
);

-- One that goes on is about the date of the last run that failed.
INSERT INTO dated_alerts (id, check_name, data_date, kind, severity, summary, began, ended, announced, held, recorded)
SELECT id, check_name,
    CASE WHEN ended IS NULL AND kind = 'failure' THEN COALESCE((
        SELECT data_date FROM runs WHERE runs.check_name = alerts.check_name AND NOT past AND status IN ('fail', 'warn')
        ORDER BY due DESC, id DESC LIMIT 1
    ), '') ELSE '' END,
    kind, severity, summary, began, ended, announced, held, recorded
FROM alerts;

DROP TABLE alerts;
ALTER TABLE dated_alerts RENAME TO alerts;
CREATE INDEX alerts_recorded ON alerts (recorded);
CREATE INDEX alerts_open ON alerts (began) WHERE ended IS NULL;

-- What people asked of dates while another process had the record: to look again, to know of it, to give it up.
CREATE TABLE orders (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    -- Empty for a check about now, or for all open dates.
    data_date TEXT NOT NULL,
    -- The order, as JSON.
    wanted TEXT NOT NULL,
    who TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- What came of it; NULL until it was carried out.
    answer TEXT
);

-- How many of the bytes were for dates that were looked at again.
ALTER TABLE costs ADD COLUMN again BIGINT NOT NULL DEFAULT 0;
