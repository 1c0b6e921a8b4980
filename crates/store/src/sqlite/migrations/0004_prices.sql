-- The price list with its history: a row is added, never edited or taken away. A row without a price takes a price away from its
-- time on; of two rows for the same messages and time the later number counts. route '' is every route, prefix 0 every number.
CREATE TABLE price_row (
    number         INTEGER PRIMARY KEY,
    route          TEXT    NOT NULL,
    prefix         INTEGER NOT NULL,
    effective_from INTEGER NOT NULL,
    price          INTEGER,
    set_at         INTEGER NOT NULL,
    set_by         TEXT    NOT NULL,
    CHECK (prefix >= 0 AND price >= 0)
) STRICT;
CREATE TRIGGER price_row_is_final BEFORE UPDATE ON price_row
BEGIN SELECT RAISE(ABORT, 'a row of the price list is never edited'); END;
CREATE TRIGGER price_row_stays BEFORE DELETE ON price_row
BEGIN SELECT RAISE(ABORT, 'a row of the price list is never deleted'); END;

-- When a price was set stands in the audit of settings; where it doesn't, the price holds since ever.
INSERT INTO price_row (route, prefix, effective_from, price, set_at, set_by)
SELECT '', prefix, coalesce(set_at, 0), price, coalesce(set_at, 0), 'operator' FROM (
    SELECT prefix, price, (
        SELECT max(at) FROM settings_audit
        WHERE action = 'price set' AND substr(subject, 1, length(prefix) + 2) = prefix || ': '
    ) AS set_at FROM price
) ORDER BY prefix;
DROP TABLE price;
