-- What channels keep in the books: who opted in or out, what the other side calls our messages, small notes, and what upstreams
-- charged.

-- Recipients' own word, whichever account writes to them: it belongs to a number and to no account.
CREATE TABLE channel_recipient (
    channel TEXT    NOT NULL,
    phone   INTEGER NOT NULL,
    address TEXT    NOT NULL,
    stopped INTEGER NOT NULL CHECK (stopped IN (0, 1)),
    since   INTEGER NOT NULL,
    PRIMARY KEY (channel, phone)
) STRICT, WITHOUT ROWID;
CREATE INDEX channel_recipient_at ON channel_recipient (channel, address, phone) WHERE address <> '';

-- Two writes for each message that a channel names: the row lies by its request, and the look-up by name. Some networks use a
-- name again after a while: the newest message that goes by it is meant.
CREATE TABLE channel_handle (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    random     INTEGER NOT NULL,
    channel    TEXT    NOT NULL,
    handle     TEXT    NOT NULL,
    noted_at   INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, created_at, random, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX channel_handle_name ON channel_handle (channel, handle, noted_at);
-- For their end.
CREATE INDEX channel_handle_noted ON channel_handle (noted_at);

CREATE TABLE channel_note (
    channel TEXT NOT NULL,
    name    TEXT NOT NULL,
    value   TEXT NOT NULL,
    PRIMARY KEY (channel, name)
) STRICT, WITHOUT ROWID;

-- kind: 1 charged, 2 given back. Money as millionths of the upstream's unit, never negative. A question before a send has no
-- message; once one is sent on it, the same line names it.
CREATE TABLE upstream_cost (
    id         INTEGER PRIMARY KEY,
    channel    TEXT    NOT NULL,
    kind       INTEGER NOT NULL,
    upstream   TEXT,
    micros     INTEGER NOT NULL CHECK (micros >= 0),
    at         INTEGER NOT NULL,
    bucket     INTEGER,
    account_id INTEGER,
    created_at INTEGER,
    random     INTEGER,
    CHECK ((bucket IS NULL) = (account_id IS NULL) AND (bucket IS NULL) = (created_at IS NULL)
           AND (bucket IS NULL) = (random IS NULL))
) STRICT;
CREATE UNIQUE INDEX upstream_cost_once ON upstream_cost (channel, upstream, kind) WHERE upstream IS NOT NULL;
CREATE INDEX upstream_cost_at ON upstream_cost (at, id);
-- Their sums by day (whole days since 1970, UTC), so that a month is some rows a channel, however many messages it had.
CREATE TABLE upstream_cost_day (
    day      INTEGER NOT NULL,
    channel  TEXT    NOT NULL,
    charges  INTEGER NOT NULL,
    charged  INTEGER NOT NULL,
    refunds  INTEGER NOT NULL,
    refunded INTEGER NOT NULL,
    PRIMARY KEY (day, channel)
) STRICT, WITHOUT ROWID;
