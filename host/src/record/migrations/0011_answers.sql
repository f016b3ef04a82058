-- What runs were answered, so that they can be run again.
CREATE TABLE answers (
    -- A digest of the content and of where it is from, with the record's key: the same content is kept once.
    id TEXT PRIMARY KEY,
    -- Compressed; NULL where only the digest is kept.
    content BLOB,
    bytes BIGINT NOT NULL,
    -- When a run last got it, to a day.
    used BIGINT NOT NULL
);
CREATE INDEX answers_used ON answers (used);

-- Where an answer is from: datasets, repositories, deployments.
CREATE TABLE answer_sources (
    source TEXT NOT NULL,
    answer_id TEXT NOT NULL,
    PRIMARY KEY (source, answer_id)
);
CREATE INDEX answer_sources_answer ON answer_sources (answer_id);

-- How much was added on each day, UTC.
CREATE TABLE answer_days (
    day TEXT PRIMARY KEY,
    bytes BIGINT NOT NULL
);

-- What it takes to run a run again, of the same check, date, due time and attempt.
CREATE TABLE tapes (
    check_name TEXT NOT NULL,
    data_date TEXT NOT NULL,
    due BIGINT NOT NULL,
    attempt INTEGER NOT NULL,
    -- Of the plugin.
    digest TEXT NOT NULL,
    -- Its clock and its date, as JSON.
    moment TEXT NOT NULL,
    -- The answers that have the questions with the settings, and what came of them.
    script TEXT,
    outcome TEXT,
    -- Why it cannot be run again.
    why TEXT,
    recorded BIGINT NOT NULL,
    PRIMARY KEY (check_name, due, data_date, attempt)
);
CREATE INDEX tapes_recorded ON tapes (recorded);
CREATE INDEX tapes_script ON tapes (script);

CREATE TABLE answer_keys (
    key TEXT NOT NULL
);
INSERT INTO answer_keys (key) VALUES (lower(hex(randomblob(32))));
