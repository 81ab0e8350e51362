-- presence.sql: who is online: the sessions of the bridges, as these report them
-- (presence.c; the bridge's presence.c).

/*
 * One row a session. Unlogged: after a crash the bridges report all of theirs
 * again. round: of the report that wrote it last; a bridge that begins anew
 * counts up, and lets go of what it did not report again.
 */
CREATE UNLOGGED TABLE livefeed.session (
	bridge       text        COLLATE "C" NOT NULL,
	session      text        NOT NULL,
	round        bigint      NOT NULL,
	user_id      text        NOT NULL,
	units        text[]      NOT NULL,
	transport    text        NOT NULL,
	address      inet,					-- null: a Unix socket
	connected_at timestamptz NOT NULL,
	channels     text[]      NOT NULL,
	PRIMARY KEY (bridge, session)
);
CREATE INDEX session_units ON livefeed.session USING gin (units);
CREATE INDEX session_users ON livefeed.session (user_id);

-- Of bridges that are there: what a dead one left does not show, even before
-- prune() removes it and tells the queries, all of which is to happen within 30 s.
CREATE VIEW livefeed.sessions AS
	SELECT s.bridge, s.session, s.user_id, s.units, s.transport, s.address, s.connected_at, s.channels
	FROM livefeed.session s JOIN livefeed.bridge b ON b.bridge = s.bridge
	WHERE b.seen_at > pg_catalog.clock_timestamp() - interval '20 s';
COMMENT ON VIEW livefeed.sessions IS 'who is online: the sessions of the bridges';

-- Writes transient events of the feed livefeed_sessions: one for each unit, and one for the users.
CREATE FUNCTION livefeed.tell_sessions(units text[], users text[]) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_tell_sessions';

-- The same, if a query wants to know.
CREATE FUNCTION livefeed.sessions_changed(units text[], users text[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF cardinality(users) > 0 AND EXISTS (SELECT FROM livefeed.exposed e WHERE 'livefeed_sessions' = ANY (e.feeds)) THEN
		PERFORM livefeed.tell_sessions(units, users);
	END IF;
END
$$;

/*
 * For bridges, of their own sessions: {"round": 3, "set": [{"session", "user",
 * "units", "transport", "address", "connected_at" (milliseconds), "channels"}],
 * "gone": ["5"], "last": false}. With "last", what no report of this round set
 * is gone. How many the bridge has here now; null: it is not registered.
 */
CREATE FUNCTION livefeed.report_sessions(bridge text, changes jsonb) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	of_bridge CONSTANT text := bridge;
	of_round  CONSTANT bigint := coalesce((changes ->> 'round')::bigint, 0);
	ends      CONSTANT boolean := coalesce((changes ->> 'last')::boolean, false);
	gone_ids  CONSTANT text[] := ARRAY(SELECT jsonb_array_elements_text(coalesce(changes -> 'gone', '[]')));
	changed   record;
BEGIN
	IF NOT EXISTS (SELECT FROM livefeed.bridge b WHERE b.bridge = of_bridge) THEN
		RETURN NULL;
	END IF;
	-- The parts of this statement all see what was there before it.
	WITH given AS MATERIALIZED (
		SELECT DISTINCT ON (g.session) g.session, g."user" AS user_id, coalesce(g.units, '{}') AS units,
			coalesce(g.transport, '') AS transport, nullif(g.address, '')::inet AS address,
			to_timestamp(coalesce(g.connected_at, 0) / 1000.0) AS connected_at, coalesce(g.channels, '{}') AS channels
		FROM jsonb_to_recordset(coalesce(changes -> 'set', '[]'))
			AS g (session text, "user" text, units text[], transport text, address text, connected_at double precision, channels text[])
		WHERE g.session IS NOT NULL AND g."user" IS NOT NULL
		ORDER BY g.session
	), removed AS (
		DELETE FROM livefeed.session s
		WHERE s.bridge = of_bridge AND (s.session = ANY (gone_ids) OR (ends AND s.round <> of_round))
			AND NOT EXISTS (SELECT FROM given g WHERE g.session = s.session)
		RETURNING s.user_id, s.units
	), written AS (
		INSERT INTO livefeed.session AS s
			SELECT of_bridge, g.session, of_round, g.user_id, g.units, g.transport, g.address, g.connected_at, g.channels FROM given g
			ON CONFLICT ON CONSTRAINT session_pkey DO UPDATE SET round = excluded.round, user_id = excluded.user_id,
				units = excluded.units, transport = excluded.transport, address = excluded.address,
				connected_at = excluded.connected_at, channels = excluded.channels
	), differing AS (
		SELECT g.user_id, g.units, o.user_id AS former_user, o.units AS former_units
		FROM given g LEFT JOIN livefeed.session o ON o.bridge = of_bridge AND o.session = g.session
		WHERE (o.user_id, o.units, o.channels) IS DISTINCT FROM (g.user_id, g.units, g.channels)
	), touched (user_id, units) AS (
		SELECT r.user_id, r.units FROM removed r
		UNION ALL SELECT d.user_id, d.units FROM differing d
		UNION ALL SELECT d.former_user, d.former_units FROM differing d WHERE d.former_user IS NOT NULL
	)
	SELECT ARRAY(SELECT DISTINCT u FROM touched t, unnest(t.units) u ORDER BY u) AS units,
		ARRAY(SELECT DISTINCT t.user_id FROM touched t ORDER BY t.user_id) AS users INTO changed;
	PERFORM livefeed.sessions_changed(changed.units, changed.users);
	RETURN (SELECT count(*) FROM livefeed.session s WHERE s.bridge = of_bridge);
END
$$;

-- Removes the sessions of bridges that said good-bye, or were not seen for 20 seconds. Part of livefeed.prune().
CREATE FUNCTION livefeed.prune_sessions() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	changed record;
BEGIN
	WITH removed AS (
		DELETE FROM livefeed.session s
		WHERE NOT EXISTS (SELECT FROM livefeed.bridge b
			WHERE b.bridge = s.bridge AND b.seen_at > clock_timestamp() - interval '20 s')
		RETURNING s.user_id, s.units
	)
	SELECT ARRAY(SELECT DISTINCT u FROM removed r, unnest(r.units) u ORDER BY u) AS units,
		ARRAY(SELECT DISTINCT r.user_id FROM removed r ORDER BY r.user_id) AS users INTO changed;
	PERFORM livefeed.sessions_changed(changed.units, changed.users);
END
$$;

COMMENT ON TABLE livefeed.session IS 'the sessions of the bridges, as these report them';
COMMENT ON FUNCTION livefeed.tell_sessions(text[], text[]) IS 'part of report_sessions(): the events of the feed livefeed_sessions';
COMMENT ON FUNCTION livefeed.sessions_changed(text[], text[]) IS 'part of report_sessions(): tells the queries that want to know';
COMMENT ON FUNCTION livefeed.report_sessions(text, jsonb) IS 'a bridge says who came, changed and left';
COMMENT ON FUNCTION livefeed.prune_sessions() IS 'part of prune(): removes the sessions of bridges that are gone';

