-- What becomes of API tokens: each has a generation, and during a grace the one before it still works, until grace_until (real
-- time). Besides its live token an account has one for test mode, made when it is first asked for: test_generation 0 is none yet.
ALTER TABLE account ADD COLUMN token_made_at INTEGER;
ALTER TABLE account ADD COLUMN previous_lookup BLOB;
ALTER TABLE account ADD COLUMN previous_sealed BLOB;
ALTER TABLE account ADD COLUMN grace_until INTEGER;
ALTER TABLE account ADD COLUMN test_lookup BLOB;
ALTER TABLE account ADD COLUMN test_sealed BLOB;
ALTER TABLE account ADD COLUMN test_generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN test_made_at INTEGER;
ALTER TABLE account ADD COLUMN test_previous_lookup BLOB;
ALTER TABLE account ADD COLUMN test_previous_sealed BLOB;
ALTER TABLE account ADD COLUMN test_grace_until INTEGER;
-- Graces that are over, to be forgotten.
CREATE INDEX account_grace ON account (grace_until) WHERE grace_until IS NOT NULL;
CREATE INDEX account_test_grace ON account (test_grace_until) WHERE test_grace_until IS NOT NULL;

-- Which token made a request, and signs its reports while it works; generation 0 is the present one, whichever that is.
ALTER TABLE request ADD COLUMN test INTEGER NOT NULL DEFAULT 0;
ALTER TABLE request ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report ADD COLUMN test INTEGER NOT NULL DEFAULT 0;
ALTER TABLE report ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
