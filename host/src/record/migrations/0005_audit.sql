-- Who changed what the host may do: pins, grants, keys, silences. Entries are never removed.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at BIGINT NOT NULL,
    who TEXT NOT NULL,
    -- A key of host.toml, `plugins.lock NAME`, or `silence NUMBER`.
    place TEXT NOT NULL,
    change TEXT NOT NULL
);

-- The rights that the host last ran with, as JSON, to tell what changed since.
CREATE TABLE rights (
    id INTEGER PRIMARY KEY,
    rights TEXT NOT NULL
);
