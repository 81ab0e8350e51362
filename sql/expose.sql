-- Values and commands: what may be exposed, by whom, under which names; and a query's value.
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
CREATE SCHEMA app;
CREATE ROLE lf_owner;		-- owns the functions
CREATE ROLE lf_app;
CREATE ROLE lf_bridge;
GRANT USAGE, CREATE ON SCHEMA app TO lf_owner, lf_app;
SELECT livefeed.grant_bridge('lf_bridge'), livefeed.grant_application('lf_app'), livefeed.grant_application('lf_owner');

SET ROLE lf_owner;
CREATE TABLE app.notifications (id integer PRIMARY KEY, user_id text, read boolean NOT NULL DEFAULT false);
CREATE TABLE app.orders (id integer PRIMARY KEY, unit_id integer, price integer);
SELECT livefeed.watch('app.notifications', users => '{user_id}'), livefeed.watch('app.orders', unit => 'unit_id');
SELECT livefeed.declare_feed('news');
CREATE FUNCTION app.unread(user_id text) RETURNS jsonb STABLE LANGUAGE sql AS
	'SELECT to_jsonb(count(*)) FROM app.notifications n WHERE n.user_id = $1 AND NOT n.read';
CREATE FUNCTION app.total(unit text) RETURNS jsonb STABLE LANGUAGE sql AS
	'SELECT jsonb_build_object(''orders'', count(*), ''total'', sum(price)) FROM app.orders WHERE unit_id = $1::integer';
CREATE FUNCTION app.price(id text) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT to_jsonb(price) FROM app.orders WHERE id = $1::integer';
CREATE FUNCTION app.count_all() RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT to_jsonb(count(*)) FROM app.orders';
CREATE FUNCTION app.take(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT $1';

-- What there is.
SELECT livefeed.expose_query('unread', 'app.unread(text)', 'user', '{notifications}');
SELECT livefeed.expose_query('total', 'app.total(text)', 'unit', '{orders,news}', roles => '{manager}', debounce => '1 s', refresh => '1 min');
SELECT livefeed.expose_query('price', 'app.price(text)', 'row', '{orders}', access_feed => 'orders', debounce => '0');
SELECT livefeed.expose_query('everything', 'app.count_all()', 'all', '{livefeed_sessions}');
SELECT livefeed.expose_query('hourly', 'app.count_all()', 'all', '{}', refresh => '01:00');
SELECT livefeed.expose_command('take', 'app.take(jsonb)', '{clerk,manager}');
SELECT livefeed.expose_command('take_all', 'app.take(jsonb)');
SELECT * FROM livefeed.queries ORDER BY name;
SELECT * FROM livefeed.commands ORDER BY name;
SELECT name, kind, schema, function, owner FROM livefeed.exposed ORDER BY name;
RESET ROLE;
SELECT name, kind, schema, function, owner FROM livefeed.exposed ORDER BY name;

-- Again replaces; the bridges are told, and can tell.
SELECT count(*) AS events FROM livefeed.log \gset
SELECT definitions AS before FROM livefeed.look() \gset
SET ROLE lf_owner;
SELECT livefeed.expose_query('total', 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_command('take_all', 'app.take(jsonb)', '{clerk}');
RESET ROLE;
SELECT feed, flags FROM livefeed.log OFFSET :events;
SELECT definitions <> :'before' AS differs FROM livefeed.look();
SELECT name, scope, feeds, roles, debounce_ms, refresh_ms FROM livefeed.queries WHERE name = 'total';
SELECT name, roles FROM livefeed.commands WHERE name = 'take_all';

-- Functions that do not fit.
SET ROLE lf_owner;
CREATE FUNCTION app.volatile(text) RETURNS jsonb LANGUAGE sql AS 'SELECT ''1''::jsonb';
CREATE FUNCTION app.of_integer(integer) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT ''1''::jsonb';
CREATE FUNCTION app.two(text, integer DEFAULT 1) RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT ''1''::jsonb';
CREATE FUNCTION app.to_text(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT ''1''';
CREATE FUNCTION app.many(text) RETURNS SETOF jsonb STABLE LANGUAGE sql AS 'SELECT ''1''::jsonb';
CREATE PROCEDURE app.proc(jsonb) LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION app.json_command(json) RETURNS jsonb LANGUAGE sql AS 'SELECT ''1''::jsonb';
SELECT livefeed.expose_query('q', 'app.volatile(text)', 'unit', '{orders}');
SELECT livefeed.expose_query('q', 'app.of_integer(integer)', 'unit', '{orders}');
\set VERBOSITY terse
SELECT livefeed.expose_query('q', 'app.two(text, integer)', 'unit', '{orders}');
SELECT livefeed.expose_query('q', 'app.to_text(text)', 'unit', '{orders}');
SELECT livefeed.expose_query('q', 'app.many(text)', 'unit', '{orders}');
SELECT livefeed.expose_query('q', 'app.count_all()', 'unit', '{orders}');
\set VERBOSITY default
SELECT livefeed.expose_query('q', 'app.total(text)', 'all', '{orders}');
SELECT livefeed.expose_command('c', 'app.total(text)');
\set VERBOSITY terse
SELECT livefeed.expose_command('c', 'app.json_command(json)');
SELECT livefeed.expose_command('c', 'app.proc(jsonb)');
SELECT livefeed.expose_command('c', 'app.count_all()');
SELECT livefeed.expose_command('c', 'app.nothing(jsonb)');
SELECT livefeed.expose_command('c', 1::oid::regprocedure);
SELECT livefeed.expose_command('c', NULL);
SELECT livefeed.expose_query('q', NULL, 'unit', '{orders}');

-- The other arguments.
\set VERBOSITY default
SELECT livefeed.expose_query('Total', 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_command('livefeed-x', 'app.take(jsonb)');
\set VERBOSITY terse
SELECT livefeed.expose_query(NULL, 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_query(repeat('x', 64), 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'team', '{orders}');
SELECT livefeed.expose_query('q', 'app.total(text)', NULL, '{orders}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders,nothing}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders,NULL}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{{orders}}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', NULL);
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{unread}');	-- a query is no feed
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', roles => NULL);
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', roles => '{a,""}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', roles => '{*}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'user', '{orders}', roles => '{manager}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'row', '{orders}', roles => '{manager}', access_feed => 'orders');
SELECT livefeed.expose_query('q', 'app.total(text)', 'row', '{orders}');
SELECT livefeed.expose_query('q', 'app.total(text)', 'row', '{orders}', access_feed => 'nothing');
SELECT livefeed.expose_query('q', 'app.total(text)', 'row', '{orders}', access_feed => 'livefeed_sessions');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', access_feed => 'orders');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', debounce => '-1 s');
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', debounce => NULL);
SELECT livefeed.expose_query('q', 'app.total(text)', 'unit', '{orders}', refresh => '0');
SELECT livefeed.expose_command('c', 'app.take(jsonb)', NULL);
SELECT livefeed.expose_command('c', 'app.take(jsonb)', '{NULL}');
SELECT livefeed.expose_command('c', 'app.take(jsonb)', '{*}');

-- One namespace.
\set VERBOSITY default
SELECT livefeed.expose_query('orders', 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_command('news', 'app.take(jsonb)');
SELECT livefeed.expose_command('total', 'app.take(jsonb)');
\set VERBOSITY terse
SELECT livefeed.expose_query('take', 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_command('livefeed_sessions', 'app.take(jsonb)');
SELECT livefeed.expose_query('livefeed_sessions', 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.declare_feed('total');
SELECT livefeed.declare_feed('take');
SELECT livefeed.declare_feed('livefeed_sessions');
SELECT livefeed.watch('app.orders', feed => 'take', unit => 'unit_id');
\set VERBOSITY default
SELECT livefeed.watch('app.orders', feed => 'livefeed_sessions', unit => 'unit_id');
\set VERBOSITY terse
SELECT feed FROM livefeed.feeds ORDER BY feed;

-- Only the function's owner may, whoever may expose.
RESET ROLE;
SET ROLE lf_app;
\set VERBOSITY default
SELECT livefeed.expose_command('c', 'app.take(jsonb)');
\set VERBOSITY terse
SELECT livefeed.expose_query('total', 'app.total(text)', 'unit', '{orders}');
SELECT livefeed.expose_function('command', 'c', 'app.take(jsonb)', '{}');
INSERT INTO livefeed.exposed VALUES ('c', 'command', 'app', 'take', 'lf_owner', NULL, '{}');
SELECT * FROM livefeed.run_query('everything', NULL);
RESET ROLE;
SET ROLE lf_bridge;
SELECT livefeed.expose_command('c', 'app.take(jsonb)');
SELECT name FROM livefeed.queries ORDER BY 1;
RESET ROLE;

-- Values: with the rights of the function's owner, which the bridge has not.
INSERT INTO app.notifications VALUES (1, '42'), (2, '42'), (3, 'zoë');
INSERT INTO app.orders VALUES (1, 7, 100), (2, 7, 50), (3, 9, 1);
SELECT livefeed.tick() > 0 AS ticked;
SET ROLE lf_bridge;
SELECT count(*) FROM app.orders;
SELECT data, after || '' = split_part(livefeed.cursor(), '-', 2) AS after, epoch = livefeed.epoch() AS epoch FROM livefeed.run_query('unread', '42');
SELECT data FROM livefeed.run_query('unread', 'zoë');
SELECT data FROM livefeed.run_query('unread', '');
SELECT data FROM livefeed.run_query('total', '7');
SELECT data FROM livefeed.run_query('price', '3');
SELECT data FROM livefeed.run_query('price', '4');		-- null is JSON's
SELECT data FROM livefeed.run_query('everything', NULL);
SELECT current_user;
SELECT data FROM livefeed.run_query('total', 'seven');		-- the function's own error
SELECT current_user;
SELECT data FROM livefeed.run_query('total', NULL);
SELECT data FROM livefeed.run_query('everything', '7');
SELECT data FROM livefeed.run_query('take', '7');
\set VERBOSITY default
SELECT data FROM livefeed.run_query('nothing', '7');
\set VERBOSITY terse
SELECT data FROM livefeed.run_query(NULL, '7');
RESET ROLE;

-- Value and tick are of one snapshot: what came after it, is after its cursor.
CREATE FUNCTION app.slow(unit text) RETURNS jsonb STABLE LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.001);
	RETURN (SELECT to_jsonb(max(id)) FROM app.orders);
END $$;
SELECT livefeed.expose_query('slow', 'app.slow(text)', 'unit', '{orders}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT after AS former FROM livefeed.run_query('slow', '7') \gset
\setenv PGDATABASE :DBNAME
\! psql -XqAtc "INSERT INTO app.orders VALUES (10, 7, 1)" -c "SELECT livefeed.tick() > 0"
SELECT data, after = :former AS same FROM livefeed.run_query('slow', '7');
COMMIT;
SELECT data, after > :former AS later FROM livefeed.run_query('slow', '7');

-- A query changes nothing: neither data, nor who or what the session is.
SET ROLE lf_owner;
CREATE FUNCTION app.write() RETURNS jsonb LANGUAGE sql AS 'UPDATE app.orders SET price = 0 RETURNING ''1''::jsonb';
CREATE FUNCTION app.writes() RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT app.write()';
CREATE FUNCTION app.roles() RETURNS jsonb STABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', 'none', false); RETURN to_jsonb(current_user); END $$;
CREATE FUNCTION app.settings() RETURNS jsonb STABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('work_mem', '77MB', false); RETURN to_jsonb(current_setting('work_mem')); END $$;
SELECT livefeed.expose_query('writes', 'app.writes()', 'all', '{orders}'), livefeed.expose_query('roles', 'app.roles()', 'all', '{orders}'),
	livefeed.expose_query('settings', 'app.settings()', 'all', '{orders}');
RESET ROLE;
SHOW work_mem \gset
SET ROLE lf_bridge;
SELECT data FROM livefeed.run_query('writes', NULL);
SHOW transaction_read_only;
SELECT data FROM livefeed.run_query('roles', NULL);
SELECT data FROM livefeed.run_query('settings', NULL);
RESET ROLE;
SELECT current_setting('work_mem') = :'work_mem' AS as_before;
-- After an error that is caught, one may write as before.
DO $$
BEGIN
	BEGIN
		PERFORM livefeed.run_query('writes', NULL);
	EXCEPTION WHEN read_only_sql_transaction THEN NULL;
	END;
	INSERT INTO app.orders VALUES (11, 7, 1);
END $$;

-- Functions that changed since.
ALTER FUNCTION app.settings() RENAME TO other_settings;
\set VERBOSITY default
SELECT data FROM livefeed.run_query('settings', NULL);
CREATE FUNCTION app.settings() RETURNS jsonb STABLE LANGUAGE sql AS 'SELECT to_jsonb(current_user)';
SELECT data FROM livefeed.run_query('settings', NULL);		-- a superuser could have set it, too
ALTER FUNCTION app.settings() OWNER TO lf_app;
SELECT data FROM livefeed.run_query('settings', NULL);
DROP FUNCTION app.settings();
SET ROLE lf_app;
CREATE FUNCTION app.settings() RETURNS text STABLE LANGUAGE sql AS 'SELECT ''1''';
RESET ROLE;
SELECT data FROM livefeed.run_query('settings', NULL);

-- Hidden: the names are free.
SELECT count(*) AS events FROM livefeed.log \gset
SET ROLE lf_app;
SELECT livefeed.hide('total'), livefeed.hide('take'), livefeed.hide('total'), livefeed.hide('nothing');
RESET ROLE;
SELECT feed FROM livefeed.log OFFSET :events;
SELECT livefeed.declare_feed('take');
SELECT livefeed.expose_command('total', 'app.take(jsonb)');
SELECT name, function FROM livefeed.commands WHERE name = 'total';
-- A rollback exposes nothing.
BEGIN;
SELECT livefeed.expose_command('rolled_back', 'app.take(jsonb)');
ROLLBACK;
SELECT name FROM livefeed.commands WHERE name = 'rolled_back';
BEGIN READ ONLY;
SELECT livefeed.expose_command('read_only', 'app.take(jsonb)');
ROLLBACK;

SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
SELECT livefeed.reset();
DROP EXTENSION livefeed CASCADE;
DROP OWNED BY lf_owner, lf_app, lf_bridge;
DROP ROLE lf_owner, lf_app, lf_bridge;
CREATE EXTENSION livefeed;
