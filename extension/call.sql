-- call.sql: commands that run: livefeed.call() for bridges, the answers it keeps
-- (call.c), and who is asking (claims.c). What may be called is in expose.sql.

/*
 * Answers to commands that came with an idempotency key, so that a repeat gets
 * the first answer. A row is written by the command's own transaction: who calls
 * at the same time with the same key waits for it. Not dumped: transaction ids
 * mean nothing in another cluster.
 */
CREATE TABLE livefeed.answer (
	user_id  text        COLLATE "C" NOT NULL,
	key      text        COLLATE "C" NOT NULL,
	name     text        COLLATE "C" NOT NULL,
	args     bigint      NOT NULL,	-- their hash
	data     text,
	xid      xid8,					-- null: nothing but this was written
	events   boolean     NOT NULL DEFAULT false,
	at       timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	PRIMARY KEY (user_id, key)
);
CREATE INDEX answer_at ON livefeed.answer (at);

/*
 * For bridges: runs a command. claims: {"user": "42", "units": {"7": ["approver"]},
 * "roles": [], "claims": {...}}. It runs with the rights of its function's owner,
 * or under a role that the caller is a member of. The transaction that made its
 * effects, null if it changed nothing; and whether it made events. A repeat of an
 * answered key gets the first answer, and what was said of that.
 */
CREATE FUNCTION livefeed.call(name text, args jsonb, claims jsonb, role text DEFAULT NULL, idempotency_key text DEFAULT NULL,
		OUT data text, OUT xid xid8, OUT events boolean)
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_call';

-- Part of livefeed.prune(): answers are kept for a day.
CREATE FUNCTION livefeed.prune_answers() RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
		DELETE FROM livefeed.answer a WHERE a.ctid = ANY (ARRAY(
			SELECT o.ctid FROM livefeed.answer o WHERE o.at < clock_timestamp() - interval '1 day'
			ORDER BY o.at LIMIT 10000 FOR UPDATE SKIP LOCKED))
	$$;

-- Inside a command. (They look at this backend's memory, which parallel workers have not.)
CREATE FUNCTION livefeed.current_user_id() RETURNS text
	STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_current_user_id';
COMMENT ON FUNCTION livefeed.current_user_id() IS 'inside a command: the user who calls it; else null';

CREATE FUNCTION livefeed.claims() RETURNS jsonb
	STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_claims';
COMMENT ON FUNCTION livefeed.claims() IS 'inside a command: what the caller''s token says; else null';

CREATE FUNCTION livefeed.current_units() RETURNS text[]
	STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_current_units';
COMMENT ON FUNCTION livefeed.current_units() IS 'inside a command: the units of the user who calls it; else null';

CREATE FUNCTION livefeed.has_unit(unit text) RETURNS boolean
	STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_has_unit';
COMMENT ON FUNCTION livefeed.has_unit(text) IS 'inside a command: is its user a member of the unit? else false';

CREATE FUNCTION livefeed.has_role(role text, unit text DEFAULT NULL) RETURNS boolean
	STABLE PARALLEL RESTRICTED LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_has_role';
COMMENT ON FUNCTION livefeed.has_role(text, text) IS
	'inside a command: does its user hold the role in the unit (null: in any)? else false';

COMMENT ON TABLE livefeed.answer IS 'answers to commands with an idempotency key, for a day';
COMMENT ON FUNCTION livefeed.call(text, jsonb, jsonb, text, text) IS 'runs a command, for bridges';
COMMENT ON FUNCTION livefeed.prune_answers() IS 'part of prune(): removes old answers';

