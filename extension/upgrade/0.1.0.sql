-- upgrade/0.1.0.sql: what of the way from 0.1.0 to the present version must be
-- written by hand (see upgrade/script.awk); it runs first.

-- watch() takes more now, and so does what looks at its arguments.
DROP FUNCTION livefeed.watch_define(regclass, text, text, name, regprocedure, name[], regprocedure, text[], name[],
	name[], name, json);
