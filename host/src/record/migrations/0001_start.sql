-- Moments are milliseconds since the Unix epoch, UTC.

CREATE TABLE plugins (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    UNIQUE (name, version, digest)
);

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    due BIGINT NOT NULL,
    data_date TEXT NOT NULL,
    -- 1 for the first run of this check and due time, 2 for the next.
    attempt INTEGER NOT NULL,
    -- Whether a date of the past was asked about, of which nobody is told.
    replay BOOLEAN NOT NULL,
    -- pass, skip, warn, fail, error
    status TEXT NOT NULL,
    summary TEXT NOT NULL,
    -- What the plugin found, as JSON: verdict, metrics with their thresholds, violations.
    report TEXT,
    error TEXT,
    seconds DOUBLE PRECISION NOT NULL,
    plugin_id INTEGER REFERENCES plugins (id),
    -- Host calls and what they cost, as JSON.
    calls TEXT NOT NULL,
    -- When it was written down: due times can be of any age.
    recorded BIGINT NOT NULL,
    UNIQUE (due, check_name, attempt)
);
CREATE INDEX runs_recorded ON runs (recorded);
CREATE INDEX runs_check ON runs (check_name, due);

-- What the alert policy remembers of each check, as JSON.
CREATE TABLE standings (
    check_name TEXT PRIMARY KEY,
    standing TEXT NOT NULL
);

-- From turning bad to being good again.
CREATE TABLE alerts (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
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
    UNIQUE (check_name, kind, began)
);
CREATE INDEX alerts_recorded ON alerts (recorded);

-- Messages, in the order in which each channel gets them.
CREATE TABLE outbox (
    position INTEGER PRIMARY KEY,
    -- Stands in the message, so that one that arrives twice is seen to be the same.
    id TEXT NOT NULL UNIQUE,
    receiver TEXT NOT NULL,
    title TEXT NOT NULL,
    notification TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- waiting, delivered or set_aside
    state TEXT NOT NULL DEFAULT 'waiting',
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt BIGINT NOT NULL,
    -- Whether Slack refused its blocks, so that it goes as plain text.
    plain BOOLEAN NOT NULL DEFAULT FALSE,
    -- The last answer that was not what it should be.
    problem TEXT,
    -- Whether the alarm about it was raised, and whether a later message told of it.
    alarmed BOOLEAN NOT NULL DEFAULT FALSE,
    told BOOLEAN NOT NULL DEFAULT FALSE
);
CREATE INDEX outbox_state ON outbox (state, receiver, position);

-- What each attempt was answered.
CREATE TABLE receipts (
    id INTEGER PRIMARY KEY,
    message_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    at BIGINT NOT NULL,
    answer TEXT NOT NULL
);
CREATE INDEX receipts_message ON receipts (message_id);

CREATE TABLE silences (
    id INTEGER PRIMARY KEY,
    -- The names of checks, as a JSON list.
    checks TEXT NOT NULL,
    why TEXT NOT NULL,
    began BIGINT NOT NULL,
    ends BIGINT NOT NULL
);
