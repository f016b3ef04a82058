-- The first message about each incident in a channel of Slack: follow-ups go into its thread, and it is updated.
CREATE TABLE threads (
    incident TEXT NOT NULL,
    -- The channel's name in host.toml, and its id in Slack, which stays when it is renamed.
    channel TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    -- The message's time, which identifies it in Slack, and its id here.
    ts TEXT NOT NULL,
    message_id TEXT NOT NULL,
    -- The undelivered messages that it reported, as JSON.
    undelivered TEXT NOT NULL,
    -- What it should say of the incident now, and what it says, as JSON.
    state TEXT NOT NULL DEFAULT '',
    shown TEXT NOT NULL DEFAULT '',
    -- Failed updates in a row, and when the next is due.
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt BIGINT NOT NULL DEFAULT 0,
    -- When it was last posted to.
    used BIGINT NOT NULL,
    PRIMARY KEY (incident, channel)
);
CREATE INDEX threads_message ON threads (channel_id, ts);
CREATE INDEX threads_channel ON threads (channel, used);
CREATE INDEX threads_due ON threads (next_attempt) WHERE state <> shown;
