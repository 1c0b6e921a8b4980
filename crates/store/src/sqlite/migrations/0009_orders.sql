-- Orders of credit: open (1) until they are confirmed (2), which makes a ledger entry, or cancelled (3). Times are real time.
CREATE TABLE credit_order (
    bucket     INTEGER NOT NULL,
    account_id INTEGER NOT NULL,
    id         INTEGER NOT NULL,
    amount     INTEGER NOT NULL,
    provider   TEXT    NOT NULL,
    state      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    decided_at INTEGER,
    decided_by INTEGER,
    note       TEXT,
    entry      INTEGER,
    PRIMARY KEY (bucket, account_id, id),
    CHECK ((state = 2) = (entry IS NOT NULL)),
    CHECK ((state = 1) = (decided_at IS NULL))
) STRICT, WITHOUT ROWID;
-- The reference on a payment names one order of all.
CREATE UNIQUE INDEX credit_order_by_reference ON credit_order (id);
CREATE INDEX credit_order_by_account ON credit_order (bucket, account_id, created_at, id);
CREATE INDEX credit_order_by_time ON credit_order (created_at, id);
CREATE INDEX credit_order_by_state ON credit_order (state, created_at, id);
CREATE INDEX credit_order_open ON credit_order (bucket, account_id, created_at, id) WHERE state = 1;
CREATE UNIQUE INDEX credit_order_by_entry ON credit_order (bucket, account_id, entry) WHERE entry IS NOT NULL;
-- What was decided stays decided, and what was ordered stays what it was.
CREATE TRIGGER credit_order_is_decided_once BEFORE UPDATE ON credit_order
WHEN OLD.state <> 1 OR NEW.amount <> OLD.amount OR NEW.id <> OLD.id OR NEW.account_id <> OLD.account_id
BEGIN SELECT RAISE(ABORT, 'an order is decided once'); END;
CREATE TRIGGER credit_order_stays BEFORE DELETE ON credit_order
BEGIN SELECT RAISE(ABORT, 'an order is never deleted'); END;

-- A history of one kind of entry is read without reading the charges between them. Charges, which are most of all, are found
-- by their number: a send pays nothing for this. With the amounts, a month's totals are added up in this index alone.
CREATE INDEX ledger_entry_by_kind ON ledger_entry (bucket, account_id, kind, number, amount) WHERE kind <> 2;
