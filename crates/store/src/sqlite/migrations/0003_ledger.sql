-- The ledger's chain: an entry carries the hash of the one before it, the account's row the hash of the last. Adjustments
-- carry a reason. What stands in the ledger already is chained by the program, in the same transaction, with times that
-- never go back; until that is done, and only then, entries may be written over.
DROP TRIGGER ledger_entry_is_final;

ALTER TABLE ledger_entry ADD COLUMN previous BLOB NOT NULL
    DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000' CHECK (length(previous) = 32);
ALTER TABLE ledger_entry ADD COLUMN reason TEXT;

ALTER TABLE account ADD COLUMN head BLOB NOT NULL
    DEFAULT x'0000000000000000000000000000000000000000000000000000000000000000' CHECK (length(head) = 32);
ALTER TABLE account ADD COLUMN last_entry_at INTEGER NOT NULL DEFAULT 0;

-- A report to the account when its available balance falls below a sum; told: it has been sent since the balance was
-- last above.
ALTER TABLE account ADD COLUMN low_balance_below INTEGER;
ALTER TABLE account ADD COLUMN low_balance_url TEXT;
ALTER TABLE account ADD COLUMN low_balance_told INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN low_balance_reports INTEGER NOT NULL DEFAULT 0;
