-- Whether nothing ran: its due time was missed, or the check still ran.
ALTER TABLE runs ADD COLUMN left_out BOOLEAN NOT NULL DEFAULT FALSE;

-- The names of the checks that a message speaks of, as a JSON list.
ALTER TABLE outbox ADD COLUMN checks TEXT NOT NULL DEFAULT '[]';

-- Who asked a gate, and what they were told.
CREATE TABLE consultations (
    id INTEGER PRIMARY KEY,
    check_name TEXT NOT NULL,
    data_date TEXT NOT NULL,
    caller TEXT NOT NULL,
    at BIGINT NOT NULL,
    -- PROCEED, PROCEED_WITH_WARNING, FAIL or NOT_EVALUATED
    decision TEXT NOT NULL,
    message TEXT NOT NULL,
    -- The whole answer, as JSON.
    answer TEXT NOT NULL
);
CREATE INDEX consultations_check ON consultations (check_name, at);
CREATE INDEX consultations_date ON consultations (check_name, data_date);
CREATE INDEX consultations_at ON consultations (at);
