-- Schema 20: codes go when they end. Of one that was entered in time, what tells it from others when it comes again; and the last of an
-- account's requests that were swept for codes that ended without a write. Those of earlier versions are swept in their turn.
ALTER TABLE request ADD COLUMN used_sealed BLOB;
ALTER TABLE account ADD COLUMN codes_swept_to INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN codes_swept_random INTEGER NOT NULL DEFAULT 0;
