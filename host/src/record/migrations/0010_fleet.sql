-- When the run began that judged the date last, in milliseconds since the Unix epoch by the record's clock: of two that overlap the later
-- one knows better.
ALTER TABLE dates ADD COLUMN began INTEGER;

-- Whether a message says all that it will say, since it may be on its way to its channel. Only several hosts need it.
ALTER TABLE outbox ADD COLUMN composed BOOLEAN NOT NULL DEFAULT FALSE;
