-- The guard against replaced ledger entries stands, but fails without undoing its statement: whoever writes entries undoes the whole
-- transaction. To be able to undo one statement, SQLite copied each page that a new entry was written to.
DROP TRIGGER ledger_entry_is_new;
CREATE TRIGGER ledger_entry_is_new BEFORE INSERT ON ledger_entry
WHEN EXISTS (SELECT 1 FROM ledger_entry
             WHERE bucket = NEW.bucket AND account_id = NEW.account_id AND number = NEW.number)
BEGIN SELECT RAISE(FAIL, 'a ledger entry is never replaced'); END;

-- Blocks of numbers that are over are found by their end, as attempts and links are.
CREATE INDEX login_block_end ON login_block (until);
