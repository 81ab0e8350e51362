-- upgrade/0.1.0.sql: what of the way from 0.1.0 to the present version must be
-- written by hand (see upgrade/script.awk); it runs first.

