-- Schema 22: counters of quotas: the time, in microseconds since the epoch, until which what was taken is spread. who is a keyed hash of
-- what is counted: a number, a prefix, a network, a country. bucket is its first byte.
CREATE TABLE quota_counter (
    bucket          INTEGER NOT NULL,
    who             BLOB    NOT NULL,
    spread_until_us INTEGER NOT NULL,
    PRIMARY KEY (bucket, who)
) STRICT, WITHOUT ROWID;
