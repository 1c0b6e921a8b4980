-- Schema 23: what an account may spend in a day (since the epoch, on its clock) and where the alarm goes; what was spent on the last day on
-- which anything was, and the share of the budget, in percent, that was told of on that day.
ALTER TABLE account ADD COLUMN daily_budget INTEGER;
ALTER TABLE account ADD COLUMN daily_budget_url TEXT;
ALTER TABLE account ADD COLUMN spent_day INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN budget_told INTEGER NOT NULL DEFAULT 0;
