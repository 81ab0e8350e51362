-- tick.sql: the order of events: ticks are made, and what they order is read (tick.c, read.c, bell.c).

-- What would be this database's epoch if its state held this random value.
CREATE FUNCTION livefeed.epoch_of(random uuid) RETURNS text
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_epoch';

CREATE FUNCTION livefeed.epoch() RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'SELECT livefeed.epoch_of(s.random) FROM livefeed.state s';
COMMENT ON FUNCTION livefeed.epoch() IS 'names the history that ids belong to; null on a standby';

CREATE FUNCTION livefeed.tick() RETURNS bigint
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_tick';
COMMENT ON FUNCTION livefeed.tick() IS 'orders the events committed so far; the tick''s number, null if there was nothing to do';

CREATE FUNCTION livefeed.tick_lock() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_tick_lock';
COMMENT ON FUNCTION livefeed.tick_lock() IS 'keeps others from ticking until this transaction ends';

CREATE FUNCTION livefeed.prune_lock() RETURNS boolean
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_prune_lock';

CREATE FUNCTION livefeed.invalidate_state() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_invalidate_state';
COMMENT ON FUNCTION livefeed.invalidate_state() IS 'makes all backends read livefeed.state anew, once this transaction commits';

CREATE FUNCTION livefeed.require_own_transaction(what text) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_require_own_transaction';

CREATE FUNCTION livefeed.ring() RETURNS void
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_ring';
COMMENT ON FUNCTION livefeed.ring() IS 'sends the NOTIFYs of ticks not yet rung';

-- Events after an id, in order, then one row that says up to where that is complete.
CREATE FUNCTION livefeed.read(after_id bigint, max integer, feed text DEFAULT NULL, max_bytes integer DEFAULT 4194304)
	RETURNS TABLE (id bigint, tick bigint, xid xid8, at timestamptz, flags integer, feed text, unit text,
		users text[], to_users text[], key text, parent_feed text, parent_key text, frame bytea, epoch text)
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_read';

-- For the bridge that ticks: waits for events (a second at most), orders them, and returns as read() does.
CREATE FUNCTION livefeed.tick_wait(after_id bigint, max integer, interval_ms integer, take boolean)
	RETURNS TABLE (id bigint, tick bigint, xid xid8, at timestamptz, flags integer, feed text, unit text,
		users text[], to_users text[], key text, parent_feed text, parent_key text, frame bytea, epoch text)
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_tick_wait';

-- What livefeed.look() says of the order.
CREATE FUNCTION livefeed.look_order(OUT epoch text, OUT head bigint, OUT tick bigint, OUT kept bigint,
		OUT ticker_pid integer, OUT stale boolean)
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_look_order';

COMMENT ON FUNCTION livefeed.read(bigint, integer, text, integer) IS 'events after an id, in order, for bridges';
COMMENT ON FUNCTION livefeed.tick_wait(bigint, integer, integer, boolean) IS 'waits for events, orders and returns them, for the bridge that ticks';
-- The base: nothing is visible to its snapshot. (That of this transaction would
-- show this transaction's own events, and hide older ones that are still open.)
INSERT INTO livefeed.ticks_0 (tick, epoch, snapshot, id_from, id_to, id_last, at, segments)
	SELECT 1, livefeed.epoch_of(s.random), '3:3:', 1, 0, 0, pg_catalog.clock_timestamp(), 0 FROM livefeed.state s;

