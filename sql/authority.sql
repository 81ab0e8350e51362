-- Who users are and whose tokens count no more: set_authorizer, disconnect, reauthorize.
\set SHOW_CONTEXT never
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
CREATE SCHEMA app;
CREATE ROLE lf_auth;		-- owns the authorizer
CREATE ROLE lf_app;
CREATE ROLE lf_bridge;
CREATE ROLE lf_nobody;
GRANT USAGE, CREATE ON SCHEMA app TO lf_auth, lf_nobody;
SELECT livefeed.grant_bridge('lf_bridge'), livefeed.grant_application('lf_app');

-- A control event as bridges read it; what is not the same each time is looked at apart.
CREATE VIEW control AS
	SELECT l.flags, l.feed, l.unit, l.users, l.to_users, l.key, convert_from(l.frame, 'UTF8') AS reason,
		abs(l.parent_key::bigint - extract(epoch FROM l.at)::bigint) <= 1 AS now, l.parent_feed
	FROM livefeed.log l ORDER BY l.xid, l.command, l.seq;

-- Revoking: one control event and one row.
SET ROLE lf_app;
SELECT livefeed.disconnect('42');
SELECT livefeed.disconnect('42', 'logged out');
SELECT livefeed.disconnect('42', reason => E'two\nlines\x7f', session => 'login-77');
SELECT livefeed.disconnect('zoë', '');
SELECT livefeed.reauthorize('7');
RESET ROLE;
SELECT * FROM control;
SELECT r.user_id, r.session, r.kind, abs(r.before - extract(epoch FROM now())) < 60 AS now FROM livefeed.revocations r ORDER BY 1, 2 NULLS FIRST, 3;
SELECT count(*) FROM livefeed.events();		-- clients get nothing of it
-- In the order, by the way that bridges go.
SELECT livefeed.tick() > 0 AS ticked;
SELECT id, flags, feed, users, key, parent_key ~ '^[0-9]{10}$' AS before, convert_from(frame, 'UTF8') AS frame FROM livefeed.read(0, 10) WHERE flags & 512 = 0;

-- What is refused.
\set VERBOSITY terse
SELECT livefeed.disconnect(NULL);
SELECT livefeed.disconnect('');
\set VERBOSITY default
SELECT livefeed.disconnect('42', session => '');
\set VERBOSITY terse
SELECT livefeed.disconnect(repeat('x', 1025));
SELECT livefeed.disconnect('42', session => repeat('x', 1025));
SELECT livefeed.disconnect('42', repeat('x', 1025));
SELECT livefeed.reauthorize(NULL);
SELECT livefeed.reauthorize('');
SELECT livefeed.reauthorize(repeat('x', 1025));
BEGIN READ ONLY;
SELECT livefeed.disconnect('42');
ROLLBACK;
BEGIN READ ONLY;
SELECT livefeed.reauthorize('42');
ROLLBACK;

-- A rollback leaves nothing, nor does a savepoint.
SELECT count(*) AS events FROM control \gset
BEGIN;
SELECT livefeed.disconnect('43');
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT livefeed.disconnect('44');
ROLLBACK TO a;
SELECT livefeed.reauthorize('45');
COMMIT;
SELECT feed, users FROM control OFFSET :events;
SELECT user_id, session, kind FROM livefeed.revocations WHERE user_id IN ('43', '44', '45');
-- Nor is one lost because its transaction was folded.
BEGIN;
SET LOCAL livefeed.max_events_per_transaction = 0;
SELECT livefeed.disconnect('46', 'folded');
COMMIT;
SELECT feed, users FROM control WHERE reason = 'folded';

-- Two that revoke the same user do not wait for each other: rows are only ever added; prune() merges them.
SELECT count(*) FROM livefeed.revocation_new WHERE user_id = '42';
UPDATE livefeed.revocation_new SET before = (SELECT max(before) FROM livefeed.revocation_new); -- however long it took
UPDATE livefeed.revocation_new SET before = before - 1000 WHERE user_id = '42' AND session = '' AND reason IS NULL;
SELECT max(before) AS greatest FROM livefeed.revocation_new \gset
CREATE TEMP TABLE former AS SELECT * FROM livefeed.revocations;
SELECT livefeed.prune() >= 0 AS pruned;
SELECT count(*) FROM livefeed.revocation_new;
SELECT user_id, session, kind, before = :greatest AS newest, reason FROM livefeed.revocation WHERE user_id = '42' ORDER BY session;
(TABLE former EXCEPT TABLE livefeed.revocations) UNION ALL (TABLE livefeed.revocations EXCEPT TABLE former);
-- A clock that was put back takes nothing back.
SELECT livefeed.disconnect('42', 'earlier');
UPDATE livefeed.revocation_new SET before = 5;
SELECT before = :greatest AS still FROM livefeed.revocations WHERE user_id = '42' AND session IS NULL;
SELECT livefeed.prune() >= 0 AS pruned;
SELECT before = :greatest AS still, reason FROM livefeed.revocation WHERE user_id = '42' AND session = '';

-- Those of a session go when no token as old is taken any more; tokens without iat still count as older.
SELECT authorizer, token_max_age_s FROM livefeed.authority();
SELECT livefeed.disconnect('50', session => 's1');
SELECT livefeed.disconnect('50', session => 's2');
SELECT livefeed.disconnect('51', session => 's1');
SELECT livefeed.disconnect('51');
SELECT livefeed.prune() >= 0 AS pruned;
UPDATE livefeed.revocation SET at = at - interval '89 days' WHERE user_id IN ('50', '51');
SELECT livefeed.prune() >= 0 AS pruned;
SELECT count(*) FROM livefeed.revocations WHERE user_id IN ('50', '51');
UPDATE livefeed.revocation SET at = at - interval '2 days' WHERE user_id IN ('50', '51') AND session <> 's2';
SELECT livefeed.prune() >= 0 AS pruned;
SELECT user_id, session, kind, CASE WHEN before < 0 THEN before END AS before FROM livefeed.revocations WHERE user_id IN ('50', '51') ORDER BY 1, 2 NULLS FIRST;
SET livefeed.token_max_age = '1h';
SELECT authorizer, token_max_age_s FROM livefeed.authority();
SELECT livefeed.prune() >= 0 AS pruned;
SELECT user_id, session, kind, CASE WHEN before < 0 THEN before END AS before FROM livefeed.revocations WHERE user_id IN ('50', '51') ORDER BY 1, 2 NULLS FIRST;
RESET livefeed.token_max_age;
SET ROLE lf_bridge;
SET livefeed.token_max_age = '1s';
RESET ROLE;

-- The authorizer: f(jsonb) returns jsonb.
CREATE FUNCTION app.no_argument() RETURNS jsonb LANGUAGE sql AS 'SELECT ''{}''::jsonb';
CREATE FUNCTION app.text_argument(text) RETURNS jsonb LANGUAGE sql AS 'SELECT ''{}''::jsonb';
CREATE FUNCTION app.two(jsonb, integer DEFAULT 1) RETURNS jsonb LANGUAGE sql AS 'SELECT ''{}''::jsonb';
CREATE FUNCTION app.of_text(jsonb) RETURNS text LANGUAGE sql AS 'SELECT ''{}''';
CREATE FUNCTION app.many(jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT ''{}''::jsonb';
CREATE PROCEDURE app.proc(INOUT jsonb) LANGUAGE sql AS 'SELECT ''{}''::jsonb';
CREATE AGGREGATE app.agg(jsonb) (SFUNC = jsonb_concat, STYPE = jsonb);
\set VERBOSITY default
SELECT livefeed.set_authorizer('app.no_argument()');
\set VERBOSITY terse
SELECT livefeed.set_authorizer('app.text_argument(text)');
SELECT livefeed.set_authorizer('app.two(jsonb, integer)');
SELECT livefeed.set_authorizer('app.of_text(jsonb)');
SELECT livefeed.set_authorizer('app.many(jsonb)');
SELECT livefeed.set_authorizer('app.proc(jsonb)');
SELECT livefeed.set_authorizer('app.agg(jsonb)');
SELECT livefeed.set_authorizer('app.nothing(jsonb)');
SELECT livefeed.set_authorizer(1::oid::regprocedure);

-- Memberships that only the authorizer's owner may read.
SET ROLE lf_auth;
CREATE TABLE app.membership (user_id text, unit_id integer, role text);
INSERT INTO app.membership VALUES ('5', 7, 'approver'), ('5', 9, NULL);
CREATE FUNCTION app.authorize(claims jsonb) RETURNS jsonb STABLE LANGUAGE sql AS $$
	SELECT jsonb_build_object('user', claims ->> 'user_id', 'asked_as', current_user,
		'units', jsonb_object_agg(m.unit_id, CASE WHEN m.role IS NULL THEN '[]'::jsonb ELSE jsonb_build_array(m.role) END))
	FROM app.membership m WHERE m.user_id = claims ->> 'user_id' HAVING count(*) > 0
$$;
RESET ROLE;
REVOKE ALL ON FUNCTION app.authorize FROM PUBLIC;
SELECT livefeed.authorize('{}');		-- none is set yet
SELECT definitions AS before FROM livefeed.look() \gset
SELECT count(*) AS events FROM control \gset
SELECT livefeed.set_authorizer('app.authorize(jsonb)');
SELECT feed, flags FROM control OFFSET :events;
SELECT definitions <> :'before' AS noticed FROM livefeed.look();
SELECT authorizer ~ '^app\.authorize\(jsonb\) of lf_auth: [0-9]+ [0-9]+$' AS fingerprint, authorizer AS set FROM livefeed.authority() \gset
SELECT :'fingerprint' AS fingerprint;
SET ROLE lf_bridge;
SELECT livefeed.authorize('{"user_id": 5}');
SELECT livefeed.authorize('{"user_id": 6}') IS NULL AS refused;
SELECT livefeed.authorize(NULL) IS NULL AS refused;
SELECT current_user;
SELECT authorizer = :'set' AS same FROM livefeed.authority();
RESET ROLE;

-- Another body is another authorizer, and so is another function.
SELECT definitions AS before FROM livefeed.look() \gset
SET ROLE lf_auth;
CREATE OR REPLACE FUNCTION app.authorize(claims jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF claims ? 'fail' THEN
		RAISE EXCEPTION 'no such luck';
	END IF;
	PERFORM set_config('livefeed.actor', 'the authorizer', false);
	RETURN jsonb_build_object('user', current_setting('livefeed.actor'));
END $$;
RESET ROLE;
SELECT authorizer <> :'set' AS another, authorizer AS set FROM livefeed.authority() \gset
SELECT :'another' AS another;
SELECT definitions <> :'before' AS noticed FROM livefeed.look();
-- Its settings end with it, and its errors leave the caller who he was.
SET ROLE lf_bridge;
SELECT livefeed.authorize('{}');
SELECT current_setting('livefeed.actor') AS actor, current_user;
SELECT livefeed.authorize('{"fail": 1}');
SELECT current_user;
BEGIN;
SAVEPOINT a;
SELECT livefeed.authorize('{"fail": 1}');
ROLLBACK TO a;
SELECT current_user;
COMMIT;
RESET ROLE;
-- It leaves nothing behind that would run with the bridge's rights, and does not become someone else.
SET ROLE lf_auth;
CREATE OR REPLACE FUNCTION app.authorize(claims jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE claims ->> 'do';
	RETURN '{}';
END $$;
CREATE TABLE app.trap (id integer);
CREATE FUNCTION app.spring() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'sprung as %', current_user; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER spring AFTER INSERT ON app.trap DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.spring();
SET ROLE lf_bridge;
SELECT livefeed.authorize('{"do": "CREATE TEMP TABLE t (i integer)"}');
SELECT livefeed.authorize('{"do": "INSERT INTO app.trap VALUES (1)"}');
SELECT livefeed.authorize('{"do": "SET ROLE lf_bridge"}');
SELECT livefeed.authorize('{"do": "SELECT * FROM livefeed.keys"}');
RESET ROLE;

-- A name that someone else took after the function was dropped does not decide; nor does none.
DROP FUNCTION app.authorize(jsonb);
SELECT authorizer <> :'set' AND authorizer IS NOT NULL AS another FROM livefeed.authority();
SELECT livefeed.authorize('{}');
SET ROLE lf_nobody;
CREATE FUNCTION app.authorize(claims jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"roles": ["admin"]}'::jsonb $$;
RESET ROLE;
\set VERBOSITY default
SELECT livefeed.authorize('{}');
SELECT livefeed.set_authorizer('app.authorize(jsonb)');
SELECT livefeed.authorize('{}');
\set VERBOSITY terse
SELECT livefeed.set_authorizer(NULL);
SELECT authorizer FROM livefeed.authority();
SELECT livefeed.authorize('{}');

-- Who may: an application revokes, a bridge asks and reads, and only the extension's owner sets.
SET ROLE lf_app;
SELECT livefeed.set_authorizer('app.two(jsonb, integer)');
SELECT livefeed.authorize('{}');
SELECT * FROM livefeed.authority();
SELECT * FROM livefeed.revocations;
SELECT livefeed.revoke('disconnect', '1', NULL, NULL);
SELECT livefeed.prune_revocations();
SET ROLE lf_bridge;
SELECT livefeed.set_authorizer(NULL);
SELECT livefeed.disconnect('1');
SELECT livefeed.reauthorize('1');
SELECT count(*) > 0 AS revocations FROM livefeed.revocations;
SELECT * FROM livefeed.revocation;
SELECT * FROM livefeed.revocation_new;
SELECT * FROM livefeed.authorizer;
SET ROLE lf_nobody;
SELECT livefeed.set_authorizer('app.authorize(jsonb)');
SELECT livefeed.disconnect('1');
SELECT livefeed.reauthorize('1');
SELECT livefeed.authorize('{}');
SELECT * FROM livefeed.authority();
SELECT * FROM livefeed.revocations;
RESET ROLE;

-- An owner of the extension who is no superuser sets only what he could run himself.
CREATE ROLE lf_owner;
GRANT USAGE ON SCHEMA app TO lf_owner;
GRANT ALL ON ALL TABLES IN SCHEMA livefeed TO lf_owner;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA livefeed TO lf_owner;
SET ROLE lf_owner;
SELECT livefeed.set_authorizer('app.authorize(jsonb)');
RESET ROLE;
GRANT lf_nobody TO lf_owner;
SET ROLE lf_owner;
SELECT livefeed.set_authorizer('app.authorize(jsonb)');
RESET ROLE;

-- Both are dumped, since tokens of other issuers outlive this database.
SELECT c::regclass FROM pg_extension e, unnest(e.extconfig) c WHERE e.extname = 'livefeed' ORDER BY c::regclass::text;

\set VERBOSITY default
SET client_min_messages = warning;
DROP VIEW control;
DROP SCHEMA app CASCADE;
DROP OWNED BY lf_auth, lf_app, lf_bridge, lf_nobody, lf_owner;
DROP ROLE lf_auth, lf_app, lf_bridge, lf_nobody, lf_owner;
