-- Who may see the row of a key now: found, absent, or no key's spelling.
CREATE SCHEMA row_scope;
SET search_path = row_scope;
\pset format unaligned
\set SHOW_CONTEXT never
CREATE FUNCTION s(feed text, VARIADIC keys text[]) RETURNS TABLE (key text, status text, unit text, users text[])
	LANGUAGE sql AS $$ SELECT k, r.* FROM unnest(keys) k, livefeed.row_scope(feed, k) r $$;

CREATE TABLE i (gone int, id int PRIMARY KEY, unit_id int, users int[]);
ALTER TABLE i DROP COLUMN gone;
SELECT livefeed.watch('i', unit => 'unit_id', users => '{users}');
INSERT INTO i VALUES (1, 7, '{3,1}'), (2, NULL, NULL), (-3, 0, '{}');
SELECT * FROM s('i', '1', '2', '-3', '4', '01', ' 1', '1 ', '+1', '1.0', '1,2', 'x', '', '99999999999', '-0', '%31');

CREATE TABLE u (id uuid PRIMARY KEY);
SELECT livefeed.watch('u');
INSERT INTO u VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT * FROM s('u', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}');

CREATE TABLE t (id text PRIMARY KEY);
SELECT livefeed.watch('t');
INSERT INTO t VALUES ('a'), ('a,b'), ('%2C'), ('é'), (' ');
SELECT * FROM s('t', 'a', 'A', 'a,b', '%2C', ',', 'é', ' ', '');

CREATE DOMAIN code AS varchar(3) CHECK (value <> 'bad');
CREATE TABLE c (a code, b timestamptz, "C c" char(2), PRIMARY KEY (a, b, "C c"));
SELECT livefeed.watch('c');
INSERT INTO c VALUES ('x,y', '2020-01-01 00:00+01', 'q');
SET timezone = 'Asia/Tokyo';
SELECT key FROM livefeed.log WHERE feed = 'c';
SELECT * FROM s('c', 'x%2Cy,2019-12-31T23%3A00%3A00Z,q%20', 'x%2cy,2019-12-31T23%3A00%3A00Z,q%20', 'x%2Cy,2019-12-31T23:00:00Z,q%20',
	'x%2Cy,2020-01-01T00%3A00%3A00%2B01,q%20', 'x%2Cy,2019-12-31T23%3A00%3A00Z,q', 'x%2Cy,2019-12-31T23%3A00%3A00Z', 'bad,2019-12-31T23%3A00%3A00Z,q%20',
	'toolong,2019-12-31T23%3A00%3A00Z,q%20', ',,', 'x%2Cy,2019-12-31T23%3A00%3A00Z,q%20,', '%00,2019-12-31T23%3A00%3A00Z,q%20', '%FF,2019-12-31T23%3A00%3A00Z,q%20',
	'y,2019-12-31T23%3A00%3A00Z,q%20');
RESET timezone;

-- Equal is not the same.
CREATE TABLE n (id numeric PRIMARY KEY);
SELECT livefeed.watch('n');
INSERT INTO n VALUES (1.0);
SELECT * FROM s('n', '1.0', '1', '1.00', '2.00');

-- Partitions, functions, tables that inherit.
CREATE TABLE p (k int, id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE p1 (n int, id int NOT NULL, k int);
ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10);
CREATE FUNCTION pu(p) RETURNS text LANGUAGE sql AS 'SELECT ''unit '' || $1.n';
SELECT livefeed.watch('p', unit_function => 'pu(p)');
INSERT INTO p VALUES (1, 2, 3);
SELECT * FROM s('p', '2', '3');
CREATE TABLE pa (id int PRIMARY KEY);
CREATE TABLE ch () INHERITS (pa);
SELECT livefeed.watch('pa');
INSERT INTO ch VALUES (1);
SELECT * FROM s('pa', '1');

-- A declared feed: the key's last event.
SELECT livefeed.declare_feed('jobs');
SELECT livefeed.publish('jobs', 'started', '1', unit => '7', users => '{a}', key => 'j1');
SELECT livefeed.publish('jobs', 'ended', '1', unit => '8', key => 'j1');
SELECT * FROM s('jobs', 'j1', 'j2', '');
SELECT livefeed.hide('jobs');

-- With the owner's rights; FORCE ROW LEVEL SECURITY is refused by name.
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_livefeed_owner, regress_livefeed_bridge;
RESET client_min_messages;
CREATE ROLE regress_livefeed_owner;
CREATE ROLE regress_livefeed_bridge;
SELECT livefeed.grant_bridge('regress_livefeed_bridge');
GRANT USAGE, CREATE ON SCHEMA row_scope TO regress_livefeed_owner;
SET ROLE regress_livefeed_owner;
CREATE TABLE sec (id int PRIMARY KEY, unit text);
CREATE FUNCTION su(sec) RETURNS text LANGUAGE sql AS 'SELECT $1.unit || ''/'' || current_user';
SELECT livefeed.watch('sec', unit_function => 'su(sec)');
INSERT INTO sec VALUES (1, 'x');
ALTER TABLE sec ENABLE ROW LEVEL SECURITY;
SET ROLE regress_livefeed_bridge;
SELECT status, unit FROM livefeed.row_scope('sec', '1');
SELECT current_user;
RESET ROLE;
ALTER TABLE sec FORCE ROW LEVEL SECURITY;
SET ROLE regress_livefeed_bridge;
SELECT status, unit FROM livefeed.row_scope('sec', '1');
RESET ROLE;

SELECT livefeed.row_scope('no_such', '1');
ALTER TABLE i RENAME unit_id TO u;
SELECT livefeed.row_scope('i', '1');

SET client_min_messages = warning;
DROP SCHEMA row_scope CASCADE;
DROP OWNED BY regress_livefeed_owner, regress_livefeed_bridge;
DROP ROLE regress_livefeed_owner, regress_livefeed_bridge;
