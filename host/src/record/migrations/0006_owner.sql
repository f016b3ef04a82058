-- The configuration that the record belongs to, as a path from the state directory: two on one record would take each
-- other's checks for removed.
CREATE TABLE owner (
    id INTEGER PRIMARY KEY,
    config TEXT NOT NULL
);
