-- authority.sql: who users are, where their tokens do not say it, and whose
-- tokens count no more (authority.c). Both are dumped with the database: tokens
-- of other issuers outlive it.

/*
 * The authorizer: one row at most. By name, since a table of regprocedure would
 * keep pg_upgrade from its work; with the owner, so that whoever makes another
 * function of that name, after this one was dropped, does not decide instead.
 */
CREATE TABLE livefeed.authorizer (
	schema text    COLLATE "C" NOT NULL,
	name   text    COLLATE "C" NOT NULL,
	owner  text    COLLATE "C" NOT NULL,
	one    boolean NOT NULL DEFAULT true PRIMARY KEY CHECK (one)
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.authorizer', '');

/*
 * The revocations. disconnect() and reauthorize() only ever insert, into
 * livefeed.revocation_new: no transaction that revokes waits for another, and
 * none can deadlock with another. livefeed.prune() merges them into
 * livefeed.revocation, one row for each user, session and kind.
 */
CREATE TABLE livefeed.revocation_new (
	user_id text        COLLATE "C" NOT NULL,
	session text        COLLATE "C" NOT NULL DEFAULT '',	-- the claim "sid"; '': all of the user's tokens
	kind    text        COLLATE "C" NOT NULL CHECK (kind IN ('disconnect', 'reauthorize')),
	before  bigint      NOT NULL,	-- tokens of this second (since 1970) and earlier ones; -1: those with a "sid" and without "iat" alone
	reason  text,
	at      timestamptz NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.revocation_new', '');

CREATE TABLE livefeed.revocation (LIKE livefeed.revocation_new INCLUDING ALL, PRIMARY KEY (user_id, session, kind));
CREATE INDEX revocation_sessions ON livefeed.revocation (at) WHERE session <> '';
SELECT pg_catalog.pg_extension_config_dump('livefeed.revocation', '');

CREATE VIEW livefeed.revocations AS
	SELECT r.user_id, nullif(r.session, '') AS session, r.kind, max(r.before) AS before
	FROM (SELECT o.user_id, o.session, o.kind, o.before FROM livefeed.revocation o
		UNION ALL
		SELECT n.user_id, n.session, n.kind, n.before FROM livefeed.revocation_new n) r
	GROUP BY r.user_id, r.session, r.kind;

-- The setting livefeed.token_max_age in seconds.
CREATE FUNCTION livefeed.token_max_age() RETURNS bigint
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_token_max_age';

-- Looks at the arguments and writes the control event that tells the bridges;
-- the second up to which tokens are refused.
CREATE FUNCTION livefeed.revoke(kind text, user_id text, session text, reason text) RETURNS bigint
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_revoke';

CREATE FUNCTION livefeed.disconnect(user_id text, reason text DEFAULT NULL, session text DEFAULT NULL) RETURNS void
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		INSERT INTO livefeed.revocation_new
			VALUES ($1, coalesce($3, ''), 'disconnect', livefeed.revoke('disconnect', $1, $3, $2), $2, clock_timestamp())
	$$;
COMMENT ON FUNCTION livefeed.disconnect(text, text, text) IS
	'ends a user''s sessions, or that of one sid, and refuses the tokens issued until now';

CREATE FUNCTION livefeed.reauthorize(user_id text) RETURNS void
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		INSERT INTO livefeed.revocation_new
			VALUES ($1, '', 'reauthorize', livefeed.revoke('reauthorize', $1, NULL, NULL), NULL, clock_timestamp())
	$$;
COMMENT ON FUNCTION livefeed.reauthorize(text) IS
	'a user''s rights changed: the authorizer is asked again; without one, sessions end and tokens issued until now are refused';

-- Part of livefeed.prune(): merges what is new. A session's row is needed until
-- no token as old is taken any more; what stays of it says that the user's
-- tokens with a "sid" and without "iat" count as older.
CREATE FUNCTION livefeed.prune_revocations() RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
		WITH taken AS (DELETE FROM livefeed.revocation_new RETURNING *)
		INSERT INTO livefeed.revocation AS r
			SELECT DISTINCT ON (t.user_id, t.session, t.kind) t.user_id, t.session, t.kind, t.before, t.reason, t.at
			FROM taken t
			ORDER BY t.user_id, t.session, t.kind, t.before DESC, t.at DESC
			ON CONFLICT ON CONSTRAINT revocation_pkey DO UPDATE
			SET before = excluded.before, reason = excluded.reason, at = excluded.at
			WHERE excluded.before >= r.before;
		WITH gone AS (
			DELETE FROM livefeed.revocation r
			WHERE r.session <> '' AND r.at < clock_timestamp() - make_interval(secs => livefeed.token_max_age())
			RETURNING r.user_id, r.kind)
		INSERT INTO livefeed.revocation AS r
			SELECT DISTINCT g.user_id, '', g.kind, -1, NULL::text, clock_timestamp() FROM gone g
			ON CONFLICT ON CONSTRAINT revocation_pkey DO NOTHING
	$$;

CREATE FUNCTION livefeed.set_authorizer(function regprocedure) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	f record;
BEGIN
	IF function IS NULL THEN
		DELETE FROM livefeed.authorizer;
	ELSE
		SELECT n.nspname, p.proname, p.proowner, r.rolname,
				p.prokind = 'f' AND NOT p.proretset AND p.prorettype = 'jsonb'::regtype
					AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype AS fits
			INTO f
			FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_roles r ON r.oid = p.proowner
			WHERE p.oid = function;
		IF NOT FOUND THEN
			RAISE EXCEPTION 'function % does not exist', function USING ERRCODE = 'undefined_function';
		END IF;
		IF NOT f.fits THEN
			RAISE EXCEPTION 'the authorizer % must take jsonb and return jsonb', function
				USING ERRCODE = 'invalid_function_definition',
				HINT = 'CREATE FUNCTION f(claims jsonb) RETURNS jsonb ...';
		END IF;
		IF NOT pg_has_role(f.proowner, 'USAGE') THEN
			RAISE EXCEPTION 'must be owner of function %', function USING ERRCODE = 'insufficient_privilege',
				DETAIL = 'The authorizer runs with the rights of its owner.';
		END IF;
		INSERT INTO livefeed.authorizer VALUES (f.nspname, f.proname, f.rolname)
			ON CONFLICT ON CONSTRAINT authorizer_pkey DO UPDATE
			SET schema = excluded.schema, name = excluded.name, owner = excluded.owner;
	END IF;
	PERFORM livefeed.definitions_changed();
END
$$;
COMMENT ON FUNCTION livefeed.set_authorizer(regprocedure) IS
	'the function that says who users are whose tokens have no units; null: none';

-- For bridges. The authorizer as a fingerprint, which another one does not have,
-- nor the same after it was replaced; null: none is set.
CREATE FUNCTION livefeed.authority(OUT authorizer text, OUT token_max_age_s bigint)
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT (SELECT format('%I.%I(jsonb) of %I: %s', a.schema, a.name, a.owner,
					(SELECT format('%s %s', p.oid, p.xmin) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
						WHERE n.nspname = a.schema AND p.proname = a.name AND p.pronargs = 1
							AND p.proargtypes[0] = 'jsonb'::regtype))
				FROM livefeed.authorizer a),
			livefeed.token_max_age()
	$$;

-- Asks the authorizer, with the rights of its owner; null: refused.
CREATE FUNCTION livefeed.authorize(claims jsonb) RETURNS jsonb
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_authorize';

COMMENT ON TABLE livefeed.authorizer IS 'the authorizer''s name and owner';
COMMENT ON TABLE livefeed.revocation IS 'whose tokens are refused, and up to which second';
COMMENT ON TABLE livefeed.revocation_new IS 'what disconnect() and reauthorize() add, until prune() merges it';
COMMENT ON VIEW livefeed.revocations IS 'whose tokens are refused, and up to which second, for bridges';
COMMENT ON FUNCTION livefeed.authority() IS 'the authorizer''s fingerprint and the setting livefeed.token_max_age, for bridges';
COMMENT ON FUNCTION livefeed.authorize(jsonb) IS 'asks the authorizer who a token''s user is, for bridges';
COMMENT ON FUNCTION livefeed.revoke(text, text, text, text) IS 'part of disconnect() and reauthorize(): tells the bridges';
COMMENT ON FUNCTION livefeed.prune_revocations() IS 'part of prune(): merges and drops revocations';
COMMENT ON FUNCTION livefeed.token_max_age() IS 'the setting livefeed.token_max_age in seconds';

