-- status.sql: bridges report themselves here; operators look here.

CREATE FUNCTION livefeed.log_version() RETURNS integer
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS 'SELECT 1';
COMMENT ON FUNCTION livefeed.log_version() IS 'names the format of the log (event.h), for bridges';

-- From the first bridge on, writers leave the bells to the ticker (livefeed.notify = auto).
CREATE FUNCTION livefeed.register_bridge(bridge text, host text, pid integer, version text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
BEGIN
	DELETE FROM livefeed.bridge b WHERE b.seen_at < clock_timestamp() - interval '1 day';
	INSERT INTO livefeed.bridge AS b (bridge, host, pid, version, started_at, seen_at)
		VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())
		ON CONFLICT (bridge) DO UPDATE SET host = excluded.host, pid = excluded.pid, version = excluded.version,
			started_at = excluded.started_at, seen_at = excluded.seen_at, ticker = false, sessions = 0;
	UPDATE livefeed.state SET registered = true WHERE NOT registered;
	IF FOUND THEN
		PERFORM livefeed.invalidate_state();
	END IF;
END
$$;

CREATE FUNCTION livefeed.bridge_seen(bridge text, last_id bigint, ticker boolean, sessions integer) RETURNS void
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		INSERT INTO livefeed.bridge AS b (bridge, started_at, seen_at, last_id, ticker, sessions)
			VALUES ($1, clock_timestamp(), clock_timestamp(), $2, $3, $4)
			ON CONFLICT (bridge) DO UPDATE SET seen_at = excluded.seen_at, last_id = excluded.last_id,
				ticker = excluded.ticker, sessions = excluded.sessions
	$$;

CREATE FUNCTION livefeed.unregister_bridge(bridge text) RETURNS void
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		DELETE FROM livefeed.bridge b WHERE b.bridge = $1;
		SELECT livefeed.prune_sessions();
	$$;

CREATE VIEW livefeed.bridges AS
	SELECT b.bridge, b.host, b.pid, b.version, b.started_at, b.seen_at, b.last_id, b.ticker, b.sessions
	FROM livefeed.bridge b
	WHERE b.seen_at > pg_catalog.clock_timestamp() - interval '30 s';
COMMENT ON VIEW livefeed.bridges IS 'the bridges that serve this database now';

-- A fingerprint of all that is watched, declared and exposed, and the authorizer. Bridges compare it
-- once a second: DROP TABLE and ALTER TABLE tell nobody.
CREATE FUNCTION livefeed.definitions() RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	RETURN md5(concat_ws(E'\n',
		(SELECT string_agg(format('%s %s %s %s', t.tgrelid, t.tgrelid::regclass, t.tgenabled, encode(t.tgargs, 'escape')), E'\n'
				ORDER BY t.tgrelid, t.tgname)
			FROM pg_trigger t
			WHERE t.tgfoid IN (SELECT p.oid FROM pg_proc p
				WHERE p.pronamespace = 'livefeed'::regnamespace AND p.prorettype = 'trigger'::regtype)),
		(SELECT string_agg(f::text, E'\n' ORDER BY f.feed) FROM livefeed.feeds f WHERE f.declared),
		(SELECT string_agg(p::text, E'\n' ORDER BY p.path) FROM livefeed.paths p),
		(SELECT string_agg(e::text, E'\n' ORDER BY e.name) FROM livefeed.exposed e),
		(SELECT string_agg(n::text, E'\n' ORDER BY n.namespace) FROM livefeed.exposed_namespace n),
		(SELECT string_agg(e::text, E'\n' ORDER BY e.source, e.action) FROM livefeed.exposed_event e),
		(SELECT a.authorizer FROM livefeed.authority() a),
		-- A former key's hour is over without a word from anybody.
		(SELECT string_agg(k.kid, ' ' ORDER BY k.kid) FROM livefeed.keys k)));
END
$$;

-- What each bridge asks once a second, for whatever no bell told it.
CREATE FUNCTION livefeed.look(OUT epoch text, OUT head bigint, OUT tick bigint, OUT kept bigint,
		OUT ticker_pid integer, OUT stale boolean, OUT definitions text)
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT l.epoch, l.head, l.tick, l.kept, l.ticker_pid, l.stale, livefeed.definitions() FROM livefeed.look_order() l $$;

-- The bytes of a table and the children that it has.
CREATE FUNCTION livefeed.total_bytes(parent regclass) RETURNS bigint
	LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
	AS $$ SELECT sum(pg_total_relation_size(i.inhrelid))::bigint FROM pg_inherits i WHERE i.inhparent = parent $$;

CREATE FUNCTION livefeed.get_status(
		OUT epoch text,				-- of the last tick
		OUT head bigint,			-- the last id
		OUT tick bigint,			-- the last tick
		OUT ticked_at timestamptz,
		OUT ticker_pid integer,		-- the backend that ticks; null: nobody does
		OUT ticker text,			-- the bridge that says it is the ticker
		OUT bridges integer,
		OUT waiting bigint,			-- events that no tick has ordered yet, counted up to 10000
		OUT waiting_since timestamptz, -- when the oldest of those was made
		OUT kept bigint,			-- ids up to here are gone
		OUT events bigint,			-- ids that are kept
		OUT kept_since timestamptz,	-- when the tick before them was made
		OUT log_bytes bigint,
		OUT transient_bytes bigint,
		OUT tick_bytes bigint,
		OUT rotated_at timestamptz,
		OUT notify_queue double precision,
		OUT broken_watches text[],
		OUT drifted_triggers text[])
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	shown pg_snapshot;
BEGIN
	SELECT l.epoch, l.head, l.tick, l.kept, l.ticker_pid INTO epoch, head, tick, kept, ticker_pid
		FROM livefeed.look_order() l;
	SELECT t.at, t.snapshot INTO ticked_at, shown FROM livefeed.ticks t WHERE t.tick = get_status.tick;
	SELECT s.rotated_at, t.at INTO rotated_at, kept_since
		FROM livefeed.state s LEFT JOIN livefeed.ticks t ON t.tick = s.kept_tick;
	SELECT min(b.bridge) FILTER (WHERE b.ticker), count(*) INTO ticker, bridges FROM livefeed.bridges b;
	SELECT count(*), min(w.at) INTO waiting, waiting_since FROM (
		SELECT l.at FROM livefeed.log l
		WHERE l.xid >= pg_snapshot_xmax(shown) OR l.xid = ANY (ARRAY(SELECT pg_snapshot_xip(shown)))
		LIMIT 10000) w;
	events := head - kept;
	log_bytes := livefeed.total_bytes('livefeed.log');
	transient_bytes := livefeed.total_bytes('livefeed.transient');
	tick_bytes := livefeed.total_bytes('livefeed.ticks') + livefeed.total_bytes('livefeed.segments');
	IF NOT pg_is_in_recovery() THEN
		notify_queue := pg_notification_queue_usage();
	END IF;
	-- Broken: its definition does not fit the table. Drifted: its triggers are not as watch() made them.
	SELECT coalesce(array_agg(p.line ORDER BY p.line) FILTER (WHERE p.broken), '{}'),
			coalesce(array_agg(p.line ORDER BY p.line) FILTER (WHERE NOT p.broken), '{}')
		INTO broken_watches, drifted_triggers
		FROM (SELECT format('%s: %s', w.relation, w.problem) AS line, livefeed.watch_problem(w.relation) IS NOT NULL AS broken
			FROM livefeed.watches w WHERE w.problem IS NOT NULL) p;
END
$$;

CREATE VIEW livefeed.status AS SELECT * FROM livefeed.get_status();
COMMENT ON VIEW livefeed.status IS 'who ticks, what waits, what is kept, how large it is, which watches need a look';

COMMENT ON FUNCTION livefeed.register_bridge(text, text, integer, text) IS 'a bridge says that it is here';
COMMENT ON FUNCTION livefeed.bridge_seen(text, bigint, boolean, integer) IS 'a bridge says that it is still here';
COMMENT ON FUNCTION livefeed.unregister_bridge(text) IS 'a bridge says good-bye';
COMMENT ON FUNCTION livefeed.look() IS 'what bridges ask once a second: head, ticker, definitions';
COMMENT ON FUNCTION livefeed.get_status() IS 'what the view livefeed.status shows';
