-- All at once, in the order in which a host that runs meanwhile reads and writes: two that wait for each other's tables would never end.
LOCK TABLE turns, batches, claims, orders, outbox, configuration, hosts, dates IN ACCESS EXCLUSIVE MODE;

-- How late the latest of the runs began that a host began since it was heard of before, in milliseconds; NULL if it began none.
ALTER TABLE hosts ADD COLUMN lag BIGINT;

-- The turn in which a batch was written. A host sees by it whether the record is still the one that it knew: after a failover or a
-- restore, the same turn may be another one.
ALTER TABLE batches ADD COLUMN turn BIGINT;
CREATE INDEX batches_turn ON batches (turn);

-- Whether a message says all that it will say, since it may be on its way to its channel.
ALTER TABLE outbox ADD COLUMN composed BOOLEAN NOT NULL DEFAULT FALSE;

-- When the run began that judged the date last, in milliseconds since the Unix epoch by this server's clock: of two that overlap the later
-- one knows better.
ALTER TABLE dates ADD COLUMN began BIGINT;

-- The digest of the configuration and the plugins of the last host that had it.
ALTER TABLE claims ADD COLUMN digest TEXT COLLATE "C";
