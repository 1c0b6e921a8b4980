-- Schema 16: the latest message of an account to a number, as a sender ('' is none). Written only where the operator lets one
-- code live at a time.
CREATE TABLE live_code (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    phone      INTEGER NOT NULL,
    sender     TEXT    NOT NULL,
    test       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    random     INTEGER NOT NULL,
    PRIMARY KEY (bucket, account_id, phone, sender, test)
) STRICT, WITHOUT ROWID;
