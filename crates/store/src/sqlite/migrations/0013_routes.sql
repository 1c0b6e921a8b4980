-- Routes and legs: this migration's place.
SELECT 1;
