-- What people say of themselves: an account's profile, how a sender looks to recipients.
CREATE TABLE account_details (
    bucket            INTEGER NOT NULL,
    account_id        INTEGER NOT NULL,
    company           TEXT    NOT NULL,
    website           TEXT    NOT NULL,
    country           TEXT    NOT NULL,
    purpose           TEXT    NOT NULL,
    time_zone         TEXT    NOT NULL,
    terms_version     TEXT,
    terms_accepted_at INTEGER,
    onboarded_at      INTEGER,
    PRIMARY KEY (bucket, account_id),
    CHECK ((terms_version IS NULL) = (terms_accepted_at IS NULL))
) STRICT, WITHOUT ROWID;
