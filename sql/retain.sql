-- Declared feeds with retain: the last event of each key is the feed's snapshot.
-- Not here: two who publish the same key at the same time (retain_race.spec), dumps (test/dump).
CREATE SCHEMA retain;
SET search_path = retain;
\pset format unaligned
\set SHOW_CONTEXT never
CREATE FUNCTION s(feed text, scope text, VARIADIC vals text[] DEFAULT '{null}') RETURNS TABLE (value text, rows text, keys text)
	LANGUAGE sql AS $$
		SELECT v, CASE r.status WHEN 'ok' THEN r.data || CASE WHEN r.truncated THEN ' and more' ELSE '' END ELSE r.status END, r.keys
		FROM unnest(vals) v, livefeed.snapshot(feed, scope, v) r $$;
-- What is kept, in whichever table.
CREATE VIEW kept AS
	SELECT 'durable' AS log, feed, key, unit, users, convert_from(data, 'UTF8') AS data FROM livefeed.retained
	UNION ALL SELECT 'transient', feed, key, unit, users, convert_from(data, 'UTF8') FROM livefeed.retained_transient
	ORDER BY feed, key;

SELECT livefeed.declare_feed('tasks', retain => true);
SELECT livefeed.publish('tasks', 'created', '{"n": 1,  "s":"é\u0001"}', unit => '7', users => '{b,a}', key => 'j1');
SELECT livefeed.publish('tasks', 'started', '{"n": 2}', unit => '7', key => 'j2');
SELECT livefeed.publish('tasks', 'created', '3', users => '{a}', key => 'j,3');
SELECT livefeed.publish('tasks', 'noticed', '{"no": "key"}', unit => '7');
SELECT livefeed.publish('tasks', 'created', NULL, key => 'open');
SELECT * FROM kept;
SELECT * FROM s('tasks', 'unit', '7', '8', '');
SELECT * FROM s('tasks', 'user', 'a', 'b', 'c');
SELECT * FROM s('tasks', 'row', 'j1', 'j,3', 'J1', 'j9');
SELECT * FROM s('tasks', 'all');
SELECT * FROM s('tasks', 'open');
SELECT key_columns, truncated FROM livefeed.snapshot('tasks', 'all');
-- Byte for byte what the event had.
SELECT '[' || regexp_replace(convert_from(l.frame, 'UTF8'), '^.*?,"data":(.*)\}$', '\1') || ']' = r.data AS same
FROM livefeed.log l, livefeed.snapshot('tasks', 'row', 'j1') r WHERE l.feed = 'tasks' AND l.key = 'j1';

-- The last one counts: newest first, moved, deleted, rolled back.
SELECT livefeed.publish('tasks', 'progress', '{"n": 10}', unit => '8', key => 'j1');
SELECT * FROM s('tasks', 'unit', '7', '8');
SELECT * FROM s('tasks', 'user', 'b');
SELECT livefeed.publish('tasks', 'deleted', '{"n": 2}', unit => '7', key => 'j2');
SELECT livefeed.publish('tasks', 'deleted', NULL, key => 'never');
BEGIN;
SELECT livefeed.publish('tasks', 'progress', '{"n": 11}', unit => '8', key => 'j1');
SAVEPOINT s;
SELECT livefeed.publish('tasks', 'deleted', NULL, unit => '8', key => 'j1');
SELECT * FROM s('tasks', 'all');
ROLLBACK TO s;
SELECT * FROM s('tasks', 'unit', '8');
ROLLBACK;
SELECT * FROM s('tasks', 'all');
SET livefeed.snapshot_rows = 2;
SELECT * FROM s('tasks', 'all');
RESET livefeed.snapshot_rows;
SELECT livefeed.publish('tasks', 'created', to_jsonb(repeat('x', 300000)), key => 'wide');
SELECT * FROM s('tasks', 'row', 'wide');

-- Who may have a row's channel: as the key is kept; what is deleted, as its last event says.
SELECT k, r.* FROM unnest('{j1,open,j2,never,j9}'::text[]) k, livefeed.row_scope('tasks', k) r;

-- What is folded into a resync is kept all the same.
BEGIN;
SET LOCAL livefeed.max_events_per_transaction = 1;
SELECT count(livefeed.publish('tasks', 'created', to_jsonb(n), unit => '9', key => 'f' || n)) FROM generate_series(1, 3) n;
COMMIT;
SELECT key, CASE WHEN flags & 16 <> 0 THEN convert_from(frame, 'UTF8') END AS resync FROM livefeed.log WHERE feed = 'tasks' AND (flags & 16 <> 0 OR key ~ '^f') ORDER BY seq;
SELECT * FROM s('tasks', 'unit', '9');

-- A feed that does not retain has no state; one that stops to, forgets.
SELECT livefeed.declare_feed('notes');
SELECT livefeed.publish('notes', 'created', '1', key => 'n');
SELECT * FROM s('notes', 'all');
SELECT * FROM s('notes', 'row', 'n');
SELECT livefeed.declare_feed('tasks', roles => '{x}', retain => true);
SELECT count(*) FROM kept;
SELECT livefeed.declare_feed('tasks');
SELECT count(*) FROM kept;
SELECT * FROM s('tasks', 'all');
SELECT livefeed.publish('tasks', 'created', '1', key => 'n');
SELECT livefeed.declare_feed('tasks', retain => true);
SELECT * FROM s('tasks', 'all');
SELECT livefeed.publish('tasks', 'created', '1', key => 'n');
SELECT livefeed.declare_feed('tasks2', retain => true);
SELECT livefeed.publish('tasks2', 'created', '1', key => 'n');
SELECT livefeed.hide('tasks');
SELECT * FROM kept;
SELECT * FROM s('tasks', 'all');

-- An application's role publishes, and a bridge reads, neither with a right to the table; nobody else.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_livefeed_app, regress_livefeed_bridge;
RESET client_min_messages;
CREATE ROLE regress_livefeed_app;
CREATE ROLE regress_livefeed_bridge;
SELECT livefeed.grant_application('regress_livefeed_app');
SELECT livefeed.grant_bridge('regress_livefeed_bridge');
GRANT USAGE, CREATE ON SCHEMA retain TO regress_livefeed_app;
SET ROLE regress_livefeed_app;
CREATE FUNCTION retain.evil(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as %', current_user; END $$;
CREATE OPERATOR retain.= (FUNCTION = retain.evil, LEFTARG = text, RIGHTARG = text);
SET search_path = retain, pg_catalog;
SELECT livefeed.publish('tasks2', 'updated', '2', key => 'n');
SELECT livefeed.publish('tasks2', 'deleted', '2', key => 'm');
SELECT * FROM livefeed.retained;
SELECT livefeed.snapshot('tasks2', 'all');
SELECT livefeed.forget_retained('tasks2', false, false);
SET ROLE regress_livefeed_bridge;
SELECT data, keys FROM livefeed.snapshot('tasks2', 'all');
SELECT * FROM livefeed.row_scope('tasks2', 'n');
SELECT current_user;
RESET ROLE;
SET search_path = retain;

SELECT livefeed.hide('tasks2'), livefeed.hide('notes');
SELECT count(*) FROM kept;
SET client_min_messages = warning;
DROP SCHEMA retain CASCADE;
DROP OWNED BY regress_livefeed_app, regress_livefeed_bridge;
DROP ROLE regress_livefeed_app, regress_livefeed_bridge;
