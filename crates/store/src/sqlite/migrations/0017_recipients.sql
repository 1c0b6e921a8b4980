-- Schema 17: what a send says of its recipient besides the number: a language tag, and a sealed e-mail address.
ALTER TABLE request ADD COLUMN locale TEXT;
ALTER TABLE request ADD COLUMN email_sealed BLOB;
