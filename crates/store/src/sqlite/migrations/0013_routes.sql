-- Schema 13: the legs of a route. A request without a plan goes over the built-in messenger alone, and has none of these.

-- route|leg:share,leg:share
ALTER TABLE request ADD COLUMN plan TEXT;
-- The place of the leg under way in the plan, when it began, and a bit for each leg that may still deliver.
ALTER TABLE request ADD COLUMN leg INTEGER;
ALTER TABLE request ADD COLUMN leg_at INTEGER;
ALTER TABLE request ADD COLUMN open_legs INTEGER;

-- Which leg a line is about, and what its other side said.
ALTER TABLE timeline ADD COLUMN leg TEXT;
ALTER TABLE timeline ADD COLUMN detail TEXT;
