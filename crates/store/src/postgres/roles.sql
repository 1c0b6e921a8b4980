-- Two roles instead of one, for who wants more than the migration's own REVOKE: the append-only tables belong to a role that nobody
-- logs in as, so that the service can neither edit them nor give itself the right to. Everything else stays the service's, which makes
-- and drops the months' partitions. Run once by a superuser, in the books' database, with the service's name for `countersign`.
-- Nothing in the program runs it.

BEGIN;
CREATE ROLE countersign_owner NOLOGIN;

-- A schema's owner may drop what is in it, whoever owns that; and so may, in effect, the database's owner.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I OWNER TO countersign_owner', current_database()); END $$;
ALTER SCHEMA public OWNER TO countersign_owner;
GRANT CREATE, USAGE ON SCHEMA public TO countersign;

ALTER TABLE ledger_entry OWNER TO countersign_owner;
ALTER TABLE settings_audit OWNER TO countersign_owner;
ALTER TABLE price_row OWNER TO countersign_owner;
REVOKE ALL ON ledger_entry, settings_audit, price_row FROM PUBLIC, countersign;
-- An identity column needs no right to its sequence; SELECT is for backups that the service's role makes.
GRANT SELECT, INSERT ON ledger_entry, settings_audit, price_row TO countersign;
GRANT SELECT ON SEQUENCE settings_audit_id_seq, price_row_number_seq TO countersign;
COMMIT;

-- A later version's migration may change these three tables. Then, for as long as it runs:
--   GRANT countersign_owner TO countersign;
--   REVOKE countersign_owner FROM countersign;
