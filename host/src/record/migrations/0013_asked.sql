-- What the check asked then, whatever its limits: a digest; and its settings, as JSON. Earlier answers have neither and count no more.
ALTER TABLE backtests ADD COLUMN asks TEXT NOT NULL DEFAULT '';
ALTER TABLE backtests ADD COLUMN settings TEXT NOT NULL DEFAULT '';
