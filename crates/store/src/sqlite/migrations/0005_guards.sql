-- A row that replaces another (INSERT OR REPLACE) fires no trigger of the deletion that it is: so an insert is guarded too.
CREATE TRIGGER ledger_entry_is_new BEFORE INSERT ON ledger_entry
WHEN EXISTS (SELECT 1 FROM ledger_entry
             WHERE bucket = NEW.bucket AND account_id = NEW.account_id AND number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'a ledger entry is never replaced'); END;
CREATE TRIGGER price_row_is_new BEFORE INSERT ON price_row
WHEN EXISTS (SELECT 1 FROM price_row WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'a row of the price list is never replaced'); END;
