-- durable => false: events in the unlogged log, with ids after the durable ones of
-- their tick; what readers are told when they are gone. Not here: the tables'
-- rotation (retention.sql), large batches (order.sql), a real crash (test/fault).
CREATE SCHEMA transient;
SET search_path = transient;
\pset format unaligned
\pset tuples_only on
SELECT livefeed.reset();
SELECT id_last AS base FROM livefeed.ticks ORDER BY tick DESC LIMIT 1 \gset
CREATE TABLE orders (id int PRIMARY KEY, status text);
CREATE TABLE positions (partner int PRIMARY KEY, order_id int, x float8);
SELECT livefeed.watch('orders');
SELECT livefeed.watch('positions', entity => 'position', durable => false, parent_feed => 'orders', parent => 'order_id');
SELECT livefeed.declare_feed('progress', durable => false);
SELECT feed, durable, latest_only, parent_feed FROM livefeed.feeds WHERE feed IN ('orders', 'positions', 'progress') ORDER BY 1;
-- Control events of the definitions, out of the way.
SELECT livefeed.tick() > 0;
SELECT id_last AS base FROM livefeed.ticks ORDER BY tick DESC LIMIT 1 \gset

-- Where they go, and which ids they get.
BEGIN;
INSERT INTO positions VALUES (1, 10, 0.5);
INSERT INTO orders VALUES (10, 'New');
SELECT livefeed.publish('progress', 'step', '50', key => 'job');
COMMIT;
SELECT livefeed.tick() > 0;
BEGIN;
SAVEPOINT a;
UPDATE positions SET x = 1;
ROLLBACK TO a;
UPDATE positions SET x = 2;
COMMIT;
SELECT livefeed.tick() > 0;
SELECT 'log', feed FROM livefeed.log WHERE flags & 32 = 0 ORDER BY seq;
SELECT 'transient', feed, parent_feed, parent_key FROM livefeed.transient ORDER BY seq;
SELECT id_from - :base, id_to - :base, id_last - :base FROM livefeed.ticks WHERE id_last > :base ORDER BY tick;
SELECT id - :base, feed, type, action, key FROM livefeed.events() WHERE id > :base;
SELECT id - :base, feed FROM livefeed.read(:base, 100, 'orders');
SELECT id - :base, feed FROM livefeed.read(:base, 100, 'progress');
SELECT livefeed.row_scope('progress', 'job'), livefeed.row_scope('progress', 'other');

-- Their resyncs stand among them; of a child, they are for its parent's rows too.
BEGIN;
SET LOCAL livefeed.max_events_per_transaction = 2;
INSERT INTO positions SELECT g, 10, 0 FROM generate_series(2, 9) g;
COMMIT;
TRUNCATE positions;
SELECT livefeed.resync('progress');
SELECT convert_from(frame, 'UTF8'), feed, parent_feed FROM livefeed.transient WHERE flags & 16 <> 0 ORDER BY seq;
SELECT count(*) FROM livefeed.log WHERE flags & 16 <> 0;
SELECT livefeed.tick() > 0;

-- A minute, and a minute: who comes back later is told. Durable events stay, ids too.
CREATE VIEW mark AS SELECT transient_kept FROM livefeed.state;
CREATE PROCEDURE minute() LANGUAGE plpgsql AS $$
BEGIN
	UPDATE livefeed.state SET transient_rotated_at = transient_rotated_at - interval '1 min';
END $$;
SELECT transient_kept < :base FROM mark;
CALL minute();
SELECT livefeed.prune();
SELECT id_last AS head FROM livefeed.ticks ORDER BY tick DESC LIMIT 1 \gset
UPDATE orders SET status = 'Sent';
INSERT INTO positions VALUES (1, 10, 3);
SELECT livefeed.tick() > 0;
CALL minute();
SELECT livefeed.prune();
SELECT livefeed.check_cursor(livefeed.epoch(), :base + 1, true);
CALL minute();
SELECT livefeed.prune();
SELECT transient_kept = :head FROM mark;
SELECT c - :head, livefeed.check_cursor(livefeed.epoch(), c, true), livefeed.check_cursor(livefeed.epoch(), c, false), livefeed.check_cursor('00000000', c, true)
	FROM (VALUES (:head - 2), (:head - 1), (:head)) v(c);
-- Pages: a row that says so, once for what lies together, and only to those whom it may concern.
SELECT id - :base, flags, feed FROM livefeed.read(:base, 100);
SELECT id - :base, flags, feed FROM livefeed.read(:base, 100, 'orders');
SELECT id - :base, flags, feed FROM livefeed.read(:base, 100, 'positions');
SELECT id - :base, flags, feed FROM livefeed.read(:head, 100, 'positions');
SELECT livefeed.unwatch('positions');
SELECT id - :base, flags, feed FROM livefeed.read(:base, 100, 'orders');
-- Cut anywhere, pages say the same.
SELECT livefeed.watch('positions', entity => 'position', durable => false, parent_feed => 'orders', parent => 'order_id');
CREATE FUNCTION cut(base bigint, max integer, feed text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	after bigint := base;
	page bigint;
	told text := '';
	r record;
BEGIN
	LOOP
		page := after;
		FOR r IN SELECT * FROM livefeed.read(page, max, cut.feed) LOOP
			IF r.flags & 512 = 0 THEN
				told := told || ' ' || (r.id - base) || r.feed;
			END IF;
			after := r.id;
		END LOOP;
		EXIT WHEN after = page;
	END LOOP;
	RETURN told;
END $$;
SELECT feed, count(DISTINCT cut(:base, max, feed)) FROM generate_series(1, 20) max, (VALUES ('orders'), ('positions'), (NULL)) f(feed) GROUP BY 1 ORDER BY 1;

-- A crash: what is unlogged is empty. Seen by the next prune(), which tells all.
SELECT id_last AS head FROM livefeed.ticks ORDER BY tick DESC LIMIT 1 \gset
TRUNCATE livefeed.transient_0, livefeed.transient_1, livefeed.transient_2, livefeed.transient_alive;
SELECT livefeed.check_cursor(livefeed.epoch(), :head, true), livefeed.check_cursor(livefeed.epoch(), :head, false);
SELECT livefeed.prune();
SELECT livefeed.prune();
SELECT transient_kept = :head FROM mark;
SELECT livefeed.tick() > 0;
SELECT flags, feed FROM livefeed.read(:head, 100) WHERE feed = 'transient_lost';
SELECT flags, feed FROM livefeed.read(:head, 100, 'positions') WHERE flags & 512 = 0;
SELECT id - :base, feed, action FROM livefeed.events() WHERE id > :base;
INSERT INTO positions VALUES (2, 10, 4);
SELECT livefeed.tick() > 0;
SELECT feed, action FROM livefeed.events() ORDER BY id DESC LIMIT 1;

-- From durable to not, and back.
SELECT livefeed.watch('orders', durable => false);
UPDATE orders SET status = 'Lost';
SELECT livefeed.watch('orders');
UPDATE orders SET status = 'Kept';
SELECT 'log', feed FROM livefeed.log WHERE flags & 32 = 0 ORDER BY seq DESC LIMIT 1;
SELECT 'transient', feed FROM livefeed.transient ORDER BY seq DESC LIMIT 1;

DROP SCHEMA transient CASCADE;
SELECT livefeed.hide('progress');
