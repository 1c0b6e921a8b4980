-- Statistics: usage rolled up by quarter of an hour, country, route and sender. Sums add up in any order: usage_recent holds what
-- came since it was last put away, usage_past what was put away, and the two together are the usage. Recent rows lie by time,
-- so that a batch touches few pages; past ones by series, so that a year of one series is read in one run.

CREATE TABLE usage_recent (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    quarter    INTEGER NOT NULL,
    country    TEXT    NOT NULL,
    route      TEXT    NOT NULL,
    sender     TEXT    NOT NULL,
    sums       BLOB    NOT NULL,
    PRIMARY KEY (bucket, account_id, quarter, country, route, sender)
) STRICT, WITHOUT ROWID;

-- series: 0 all of the account, 1 by country, 2 by route, 3 by sender, 4 by all three; what a series doesn't tell apart is ''.
-- level: 0 a day's quarters of an hour, 1 a day, 2 a month, all in UTC; start: days, or months, since 1970.
CREATE TABLE usage_past (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    series     INTEGER NOT NULL,
    country    TEXT    NOT NULL,
    route      TEXT    NOT NULL,
    sender     TEXT    NOT NULL,
    level      INTEGER NOT NULL,
    start      INTEGER NOT NULL,
    sums       BLOB    NOT NULL,
    PRIMARY KEY (bucket, account_id, series, country, route, sender, level, start)
) STRICT, WITHOUT ROWID;

-- How many different numbers: sketches of keyed hashes, which hold no number. level: 0 an hour, 1 a day, 2 a month, 3 all time.
CREATE TABLE usage_numbers (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    level      INTEGER NOT NULL,
    start      INTEGER NOT NULL,
    sketch     BLOB    NOT NULL,
    PRIMARY KEY (bucket, account_id, level, start)
) STRICT, WITHOUT ROWID;

-- Requests that are there already are summed up by the program at its next start, with the master key at hand; then this goes.
INSERT INTO meta (name, value) SELECT 'usage to fill', x'' WHERE EXISTS (SELECT 1 FROM request);
