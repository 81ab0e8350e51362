-- What operators look at: bridges, sessions, status.
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
SELECT livefeed.log_version();
\x on
SELECT epoch = livefeed.epoch() AS epoch, head, tick, ticked_at <= now() AS ticked_at, ticker_pid, ticker, bridges, waiting, waiting_since,
	kept, events, kept_since <= now() AS kept_since, log_bytes > 0 AS log, transient_bytes > 0 AS transient, tick_bytes > 0 AS ticks,
	rotated_at <= now() AS rotated_at, notify_queue >= 0 AS notify_queue, broken_watches, drifted_triggers FROM livefeed.status;
\x off

-- Bridges report themselves, and are forgotten.
SELECT registered FROM livefeed.state;
SELECT livefeed.register_bridge('b1', 'host1', 101, '0.1.0');
SELECT livefeed.register_bridge('b2', 'host2', 102, '0.1.0');
SELECT registered FROM livefeed.state;
SELECT livefeed.bridge_seen('b1', 17, true, 3);
SELECT bridge, host, pid, version, started_at <= seen_at AS started, last_id, ticker, sessions FROM livefeed.bridges ORDER BY bridge;
SELECT bridges, ticker FROM livefeed.status;
UPDATE livefeed.bridge SET seen_at = seen_at - interval '31 s' WHERE bridge = 'b1';
SELECT bridge FROM livefeed.bridges;
SELECT bridges, ticker FROM livefeed.status;
SELECT livefeed.bridge_seen('b1', 18, false, 4);
SELECT bridge, last_id, ticker, sessions FROM livefeed.bridges ORDER BY bridge;
SELECT livefeed.register_bridge('b1', 'host3', 103, '0.1.1');
SELECT bridge, host, pid, version, ticker, sessions FROM livefeed.bridges ORDER BY bridge;
SELECT livefeed.unregister_bridge('b2');
SELECT bridge FROM livefeed.bridges;
UPDATE livefeed.bridge SET seen_at = seen_at - interval '2 days';
SELECT livefeed.register_bridge('b3', 'host', 1, '0');
SELECT bridge FROM livefeed.bridge;
-- One that is seen without having registered shows too.
SELECT livefeed.bridge_seen('b4', 1, false, 0);
SELECT bridge, host FROM livefeed.bridges ORDER BY bridge;
SELECT * FROM livefeed.sessions;

-- What waits, and who ticks.
SELECT livefeed.declare_feed('notes');
SELECT livefeed.publish('notes', 'added', '{}');
SELECT waiting, waiting_since <= clock_timestamp() AS since, head, events FROM livefeed.status;
SELECT count(*) FROM livefeed.tick_wait(0, 10, 0, false);
SELECT waiting, waiting_since, head, tick, events, ticker_pid = pg_backend_pid() AS mine FROM livefeed.status;

-- Watches that need a look.
CREATE TABLE thing (id integer PRIMARY KEY, unit_id integer);
CREATE TABLE other (id integer PRIMARY KEY);
SELECT livefeed.watch('thing', unit => 'unit_id');
SELECT livefeed.watch('other');
SELECT broken_watches, drifted_triggers FROM livefeed.status;
ALTER TABLE thing DROP COLUMN unit_id;
ALTER TABLE other DISABLE TRIGGER USER;
SELECT array_length(broken_watches, 1) AS broken, split_part(broken_watches[1], ':', 1) AS which,
	array_length(drifted_triggers, 1) AS drifted, split_part(drifted_triggers[1], ':', 1) AS which FROM livefeed.status;
DROP TABLE thing, other;
SELECT broken_watches, drifted_triggers FROM livefeed.status;
