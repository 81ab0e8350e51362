-- Commands: whose rights they have, who is asking, what they leave behind, and repeats.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
CREATE SCHEMA app;
CREATE ROLE lf_owner;		-- owns tables and functions
CREATE ROLE lf_app;
CREATE ROLE lf_bridge;
CREATE ROLE lf_clerk;		-- a role that tokens name
CREATE ROLE lf_stranger;
CREATE ROLE lf_super SUPERUSER;
GRANT lf_clerk, lf_super TO lf_bridge;
GRANT USAGE ON SCHEMA app TO lf_clerk;
GRANT USAGE, CREATE ON SCHEMA app TO lf_owner;
SELECT livefeed.grant_bridge('lf_bridge'), livefeed.grant_application('lf_app'), livefeed.grant_application('lf_owner');
\set alice '{"user":"42","units":{"7":["approver"],"9":[]},"roles":["clerk"],"claims":{"sub":"42","sid":"s1"}}'

SET ROLE lf_owner;
CREATE TABLE app.cards (id integer PRIMARY KEY, unit_id integer, title text);
GRANT SELECT, INSERT, UPDATE ON app.cards TO lf_clerk;
SELECT livefeed.watch('app.cards', unit => 'unit_id', entity => 'card');
CREATE FUNCTION app.add_card(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
	INSERT INTO app.cards VALUES ((args ->> 'id')::integer, (args ->> 'unit')::integer, args ->> 'title') RETURNING to_jsonb(id)
$$;
CREATE FUNCTION app.who(args jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('as', current_user, 'user', livefeed.current_user_id(), 'claims', livefeed.claims(),
		'units', livefeed.current_units(), 'unit 7', livefeed.has_unit('7'), 'unit 8', livefeed.has_unit('8'), 'no unit', livefeed.has_unit(NULL),
		'approver', livefeed.has_role('approver'), 'approver in 7', livefeed.has_role('approver', '7'), 'approver in 9', livefeed.has_role('approver', '9'),
		'clerk in 9', livefeed.has_role('clerk', '9'), 'clerk in 8', livefeed.has_role('clerk', '8'), 'boss', livefeed.has_role('boss'), 'none', livefeed.has_role(NULL))
$$;
CREATE FUNCTION app.nothing(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
CREATE FUNCTION app.refuse(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$;
CREATE FUNCTION app.set(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config(args ->> 'name', args ->> 'value', (args ->> 'local')::boolean);
	RETURN to_jsonb(current_setting(args ->> 'name', true));
END $$;
CREATE FUNCTION app.execute(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE args ->> 'sql';
	RETURN to_jsonb(current_user);
END $$;
SELECT livefeed.expose_command('add_card', 'app.add_card(jsonb)', '{approver}'), livefeed.expose_command('who', 'app.who(jsonb)'),
	livefeed.expose_command('nothing', 'app.nothing(jsonb)'), livefeed.expose_command('refuse', 'app.refuse(jsonb)'),
	livefeed.expose_command('set', 'app.set(jsonb)'), livefeed.expose_command('execute', 'app.execute(jsonb)');
RESET ROLE;

-- With the rights of the function's owner; the events name the user.
SET ROLE lf_bridge;
SELECT data, xid IS NOT NULL AS wrote, events FROM livefeed.call('add_card', '{"id": 1, "unit": 7, "title": "one"}', :'alice');
SELECT data, xid, events FROM livefeed.call('nothing', '{}', :'alice');
SELECT data, xid, events FROM livefeed.call('nothing', NULL, :'alice');
SELECT jsonb_pretty(data::jsonb) FROM livefeed.call('who', '{}', :'alice');
SELECT data FROM livefeed.call('who', '{}', '{"user":"zoë"}');
SELECT data FROM livefeed.call('refuse', '{}', :'alice');
RESET ROLE;
SELECT key, frame::json ->> 'updated_by' AS updated_by FROM livefeed.events(feed => 'cards');
-- An actor that the command sets wins.
SET ROLE lf_owner;
CREATE FUNCTION app.add_as(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL livefeed.actor = 'somebody else';
	RETURN app.add_card(args);
END $$;
SELECT livefeed.expose_command('add_as', 'app.add_as(jsonb)');
RESET ROLE;
SET ROLE lf_bridge;
SELECT data FROM livefeed.call('add_as', '{"id": 2, "unit": 7}', :'alice');
SHOW livefeed.actor;
RESET ROLE;
SELECT key, frame::json ->> 'updated_by' AS updated_by FROM livefeed.events(feed => 'cards');
-- The transaction is the one whose effects it names.
SET ROLE lf_bridge;
BEGIN;
SELECT xid = pg_current_xact_id() AS own, events FROM livefeed.call('add_card', '{"id": 3, "unit": 7}', :'alice');
ROLLBACK;
RESET ROLE;

-- Who is asking is known inside a command alone, and nobody can make it up.
SELECT livefeed.current_user_id(), livefeed.claims(), livefeed.current_units(), livefeed.has_unit('7'), livefeed.has_role('approver'), livefeed.has_role('approver', '7');
SET ROLE lf_stranger;
-- The name is refused from 15 on, and says nothing before.
DO $$
BEGIN
	PERFORM set_config('livefeed.claims', '{"user":"42"}', false);
EXCEPTION WHEN invalid_name THEN
	NULL;
END;
$$;
SELECT livefeed.current_user_id(), livefeed.has_unit('7');
SELECT livefeed.call('who', '{}', '{"user":"42"}');
RESET ROLE;
SET ROLE lf_bridge;
BEGIN;
SELECT data = '"x"' FROM livefeed.call('set', '{"name": "application_name", "value": "x", "local": true}', :'alice');
SELECT livefeed.current_user_id();
SAVEPOINT a;
SELECT livefeed.call('refuse', '{}', :'alice');
ROLLBACK TO a;
SELECT livefeed.current_user_id(), current_user;
COMMIT;
-- Nor after an error that was caught.
DO $$
BEGIN
	PERFORM livefeed.call('refuse', '{}', '{"user":"42"}');
EXCEPTION WHEN raise_exception THEN
	RAISE NOTICE '% %', livefeed.current_user_id(), current_user;
END $$;
SELECT livefeed.call('who', '{}', NULL);
SELECT livefeed.call('who', '{}', '{}');
SELECT livefeed.call('who', '{}', '[]');
SELECT livefeed.call('who', '{}', '"42"');
SELECT livefeed.call('who', '{}', '{"user":""}');
SELECT livefeed.call('who', '{}', '{"user":42}');
SELECT livefeed.call(NULL, '{}', :'alice');
\set VERBOSITY default
SELECT livefeed.call('no_such', '{}', :'alice');
\set VERBOSITY terse
RESET ROLE;

-- Under a role that the token names: one that the bridge was granted, and no more than that.
SET ROLE lf_bridge;
SELECT data::json ->> 'as' AS as_role, data::json ->> 'user' AS user_id FROM livefeed.call('who', '{}', :'alice', 'lf_clerk');
\set VERBOSITY default
SELECT data FROM livefeed.call('who', '{}', :'alice', 'lf_stranger');
SELECT data FROM livefeed.call('who', '{}', :'alice', 'lf_super');
\set VERBOSITY terse
SELECT data FROM livefeed.call('who', '{}', :'alice', 'lf_bridge');
SELECT data FROM livefeed.call('who', '{}', :'alice', 'no_such_role');
SELECT data FROM livefeed.call('who', '{}', :'alice', '');
RESET ROLE;
-- Row-level security goes by it, and by the claims.
SET ROLE lf_owner;
ALTER TABLE app.cards ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_unit ON app.cards TO lf_clerk USING (livefeed.has_unit(unit_id::text)) WITH CHECK (livefeed.has_role('approver', unit_id::text));
CREATE FUNCTION app.titles(args jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT jsonb_agg(id ORDER BY id) FROM app.cards';
SELECT livefeed.expose_command('titles', 'app.titles(jsonb)');
INSERT INTO app.cards VALUES (4, 9, 'nine'), (5, 8, 'eight');
REVOKE EXECUTE ON FUNCTION app.nothing FROM PUBLIC;
RESET ROLE;
SET ROLE lf_bridge;
SELECT data FROM livefeed.call('titles', '{}', :'alice');
SELECT data FROM livefeed.call('titles', '{}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('titles', '{}', '{"user":"42"}', 'lf_clerk');
SELECT data FROM livefeed.call('add_card', '{"id": 6, "unit": 7}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('add_card', '{"id": 7, "unit": 9}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('nothing', '{}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('nothing', '{}', :'alice');

-- It cannot become anybody else.
SELECT data FROM livefeed.call('set', '{"name": "role", "value": "lf_bridge"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('set', '{"name": "role", "value": "none"}', :'alice');
SELECT data FROM livefeed.call('set', '{"name": "session_authorization", "value": "lf_bridge"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "RESET ROLE"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "SET ROLE NONE"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "SET LOCAL ROLE lf_bridge"}', :'alice');
SELECT data FROM livefeed.call('execute', '{"sql": "SET SESSION AUTHORIZATION DEFAULT"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "RESET SESSION AUTHORIZATION"}', :'alice');
SELECT data FROM livefeed.call('execute', '{"sql": "DISCARD ALL"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "COMMIT"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "SELECT secret FROM livefeed.keys"}', :'alice', 'lf_clerk');
SELECT data FROM livefeed.call('execute', '{"sql": "SELECT livefeed.call(''who'', ''{}'', ''{\"user\":\"1\"}'')"}', :'alice');
SELECT current_user, session_user = current_user AS own;
RESET ROLE;

-- Nothing is left for the next command, or to run as the bridge.
SHOW work_mem \gset
SET ROLE lf_bridge;
SELECT data FROM livefeed.call('set', '{"name": "work_mem", "value": "77MB"}', :'alice');
SELECT data FROM livefeed.call('set', '{"name": "search_path", "value": "app"}', :'alice');
SELECT current_setting('work_mem') = :'work_mem' AS work_mem, current_setting('search_path') AS search_path;
SET statement_timeout = '55s';
SELECT data FROM livefeed.call('execute', '{"sql": "RESET ALL"}', :'alice', 'lf_clerk');
SHOW statement_timeout;
RESET statement_timeout;
RESET ROLE;
GRANT TEMPORARY ON DATABASE :DBNAME TO lf_owner;
SET ROLE lf_bridge;
SELECT data FROM livefeed.call('execute', '{"sql": "CREATE TEMP TABLE cards AS SELECT 1 AS id"}', :'alice');
SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'cards';
SELECT data FROM livefeed.call('execute', '{"sql": "CREATE TEMP TABLE cards ON COMMIT DROP AS SELECT 1 AS id"}', :'alice');
SELECT data FROM livefeed.call('execute', '{"sql": "DECLARE c CURSOR WITH HOLD FOR SELECT current_user"}', :'alice');
SELECT count(*) FROM pg_cursors WHERE is_holdable;
RESET ROLE;
-- A constraint that is deferred is checked before the command returns, and so a part of it.
SET ROLE lf_owner;
CREATE TABLE app.places (id integer PRIMARY KEY, position integer UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO app.places VALUES (1, 1), (2, 2);
CREATE TABLE app.seen (who text, unit boolean);
CREATE FUNCTION app.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO app.seen VALUES (current_user, livefeed.has_unit('7'));
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER look AFTER UPDATE ON app.places DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.look();
CREATE FUNCTION app.swap(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	UPDATE app.places SET position = (args ->> 'position')::integer WHERE id = 1;
	IF args ? 'both' THEN
		UPDATE app.places SET position = 1 WHERE id = 2;
	END IF;
	RETURN (SELECT to_jsonb(count(*)) FROM app.seen);
END $$;
SELECT livefeed.expose_command('swap', 'app.swap(jsonb)');
RESET ROLE;
SET ROLE lf_bridge;
SELECT data FROM livefeed.call('swap', '{"position": 2, "both": true}', :'alice');
SELECT data FROM livefeed.call('swap', '{"position": 1}', :'alice');
RESET ROLE;
SELECT * FROM app.places ORDER BY id;
SELECT * FROM app.seen;
-- Nothing can be put off again, until after the rights are the bridge's.
SET ROLE lf_owner;
CREATE OR REPLACE FUNCTION app.look() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	SET CONSTRAINTS ALL DEFERRED;
	UPDATE app.places SET position = position + 1 WHERE id = 2;
	RETURN NULL;
END $$;
RESET ROLE;
SET ROLE lf_bridge;
SELECT data FROM livefeed.call('swap', '{"position": 5}', :'alice');
RESET ROLE;

-- Repeats: the first answer, once done.
SET ROLE lf_bridge;
SELECT data, xid AS first_xid, events FROM livefeed.call('add_card', '{"id": 20, "unit": 7}', :'alice', NULL, 'k1') \gset
SELECT :'data' AS data, :'events' AS events;
SELECT data, xid = :'first_xid'::xid8 AS same, events FROM livefeed.call('add_card', '{"unit": 7, "id": 20}', :'alice', NULL, 'k1');
SELECT data, xid = :'first_xid'::xid8 AS same, events FROM livefeed.call('add_card', '{"unit": 7, "id": 20}', :'alice', 'lf_clerk', 'k1');
SELECT data FROM livefeed.call('add_card', '{"id": 20, "unit": 7}', :'alice', NULL, 'k2');	-- another key runs it
SELECT data FROM livefeed.call('add_card', '{"id": 21, "unit": 7}', '{"user":"43"}', NULL, 'k1');	-- and so does another user's
-- Not another command, nor other arguments.
\set VERBOSITY sqlstate
SELECT data FROM livefeed.call('add_card', '{"id": 22, "unit": 7}', :'alice', NULL, 'k1');
\set VERBOSITY terse
SELECT data FROM livefeed.call('add_card', '{"id": 22, "unit": 7}', :'alice', NULL, 'k1');
SELECT data FROM livefeed.call('who', '{"id": 20, "unit": 7}', :'alice', NULL, 'k1');
SELECT data FROM livefeed.call('who', '{}', :'alice', NULL, '');
SELECT data FROM livefeed.call('who', '{}', :'alice', NULL, repeat('k', 256));
-- What failed leaves no answer: it may be tried again.
SELECT data FROM livefeed.call('refuse', '{}', :'alice', NULL, 'k3');
SELECT data FROM livefeed.call('nothing', '{}', :'alice', NULL, 'k3');
SELECT data, xid IS NOT NULL AS wrote, events FROM livefeed.call('nothing', '{}', :'alice', NULL, 'k3');
SELECT * FROM livefeed.answer;
RESET ROLE;
SELECT user_id, key, name, data, events FROM livefeed.answer ORDER BY user_id, key;
-- A day later they are gone.
UPDATE livefeed.answer SET at = at - interval '25 hours' WHERE key = 'k1';
SELECT livefeed.prune() >= 0 AS pruned;
SELECT user_id, key FROM livefeed.answer ORDER BY user_id, key;

SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
SELECT livefeed.reset();
DROP OWNED BY lf_owner, lf_app, lf_bridge, lf_clerk, lf_stranger, lf_super;
DROP ROLE lf_owner, lf_app, lf_bridge, lf_clerk, lf_stranger, lf_super;
