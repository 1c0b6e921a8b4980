-- Who is signed in to the pages, and who is about to. A session is found by a keyed hash of what the browser's cookie holds: whoever
-- reads a backup can't sign in with it. The operator's sessions have no account.
CREATE TABLE session (
    token_lookup BLOB    PRIMARY KEY,
    id           INTEGER NOT NULL UNIQUE,
    bucket       INTEGER,
    account_id   INTEGER,
    created_at   INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    device       TEXT    NOT NULL,
    address      TEXT    NOT NULL,
    CHECK ((bucket IS NULL) = (account_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX session_of_owner ON session (bucket, account_id, created_at);
CREATE INDEX session_end ON session (expires_at);
