-- Who may do what: an ordinary writer, an ordinary reader, the owner of a watched table,
-- the owner of another, a bridge, an application.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
CREATE ROLE lf_writer;
CREATE ROLE lf_reader;
CREATE ROLE lf_owner;
CREATE ROLE lf_other;
CREATE ROLE lf_bridge;
CREATE ROLE lf_app;
SELECT livefeed.grant_bridge('lf_bridge'), livefeed.grant_application('lf_app');

-- What PUBLIC has, as a whole.
SELECT p.proname AS public_function FROM pg_proc p CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
	WHERE p.pronamespace = 'livefeed'::regnamespace AND a.grantee = 0 ORDER BY p.proname;
SELECT c.relname AS public_relation FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
	WHERE c.relnamespace = 'livefeed'::regnamespace AND a.grantee = 0 ORDER BY c.relname;
SELECT has_schema_privilege('lf_reader', 'livefeed', 'USAGE') AS usage, has_schema_privilege('lf_reader', 'livefeed', 'CREATE') AS create;
-- What the two grants add.
SELECT r.role, array_agg(p.proname ORDER BY p.proname) AS functions FROM pg_proc p, (VALUES ('lf_app'), ('lf_bridge')) r(role)
	WHERE p.pronamespace = 'livefeed'::regnamespace AND has_function_privilege(r.role, p.oid, 'EXECUTE')
		AND NOT has_function_privilege('lf_reader', p.oid, 'EXECUTE')
	GROUP BY r.role ORDER BY r.role;
SELECT r.role, array_agg(c.relname ORDER BY c.relname) AS readable FROM pg_class c, (VALUES ('lf_app'), ('lf_bridge'), ('lf_reader')) r(role)
	WHERE c.relnamespace = 'livefeed'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege(r.role, c.oid, 'SELECT')
	GROUP BY r.role ORDER BY r.role;
SELECT count(*) AS writable FROM pg_class c, (VALUES ('lf_app'), ('lf_bridge'), ('lf_reader')) r(role)
	WHERE c.relnamespace = 'livefeed'::regnamespace AND c.relkind IN ('r', 'v', 'S')
		AND (has_table_privilege(r.role, c.oid, 'INSERT') OR has_table_privilege(r.role, c.oid, 'UPDATE') OR has_table_privilege(r.role, c.oid, 'DELETE')
			OR has_table_privilege(r.role, c.oid, 'TRUNCATE') OR c.relkind = 'S' AND has_sequence_privilege(r.role, c.oid, 'USAGE'));
-- No function runs the caller's operators and functions with our rights.
SELECT p.oid::regprocedure AS unpinned FROM pg_proc p
	WHERE p.pronamespace = 'livefeed'::regnamespace
		AND (p.prosecdef OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c'))
		AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false);

-- The owner of a table watches it, with no grant at all; nobody else does.
CREATE SCHEMA app;
GRANT USAGE, CREATE ON SCHEMA app TO lf_owner, lf_other, lf_writer, lf_reader;
SET ROLE lf_owner;
CREATE TABLE app.orders (id integer PRIMARY KEY, unit_id integer, note text);
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON app.orders TO lf_writer;
GRANT SELECT ON app.orders TO lf_reader;
SELECT livefeed.watch('app.orders', unit => 'unit_id');
SET ROLE lf_other;
CREATE TABLE app.other (id integer PRIMARY KEY);
SELECT livefeed.watch('app.other');
SELECT livefeed.watch('app.orders');
SELECT livefeed.unwatch('app.orders');
SELECT livefeed.watch_changed('app.orders');
RESET ROLE;
GRANT TRIGGER ON app.orders TO lf_other;
SET ROLE lf_other;
SELECT livefeed.watch('app.orders');
SELECT livefeed.unwatch('app.orders');
SELECT livefeed.unwatch('app.other');

-- An ordinary writer writes, and has no part in the log.
SET ROLE lf_writer;
INSERT INTO app.orders VALUES (1, 7, 'mine'), (2, 9, 'not mine');
UPDATE app.orders SET note = 'x' WHERE id = 1;
DELETE FROM app.orders WHERE id = 2;
SELECT count(*) FROM livefeed.log;
SELECT nextval('livefeed.seq');
INSERT INTO livefeed.log_0 VALUES ('1', 1, now(), 1, 1, 'orders');
SELECT livefeed.publish('orders', 'forged', '{}');
SELECT livefeed.resync('orders');
SELECT livefeed.declare_feed('mine');
SELECT livefeed.expose_path('/ws/mine/', '{orders}');
SELECT livefeed.issue_token('42');
SELECT livefeed.tick();
TRUNCATE app.orders;

-- An ordinary reader looks nowhere.
SET ROLE lf_reader;
SELECT * FROM livefeed.events();
SELECT livefeed.cursor();
SELECT * FROM livefeed.read(0, 10);
SELECT * FROM livefeed.look();
SELECT * FROM livefeed.keys;
SELECT * FROM livefeed.key;
SELECT * FROM livefeed.ticks;
SELECT * FROM livefeed.state;
SELECT * FROM livefeed.status;
SELECT * FROM livefeed.watches;
SELECT * FROM livefeed.bridges;
SELECT livefeed.check_cursor('00000000', 1);
SELECT livefeed.row_scope('orders', '1');
SELECT livefeed.reset();
SELECT livefeed.prune();
SELECT livefeed.rotate_key();
SELECT livefeed.tick_lock();
SELECT livefeed.keys_changed();
SELECT livefeed.definitions_changed();
SELECT livefeed.hmac_sha256('', '');
SELECT livefeed.grant_bridge('lf_reader');
SELECT livefeed.register_bridge('me', 'here', 1, '0');
SET livefeed.enabled = off;

-- A trigger function of ours on a table of one's own makes no forged events.
CREATE TABLE app.forged (id integer PRIMARY KEY, unit_id integer);
CREATE TRIGGER livefeed_row AFTER INSERT ON app.forged FOR EACH ROW EXECUTE FUNCTION
	livefeed.capture_row('{"feed":"orders","entity":"orders","key":["id"],"unit":"unit_id","users":[],"roles":[],"except_columns":[],"actions":[]}');
\set VERBOSITY terse
INSERT INTO app.forged VALUES (66, 7);
\set VERBOSITY default
RESET ROLE;
SELECT count(*) AS forged FROM livefeed.events() WHERE key = '66';
DROP TABLE app.forged;

-- An application publishes, issues tokens and looks in; the key and the log as such are not its business.
SET ROLE lf_app;
SELECT livefeed.declare_feed('notes', roles => '{r}');
SELECT livefeed.publish('notes', 'added', '{}', key => '1');
SELECT livefeed.resync('notes');
SELECT livefeed.expose_path('/ws/notes/', '{notes:unit:7}');
SELECT length(livefeed.issue_token('42', '[7]')) > 100 AS token;
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.ring();
SELECT livefeed.cursor() ~ '^[0-9a-f]{8}-[0-9]+$' AS cursor;
SELECT count(*) > 3 AS events FROM livefeed.events();
SELECT feed, unit FROM livefeed.watches;
SELECT count(*) FROM livefeed.bridges;
SELECT count(*) FROM livefeed.sessions;
SELECT head > 0 AS head FROM livefeed.status;
SELECT livefeed.hide('/ws/notes/');
SELECT count(*) FROM livefeed.keys;
SELECT count(*) FROM livefeed.key;
SELECT count(*) FROM livefeed.log;
SELECT * FROM livefeed.read(0, 10);
SELECT livefeed.prune();
SELECT livefeed.reset();
SELECT livefeed.rotate_key();

-- A bridge reads and ticks; it defines nothing and signs nothing.
SET ROLE lf_bridge;
SELECT livefeed.register_bridge('b', 'here', 1, '0');
SELECT livefeed.bridge_seen('b', 0, true, 0);
SELECT count(*) > 3 AS events FROM livefeed.read(0, 100);
SELECT count(*) > 3 AS events FROM livefeed.tick_wait(0, 100, 0, true);
SELECT head > 0 AS head, length(definitions) FROM livefeed.look();
SELECT livefeed.check_cursor('00000000', 1);
SELECT status FROM livefeed.row_scope('orders', '1');
SELECT count(*) FROM livefeed.keys;
SELECT count(*) > 3 AS log FROM livefeed.log;
SELECT feed, declared FROM livefeed.feeds ORDER BY feed;
SELECT count(*) FROM livefeed.paths;
SELECT count(*) FROM livefeed.watches;
SELECT bridge FROM livefeed.bridges;
SELECT head > 0 AS head FROM livefeed.status;
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.ring();
SELECT livefeed.prune('0') > 0 AS pruned;
SELECT livefeed.log_version();
SELECT livefeed.unregister_bridge('b');
SELECT livefeed.publish('notes', 'added', '{}');
SELECT livefeed.issue_token('42');
SELECT livefeed.declare_feed('b');
SELECT count(*) FROM livefeed.key;
SELECT livefeed.reset();
SELECT livefeed.rotate_key();
SELECT * FROM app.orders;

-- What a unit_function reads, it reads with the rights of the table's owner: a writer needs none.
RESET ROLE;
SET ROLE lf_owner;
CREATE TABLE app.card (id integer PRIMARY KEY, unit_id text);
INSERT INTO app.card VALUES (1, '7');
CREATE TABLE app.comment (id integer PRIMARY KEY, card_id integer);
CREATE FUNCTION app.comment_unit(app.comment) RETURNS text STABLE LANGUAGE sql AS 'SELECT unit_id FROM app.card c WHERE c.id = $1.card_id';
CREATE FUNCTION app.comment_users(app.comment) RETURNS text[] STABLE LANGUAGE sql AS 'SELECT ARRAY[current_user::text]';
SELECT livefeed.watch('app.comment', unit_function => 'app.comment_unit(app.comment)', users_function => 'app.comment_users(app.comment)');
GRANT INSERT ON app.comment TO lf_writer;
SET ROLE lf_writer;
INSERT INTO app.comment VALUES (1, 1);
SELECT current_user;
-- Not so the function of someone who may only make triggers there.
RESET ROLE;
GRANT TRIGGER ON app.comment TO lf_other;
SET ROLE lf_owner;
SELECT livefeed.unwatch('app.comment');
SET ROLE lf_other;
CREATE FUNCTION app.strange(app.comment) RETURNS text[] LANGUAGE sql AS 'SELECT ARRAY[current_user::text]';
CREATE TRIGGER strange AFTER INSERT ON app.comment FOR EACH ROW EXECUTE FUNCTION livefeed.capture_row('{"feed":"comment","key":["id"],"users_function":["app","strange"]}');
SET ROLE lf_writer;
INSERT INTO app.comment VALUES (2, 1);
RESET ROLE;
SELECT key, unit, users FROM livefeed.log WHERE feed = 'comment' AND key IS NOT NULL ORDER BY seq;

-- Everything that others than its owner may use says what it is.
RESET ROLE;
SELECT p.oid::regprocedure AS without_comment FROM pg_proc p
	WHERE p.pronamespace = 'livefeed'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
		AND EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee <> p.proowner);
SELECT c.oid::regclass AS without_comment FROM pg_class c
	WHERE c.relnamespace = 'livefeed'::regnamespace AND c.relkind IN ('r', 'v', 'S') AND NOT c.relispartition
		AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AND obj_description(c.oid, 'pg_class') IS NULL;

RESET ROLE;
SET client_min_messages = warning;
DROP SCHEMA app CASCADE;
DROP OWNED BY lf_writer, lf_reader, lf_owner, lf_other, lf_bridge, lf_app;
DROP ROLE lf_writer, lf_reader, lf_owner, lf_other, lf_bridge, lf_app;
