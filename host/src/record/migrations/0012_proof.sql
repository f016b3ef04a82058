-- What checks said of past dates when somebody tried them on those.
CREATE TABLE backtests (
    check_name TEXT NOT NULL,
    data_date TEXT NOT NULL,
    -- A digest of all that decides what the check says: its plugin, its settings, its clock.
    tried TEXT NOT NULL,
    due BIGINT NOT NULL,
    asked BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    -- Its report, its alerts and its error, as JSON.
    outcome TEXT NOT NULL,
    PRIMARY KEY (check_name, tried, data_date)
);
CREATE INDEX backtests_asked ON backtests (asked);

-- What people say an alert was: real, false or noise.
CREATE TABLE labels (
    alert_id INTEGER PRIMARY KEY,
    label TEXT NOT NULL,
    why TEXT NOT NULL,
    who TEXT NOT NULL,
    at BIGINT NOT NULL
);

-- The newest mutation score of each check.
CREATE TABLE scores (
    check_name TEXT PRIMARY KEY,
    data_date TEXT NOT NULL,
    tried TEXT NOT NULL,
    at BIGINT NOT NULL,
    caught BIGINT NOT NULL,
    counted BIGINT NOT NULL,
    -- Each mutant with what came of it, as JSON.
    mutants TEXT NOT NULL
);

-- Until when the last report that was sent goes: one row.
CREATE TABLE reports (
    id BIGINT PRIMARY KEY,
    at BIGINT NOT NULL
);
