-- What a channel holds now: livefeed.snapshot(), as bridges ask it.
-- Not here: that rows stand as in events, over all types (render.sql), other
-- encodings (encoding.sql), tables that are rewritten meanwhile (snapshot_locks.spec).
CREATE SCHEMA snapshot;
SET search_path = snapshot;
\pset format unaligned
\set SHOW_CONTEXT never
-- The rows alone; of what has no rows, the status.
CREATE FUNCTION s(feed text, scope text, VARIADIC vals text[] DEFAULT '{null}') RETURNS TABLE (value text, rows text)
	LANGUAGE sql AS $$
		SELECT v, CASE r.status WHEN 'ok' THEN r.data || CASE WHEN r.truncated THEN ' and more' ELSE '' END ELSE r.status END
		FROM unnest(vals) v, livefeed.snapshot(feed, scope, v) r $$;

CREATE TABLE i (gone int, id int PRIMARY KEY, unit_id int, users int[], boss text, x text);
ALTER TABLE i DROP COLUMN gone;
SELECT livefeed.watch('i', unit => 'unit_id', users => '{users,boss}', except_columns => '{boss}');
INSERT INTO i VALUES (1, 7, '{3,1}', 'ann', 'a'), (2, NULL, NULL, NULL, NULL), (-3, 0, '{}', '', 'c'), (4, 7, '{3,NULL}', '3', 'd'), (5, 8, '{4}', 'Ann', 'e');

-- The whole answer; where it stands in the order of events.
SELECT livefeed.tick() > 1 AS ticked;
INSERT INTO i VALUES (6, 9, '{5}', 'x', 'f');
SELECT r.status, r.after = t.id_last AND r.tick = t.tick AND r.epoch = t.epoch AS last_tick, r.seen = pg_current_snapshot()::text AS seen,
	r.key_columns, r.data, r.truncated, r.keys
FROM livefeed.snapshot('i', 'unit', '9') r, (SELECT * FROM livefeed.ticks ORDER BY tick DESC LIMIT 1) t;

-- Scopes and spellings.
SELECT * FROM s('i', 'unit', '7', '8', '0', '10', '07', ' 7', '7 ', '+7', 'x', '', '99999999999');
SELECT * FROM s('i', 'user', '3', '1', 'ann', 'Ann', '03', 'nobody', '');
SELECT * FROM s('i', 'row', '1', '-3', '5', '9', '05', 'x', '');
SELECT * FROM s('i', 'all');
SELECT * FROM s('no_such', 'all');
SELECT livefeed.snapshot('i', 'all', '1');
SELECT livefeed.snapshot('i', 'unit');
SELECT livefeed.snapshot('i', 'team', '1');
SELECT livefeed.snapshot('i', NULL, '1');
SELECT * FROM s(NULL, 'all');

-- Newest key first, and not more than that.
SET livefeed.snapshot_rows = 2;
SELECT * FROM s('i', 'unit', '7', '8');
SELECT * FROM s('i', 'all');
SELECT * FROM s('i', 'user', '3');
RESET livefeed.snapshot_rows;

-- No unit, no users.
CREATE TABLE plain (id uuid PRIMARY KEY, n numeric);
SELECT livefeed.watch('plain', columns => '{n}');
INSERT INTO plain VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'NaN');
SELECT * FROM s('plain', 'unit', '7');
SELECT * FROM s('plain', 'user', '7');
SELECT * FROM s('plain', 'row', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11');
SELECT * FROM s('plain', 'all');

-- Composite keys, in their order; what an update made of a row.
CREATE TABLE comp (b text, a int, "C c" date, PRIMARY KEY (a, b, "C c"));
SELECT livefeed.watch('comp', unit => 'C c');
INSERT INTO comp VALUES ('x,y', 1, '2020-01-02'), ('z', 2, '2020-01-02'), ('é', 3, '2020-01-03'), ('a', 2, '2020-01-02');
SET datestyle = 'German';
SELECT key_columns FROM livefeed.snapshot('comp', 'all');
SELECT * FROM s('comp', 'all');
SELECT * FROM s('comp', 'unit', '2020-01-02', '02.01.2020', '2020-1-2');
SELECT * FROM s('comp', 'row', '1,x%2Cy,2020-01-02', '1,x%2cy,2020-01-02', '3,%C3%A9,2020-01-03', '2,z');
RESET datestyle;

-- Equal is not the same: numerics, blanks, texts that a collation takes for one.
CREATE TABLE n (id int PRIMARY KEY, unit numeric, u numeric[], b char(3));
SELECT livefeed.watch('n', unit => 'unit', users => '{u,b}');
INSERT INTO n VALUES (1, 1.0, '{2.0}', 'ab'), (2, 1, '{2}', 'abc'), (3, 1.00, '{2.00,2}', ''), (4, NULL, NULL, NULL);
SELECT * FROM s('n', 'unit', '1', '1.0', '1.00', '1.000', '01');
SELECT * FROM s('n', 'user', '2', '2.0', '2.00', 'ab', 'ab ', 'abc', '   ');
SET livefeed.snapshot_rows = 2;
SELECT * FROM s('n', 'unit', '1');
RESET livefeed.snapshot_rows;

-- Domains, and arrays of them; a type without equality.
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN team AS posint[];
CREATE TABLE d (id posint PRIMARY KEY, unit posint, t team, p posint[], v varchar(4)[], j json, js json[]);
SELECT livefeed.watch('d', unit => 'unit', users => '{t,p,v,js}', columns => '{unit}');
INSERT INTO d VALUES (1, 2, '{3,4}', '{5}', '{six}', '1', ARRAY['{"a":1}'::json]), (2, 3, '{4}', '{6}', NULL, '1', NULL);
SELECT * FROM s('d', 'unit', '2', '-2', '2.0');
SELECT * FROM s('d', 'user', '3', '4', '5', '6', 'six', 'seven', '{"a":1}', '-3');
CREATE TABLE dj (id int PRIMARY KEY, j json);
SELECT livefeed.watch('dj', unit => 'j');
INSERT INTO dj VALUES (1, '"x"'), (2, '"y"');
SELECT * FROM s('dj', 'unit', '"x"', '"z"', 'x');

-- Functions of the row.
CREATE TABLE boards (id int PRIMARY KEY, unit int);
CREATE TABLE cards (id int PRIMARY KEY, board int, title text, watchers text, x int);
INSERT INTO boards VALUES (1, 7), (2, 8);
CREATE FUNCTION unit_of(cards) RETURNS text LANGUAGE sql STABLE AS 'SELECT unit::text FROM snapshot.boards WHERE id = $1.board';
CREATE FUNCTION watchers_of(cards) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$ SELECT string_to_array($1.watchers, ' ') $$;
SELECT livefeed.watch('cards', unit_function => 'unit_of(cards)', users_function => 'watchers_of(cards)', columns => '{title}');
INSERT INTO cards VALUES (1, 1, 'a', 'ann bob'), (2, 2, 'b', 'bob'), (3, 1, 'c', NULL), (4, NULL, 'd', '');
SELECT * FROM s('cards', 'unit', '7', '8', '9', '07', '');
SELECT * FROM s('cards', 'user', 'ann', 'bob', 'cid', '');
SET livefeed.snapshot_rows = 1;
SELECT * FROM s('cards', 'unit', '7', '8');
RESET livefeed.snapshot_rows;
CREATE OR REPLACE FUNCTION unit_of(cards) RETURNS text LANGUAGE sql STABLE AS 'SELECT (1 / ($1.id - 2))::text';
SELECT * FROM s('cards', 'unit', '7');

-- Partitions, whose columns stand otherwise; tables that inherit are not the table.
CREATE TABLE p (k int, id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE p1 (n int, id int NOT NULL, k int);
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
CREATE FUNCTION pu(p) RETURNS text[] LANGUAGE sql AS 'SELECT ARRAY[''n'' || $1.n]';
SELECT livefeed.watch('p', unit => 'k', users_function => 'pu(p)');
INSERT INTO p VALUES (1, 2, 3), (1, 12, 4), (2, 13, 3);
SELECT * FROM s('p', 'unit', '1', '2');
SELECT * FROM s('p', 'user', 'n3', 'n4');
SELECT * FROM s('p', 'row', '2', '13', '14');
SELECT * FROM s('p', 'all');
CREATE TABLE pa (id int PRIMARY KEY);
CREATE TABLE ch () INHERITS (pa);
SELECT livefeed.watch('pa');
INSERT INTO pa VALUES (1);
INSERT INTO ch VALUES (2);
SELECT * FROM s('pa', 'all');

-- An index serves where there is one.
CREATE TABLE big (id int PRIMARY KEY, unit int, users int[], boss text, deep text);
CREATE FUNCTION depth(big) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.deep';
SELECT livefeed.watch('big', unit => 'unit', users => '{users,boss}');
SET livefeed.enabled = off;
INSERT INTO big SELECT n, n % 500, ARRAY[n % 400, n % 300], 'b' || n % 200, 'd' || n % 100 FROM generate_series(1, 20000) n;
RESET livefeed.enabled;
CREATE INDEX ON big (unit);
CREATE INDEX ON big USING gin (users);
CREATE INDEX ON big (boss);
VACUUM ANALYZE big;
CREATE FUNCTION cost(feed text, scope text, v text DEFAULT NULL) RETURNS TABLE (rows int, seq_scans bigint, few boolean)
	LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	before record;
	later  record;
	r      record;
BEGIN
	SELECT * INTO before FROM pg_stat_xact_all_tables t WHERE t.relid = ('snapshot.' || feed)::regclass;
	SELECT * INTO r FROM livefeed.snapshot(feed, scope, v);
	SELECT * INTO later FROM pg_stat_xact_all_tables t WHERE t.relid = ('snapshot.' || feed)::regclass;
	RETURN QUERY SELECT json_array_length(r.data::json), later.seq_scan - before.seq_scan, later.idx_tup_fetch - before.idx_tup_fetch < 1200;
END $$;
SELECT 'unit', * FROM cost('big', 'unit', '7')
UNION ALL SELECT 'array or column', * FROM cost('big', 'user', '7')
UNION ALL SELECT 'row', * FROM cost('big', 'row', '77')
UNION ALL SELECT 'all', * FROM cost('big', 'all');
SELECT livefeed.watch('big', unit_function => 'depth(big)');
SELECT 'function, no index', rows, seq_scans > 0 AS whole_table FROM cost('big', 'unit', 'd7');
CREATE INDEX ON big (depth(big.*));
ANALYZE big;
SELECT 'immutable function', * FROM cost('big', 'unit', 'd7');

-- Bounds: eight megabytes. What is too large for an event is there; what is too large even alone is left out.
CREATE TABLE wide (id int PRIMARY KEY, t text);
SELECT livefeed.watch('wide');
INSERT INTO wide SELECT n, repeat('x', 1000000) FROM generate_series(1, 5) n;
SELECT length(data), truncated FROM livefeed.snapshot('wide', 'all');
INSERT INTO wide SELECT n, repeat('y', 1000000) FROM generate_series(11, 15) n;
SELECT length(data), truncated, left(data, 12) FROM livefeed.snapshot('wide', 'all');
INSERT INTO wide VALUES (20, repeat('z', 9000000));
SELECT length(data), truncated, left(data, 12) FROM livefeed.snapshot('wide', 'all');
SELECT * FROM s('wide', 'row', '20');

-- One statement, one snapshot: what was written in the same transaction is there, at the former place.
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE i SET x = 'now' WHERE id = 1;
SELECT * FROM s('i', 'row', '1');
ROLLBACK;

-- Broken watches are no snapshots.
CREATE TABLE broken (id int PRIMARY KEY, unit int, boss text);
SELECT livefeed.watch('broken', unit => 'unit', users => '{boss}');
INSERT INTO broken VALUES (1, 1, repeat('u', 2000));
SELECT * FROM s('broken', 'unit', '1');
ALTER TABLE broken RENAME unit TO team;
SELECT * FROM s('broken', 'all');
SELECT rows FROM s('i', 'user', repeat('u', 5000));

-- Who may see a row, of the same snapshot.
SELECT v, row_status, row_unit, row_users FROM unnest('{1,5,99,05}'::text[]) v, livefeed.snapshot('i', 'row', v);
SELECT row_status FROM livefeed.snapshot('i', 'unit', '7');

-- A function of the application makes them.
CREATE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE sql AS $$
	SELECT jsonb_agg(jsonb_build_object('id', id, 'asked', scope, 'value', v, 'n', 1.50) ORDER BY id) FROM snapshot.i
	WHERE CASE scope WHEN 'unit' THEN unit_id::text = v WHEN 'row' THEN id::text = v ELSE scope = 'all' END $$;
SELECT livefeed.expose_snapshot('i', 'of_i(text,text)');
SELECT key_columns, data, truncated, keys FROM livefeed.snapshot('i', 'unit', '7');
SELECT * FROM s('i', 'unit', '8', '10', '07');
SELECT * FROM s('i', 'row', '4', '05');
SELECT * FROM s('i', 'user', '3');
SET livefeed.snapshot_rows = 2;
SELECT json_array_length(data::json), truncated FROM livefeed.snapshot('i', 'all');
SELECT json_array_length(data::json), truncated FROM livefeed.snapshot('i', 'open');
RESET livefeed.snapshot_rows;
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT jsonb_build_object('id', 1) $$;
SELECT * FROM s('i', 'all');
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT to_jsonb(5) $$;
SELECT * FROM s('i', 'all');
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT '[]' || to_jsonb(repeat('x', 9000000)) $$;
SELECT * FROM s('i', 'all');
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no % of %', scope, v; END $$;
SELECT * FROM s('i', 'unit', '7');
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', 'none', false); RETURN '[]'; END $$;
SELECT * FROM s('i', 'unit', '7');
CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO snapshot.i VALUES (100) RETURNING 1';
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN to_jsonb(ARRAY[snapshot.writes()]); END $$;
SELECT * FROM s('i', 'unit', '7');
CREATE OR REPLACE FUNCTION of_i(scope text, v text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '[]'::jsonb $$;
SELECT * FROM s('i', 'unit', '7');
DROP FUNCTION of_i;
SELECT * FROM s('i', 'unit', '7');
SELECT livefeed.hide('i'), livefeed.hide('i');
SELECT livefeed.expose_snapshot('i', NULL);
SELECT * FROM s('i', 'unit', '8');
-- Of a declared feed: rows name their key as "key".
SELECT livefeed.declare_feed('jobs', retain => true);
CREATE FUNCTION of_jobs(text, text) RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT jsonb_build_array(jsonb_build_object('key', $1, 'v', $2)) $$;
SELECT livefeed.expose_snapshot('jobs', 'of_jobs(text,text)');
SELECT key_columns, data, keys FROM livefeed.snapshot('jobs', 'user', 'x');
SELECT data FROM livefeed.snapshot('jobs', 'open');
SELECT livefeed.hide('jobs');
SELECT * FROM livefeed.exposed_snapshot;
-- Which functions may.
CREATE FUNCTION f1(text) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT ''[]''::jsonb';
CREATE FUNCTION f2(text, int) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT ''[]''::jsonb';
CREATE FUNCTION f3(text, text) RETURNS json STABLE LANGUAGE sql AS 'SELECT ''[]''::json';
CREATE FUNCTION f4(text, text) RETURNS jsonb LANGUAGE sql AS 'SELECT ''[]''::jsonb';
CREATE FUNCTION f5(text, text) RETURNS jsonb STRICT IMMUTABLE LANGUAGE sql AS 'SELECT ''[]''::jsonb';
CREATE FUNCTION f7(text, text) RETURNS jsonb IMMUTABLE LANGUAGE sql AS 'SELECT ''[]''::jsonb';
CREATE FUNCTION f6(text, text) RETURNS SETOF jsonb STABLE LANGUAGE sql AS 'SELECT ''[]''::jsonb';
SELECT livefeed.expose_snapshot('i', 'f1(text)');
SELECT livefeed.expose_snapshot('i', 'f2(text,int)');
SELECT livefeed.expose_snapshot('i', 'f3(text,text)');
SELECT livefeed.expose_snapshot('i', 'f4(text,text)');
SELECT livefeed.expose_snapshot('i', 'f5(text,text)');
SELECT livefeed.expose_snapshot('i', 'f6(text,text)');
SELECT livefeed.expose_snapshot('i', '0');
SELECT livefeed.expose_snapshot('no_such', 'f5(text,text)');
SELECT livefeed.expose_snapshot(NULL, 'f5(text,text)');

-- With the owner's rights; FORCE ROW LEVEL SECURITY is refused by name.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_livefeed_owner, regress_livefeed_bridge, regress_livefeed_stranger;
RESET client_min_messages;
CREATE ROLE regress_livefeed_owner;
CREATE ROLE regress_livefeed_bridge;
CREATE ROLE regress_livefeed_stranger;
SELECT livefeed.grant_bridge('regress_livefeed_bridge');
GRANT USAGE, CREATE ON SCHEMA snapshot TO regress_livefeed_owner;
SET ROLE regress_livefeed_owner;
CREATE TABLE sec (id int PRIMARY KEY, unit text);
CREATE FUNCTION su(sec) RETURNS text LANGUAGE sql AS 'SELECT $1.unit || ''/'' || current_user';
SELECT livefeed.watch('sec', unit_function => 'su(sec)');
INSERT INTO sec VALUES (1, 'x'), (2, 'y');
ALTER TABLE sec ENABLE ROW LEVEL SECURITY;
SELECT data FROM livefeed.snapshot('sec', 'all');
SET ROLE regress_livefeed_bridge;
SELECT data FROM livefeed.snapshot('sec', 'unit', 'x/regress_livefeed_owner');
SELECT data FROM livefeed.snapshot('sec', 'all');
SELECT current_user;
RESET ROLE;
ALTER TABLE sec FORCE ROW LEVEL SECURITY;
SET ROLE regress_livefeed_bridge;
SELECT data FROM livefeed.snapshot('sec', 'all');
RESET ROLE;

-- A function is asked there: whose it is, it runs as, and he must own the table too.
SET ROLE regress_livefeed_owner;
CREATE FUNCTION of_sec(text, text) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT jsonb_build_array(current_user)';
SELECT livefeed.expose_snapshot('sec', 'of_sec(text,text)');
RESET ROLE;
SELECT livefeed.grant_application('regress_livefeed_owner');
SET ROLE regress_livefeed_owner;
SELECT livefeed.expose_snapshot('sec', 'of_sec(text,text)');
SELECT livefeed.expose_snapshot('i', 'of_sec(text,text)');
SELECT livefeed.expose_snapshot('sec', 'f7(text,text)');
SELECT * FROM livefeed.exposed_snapshot;
SET ROLE regress_livefeed_bridge;
SELECT data FROM livefeed.snapshot('sec', 'all');
SELECT current_user;
RESET ROLE;
-- A stranger's function in a trigger made by hand does not get the table owner's rights.
CREATE TABLE lent (id int PRIMARY KEY);
ALTER TABLE lent OWNER TO regress_livefeed_owner;
GRANT TRIGGER ON lent TO regress_livefeed_stranger;
GRANT CREATE, USAGE ON SCHEMA snapshot TO regress_livefeed_stranger;
INSERT INTO lent VALUES (1);
SET ROLE regress_livefeed_stranger;
CREATE FUNCTION evil(lent) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'as %', current_user; END $$;
CREATE TRIGGER t AFTER INSERT ON lent FOR EACH ROW EXECUTE FUNCTION
	livefeed.capture_row('{"feed": "lent", "key": ["id"], "unit_function": ["snapshot", "evil"]}');
RESET ROLE;
SELECT data FROM livefeed.snapshot('lent', 'unit', '1');
SELECT * FROM livefeed.row_scope('lent', '1');
ALTER FUNCTION of_sec OWNER TO regress_livefeed_bridge;
SELECT data FROM livefeed.snapshot('sec', 'all');

SET client_min_messages = warning;
DROP SCHEMA snapshot CASCADE;
DROP OWNED BY regress_livefeed_owner, regress_livefeed_bridge, regress_livefeed_stranger;
DROP ROLE regress_livefeed_owner, regress_livefeed_bridge, regress_livefeed_stranger;
