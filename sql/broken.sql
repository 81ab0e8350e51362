-- The application's writes do not fail because of us: definitions that no longer
-- fit, functions that raise. Each is a warning once a backend and a resync.
CREATE SCHEMA broken;
SET search_path = broken;
\pset format unaligned
\set SHOW_CONTEXT never
\i ../sql/include/begin.psql

CREATE TABLE t (id int PRIMARY KEY, unit_id int, note text, extra int);
SELECT livefeed.watch('t', unit => 'unit_id', except_columns => '{note}');
INSERT INTO t VALUES (1, 7, 'a', 1);
-- A column that the definition names is renamed: even an unpublished one.
ALTER TABLE t RENAME note TO remark;
BEGIN;
INSERT INTO t VALUES (2, 7, 'a', 1), (3, 7, 'b', 1);
UPDATE t SET extra = 3;
COMMIT;
DELETE FROM t WHERE id = 3;
SELECT problem FROM livefeed.watches WHERE feed = 't';
\i ../sql/include/say.psql
-- Another backend is warned too, and strict makes it an error.
\c -
SET search_path = broken;
\set SHOW_CONTEXT never
UPDATE t SET extra = 4 WHERE id = 1;
SET livefeed.strict = on;
UPDATE t SET extra = 5 WHERE id = 1;
TRUNCATE t;
RESET livefeed.strict;
SELECT id, extra FROM t ORDER BY id;
-- A rolled-back savepoint takes its resync along.
BEGIN;
SAVEPOINT s;
UPDATE t SET extra = 6;
ROLLBACK TO s;
COMMIT;
-- Mended.
ALTER TABLE t RENAME remark TO note;
UPDATE t SET extra = 7 WHERE id = 1;
ALTER TABLE t DROP COLUMN unit_id;
UPDATE t SET extra = 8 WHERE id = 1;
TRUNCATE t;
SELECT livefeed.watch('t');
INSERT INTO t VALUES (1, 'x', 9);
-- The key is gone: noticed, though events go on.
ALTER TABLE t DROP CONSTRAINT t_pkey;
SELECT problem FROM livefeed.watches WHERE feed = 't';
\i ../sql/include/say.psql

-- Functions: one that raises for some rows, by then writing to a table, too.
CREATE TABLE f (id int PRIMARY KEY, n int);
CREATE TABLE side (n int);
CREATE FUNCTION unit_of(f) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO broken.side VALUES ($1.n);
	IF $1.n < 0 THEN
		RAISE EXCEPTION 'negative: %', $1.n;
	END IF;
	RETURN (100 / $1.n)::text;
END $$;
SELECT livefeed.watch('f', unit_function => 'unit_of(f)');
BEGIN;
INSERT INTO f VALUES (1, 10), (2, -1), (3, 0), (4, 20), (5, -1);
COMMIT;
SELECT * FROM side ORDER BY n;
\i ../sql/include/say.psql
SET livefeed.strict = on;
INSERT INTO f VALUES (6, -1);
RESET livefeed.strict;
-- What PostgreSQL itself refuses stays what it is.
CREATE OR REPLACE FUNCTION unit_of(f) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(10);
	RETURN 'x';
END $$;
BEGIN;
SET LOCAL statement_timeout = '50ms';
INSERT INTO f VALUES (7, 1);
ROLLBACK;
-- Replaced, dropped, no longer to be executed.
CREATE OR REPLACE FUNCTION unit_of(f) RETURNS text LANGUAGE sql AS $$ SELECT 'new' $$;
INSERT INTO f VALUES (8, 1);
DROP FUNCTION unit_of(f);
INSERT INTO f VALUES (9, 1);
SELECT problem FROM livefeed.watches WHERE feed = 'f';
\i ../sql/include/say.psql

-- An id that is none.
CREATE TABLE big (id int PRIMARY KEY, unit text, users text[]);
SELECT livefeed.watch('big', unit => 'unit', users => '{users}');
INSERT INTO big VALUES (1, repeat('x', 1025), NULL);
INSERT INTO big VALUES (2, repeat('x', 1024), ARRAY['a', repeat('y', 1025)]);
SELECT key, length(unit), users, flags FROM livefeed.log WHERE seq > :seen AND flags <> 32 ORDER BY seq;

-- Nor is one of few bytes and many digits.
CREATE TABLE digits (id int PRIMARY KEY, unit numeric);
SELECT livefeed.watch('digits', unit => 'unit');
INSERT INTO digits VALUES (1, 1e1000), (2, 1e1024), (3, 7);
SELECT key, length(unit), flags FROM livefeed.log WHERE feed = 'digits' ORDER BY seq;

-- A key that is null, since the table has lost its primary key.
CREATE TABLE keyless (id uuid PRIMARY KEY, n int);
SELECT livefeed.watch('keyless');
ALTER TABLE keyless DROP CONSTRAINT keyless_pkey, ALTER id DROP NOT NULL;
INSERT INTO keyless VALUES (NULL, 1);
UPDATE keyless SET n = 2;
UPDATE keyless SET id = '00000000-0000-0000-0000-000000000001';
UPDATE keyless SET id = NULL;
DELETE FROM keyless;
SELECT key, convert_from(frame, 'UTF8') ~ '"deleted"' AS deleted, flags FROM livefeed.log WHERE feed = 'keyless' ORDER BY seq;

-- A function that writes to its own table.
CREATE TABLE own (id int PRIMARY KEY, n int);
CREATE FUNCTION users_of(own) RETURNS text[] LANGUAGE plpgsql AS $$
BEGIN
	IF $1.n < 3 THEN
		INSERT INTO broken.own VALUES ($1.id * 10, $1.n + 1);
	END IF;
	RETURN ARRAY[$1.n::text];
END $$;
SELECT livefeed.watch('own', users_function => 'users_of(own)');
INSERT INTO own VALUES (1, 1);
SELECT key, users FROM livefeed.log WHERE feed = 'own' ORDER BY xid, command, seq;

SET client_min_messages = warning;
DROP SCHEMA broken CASCADE;
