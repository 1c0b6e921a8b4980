-- The audit log: what operators and owners did.
ALTER TABLE settings_audit ADD COLUMN actor TEXT NOT NULL DEFAULT 'operator';
