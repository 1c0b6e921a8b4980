-- Schema 2: lanes of delivery reports, their attempts, and what a report tells of. Every report names its destination's host
-- (with its port where it isn't the scheme's own); rows that are there already get theirs right after this, from their URL.

ALTER TABLE report ADD COLUMN kind INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report ADD COLUMN host TEXT NOT NULL DEFAULT '';
-- Rows in report_attempt. `attempts` counts only real ones, and begins anew when a report is sent again by hand.
ALTER TABLE report ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;

-- held: how often in a row the report was held back instead of sent; 0 for an attempt that was made.
CREATE TABLE report_attempt (
    bucket          INTEGER NOT NULL,
    account_id      INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    random          INTEGER NOT NULL,
    number          INTEGER NOT NULL,
    try             INTEGER NOT NULL,
    at              INTEGER NOT NULL,
    duration_ms     INTEGER NOT NULL,
    status          INTEGER,
    error           TEXT,
    response_sealed BLOB,
    held            INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, created_at, random, number, try)
) STRICT, WITHOUT ROWID;

-- Of what was tried before, the last failure is known.
INSERT INTO report_attempt (bucket, account_id, created_at, random, number, try, at, duration_ms, error, held)
SELECT bucket, account_id, created_at, random, number, 1, coalesce(finished_at, made_at), 0, reason, 0
FROM report WHERE reason IS NOT NULL;
UPDATE report SET tries = 1 WHERE reason IS NOT NULL;
ALTER TABLE report DROP COLUMN reason;

-- A lane is (account, host). The first row of each tells when it is due, so one look a lane finds all that are; within a lane
-- the order is that of their times.
DROP INDEX report_due;
CREATE INDEX report_lane ON report (bucket, account_id, host, due_at, created_at, random, number) WHERE due_at IS NOT NULL;
-- Pending (0) and lost (2) reports, for their owner to see; those that were acknowledged (1) are the many.
CREATE INDEX report_open ON report (bucket, account_id, state, created_at, random, number) WHERE state <> 1;
