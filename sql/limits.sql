-- What is bounded, and what happens at the bound: events and bytes a
-- transaction, bytes an event.
CREATE SCHEMA limits;
SET search_path = limits;
\pset format unaligned
\i ../sql/include/begin.psql

CREATE TABLE a (id int PRIMARY KEY, n text);
CREATE TABLE b (id int PRIMARY KEY, n text);
SELECT livefeed.watch('a');
SELECT livefeed.watch('b');
SELECT coalesce(max(seq), 0) AS seen FROM livefeed.log \gset
SET livefeed.max_events_per_transaction = 3;

-- The first three, then one resync for each feed that had more, at the end.
BEGIN;
INSERT INTO a SELECT i, 'x' FROM generate_series(1, 5) i;
INSERT INTO b SELECT i, 'x' FROM generate_series(1, 5) i;
UPDATE a SET n = n;
COMMIT;
\i ../sql/include/say.psql
-- An update that changes nothing does not fold.
UPDATE a SET n = n;
\i ../sql/include/say.psql

-- A savepoint that is rolled back gives its share back, and folds nothing.
BEGIN;
INSERT INTO a VALUES (11, 'kept');
SAVEPOINT s;
INSERT INTO a SELECT i, 'gone' FROM generate_series(12, 20) i;
INSERT INTO b VALUES (12, 'gone');
ROLLBACK TO s;
INSERT INTO a VALUES (12, 'kept');
SAVEPOINT s2;
SAVEPOINT s3;
INSERT INTO a VALUES (13, 'kept');
RELEASE s3;
INSERT INTO b VALUES (13, 'folded');
RELEASE s2;
SAVEPOINT s4;
INSERT INTO a VALUES (14, 'gone');
ROLLBACK TO s4;
COMMIT;
\i ../sql/include/say.psql
-- Nested: what a released savepoint wrote is its parent's to give back.
BEGIN;
SAVEPOINT s;
SAVEPOINT t;
INSERT INTO a VALUES (21, 'gone'), (22, 'gone'), (23, 'gone'), (24, 'gone');
RELEASE t;
ROLLBACK TO s;
INSERT INTO a VALUES (21, 'kept');
COMMIT;
\i ../sql/include/say.psql
-- Rolled back altogether, then a fresh count.
BEGIN;
DELETE FROM a;
ROLLBACK;
DELETE FROM a WHERE id < 3;
\i ../sql/include/say.psql

-- By bytes.
RESET livefeed.max_events_per_transaction;
SET livefeed.max_bytes_per_transaction = '2kB';
INSERT INTO b SELECT i, repeat('x', 500) FROM generate_series(31, 40) i;
SELECT key, flags, length(frame) > 500 AS large FROM livefeed.log WHERE seq > :seen ORDER BY seq;
RESET livefeed.max_bytes_per_transaction;
-- Truncated, several times: one resync says it.
SELECT coalesce(max(seq), 0) AS seen FROM livefeed.log \gset
BEGIN;
TRUNCATE a;
TRUNCATE a;
INSERT INTO a VALUES (1, 'x');
TRUNCATE a;
COMMIT;
\i ../sql/include/say.psql

-- Too large: no data, but all the rest.
SET livefeed.max_event_bytes = '1kB';
CREATE TABLE w (id int PRIMARY KEY, t text, j jsonb, js json, ta text[], by bytea, n numeric[], c text);
SELECT livefeed.watch('w', action => 'c');
SELECT coalesce(max(seq), 0) AS seen FROM livefeed.log \gset
INSERT INTO w (id, t) VALUES (1, repeat('x', 800)), (2, repeat('x', 1200)), (3, repeat(E'\x01', 200));
INSERT INTO w (id, j) VALUES (4, jsonb_build_object('a', repeat('x', 1200))), (5, '[1e1000]');
INSERT INTO w (id, js) VALUES (6, ('{' || repeat(' ', 5000) || '}')::json);
INSERT INTO w (id, ta) VALUES (7, array_fill('y'::text, ARRAY[100])), (8, array_fill('y'::text, ARRAY[500]));
INSERT INTO w (id, by) VALUES (9, decode(repeat('00', 500), 'hex')), (10, decode(repeat('00', 900), 'hex'));
INSERT INTO w (id, n) VALUES (11, ARRAY[1e3, 1e-3]), (12, ARRAY[1e1000]);
UPDATE w SET c = 'Too Large' WHERE id = 2;
UPDATE w SET c = 'Gone', t = 'small' WHERE id = 2;
DELETE FROM w WHERE id = 12;
SELECT key, frame -> 'too_large' AS too_large, frame -> 'data' = 'null' AS no_data, frame ->> 'type' AS type,
	frame ->> 'action' AS action, frame -> 'changed' AS changed, bytes < 1200 AS bounded
FROM (SELECT seq, key, convert_from(frame, 'UTF8')::jsonb AS frame, length(frame) AS bytes FROM livefeed.log WHERE seq > :seen) l ORDER BY seq;
-- To the byte: every event that has its data is within the limit, and the largest reaches it.
CREATE TABLE edge (id int PRIMARY KEY, a text, b int, c int);
SELECT livefeed.watch('edge');
SELECT coalesce(max(seq), 0) AS seen FROM livefeed.log \gset
INSERT INTO edge SELECT 1000 + i, repeat('x', 700 + i) FROM generate_series(1, 300) i;
SELECT max(length(frame)) FILTER (WHERE NOT large) AS largest, count(*) FILTER (WHERE large) BETWEEN 1 AND 299 AS some_are
	FROM (SELECT frame, convert_from(frame, 'UTF8') LIKE '%"too_large":true%' AS large FROM livefeed.log WHERE seq > :seen AND feed = 'edge') e;
RESET livefeed.max_event_bytes;

-- A row of 100 MB: its writer does not read it again, and an update of another
-- column does not even look at it. Compressed and not.
CREATE TABLE huge (id int PRIMARY KEY, unit text, doc text, raw bytea, j jsonb, n int);
ALTER TABLE huge ALTER doc SET STORAGE EXTERNAL;
SELECT livefeed.watch('huge', unit => 'unit');
SET client_min_messages = warning;
INSERT INTO huge SELECT 1, 'u', repeat('x', 100000000), decode(repeat('00', 30000000), 'hex'), to_jsonb(repeat('y', 30000000)), 0;
RESET client_min_messages;
SELECT coalesce(max(seq), 0) AS seen FROM livefeed.log \gset
-- True if the statement read the values: of their 12,500 and more blocks, some.
CREATE FUNCTION reads_values(statement text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	toast CONSTANT oid := (SELECT reltoastrelid FROM pg_class WHERE oid = 'limits.huge'::regclass);
	before CONSTANT bigint := pg_stat_get_xact_blocks_fetched(toast);
BEGIN
	EXECUTE statement;
	RETURN pg_stat_get_xact_blocks_fetched(toast) - before > 100;
END $$;
SELECT reads_values('UPDATE huge SET n = length(left(doc, 1000000))');
SELECT reads_values('UPDATE huge SET n = n + 1');
SELECT reads_values('UPDATE huge SET unit = ''v''');
\i ../sql/include/say.psql

SET client_min_messages = warning;
DROP SCHEMA limits CASCADE;
