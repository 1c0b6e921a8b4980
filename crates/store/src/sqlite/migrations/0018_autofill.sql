-- Schema 18: what an account's short messages end with, so that phones fill the code in: a website's host, an Android app's hash.
ALTER TABLE account ADD COLUMN autofill_domain TEXT;
ALTER TABLE account ADD COLUMN autofill_android_hash TEXT;
