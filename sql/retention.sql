-- Retention by rotation: what livefeed.prune() removes, and what it must leave. With
-- transactions and readers in its way: specs/rotation.spec.
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
SELECT livefeed.declare_feed('notes');
SELECT livefeed.tick();
CREATE VIEW kept AS
	SELECT s.kept, s.kept_tick, s.current, s.tick_current, s.transient_current,
		(SELECT count(*) FROM livefeed.log_0) AS log_0, (SELECT count(*) FROM livefeed.log_1) AS log_1, (SELECT count(*) FROM livefeed.log_2) AS log_2,
		(SELECT count(*) FROM livefeed.ticks_0) AS ticks_0, (SELECT count(*) FROM livefeed.ticks_1) AS ticks_1, (SELECT count(*) FROM livefeed.ticks_2) AS ticks_2
	FROM livefeed.state s;

-- Nothing is due: nothing happens.
SELECT livefeed.prune();
SELECT * FROM kept;

-- By number. Half of it fills a table.
SET livefeed.retention_events = 20;
CREATE PROCEDURE add(n integer) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM livefeed.publish('notes', 'added', '{}', key => g::text) FROM generate_series(1, n) g;
END $$;
CALL add(10);
SELECT livefeed.tick();
SELECT livefeed.prune();
SELECT * FROM kept;
CALL add(10);
SELECT livefeed.tick();
SELECT livefeed.prune();
SELECT * FROM kept;
CALL add(9);
SELECT livefeed.tick();
SELECT livefeed.prune();
SELECT * FROM kept;
CALL add(1);
SELECT livefeed.tick();
SELECT livefeed.prune();
SELECT * FROM kept;
-- What is left can be read from the mark on, and not from before.
SELECT count(*), min(id), max(id) FROM livefeed.read(11, 100) WHERE flags & 512 = 0;
SELECT id, flags & (512 | 1024) AS mark FROM livefeed.read(10, 100);
SELECT livefeed.check_cursor(livefeed.epoch(), 10), livefeed.check_cursor(livefeed.epoch(), 11);
SELECT count(*), min(id) FROM livefeed.events();
\set VERBOSITY terse
DO $$ BEGIN PERFORM livefeed.events(livefeed.epoch() || '-10');
	EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', regexp_replace(SQLERRM, '"[0-9a-f]{8}', '"E'); END $$;
\set VERBOSITY default
-- A large tick, with segments, goes as a whole.
CALL add(2500);
SELECT livefeed.tick();
SELECT livefeed.prune();
SELECT * FROM kept;
CALL add(20);
SELECT livefeed.tick();
SELECT livefeed.prune();
SELECT livefeed.prune();
SELECT * FROM kept;
SELECT count(*) FROM livefeed.segments;
SELECT count(*), min(id), max(id) FROM livefeed.read((SELECT kept FROM livefeed.state), 10000) WHERE flags & 512 = 0;
RESET livefeed.retention_events;

-- By time.
SELECT livefeed.prune('1 hour');
SELECT livefeed.prune('1 microsecond') >= 0 AS pruned;
SELECT kept = (SELECT max(id_last) FROM livefeed.ticks) AS all_of_it FROM livefeed.state;
CALL add(3);
SELECT livefeed.tick();
SET livefeed.retention = '1 s';
DO $$
DECLARE
	began CONSTANT timestamptz := clock_timestamp();
BEGIN
	WHILE clock_timestamp() < (SELECT t.at + interval '1.1 s' FROM livefeed.ticks t ORDER BY tick DESC LIMIT 1) LOOP
		IF clock_timestamp() > began + interval '20 s' THEN
			RAISE EXCEPTION 'the clock stands still';
		END IF;
	END LOOP;
END $$;
SELECT livefeed.prune();
RESET livefeed.retention;
SELECT count(*) FROM livefeed.log;

-- What no tick has shown stays, whatever is asked for.
CALL add(3);
SELECT livefeed.prune('0');
SELECT livefeed.prune('0');
SELECT count(*) FROM livefeed.log;
SELECT livefeed.tick();
SELECT livefeed.prune('0');
SELECT count(*) FROM livefeed.log;
-- Ticks too, all but the last.
SELECT livefeed.prune('0');
CALL add(1);
SELECT livefeed.tick();
SELECT livefeed.prune('0');
SELECT livefeed.prune('0');
SELECT count(*) FROM livefeed.ticks;
SELECT count(*) FROM livefeed.segments;
-- Rolled back events leave with the rest.
BEGIN;
CALL add(5);
ROLLBACK;
SELECT pg_relation_size('livefeed.log_0') + pg_relation_size('livefeed.log_1') + pg_relation_size('livefeed.log_2') > 0 AS used;
SELECT livefeed.prune('0');
SELECT pg_relation_size('livefeed.log_0') + pg_relation_size('livefeed.log_1') + pg_relation_size('livefeed.log_2') > 0 AS used;
CALL add(1);
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.prune('0');
SELECT pg_relation_size('livefeed.log_0') + pg_relation_size('livefeed.log_1') + pg_relation_size('livefeed.log_2') > 0 AS used;

-- Transient events: a minute, then on to the next table, and the third time gone.
SELECT livefeed.reset();
CREATE PROCEDURE add_transient() LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($i$INSERT INTO livefeed.transient_%s (xid, seq, at, command, flags, feed, key, frame)
		VALUES (pg_current_xact_id(), nextval('livefeed.seq'), now(), 0, 264, 'spots', '1', '{}')$i$,
		(SELECT transient_current FROM livefeed.state));
END $$;
CREATE PROCEDURE wait_a_minute() LANGUAGE sql AS $$
	UPDATE livefeed.state SET transient_rotated_at = transient_rotated_at - interval '1 min'
$$;
CREATE VIEW transients AS
	SELECT s.transient_current, (SELECT count(*) FROM livefeed.transient_0) AS transient_0,
		(SELECT count(*) FROM livefeed.transient_1) AS transient_1, (SELECT count(*) FROM livefeed.transient_2) AS transient_2
	FROM livefeed.state s;
CALL add_transient();
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.prune();
SELECT * FROM transients;
CALL wait_a_minute();
SELECT livefeed.prune();
CALL add_transient();
SELECT * FROM transients;
CALL wait_a_minute();
SELECT livefeed.prune();
SELECT * FROM transients;
-- The first would go now; the second no tick has shown yet.
CALL wait_a_minute();
SELECT livefeed.prune();
SELECT * FROM transients;
CALL wait_a_minute();
SELECT livefeed.prune();
SELECT * FROM transients;
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.prune();
SELECT * FROM transients;
CALL add_transient();
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.prune('0');
SELECT * FROM transients;

-- Its locks would last as long as the transaction around it.
BEGIN;
SELECT livefeed.prune();
ROLLBACK;

DROP VIEW kept, transients;
DROP PROCEDURE add, add_transient, wait_a_minute;
