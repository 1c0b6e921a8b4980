-- Schema 19: flood counters: the time, in microseconds since the epoch, until which what was taken is spread. phone 0 is the account's own
-- counter, of which live and test mode have one each; a number's has test 0. The time leads, so that each batch appends and a sweep
-- takes from the front; of two rows of a counter the later is the truth.
CREATE TABLE flood_counter (
    spread_until_us INTEGER NOT NULL,
    bucket          INTEGER NOT NULL,
    account_id      INTEGER NOT NULL,
    test            INTEGER NOT NULL,
    phone           INTEGER NOT NULL,
    PRIMARY KEY (spread_until_us, bucket, account_id, test, phone)
) STRICT, WITHOUT ROWID;
