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
