-- Who may: an ordinary writer, another table's owner, an application. Not here:
-- who may read the log (grants of order and token).
CREATE SCHEMA writers;
SET search_path = writers;
\pset format unaligned
\set SHOW_CONTEXT never
\set VERBOSITY terse
\i ../sql/include/begin.psql
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_livefeed_owner, regress_livefeed_writer, regress_livefeed_other, regress_livefeed_app, regress_livefeed_group;
RESET client_min_messages;
CREATE ROLE regress_livefeed_group;
CREATE ROLE regress_livefeed_owner IN ROLE regress_livefeed_group;
CREATE ROLE regress_livefeed_writer;
CREATE ROLE regress_livefeed_other;
CREATE ROLE regress_livefeed_app;
SELECT livefeed.grant_application('regress_livefeed_app');
GRANT USAGE, CREATE ON SCHEMA writers TO regress_livefeed_owner, regress_livefeed_other;
GRANT USAGE ON SCHEMA writers TO regress_livefeed_writer;

-- The owner watches; a member of the owning role may, too; nobody else, superusers apart.
SET ROLE regress_livefeed_owner;
CREATE TABLE t (id int PRIMARY KEY, unit text, secret text) ;
CREATE FUNCTION u(t) RETURNS text LANGUAGE sql AS 'SELECT $1.unit';
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO regress_livefeed_writer;
SELECT livefeed.watch('t', unit_function => 'u(t)', except_columns => '{secret}');
RESET ROLE;
CREATE TABLE g (id int PRIMARY KEY);
ALTER TABLE g OWNER TO regress_livefeed_group;
SET ROLE regress_livefeed_owner;
SELECT livefeed.watch('g');
SELECT livefeed.unwatch('g');
SET ROLE regress_livefeed_other;
SELECT livefeed.watch('t');
SELECT livefeed.unwatch('t');
SELECT livefeed.watch_changed('t');
SELECT livefeed.watch_begin('t', NULL);
-- The TRIGGER privilege is not enough.
RESET ROLE;
GRANT TRIGGER ON t TO regress_livefeed_writer;
SET ROLE regress_livefeed_writer;
SELECT livefeed.watch('t', columns => '{secret}');

-- A writer without any grant on livefeed, even without USAGE on the schema of a
-- function; with row-level security; in a function that is security definer.
INSERT INTO t VALUES (1, 'a', 's'), (2, 'b', 's');
UPDATE t SET unit = 'c' WHERE id = 1;
RESET ROLE;
ALTER TABLE t ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t TO regress_livefeed_writer USING (unit = 'c');
REVOKE USAGE ON SCHEMA livefeed FROM PUBLIC;
SET ROLE regress_livefeed_owner;
CREATE FUNCTION define() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = pg_temp AS $$ INSERT INTO writers.t VALUES (7, 'd', 's') $$;
SET ROLE regress_livefeed_writer;
UPDATE t SET secret = 't', unit = 'c';
UPDATE t SET id = 3;
SELECT define();
TRUNCATE t;
RESET ROLE;
GRANT USAGE ON SCHEMA livefeed TO PUBLIC;
\i ../sql/include/say.psql

-- What a writer may not.
SET ROLE regress_livefeed_writer;
SELECT count(*) FROM livefeed.log;
SELECT count(*) FROM livefeed.log_0;
INSERT INTO livefeed.log_0 SELECT * FROM livefeed.log_0;
SELECT nextval('livefeed.seq');
SELECT livefeed.publish('x', 'y', '1');
SELECT livefeed.declare_feed('x');
SELECT livefeed.resync('t');
SELECT livefeed.expose_path('/x', '{x}');
SELECT livefeed.hide('x');
SELECT livefeed.row_scope('t', '1');
SELECT livefeed.definitions_changed();
SELECT livefeed.take_name('x');
SELECT * FROM livefeed.declared;
SELECT * FROM livefeed.watches;
SELECT * FROM livefeed.feeds;
SET livefeed.enabled = off;
-- An application.
SET ROLE regress_livefeed_app;
SELECT livefeed.declare_feed('app_feed');
SELECT livefeed.publish('app_feed', 'created', '1');
SELECT livefeed.expose_path('/x', '{app_feed}');
SELECT feed, relation, problem FROM livefeed.watches;
SELECT livefeed.resync('t');
SELECT livefeed.hide('app_feed'), livefeed.hide('/x');
SELECT count(*) FROM livefeed.log;
SELECT livefeed.row_scope('t', '1');
RESET ROLE;

-- A function that its table's owner may not execute.
REVOKE EXECUTE ON FUNCTION u(t) FROM PUBLIC;
ALTER FUNCTION u(t) OWNER TO regress_livefeed_other;
REVOKE EXECUTE ON FUNCTION u(t) FROM regress_livefeed_owner;
SET ROLE regress_livefeed_owner;
SELECT livefeed.watch('t', unit_function => 'u(t)', entity => 'e');
INSERT INTO t VALUES (9, 'x', 'y');
RESET ROLE;

SET client_min_messages = warning;
DROP SCHEMA writers CASCADE;
DROP OWNED BY regress_livefeed_owner, regress_livefeed_writer, regress_livefeed_other, regress_livefeed_app, regress_livefeed_group;
DROP ROLE regress_livefeed_owner, regress_livefeed_writer, regress_livefeed_other, regress_livefeed_app, regress_livefeed_group;
