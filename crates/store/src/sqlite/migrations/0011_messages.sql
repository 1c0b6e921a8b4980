-- Verification requests as their owner searches and reads them. A summary says of a run of requests, in the order of their key,
-- which numbers and payloads may be among them (a Bloom filter, see message_summaries.rs). An index would cost every send a
-- write to a random page; a summary is appended once for thousands of requests, by housekeeping.
CREATE TABLE request_summary (
    id               INTEGER PRIMARY KEY,
    bucket           INTEGER NOT NULL,
    account_id       INTEGER NOT NULL,
    last_created_at  INTEGER NOT NULL,
    last_random      INTEGER NOT NULL,
    first_created_at INTEGER NOT NULL,
    first_random     INTEGER NOT NULL,
    filter           BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX request_summary_place ON request_summary (bucket, account_id, last_created_at, last_random);
