-- The audit log: what operators and owners did. A line says who did what, to what (`account 4711`, `sender acme_shop`), and
-- what exactly. It is never edited or taken away.
ALTER TABLE settings_audit ADD COLUMN actor TEXT NOT NULL DEFAULT 'operator';
ALTER TABLE settings_audit ADD COLUMN detail TEXT NOT NULL DEFAULT '';
UPDATE settings_audit SET detail = subject, subject = 'prices' WHERE action IN ('price set', 'prices set');
UPDATE settings_audit SET subject = 'sender ' || subject WHERE action IN ('sender added', 'sender verified');
UPDATE settings_audit SET subject = 'account ' || subject
WHERE action IN ('account created', 'account closed', 'token rotated', 'address allow-list set', 'low-balance report set');
CREATE INDEX settings_audit_subject ON settings_audit (subject, id);
CREATE TRIGGER settings_audit_is_final BEFORE UPDATE ON settings_audit
BEGIN SELECT RAISE(ABORT, 'a line of the audit log is never edited'); END;
CREATE TRIGGER settings_audit_stays BEFORE DELETE ON settings_audit
BEGIN SELECT RAISE(ABORT, 'a line of the audit log is never deleted'); END;
CREATE TRIGGER settings_audit_is_new BEFORE INSERT ON settings_audit
WHEN EXISTS (SELECT 1 FROM settings_audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'a line of the audit log is never replaced'); END;

-- Accounts are looked for by the beginning of their name.
CREATE INDEX account_by_name ON account (name COLLATE NOCASE, account_id);

-- How a sender looks to recipients, and its way to the verified mark: requested_at is set while the operator has not answered.
-- Pictures stand apart: a send looks a sender's row up, and never its picture.
ALTER TABLE sender ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
ALTER TABLE sender ADD COLUMN colour TEXT NOT NULL DEFAULT '';
ALTER TABLE sender ADD COLUMN support_url TEXT NOT NULL DEFAULT '';
ALTER TABLE sender ADD COLUMN requested_at INTEGER;
ALTER TABLE sender ADD COLUMN request_note TEXT NOT NULL DEFAULT '';
ALTER TABLE sender ADD COLUMN refused_at INTEGER;
ALTER TABLE sender ADD COLUMN refusal TEXT NOT NULL DEFAULT '';
CREATE INDEX sender_of_account ON sender (bucket, account_id, username);
CREATE INDEX sender_requested ON sender (requested_at, username) WHERE requested_at IS NOT NULL;
CREATE TABLE sender_picture (
    username TEXT PRIMARY KEY,
    kind     TEXT NOT NULL,
    hash     TEXT NOT NULL,
    picture  BLOB NOT NULL CHECK (length(picture) <= 32768)
) STRICT;
