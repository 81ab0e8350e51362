-- The order of events: ticks, pages of the log, large batches. One session only:
-- what several do to each other is in specs/.
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
SELECT livefeed.declare_feed('notes');
SELECT livefeed.tick();
SELECT id, flags, feed FROM livefeed.read(0, 10);

-- A tick orders what was committed; there is none if nothing was.
SELECT livefeed.publish('notes', 'added', '{"n":1}', unit => '7', key => '1');
SELECT livefeed.tick();
SELECT livefeed.tick();
SELECT tick, id_from, id_to, id_last, segments, epoch = livefeed.epoch() AS epoch FROM livefeed.ticks ORDER BY tick;

-- Inside a transaction events keep their order; what was rolled back never was.
BEGIN;
SELECT livefeed.publish('notes', 'a', '{}', key => '2');
SAVEPOINT s;
SELECT livefeed.publish('notes', 'gone', '{}', key => '3');
ROLLBACK TO s;
SELECT livefeed.publish('notes', 'b', '{}', key => '4');
SAVEPOINT t;
SELECT livefeed.publish('notes', 'c', '{}', key => '5');
RELEASE t;
SELECT id, key, action FROM livefeed.events();
COMMIT;
BEGIN;
SELECT livefeed.publish('notes', 'gone', '{}', key => '6');
ROLLBACK;
SELECT livefeed.tick();
SELECT id, key, action FROM livefeed.events();

-- A row updated twice, and by a trigger during the statement that updates it.
CREATE TABLE pair (id integer PRIMARY KEY, other integer, n integer DEFAULT 0);
CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE pair SET n = n + 10 WHERE id = NEW.other AND NEW.n < 10;
	RETURN NULL;
END $$;
CREATE TRIGGER a_follow AFTER UPDATE ON pair FOR EACH ROW WHEN (NEW.other IS NOT NULL) EXECUTE FUNCTION follow();
INSERT INTO pair VALUES (1, 2), (2, NULL);
SELECT livefeed.watch('pair');
UPDATE pair SET n = n + 1;
SELECT livefeed.tick();
SELECT id, key, (frame::json -> 'data' ->> 'n')::integer AS n FROM livefeed.events(feed => 'pair');
BEGIN;
UPDATE pair SET n = 100 WHERE id = 2;
UPDATE pair SET n = 101 WHERE id = 2;
DELETE FROM pair WHERE id = 2;
COMMIT;
SELECT livefeed.tick();
SELECT key, type, (frame::json -> 'data' ->> 'n')::integer AS n
	FROM livefeed.events(feed => 'pair') ORDER BY id DESC LIMIT 3;

-- Pages: exactly one mark, last. 512 is a mark, 32 a control event.
SELECT id, tick, flags & (32 | 512) AS flags, feed, key, epoch = livefeed.epoch() AS epoch FROM livefeed.read(1, 2);
SELECT id, tick, flags & (32 | 512) AS flags, feed, key FROM livefeed.read(3, 100, 'notes');
SELECT id, tick, flags & (32 | 512) AS flags, feed, key FROM livefeed.read(3, 100, max_bytes => 1);
SELECT id, tick, flags & (32 | 512) AS flags, feed FROM livefeed.read(5, 100, 'nonesuch');
SELECT id = (SELECT max(id_last) FROM livefeed.ticks) AS head, flags FROM livefeed.read(1000000, 100);
SELECT * FROM livefeed.read(0, 0);
SELECT * FROM livefeed.read(NULL, 1);
SELECT octet_length(frame) > 1000000 AS large, flags & 512 AS mark FROM livefeed.read(0, 1, 'nonesuch');

-- A frame out of line comes whole.
SET livefeed.max_event_bytes = '4MB';
SELECT livefeed.publish('notes', 'large', jsonb_build_object('x', repeat(md5('x'), 50000)), key => '7');
RESET livefeed.max_event_bytes;
SELECT livefeed.tick() > 0 AS ticked;
SELECT octet_length(frame) > 1600000 AS large FROM livefeed.read((SELECT max(id_last) - 1 FROM livefeed.ticks), 1) WHERE flags & 512 = 0;
SELECT length(frame) > 1600000 AS large, frame::json ->> 'id' = id::text AS id FROM livefeed.events() ORDER BY events.id DESC LIMIT 1;

-- A tick needs a transaction of its own, on READ COMMITTED.
BEGIN;
SELECT livefeed.tick();
ROLLBACK;
DO 'BEGIN END'\; SELECT livefeed.tick();
BEGIN;
SELECT * FROM livefeed.tick_wait(0, 1, 0, false);
ROLLBACK;
BEGIN;
SELECT livefeed.ring();
ROLLBACK;
SET default_transaction_isolation = 'repeatable read';
SELECT livefeed.tick();
RESET default_transaction_isolation;
SET default_transaction_read_only = on;
SELECT livefeed.tick();
RESET default_transaction_read_only;
DO $$ BEGIN PERFORM livefeed.publish('notes', 'x', '{}'); PERFORM livefeed.tick(); END $$;
SELECT livefeed.publish('notes', 'x', '{}', key => '8');
DO $$ BEGIN PERFORM livefeed.tick(); PERFORM livefeed.tick(); END $$;

-- Its commit is flushed, whatever the session does with its own.
SET synchronous_commit = off;
SELECT livefeed.tick() > 0 AS ticked, current_setting('synchronous_commit');
SHOW synchronous_commit;
SET synchronous_commit = remote_apply;
SELECT livefeed.publish('notes', 'x', '{}', key => '9');
SELECT livefeed.tick() > 0 AS ticked, current_setting('synchronous_commit');
RESET synchronous_commit;

-- Waiting for a tick, with something to do, and without.
SELECT livefeed.publish('notes', 'x', '{}', key => '10');
SELECT id - max(id) OVER () AS id, flags & 512 AS flags, key
	FROM livefeed.tick_wait((SELECT max(id_last) FROM livefeed.ticks), 10, 5, false);
SELECT ticker_pid = pg_backend_pid() AS mine FROM livefeed.look();
SELECT count(*) AS rows, min(flags) AS flags FROM livefeed.tick_wait((SELECT max(id_last) FROM livefeed.ticks), 10, 5, false);
SELECT count(*) > 5 AS rows FROM livefeed.tick_wait(0, 100, 5, false);
SELECT * FROM livefeed.tick_wait(0, 100, 5000, false);

/*
 * Large batches: one of large and small transactions, read in pages of several
 * sizes, always comes out the same. The expected order is made here another way:
 * transactions by their greatest seq, inside by (command, seq).
 */
SELECT livefeed.reset();
SELECT max(id_last) AS base FROM livefeed.ticks \gset
CREATE PROCEDURE write_batch() LANGUAGE plpgsql AS $$
BEGIN
	PERFORM livefeed.publish('notes', 'x', '{}', key => 'L' || g) FROM generate_series(1, 2500) g;
	COMMIT;
	FOR t IN 1..450 LOOP
		PERFORM livefeed.publish('notes', 'x', '{}', key => t || '-' || g) FROM generate_series(1, 1 + t % 5) g;
		IF t % 10 = 0 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
	END LOOP;
	PERFORM livefeed.publish('notes', 'x', '{}', key => 'M' || g) FROM generate_series(1, 1000) g;
	COMMIT;
	PERFORM livefeed.publish('notes', 'x', '{}', key => 'N' || g) FROM generate_series(1, 1001) g;
END $$;
CALL write_batch();
CREATE TABLE expected AS
	SELECT :base + row_number() OVER (ORDER BY last, command, seq) AS id, key
	FROM (SELECT l.*, max(l.seq) OVER (PARTITION BY l.xid) AS last FROM livefeed.log l) l;
SELECT livefeed.tick() > 0 AS ticked;
SELECT id_to - id_from + 1 AS events, id_to = id_last AS durable, segments FROM livefeed.ticks ORDER BY tick DESC LIMIT 1;
SELECT count(*), sum(events), max(events) FROM livefeed.segments;

CREATE FUNCTION read_all(after bigint, max integer, max_bytes integer) RETURNS TABLE (id bigint, key text) LANGUAGE plpgsql AS $$
DECLARE
	r    record;
	page bigint;
BEGIN
	LOOP
		page := after;
		FOR r IN SELECT * FROM livefeed.read(after, max, NULL, max_bytes) LOOP
			IF r.flags & 512 = 0 THEN
				id := r.id;
				key := r.key;
				RETURN NEXT;
			END IF;
			after := r.id;
		END LOOP;
		EXIT WHEN after = page;
	END LOOP;
END $$;
SELECT p.max, p.bytes, count(*), bool_and(e.key IS NOT DISTINCT FROM r.key) AS same, count(DISTINCT r.id) = count(*) AS once
	FROM (VALUES (100000, 100000000), (1000, 100000000), (777, 100000000), (5000, 20000)) p(max, bytes)
	CROSS JOIN LATERAL read_all(:base, p.max, p.bytes) r
	FULL JOIN expected e ON e.id = r.id
	GROUP BY p.max, p.bytes ORDER BY p.max DESC;
-- From anywhere inside: neighbours fit.
SELECT count(*) AS wrong
	FROM generate_series(:base, :base + (SELECT count(*) FROM expected) - 1, 37) g
	CROSS JOIN LATERAL livefeed.read(g, 1) r
	LEFT JOIN expected e ON e.id = g + 1
	WHERE r.flags & 512 = 0 AND (r.id <> g + 1 OR r.key <> e.key);
-- The same over many small ticks.
SELECT livefeed.reset();
SELECT max(id_last) AS base FROM livefeed.ticks \gset
CREATE TABLE script AS SELECT format($$SELECT livefeed.publish('notes', 'x', '{}', key => '%s')$$, g) AS line FROM generate_series(1, 600) g;
SET client_min_messages = error;
\set ECHO none
\o /dev/null
SELECT line, 'SELECT livefeed.tick()' FROM script \gexec
\o
\set ECHO all
RESET client_min_messages;
SELECT count(*) FROM livefeed.ticks;
SELECT count(*), bool_and(r.key = (r.id - :base)::text) AS same FROM read_all(:base, 1000, 1000000) r;
SELECT count(*), bool_and(r.key = (r.id - :base)::text) AS same FROM read_all(:base, 7, 1000000) r;

/*
 * Transient events follow the durable ones of their tick, and may be gone: then a
 * control event says so. Written by hand here, for many at once.
 */
SELECT livefeed.reset();
SELECT max(id_last) AS base FROM livefeed.ticks \gset
CREATE PROCEDURE write_transient(n integer) LANGUAGE sql AS $$
	INSERT INTO livefeed.transient_0 (xid, seq, at, command, flags, feed, key, frame)
		SELECT pg_current_xact_id(), nextval('livefeed.seq'), now(), 0, 264, 'spots', g::text, '{}' FROM generate_series(1, n) g
$$;
BEGIN;
CALL write_transient(2);
SELECT livefeed.publish('notes', 'x', '{}', key => 'durable');
COMMIT;
SELECT id, feed, key FROM livefeed.events();
SELECT livefeed.tick() > 0 AS ticked;
SELECT id - :base AS id, feed, key FROM livefeed.events();
CALL write_transient(1500);
SELECT livefeed.publish('notes', 'x', '{}', key => 'durable too');
SELECT livefeed.tick() > 0 AS ticked;
SELECT id_from - :base AS id_from, id_to - :base AS id_to, id_last - :base AS id_last, segments FROM livefeed.ticks ORDER BY tick DESC LIMIT 1;
SELECT count(*), min(id) - :base AS first, max(id) - :base AS last FROM read_all(:base, 1000, 1000000);
SELECT r.id - :base AS id, r.key FROM livefeed.read(:base + 2, 3) r;
TRUNCATE livefeed.transient_0;
SELECT livefeed.publish('notes', 'x', '{}', key => 'after');
SELECT livefeed.tick() > 0 AS ticked;
SELECT id - :base AS id, key FROM read_all(:base, 1000, 1000000);
SELECT id - :base AS id, key FROM read_all(:base + 700, 1000, 1000000);

-- Rows taken from the log by force are noticed, never skipped in silence.
DELETE FROM livefeed.log_0 WHERE key = 'after';
SELECT livefeed.publish('notes', 'x', '{}', key => 'later');
SELECT livefeed.tick() > 0 AS ticked;
DO $$
DECLARE
	head CONSTANT bigint := (SELECT max(id_last) FROM livefeed.ticks);
BEGIN
	PERFORM livefeed.read(head - 2, 10);
EXCEPTION
	WHEN data_corrupted THEN
		RAISE NOTICE '%', regexp_replace(SQLERRM, '[0-9]+', 'N');
END $$;

DROP TABLE pair, expected, script;
DROP FUNCTION follow, read_all;
DROP PROCEDURE write_batch, write_transient;
