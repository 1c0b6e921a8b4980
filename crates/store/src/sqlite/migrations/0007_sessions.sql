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

-- Somebody who is about to sign in by phone number: bound to one browser by its cookie, confirmed from the phone. state: 1 pending,
-- 2 confirmed, 3 refused, 4 used.
CREATE TABLE login_attempt (
    token_lookup BLOB    PRIMARY KEY,
    id           INTEGER NOT NULL UNIQUE,
    phone        INTEGER NOT NULL,
    state        INTEGER NOT NULL,
    code_sealed  BLOB    NOT NULL,
    wrong_tries  INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    device       TEXT    NOT NULL,
    address      TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_attempt_end ON login_attempt (expires_at);

-- Numbers whose holder said "It wasn't me": nobody is asked for them until then.
CREATE TABLE login_block (
    phone INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Links that sign in once.
CREATE TABLE login_link (
    token_lookup BLOB    PRIMARY KEY,
    bucket       INTEGER NOT NULL,
    account_id   INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_link_of_account ON login_link (bucket, account_id, created_at);
CREATE INDEX login_link_end ON login_link (expires_at);
