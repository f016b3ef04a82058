-- What each check's queries billed, in bytes, by day of the pipeline's time zone.
CREATE TABLE costs (
    check_name TEXT NOT NULL,
    day TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    queries BIGINT NOT NULL,
    PRIMARY KEY (check_name, day)
);

-- When the checks were last validated, and what they were then: one row.
CREATE TABLE validations (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at BIGINT NOT NULL,
    checks TEXT NOT NULL
);
