-- Schema 1. Every key of account data begins with the account's bucket. Times are milliseconds since the epoch; amounts are
-- micro-credits. Columns named *_sealed are AEAD-sealed under the master key. WITHOUT ROWID: a row is found, and appended,
-- in one b-tree.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE account (
    bucket          INTEGER NOT NULL,
    account_id      INTEGER NOT NULL,
    name            TEXT    NOT NULL,
    phone           INTEGER NOT NULL,
    token_lookup    BLOB    NOT NULL,
    token_sealed    BLOB    NOT NULL,
    generation      INTEGER NOT NULL,
    allow_list      TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    closed_at       INTEGER,
    balance         INTEGER NOT NULL,
    held            INTEGER NOT NULL,
    entries         INTEGER NOT NULL,
    purchased       INTEGER NOT NULL,
    consumed        INTEGER NOT NULL,
    next_lapse_at   INTEGER,
    clock_offset_ms INTEGER NOT NULL,
    free_day        INTEGER NOT NULL,
    free_sends      INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id),
    CHECK (balance >= held AND held >= 0)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX account_by_id ON account (account_id);
CREATE INDEX account_by_phone ON account (phone);
CREATE UNIQUE INDEX account_open_phone ON account (phone) WHERE closed_at IS NULL;

-- A request and its message. Its job is a state of its row: wake_at is the real time at which a worker must look at it, set
-- only while something is due.
CREATE TABLE request (
    bucket         INTEGER NOT NULL,
    account_id     INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    random         INTEGER NOT NULL,
    phone          INTEGER NOT NULL,
    delivery       INTEGER NOT NULL,
    delivery_at    INTEGER NOT NULL,
    fee            INTEGER NOT NULL,
    refunded       INTEGER NOT NULL,
    verification   INTEGER NOT NULL,
    verification_at INTEGER NOT NULL,
    wrong_attempts INTEGER NOT NULL,
    events         INTEGER NOT NULL,
    wake_at        INTEGER,
    code_sealed    BLOB,
    code_origin    INTEGER,
    sent_at        INTEGER,
    expires_at     INTEGER,
    accepted       INTEGER,
    sender         TEXT,
    callback_url   TEXT,
    payload        TEXT,
    entered_sealed BLOB,
    PRIMARY KEY (bucket, account_id, created_at, random)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_wake ON request (bucket, wake_at) WHERE wake_at IS NOT NULL;

CREATE TABLE ledger_entry (
    bucket             INTEGER NOT NULL,
    account_id         INTEGER NOT NULL,
    number             INTEGER NOT NULL,
    kind               INTEGER NOT NULL,
    amount             INTEGER NOT NULL,
    balance_after      INTEGER NOT NULL,
    at                 INTEGER NOT NULL,
    request_created_at INTEGER,
    request_random     INTEGER,
    PRIMARY KEY (bucket, account_id, number)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER ledger_entry_is_final BEFORE UPDATE ON ledger_entry
BEGIN SELECT RAISE(ABORT, 'a ledger entry is never edited'); END;
CREATE TRIGGER ledger_entry_stays BEFORE DELETE ON ledger_entry
BEGIN SELECT RAISE(ABORT, 'a ledger entry is never deleted'); END;

CREATE TABLE purchase (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    entry      INTEGER NOT NULL,
    through    INTEGER NOT NULL,
    lapses_at  INTEGER NOT NULL,
    lapsed     INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX purchase_open ON purchase (bucket, account_id, entry) WHERE lapsed = 0;

CREATE TABLE timeline (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    random     INTEGER NOT NULL,
    number     INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, created_at, random, number)
) STRICT, WITHOUT ROWID;

-- due_at is set only on the report of a request that may go out next; the others wait behind it.
CREATE TABLE report (
    bucket       INTEGER NOT NULL,
    account_id   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    random       INTEGER NOT NULL,
    number       INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    due_at       INTEGER,
    made_at      INTEGER NOT NULL,
    finished_at  INTEGER,
    reason       TEXT,
    callback_url TEXT    NOT NULL,
    body_sealed  BLOB    NOT NULL,
    PRIMARY KEY (bucket, account_id, created_at, random, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX report_due ON report (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE first_answer (
    bucket          INTEGER NOT NULL,
    account_id      INTEGER NOT NULL,
    idempotency_key TEXT    NOT NULL,
    fingerprint     BLOB    NOT NULL,
    result_sealed   BLOB    NOT NULL,
    at              INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, idempotency_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX first_answer_age ON first_answer (at);

CREATE TABLE sender (
    username    TEXT PRIMARY KEY,
    bucket      INTEGER NOT NULL,
    account_id  INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    verified_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE price (
    prefix INTEGER PRIMARY KEY,
    price  INTEGER NOT NULL
) STRICT;

-- Who set what, and when: settings need no command of their own, but leave a trace.
CREATE TABLE settings_audit (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    action  TEXT    NOT NULL,
    subject TEXT    NOT NULL
) STRICT;
