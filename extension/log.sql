-- log.sql: reading the log by hand, cursors, retention.

CREATE FUNCTION livefeed.cursor() RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT t.epoch || '-' || t.id_last::text FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1 $$;
COMMENT ON FUNCTION livefeed.cursor() IS 'the cursor of the last tick';

-- Can a reader go on from here? 'ok'; 'pruned': what follows is partly gone;
-- 'epoch': this is no place in the history of this database.
CREATE FUNCTION livefeed.check_cursor(epoch text, id bigint) RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT CASE
			WHEN $2 < s.kept THEN 'pruned'
			-- The tick that holds the id; and an empty one that only brought a new
			-- epoch "holds" the id at which it stands.
			WHEN EXISTS (
				SELECT FROM livefeed.ticks t
				WHERE t.id_last >= $2 AND (t.id_from <= $2 OR t.id_last = $2) AND t.epoch = $1
					AND t.id_last <= (SELECT b.id_last FROM livefeed.ticks b WHERE b.id_last >= $2 ORDER BY b.id_last LIMIT 1)
			) THEN 'ok'
			ELSE 'epoch'
		END
		FROM livefeed.state s
	$$;

COMMENT ON FUNCTION livefeed.check_cursor(text, bigint) IS 'can a reader go on from here? ok, pruned or epoch';

-- The same for a reader of feeds that are not durable: 'transient_lost' if only
-- transient events after that are partly gone.
CREATE FUNCTION livefeed.check_cursor(epoch text, id bigint, transient boolean) RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT CASE
			WHEN c.status <> 'ok' OR NOT $3 THEN c.status
			-- There was a crash, which prune() has not seen yet.
			WHEN $2 < s.transient_kept OR NOT EXISTS (SELECT FROM livefeed.transient_alive) THEN 'transient_lost'
			ELSE 'ok'
		END
		FROM livefeed.state s, livefeed.check_cursor($1, $2) c(status)
	$$;
COMMENT ON FUNCTION livefeed.check_cursor(text, bigint, boolean) IS
	'can a reader of transient events go on from here? ok, pruned, epoch or transient_lost';

-- A frame as text, in the database's encoding; what that has no form for stands as \uXXXX.
CREATE FUNCTION livefeed.frame_text(frame bytea) RETURNS text
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_frame_text';

-- Type and action of a frame, which stand at its beginning. The data is not
-- looked at: a json column may hold escapes that PostgreSQL itself refuses to read.
CREATE FUNCTION livefeed.frame_head(frame text) RETURNS json
	LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT (replace(substring(left(frame, 4000)
			FROM '^\{"type":"[^"]*","feed":"[^"]*","(?:action|reason)":"(?:[^"\\]|\\.)*"'), '\ufffd', '?') || '}')::json
	$$;

/*
 * For looking: the log from a cursor on, control events left out. What no tick
 * has ordered yet follows with id null, the own transaction's included.
 *
 * The parameters of events() and its columns share names, which PL/pgSQL does
 * not do; hence two functions.
 */
CREATE FUNCTION livefeed.list_events(p_since text, p_feed text, p_unit text, p_max integer,
		OUT o_id bigint, OUT o_at timestamptz, OUT o_flags integer, OUT o_feed text, OUT o_unit text,
		OUT o_users text[], OUT o_key text, OUT o_frame text)
	RETURNS SETOF record
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	control   CONSTANT integer := 32;
	mark      CONSTANT integer := 512;
	pruned    CONSTANT integer := 1024;
	parts     text[];
	after     bigint;
	mark_id   bigint;
	mark_tick bigint;
	shown     pg_snapshot;
	n         integer := 0;
	r         record;
BEGIN
	IF p_max IS NULL OR p_max < 0 THEN
		RAISE EXCEPTION 'max must be zero or more' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT s.kept INTO after FROM livefeed.state s;
	IF p_since IS NOT NULL THEN
		parts := pg_catalog.regexp_match(p_since, '^([0-9a-f]{8})-([0-9]{1,18})$');
		IF parts IS NULL THEN
			RAISE EXCEPTION 'invalid cursor "%"', p_since USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A cursor looks like 6f3a91c2-1042; livefeed.cursor() returns the present one.';
		END IF;
		CASE livefeed.check_cursor(parts[1], parts[2]::bigint)
			WHEN 'pruned' THEN
				RAISE EXCEPTION 'events after cursor "%" are no longer kept', p_since USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Leave out since to begin with the oldest event.';
			WHEN 'epoch' THEN
				RAISE EXCEPTION 'cursor "%" is not of this history', p_since USING ERRCODE = 'invalid_parameter_value',
					DETAIL = 'It is from before a restore, a promotion or a reset, or ahead of the last tick.';
			ELSE
				after := parts[2]::bigint;
		END CASE;
	END IF;

	WHILE n < p_max LOOP
		FOR r IN SELECT * FROM livefeed.read(after, 1000, p_feed) e LOOP
			IF r.flags & mark <> 0 THEN
				IF r.flags & pruned <> 0 AND p_since IS NOT NULL THEN
					RAISE EXCEPTION 'events after cursor "%" were removed while they were read', p_since
						USING ERRCODE = 'invalid_parameter_value';
				END IF;
				mark_id := r.id;
				mark_tick := r.tick;
				CONTINUE;
			END IF;
			-- read() also has the events of the feed's children.
			CONTINUE WHEN n = p_max OR r.flags & control <> 0 OR r.feed <> p_feed OR (p_unit IS NOT NULL AND r.unit IS DISTINCT FROM p_unit);
			o_id := r.id; o_at := r.at; o_flags := r.flags; o_feed := r.feed; o_unit := r.unit;
			o_users := r.users; o_key := r.key;
			o_frame := livefeed.frame_text(r.frame);
			n := n + 1;
			RETURN NEXT;
		END LOOP;
		EXIT WHEN mark_id <= after;
		after := mark_id;
	END LOOP;

	-- From the tick where that ended, whatever was ticked since.
	SELECT t.snapshot INTO shown FROM livefeed.ticks t WHERE t.tick = mark_tick;
	o_id := NULL;
	FOR r IN
		SELECT l.* FROM livefeed.log l
		WHERE (l.xid >= pg_catalog.pg_snapshot_xmax(shown) OR l.xid = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip(shown))))
			AND l.flags & control = 0
			AND (p_feed IS NULL OR l.feed = p_feed) AND (p_unit IS NULL OR l.unit = p_unit)
		ORDER BY pg_catalog.max(l.seq) OVER (PARTITION BY l.xid), l.command, l.seq
		LIMIT p_max - n
	LOOP
		o_at := r.at; o_flags := r.flags; o_feed := r.feed; o_unit := r.unit;
		o_users := r.users; o_key := r.key;
		o_frame := livefeed.frame_text(r.frame);
		n := n + 1;
		RETURN NEXT;
	END LOOP;
	IF pg_catalog.pg_is_in_recovery() THEN
		RETURN;		-- unlogged tables cannot be read there
	END IF;
	FOR r IN
		SELECT l.* FROM livefeed.transient l
		WHERE (l.xid >= pg_catalog.pg_snapshot_xmax(shown) OR l.xid = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip(shown))))
			AND (p_feed IS NULL OR l.feed = p_feed) AND (p_unit IS NULL OR l.unit = p_unit)
		ORDER BY pg_catalog.max(l.seq) OVER (PARTITION BY l.xid), l.command, l.seq
		LIMIT p_max - n
	LOOP
		o_at := r.at; o_flags := r.flags; o_feed := r.feed; o_unit := r.unit;
		o_users := r.users; o_key := r.key;
		o_frame := livefeed.frame_text(r.frame);
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION livefeed.events(since text DEFAULT NULL, feed text DEFAULT NULL, unit text DEFAULT NULL, max integer DEFAULT 100)
	RETURNS TABLE (id bigint, at timestamptz, feed text, unit text, users text[], key text, type text, action text, frame text)
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT l.o_id, l.o_at, l.o_feed, l.o_unit, l.o_users, l.o_key,
			h.head ->> 'type', coalesce(h.head ->> 'action', h.head ->> 'reason'),
			CASE WHEN l.o_id IS NULL THEN f.frame ELSE left(f.frame, -1) || ',"id":' || l.o_id::text || '}' END
		FROM livefeed.list_events($1, $2, $3, $4) l
		-- The frame of a resync (16) is its reason alone.
		CROSS JOIN LATERAL (SELECT CASE WHEN l.o_flags & 16 = 0 THEN l.o_frame
			ELSE '{"type":"resync","feed":' || to_json(l.o_feed)::text || ',"reason":' || to_json(l.o_frame)::text || '}' END) f(frame)
		CROSS JOIN LATERAL (SELECT livefeed.frame_head(f.frame)) h(head)
	$$;
COMMENT ON FUNCTION livefeed.events(text, text, text, integer) IS
	'the log, from a cursor on; what no tick has ordered yet follows with id null';

/*
 * Retention by rotation. Writers fill one child of the log; when it holds half
 * of what is to be kept (in time, or in events), they go on to the next, which
 * was emptied before. So between one and one and a half of that is kept, and
 * nothing is ever deleted row by row.
 *
 * A child may be emptied if the oldest tick to keep sees every row of it: then
 * no batch after that tick has any of them. TRUNCATE is not MVCC, and a
 * transaction older than the rotation may still commit into an old child, so
 * that is decided under ACCESS EXCLUSIVE, which such a transaction prevents, and
 * in a snapshot taken after it. The lock is never waited for: all others would
 * wait behind us. The kept mark moves in the same transaction.
 */

-- The last tick that has ended by then, or whose head is that low; at least tick "low".
CREATE FUNCTION livefeed.oldest_to_keep(low bigint, high bigint, since timestamptz, head bigint) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	middle bigint;
	t      record;
BEGIN
	WHILE low < high LOOP
		middle := (low + high + 1) / 2;
		SELECT k.at, k.id_last INTO t FROM livefeed.ticks k WHERE k.tick = middle;
		IF t.at <= since OR t.id_last <= head THEN
			low := middle;
		ELSE
			high := middle - 1;
		END IF;
	END LOOP;
	RETURN low;
END
$$;

-- The first tick, from low to high, that sees every transaction up to this one.
CREATE FUNCTION livefeed.first_beyond(low bigint, high bigint, last_xid xid8) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	middle bigint;
	beyond boolean;
BEGIN
	WHILE low < high LOOP
		middle := (low + high) / 2;
		SELECT pg_snapshot_xmin(k.snapshot) > last_xid INTO beyond FROM livefeed.ticks k WHERE k.tick = middle;
		IF beyond THEN
			high := middle;
		ELSE
			low := middle + 1;
		END IF;
	END LOOP;
	RETURN low;
END
$$;

-- Locks a table for TRUNCATE if nobody uses it for a moment; never waits in the queue.
CREATE FUNCTION livefeed.lock_child(child text) RETURNS boolean
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_lock_child';

CREATE FUNCTION livefeed.is_empty(child text) RETURNS boolean
	LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
	AS $$ SELECT pg_relation_size(('livefeed.' || quote_ident(child))::regclass) = 0 $$;

-- The newest transaction that has a row in a child of the log; null: none.
CREATE FUNCTION livefeed.last_xid(child text) RETURNS xid8
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
	AS $$
DECLARE
	result xid8;
BEGIN
	EXECUTE format('SELECT l.xid FROM ONLY livefeed.%I l ORDER BY l.xid DESC, l.command DESC, l.seq DESC LIMIT 1', child)
		INTO result;
	RETURN result;
END
$$;

-- Empties a child of the log, or of the transient log, if tick "oldest" sees all of its rows;
-- the first tick that does, null if the child had to be left alone.
CREATE FUNCTION livefeed.empty_child(child text, kept_tick bigint, oldest bigint) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	horizon xid8;
BEGIN
	IF livefeed.is_empty(child) THEN
		RETURN NULL;
	END IF;
	SELECT pg_snapshot_xmin(t.snapshot) INTO horizon FROM livefeed.ticks t WHERE t.tick = oldest;
	-- First without the lock, since most often it is too early; then for good.
	IF livefeed.last_xid(child) >= horizon OR NOT livefeed.lock_child(child) OR livefeed.last_xid(child) >= horizon THEN
		RETURN NULL;
	END IF;
	oldest := livefeed.first_beyond(kept_tick, oldest, coalesce(livefeed.last_xid(child), '0'));
	EXECUTE format('TRUNCATE ONLY livefeed.%I', child);
	RETURN oldest;
END
$$;

-- Empties the children of the log that writers have left, as far as may be.
CREATE FUNCTION livefeed.prune_log(oldest bigint) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s     livefeed.state;
	first bigint;
	i     integer;
BEGIN
	FOR i IN 1..2 LOOP
		SELECT * INTO s FROM livefeed.state;
		first := livefeed.empty_child('log_' || (s.current + i) % 3, s.kept_tick, oldest);
		IF first > s.kept_tick THEN
			UPDATE livefeed.state SET kept_tick = first,
				kept = (SELECT t.id_last FROM livefeed.ticks t WHERE t.tick = first);
		END IF;
	END LOOP;
END
$$;

-- Ticks follow the log's rotation; those before the kept one are no longer needed.
CREATE FUNCTION livefeed.prune_ticks() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s    livefeed.state;
	i    integer;
	n    integer;
	last bigint;
BEGIN
	SELECT * INTO s FROM livefeed.state;
	FOR i IN 1..2 LOOP
		n := (s.tick_current + i) % 3;
		CONTINUE WHEN livefeed.is_empty('ticks_' || n);
		EXECUTE format('SELECT max(t.tick) FROM ONLY livefeed.%I t', 'ticks_' || n) INTO last;
		CONTINUE WHEN last >= s.kept_tick OR NOT livefeed.lock_child('ticks_' || n) OR NOT livefeed.lock_child('segments_' || n);
		-- What was inserted before we had the lock counts too.
		EXECUTE format('SELECT max(t.tick) FROM ONLY livefeed.%I t', 'ticks_' || n) INTO last;
		CONTINUE WHEN last >= s.kept_tick;
		EXECUTE format('TRUNCATE ONLY livefeed.%I, ONLY livefeed.%I', 'ticks_' || n, 'segments_' || n);
	END LOOP;
	IF s.tick_current <> s.current AND livefeed.is_empty('ticks_' || s.current) THEN
		UPDATE livefeed.state SET tick_current = s.current;
	END IF;
END
$$;

-- Empties a child of the transient log, if the last tick sees all of it, and moves the mark.
CREATE FUNCTION livefeed.empty_transient(child integer, last_tick bigint) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s     livefeed.state;
	first bigint;
BEGIN
	SELECT * INTO s FROM livefeed.state;
	first := livefeed.empty_child('transient_' || child, greatest(s.kept_tick, s.transient_kept_tick), last_tick);
	IF first > s.transient_kept_tick THEN
		UPDATE livefeed.state SET transient_kept_tick = first,
			transient_kept = (SELECT t.id_last FROM livefeed.ticks t WHERE t.tick = first);
	END IF;
END
$$;

-- After a crash: what was transient is gone, and everybody is told.
CREATE FUNCTION livefeed.find_crash(last_tick bigint) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF EXISTS (SELECT FROM livefeed.transient_alive) THEN
		RETURN;
	END IF;
	INSERT INTO livefeed.transient_alive DEFAULT VALUES;
	UPDATE livefeed.state SET transient_kept_tick = last_tick,
		transient_kept = (SELECT t.id_last FROM livefeed.ticks t WHERE t.tick = last_tick);
	PERFORM livefeed.tell_transient_lost();
END
$$;

-- For bridges: transient events may be missing before this.
CREATE FUNCTION livefeed.tell_transient_lost() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_tell_transient_lost';
COMMENT ON FUNCTION livefeed.tell_transient_lost() IS 'tells subscribers of feeds that are not durable to fetch anew';

-- Transient events: each minute on to the next child. all: as far as a tick has seen them.
CREATE FUNCTION livefeed.prune_transient(last_tick bigint, everything boolean) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s livefeed.state;
	i integer;
BEGIN
	PERFORM livefeed.find_crash(last_tick);
	SELECT * INTO s FROM livefeed.state;
	IF (NOT everything AND s.transient_rotated_at > clock_timestamp() - interval '1 min')
		OR (livefeed.is_empty('transient_0') AND livefeed.is_empty('transient_1') AND livefeed.is_empty('transient_2')) THEN
		RETURN;
	END IF;
	PERFORM livefeed.empty_transient((s.transient_current + 1) % 3, last_tick);
	IF NOT livefeed.is_empty('transient_' || (s.transient_current + 1) % 3) THEN
		RETURN;
	END IF;
	UPDATE livefeed.state SET transient_current = (s.transient_current + 1) % 3, transient_rotated_at = clock_timestamp();
	PERFORM livefeed.invalidate_state();
	FOR i IN 1..2 LOOP
		EXIT WHEN NOT everything;
		PERFORM livefeed.empty_transient((s.transient_current + 1 + i) % 3, last_tick);
	END LOOP;
END
$$;

-- Removes what need not be kept, and rotates. Keeps the time given, else
-- livefeed.retention; '0' keeps nothing but what an open transaction or the
-- last tick needs. Not in a transaction block: its locks would last as long.
CREATE FUNCTION livefeed.prune(keep interval DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
DECLARE
	s      livefeed.state;
	last   record;
	events bigint;
	oldest bigint;
	next   integer;
	kept   bigint;
BEGIN
	PERFORM livefeed.require_own_transaction('livefeed.prune()');
	keep := coalesce(keep, current_setting('livefeed.retention')::interval);
	events := nullif(current_setting('livefeed.retention_events')::bigint, -1);

	-- One at a time, and nobody waits.
	IF NOT livefeed.prune_lock() THEN
		RETURN 0;
	END IF;
	-- Of a clock that was ahead and was set right: as if we had rotated now, not in years to come.
	UPDATE livefeed.state SET rotated_at = least(rotated_at, clock_timestamp()),
			transient_rotated_at = least(transient_rotated_at, clock_timestamp())
		WHERE greatest(rotated_at, transient_rotated_at) > clock_timestamp();
	SELECT * INTO s FROM livefeed.state;
	kept := s.kept;
	SELECT t.tick, t.id_last INTO last FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1;
	IF keep <= interval '0' THEN
		oldest := last.tick;
	ELSE
		oldest := livefeed.oldest_to_keep(s.kept_tick, last.tick, clock_timestamp() - keep, last.id_last - events);
	END IF;

	PERFORM livefeed.prune_log(oldest);
	next := (s.current + 1) % 3;
	IF (s.rotated_at <= clock_timestamp() - keep / 2 OR last.id_last - s.rotated_id >= events / 2)
		AND NOT livefeed.is_empty('log_' || s.current) AND livefeed.is_empty('log_' || next) THEN
		UPDATE livefeed.state SET current = next, rotated_at = clock_timestamp(), rotated_id = last.id_last;
		PERFORM livefeed.invalidate_state();
		PERFORM livefeed.prune_log(oldest);
	END IF;
	PERFORM livefeed.prune_ticks();
	PERFORM livefeed.prune_transient(last.tick, keep <= interval '0');
	PERFORM livefeed.prune_revocations();
	PERFORM livefeed.prune_answers();
	PERFORM livefeed.prune_sessions();

	SELECT * INTO s FROM livefeed.state;
	RETURN s.kept - kept;
END
$$;
COMMENT ON FUNCTION livefeed.prune(interval) IS 'removes events that need not be kept; how many';

-- Ends this history: a new epoch, an empty log. Ids go on, so that none ever comes twice.
CREATE FUNCTION livefeed.reset() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s    livefeed.state;
	last record;
	n    integer;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'livefeed.reset() needs the isolation level READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
	END IF;
	PERFORM livefeed.tick_lock();
	FOR n IN 0..2 LOOP
		EXECUTE format('TRUNCATE ONLY livefeed.log_%s, ONLY livefeed.transient_%s', n, n);
	END LOOP;
	-- After the locks: what is the head now.
	SELECT * INTO s FROM livefeed.state FOR UPDATE;
	SELECT t.tick, t.id_last INTO last FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1;
	FOR n IN 0..2 LOOP
		EXECUTE format('TRUNCATE ONLY livefeed.ticks_%s, ONLY livefeed.segments_%s', n, n);
	END LOOP;
	UPDATE livefeed.state SET
		random = gen_random_uuid(), current = 0, transient_current = 0, tick_current = 0,
		kept = coalesce(last.id_last, s.kept), kept_tick = coalesce(last.tick, s.kept_tick) + 1,
		rotated_at = clock_timestamp(), rotated_id = coalesce(last.id_last, s.kept), transient_rotated_at = clock_timestamp(),
		transient_kept = coalesce(last.id_last, s.kept), transient_kept_tick = coalesce(last.tick, s.kept_tick) + 1;
	INSERT INTO livefeed.ticks_0 (tick, epoch, snapshot, id_from, id_to, id_last, at, segments)
		SELECT s2.kept_tick, livefeed.epoch_of(s2.random), '3:3:', s2.kept + 1, s2.kept, s2.kept, clock_timestamp(), 0
		FROM livefeed.state s2;
	PERFORM livefeed.invalidate_state();
END
$$;
COMMENT ON FUNCTION livefeed.reset() IS 'new epoch, empty log';

