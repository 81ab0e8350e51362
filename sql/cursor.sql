-- Cursors, livefeed.events() and look(): what tells a reader where it is, and reset(),
-- which ends a history.
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
SELECT livefeed.declare_feed('notes');
SELECT livefeed.declare_feed('other');
SELECT livefeed.cursor() = livefeed.epoch() || '-0' AS base, livefeed.epoch() ~ '^[0-9a-f]{8}$' AS epoch;
SELECT livefeed.publish('notes', 'added', '{"a":"é"}', unit => '7', users => '{u1,u2}', key => '1');
SELECT livefeed.publish('other', 'added', 'null', unit => '8', key => '2');
SELECT livefeed.publish('notes', 'deleted', '1', unit => '7', key => '1');
SELECT livefeed.resync('notes');
SELECT livefeed.tick();
SELECT livefeed.cursor() = livefeed.epoch() || '-6' AS head;
SELECT livefeed.publish('notes', 'added', '[]', unit => '8', key => '3');

-- The columns, and frames that are whole.
SELECT id, at <= clock_timestamp() AS at, feed, unit, users, key, type, action,
		frame::json ->> 'id' = id::text AS own_id, right(frame, 10) AS ends
	FROM livefeed.events();
SELECT frame FROM livefeed.events() WHERE type = 'resync';
SELECT id, key FROM livefeed.events(feed => 'notes');
SELECT id, key FROM livefeed.events(unit => '8');
SELECT id, key FROM livefeed.events(feed => 'notes', unit => '8');
SELECT id, key FROM livefeed.events(max => 2);
SELECT id, key FROM livefeed.events(max => 0);
SELECT id, key FROM livefeed.events(livefeed.epoch() || '-4');
SELECT id, key FROM livefeed.events(livefeed.cursor(), max => 1);

-- Cursors that are none.
SELECT * FROM livefeed.events(max => -1);
SELECT * FROM livefeed.events('nonsense');
SELECT * FROM livefeed.events('6f3a91c2-99999999999999999999');
SELECT livefeed.check_cursor(livefeed.epoch(), g) FROM generate_series(-1, 7) g;
SELECT livefeed.check_cursor('00000000', 3);
SELECT livefeed.check_cursor(livefeed.epoch(), 9223372036854775807);
DO $$ BEGIN PERFORM livefeed.events('00000000-3'); EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', SQLERRM; END $$;
DO $$ BEGIN PERFORM livefeed.events(livefeed.epoch() || '-7');
	EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE '%', regexp_replace(SQLERRM, '"[0-9a-f]{8}', '"E'); END $$;

-- What a bridge asks once a second.
SELECT set_config('test.began', clock_timestamp()::text, false) \gset
SELECT epoch = livefeed.epoch() AS epoch, head, tick, kept, ticker_pid, stale FROM livefeed.look();
-- Events that wait for over a second make it stale; the first look begins to count.
DO $$
DECLARE
	began CONSTANT timestamptz := current_setting('test.began');	-- before the first look
BEGIN
	LOOP
		EXIT WHEN (SELECT stale FROM livefeed.look());
		IF clock_timestamp() > began + interval '1 min' THEN
			RAISE EXCEPTION 'never stale';
		END IF;
	END LOOP;
	IF clock_timestamp() < began + interval '900 ms' THEN
		RAISE EXCEPTION 'stale too early';
	END IF;
END $$;
SELECT livefeed.tick();
SELECT head, tick, stale FROM livefeed.look();
-- The fingerprint changes with all that bridges keep of definitions.
CREATE TEMP TABLE prints (n serial, definitions text);
CREATE TABLE thing (id integer PRIMARY KEY);
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
SELECT livefeed.watch('thing');
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
SELECT livefeed.watch('thing', feed => 'things');
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
ALTER TABLE thing DISABLE TRIGGER USER;
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
DROP TABLE thing;
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
SELECT livefeed.declare_feed('more');
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
SELECT livefeed.expose_path('/ws/a/', '{notes:unit:7}');
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
INSERT INTO prints (definitions) SELECT definitions FROM livefeed.look();
SELECT a.n, a.definitions = b.definitions AS same FROM prints a JOIN prints b ON b.n = a.n - 1 ORDER BY a.n;
SELECT a.definitions = b.definitions AS dropped_as_never_made FROM prints a, prints b WHERE a.n = 1 AND b.n = 5;

-- events() shows what json may hold and PostgreSQL itself cannot read: it looks at the head of a frame alone.
CREATE TABLE odd (id integer PRIMARY KEY, j json);
SELECT livefeed.watch('odd', feed => 'odd');
INSERT INTO odd VALUES (1, '"\u0000"'), (2, '"\ud800"');
BEGIN;
SET LOCAL livefeed.action = E'a"b\\c\x01}';
UPDATE odd SET j = '"\u0000\u0000"' WHERE id = 1;
COMMIT;
SELECT livefeed.resync('odd');
SELECT type, action, key, frame ~ '"updated_at"' AS whole, regexp_replace(frame, '.*"data":', '') AS data FROM livefeed.events(feed => 'odd');
DROP TABLE odd;
SELECT livefeed.tick() > 0 AS ticked;

-- A reset: another epoch, nothing in the log, and no id comes again.
SELECT livefeed.publish('notes', 'added', '[]', key => 'lost');
SELECT livefeed.epoch() AS former, max(id_last) AS head, max(tick) AS tick FROM livefeed.ticks \gset
SELECT livefeed.reset();
SELECT livefeed.epoch() <> :'former' AS epoch, livefeed.cursor() = livefeed.epoch() || '-' || :head AS cursor;
SELECT count(*) AS events FROM livefeed.events();
SELECT livefeed.check_cursor(:'former', :head), livefeed.check_cursor(:'former', :head - 1), livefeed.check_cursor(livefeed.epoch(), :head);
SELECT id = :head AS head, tick = :tick + 1 AS next, flags & 1024 <> 0 AS pruned FROM livefeed.read(:head - 1, 10);
SELECT livefeed.publish('notes', 'added', '[]', key => 'found');
SELECT livefeed.tick() = :tick + 2 AS tick;
SELECT id - :head AS id, key FROM livefeed.events();
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT livefeed.reset();
ROLLBACK;
-- Rolled back, it never was.
BEGIN;
SELECT livefeed.reset();
ROLLBACK;
SELECT id - :head AS id, key FROM livefeed.events();

/*
 * Another epoch without a reset, as after a promotion: the next tick says so, even
 * if it has nothing else to say. (Here we change what the epoch is made of.)
 */
SELECT livefeed.cursor() AS former, split_part(livefeed.cursor(), '-', 1) AS former_epoch, max(id_last) AS head FROM livefeed.ticks \gset
SELECT livefeed.publish('notes', 'added', '[]', key => 'before');
UPDATE livefeed.state SET random = gen_random_uuid();
SELECT stale FROM livefeed.look();
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.tick() AS none;
UPDATE livefeed.state SET random = gen_random_uuid();
SELECT stale FROM livefeed.look();
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.publish('notes', 'added', '[]', key => 'after');
SELECT livefeed.tick() > 0 AS ticked;
SELECT livefeed.cursor() = livefeed.epoch() || '-' || :head + 2 AS cursor;
-- A page never crosses an epoch.
SELECT id - :head AS id, key, flags & 512 AS mark, epoch = :'former_epoch' AS former, epoch = livefeed.epoch() AS present FROM livefeed.read(:head - 1, 10);
SELECT id - :head AS id, key, flags & 512 AS mark, epoch = :'former_epoch' AS former, epoch = livefeed.epoch() AS present FROM livefeed.read(:head, 10);
SELECT id - :head AS id, key, flags & 512 AS mark, epoch = :'former_epoch' AS former, epoch = livefeed.epoch() AS present FROM livefeed.read(:head + 1, 10);
-- A former epoch's cursor is good up to the former head, and not beyond.
SELECT livefeed.check_cursor(:'former_epoch', :head), livefeed.check_cursor(:'former_epoch', :head + 1), livefeed.check_cursor(livefeed.epoch(), :head + 1),
	livefeed.check_cursor(livefeed.epoch(), :head + 2), livefeed.check_cursor(livefeed.epoch(), :head);
SELECT id - :head AS id, key FROM livefeed.events(:'former');
\set VERBOSITY default
