-- Rows that explain the violations of a run, as JSON.
ALTER TABLE runs ADD COLUMN evidence TEXT;
