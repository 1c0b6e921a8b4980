-- Schema 21: countries and prefixes to which an account's codes may go, or may not: `allow DE,block +44909`. None where there are no rules.
ALTER TABLE account ADD COLUMN areas TEXT;
