-- A run is one of a check, a data date, a due time and an attempt. The data date was not part of it, so that two dates
-- judged at one due time were in each other's way. A constraint cannot be changed, so the table is made anew; what is
-- short stands first in it, since what stands behind a long text is only found by reading that.
CREATE TABLE identified_runs (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    due BIGINT NOT NULL,
    data_date TEXT NOT NULL,
    -- 1 for the first run of this check, date and due time, 2 for the next.
    attempt INTEGER NOT NULL,
    -- Whether a date of the past was asked about, of which nobody is told.
    past BOOLEAN NOT NULL,
    -- Whether nothing ran: its due time was missed, or the check still ran.
    left_out BOOLEAN NOT NULL DEFAULT FALSE,
    -- pass, skip, warn, fail, error
    status TEXT NOT NULL,
    seconds DOUBLE PRECISION NOT NULL,
    plugin_id INTEGER REFERENCES plugins (id),
    -- When it was written down: due times can be of any age.
    recorded BIGINT NOT NULL,
    summary TEXT NOT NULL,
    error TEXT,
    -- What of it is not kept, since it was more than one run may leave here.
    cut TEXT,
    -- What the plugin found, as JSON: verdict, metrics with their thresholds, violations.
    report TEXT,
    -- Host calls and what they cost, as JSON.
    calls TEXT NOT NULL,
    UNIQUE (due, check_name, data_date, attempt)
);

INSERT INTO identified_runs (id, check_name, due, data_date, attempt, past, left_out, status, seconds, plugin_id,
    recorded, summary, error, report, calls)
SELECT id, check_name, due, data_date, attempt, replay, left_out, status, seconds, plugin_id,
    recorded, summary, error, report, calls
FROM runs;

DROP TABLE runs;
ALTER TABLE identified_runs RENAME TO runs;
CREATE INDEX runs_recorded ON runs (recorded);
CREATE INDEX runs_check ON runs (check_name, due);
