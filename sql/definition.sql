-- The SQL surface of watching: every argument looked at, errors that name the
-- offender, definitions replaced and taken back, names in use.
\set VERBOSITY terse
CREATE SCHEMA definition;
SET search_path = definition;
\pset format unaligned

CREATE TABLE t (id int PRIMARY KEY, unit_id int, owner text, status text);
CREATE FUNCTION u(t) RETURNS text LANGUAGE sql AS 'SELECT $1.owner';
CREATE FUNCTION us(t) RETURNS text[] LANGUAGE sql AS 'SELECT ARRAY[$1.owner]';
CREATE FUNCTION bad(int) RETURNS text LANGUAGE sql AS 'SELECT $1::text';

-- What may be watched.
SELECT livefeed.watch(NULL);
CREATE VIEW w AS SELECT * FROM t;
SELECT livefeed.watch('w');
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
SELECT livefeed.watch('m');
CREATE TEMP TABLE tt (id int PRIMARY KEY);
SELECT livefeed.watch('tt');
SELECT livefeed.watch('pg_class');
SELECT livefeed.watch('livefeed.state');
CREATE TABLE nokey (id int);
SELECT livefeed.watch('nokey');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT livefeed.watch('nokey');
SELECT livefeed.watch('t', unit => 'nope');
\set VERBOSITY terse

-- Columns.
SELECT livefeed.watch('t', unit => 'nope');
SELECT livefeed.watch('t', users => '{owner,nope}');
SELECT livefeed.watch('t', users => '{NULL}');
SELECT livefeed.watch('t', users => NULL);
SELECT livefeed.watch('t', columns => '{nope}');
SELECT livefeed.watch('t', except_columns => '{nope}');
SELECT livefeed.watch('t', action => 'nope');
SELECT livefeed.watch('t', actions => '{"a": ["nope"]}');
SELECT livefeed.watch('t', actions => '[]');
SELECT livefeed.watch('t', actions => '{"a": "status"}');
SELECT livefeed.watch('t', actions => '{"a": [1]}');
SELECT livefeed.watch('t', actions => '{"a": []}');

-- Names, roles, functions.
SELECT livefeed.watch('t', feed => 'Bad');
SELECT livefeed.watch('t', feed => 'a:unit:7');
SELECT livefeed.watch('t', entity => '9');
SELECT livefeed.watch('t', roles => '{""}');
SELECT livefeed.watch('t', unit => 'unit_id', roles => '{*}');
SELECT livefeed.watch('t', unit => 'unit_id', unit_function => 'u(t)');
SELECT livefeed.watch('t', unit_function => 'bad(int)');
SELECT livefeed.watch('t', unit_function => 'us(t)');
SELECT livefeed.watch('t', users_function => 'u(t)');
CREATE TABLE "Upper" (id int PRIMARY KEY);
SELECT livefeed.watch('"Upper"');

-- What is not null where it may not be; a parent without its feed.
SELECT livefeed.watch('t', durable => NULL);
SELECT livefeed.watch('t', latest_only => NULL);
SELECT livefeed.watch('t', parent_feed => 'x');

-- Nothing of that left a trace.
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal;

-- A watch, seen; again with the same definition (nothing happens), with another, taken back.
SELECT livefeed.watch('t', 'things', entity => 'thing', unit => 'unit_id', users => '{owner}', roles => '{clerk}', columns => '{status}',
	action => 'status', actions => '{"z": ["owner"], "a": ["unit_id", "status"]}');
SELECT relation, feed, entity, unit, users, roles, columns, except_columns, action, actions, key, enabled, problem FROM livefeed.watches WHERE feed = 'things';
SELECT * FROM livefeed.feeds WHERE feed = 'things';
SELECT oid AS before FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgname = 'livefeed_row' \gset
SELECT livefeed.watch('t', 'things', entity => 'thing', unit => 'unit_id', users => '{owner}', roles => '{clerk}', columns => '{status}',
	action => 'status', actions => '{"z": ["owner"], "a": ["unit_id", "status"]}');
SELECT oid = :before AS same FROM pg_trigger WHERE tgrelid = 't'::regclass AND tgname = 'livefeed_row';
ALTER TABLE t ENABLE ALWAYS TRIGGER livefeed_row;
SELECT livefeed.watch('t', 'things', unit_function => 'u(t)', users_function => 'us(t)', except_columns => '{status}');
SELECT relation, feed, entity, unit, unit_function, users, users_function, columns, except_columns, enabled, problem FROM livefeed.watches WHERE feed = 'things';
SELECT tgname, tgtype, deptype, refobjid = (SELECT oid FROM pg_extension WHERE extname = 'livefeed') AS extension
FROM pg_trigger t JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'x'
WHERE tgrelid = 't'::regclass ORDER BY tgname;

-- One table a feed.
CREATE TABLE second (id int PRIMARY KEY);
SELECT livefeed.watch('second', 'things');
SELECT livefeed.declare_feed('things');
SELECT livefeed.declare_feed('alerts');
SELECT livefeed.watch('second', 'alerts');
-- By hand it can be made, but the older watch has the feed, and a declared feed is declared.
CREATE TRIGGER byhand AFTER INSERT ON second FOR EACH ROW EXECUTE FUNCTION livefeed.capture_row('{"feed": "things", "key": ["id"]}');
INSERT INTO second VALUES (1);
INSERT INTO second VALUES (2);
SELECT relation, feed, problem FROM livefeed.watches WHERE relation IN ('t'::regclass, 'second'::regclass) ORDER BY 1;
SELECT relation FROM livefeed.feeds WHERE feed = 'things';
SELECT livefeed.unwatch('second');
CREATE TRIGGER byhand AFTER INSERT ON second FOR EACH ROW EXECUTE FUNCTION livefeed.capture_row('{"feed": "alerts", "key": ["id"]}');
INSERT INTO second VALUES (3);
SELECT livefeed.unwatch('second');
CREATE TRIGGER byhand AFTER INSERT ON second FOR EACH ROW EXECUTE FUNCTION livefeed.capture_row('no json');
INSERT INTO second VALUES (4);
SELECT relation, feed, problem FROM livefeed.watches WHERE relation = 'second'::regclass;
SELECT livefeed.watch('second');
SELECT relation, feed, problem FROM livefeed.watches WHERE relation = 'second'::regclass;
SELECT livefeed.hide('alerts'), livefeed.hide('alerts');
SELECT count(*) FROM livefeed.log WHERE feed IN ('things', 'alerts') AND flags < 512 AND key IN ('1', '2', '3');

SELECT livefeed.unwatch('t'), livefeed.unwatch('t');
SELECT livefeed.unwatch(NULL);
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgrelid = 't'::regclass AND NOT tgisinternal;

-- Renamed and dropped with its table; a search path that lies does not matter.
ALTER TABLE second RENAME TO renamed;
SELECT relation, feed, problem FROM livefeed.watches WHERE feed = 'second';

CREATE FUNCTION jsonb_in(text) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
SET search_path = definition, pg_catalog;
SELECT livefeed.watch('t');
SELECT livefeed.unwatch('t');
SET search_path = definition;
DROP TABLE renamed;
SELECT count(*) FROM livefeed.watches WHERE feed = 'second';

-- Since 18: virtual generated columns, which a trigger does not see.
DO $$
BEGIN
	IF current_setting('server_version_num')::int < 180000 THEN
		RETURN;
	END IF;
	EXECUTE 'CREATE TABLE computed (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL)';
	BEGIN
		PERFORM livefeed.watch('computed');
		ASSERT false, 'a virtual column was watched';
	EXCEPTION WHEN feature_not_supported THEN
		NULL;
	END;
	BEGIN
		PERFORM livefeed.watch('computed', columns => '{twice}');
		ASSERT false, 'a virtual column was named';
	EXCEPTION WHEN feature_not_supported THEN
		NULL;
	END;
	PERFORM livefeed.watch('computed', except_columns => '{twice}');
	INSERT INTO computed VALUES (1, 5);
	ASSERT (SELECT convert_from(frame, 'UTF8')::json ->> 'data' FROM livefeed.log WHERE feed = 'computed') = '{"id":1,"n":5}', 'not its data';
	DROP TABLE computed;
END;
$$;

-- Settings.
SELECT name, setting, unit, context, vartype FROM pg_settings WHERE name LIKE 'livefeed.%' ORDER BY name;
SET livefeed.notify = 'sometimes';
-- The bounds are worded differently from version to version.
\set VERBOSITY sqlstate
SET livefeed.max_event_bytes = 10;
\set VERBOSITY default
-- A name of ours that is no setting is refused from 15 on.
DO $$
BEGIN
	PERFORM set_config('livefeed.no_such', '1', false);
	ASSERT current_setting('server_version_num')::int < 150000, 'a misspelt setting was taken';
EXCEPTION WHEN invalid_name THEN
	NULL;
END;
$$;

SET client_min_messages = warning;
DROP SCHEMA definition CASCADE;
