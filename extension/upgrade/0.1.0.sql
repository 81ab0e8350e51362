-- upgrade/0.1.0.sql: what of the way from 0.1.0 to the present version must be
-- written by hand (see upgrade/script.awk); it runs first.

-- watch() takes more now, and so does what looks at its arguments.
DROP FUNCTION livefeed.watch_define(regclass, text, text, name, regprocedure, name[], regprocedure, text[], name[],
	name[], name, json);

-- How far transient events go back. (Nothing wrote any.)
ALTER TABLE livefeed.state
	ADD COLUMN transient_kept      bigint NOT NULL DEFAULT 0,
	ADD COLUMN transient_kept_tick bigint NOT NULL DEFAULT 1;
UPDATE livefeed.state s SET transient_kept = t.id_last, transient_kept_tick = t.tick
	FROM (SELECT k.tick, k.id_last FROM livefeed.ticks k ORDER BY k.tick DESC LIMIT 1) t;
