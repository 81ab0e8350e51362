-- Databases in other encodings: frames are UTF-8 all the same, and no byte makes
-- a write fail. Frames are shown escaped.
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
DROP DATABASE IF EXISTS livefeed_latin1;
DROP DATABASE IF EXISTS livefeed_win1252;
DROP DATABASE IF EXISTS livefeed_euc_jp;
DROP DATABASE IF EXISTS livefeed_sql_ascii;
SELECT current_database() AS home \gset
CREATE DATABASE livefeed_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE livefeed_win1252 TEMPLATE template0 ENCODING 'WIN1252' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE livefeed_euc_jp TEMPLATE template0 ENCODING 'EUC_JP' LC_COLLATE 'C' LC_CTYPE 'C';
CREATE DATABASE livefeed_sql_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C';

\c livefeed_latin1
SET client_encoding = 'UTF8';
CREATE EXTENSION livefeed;
CREATE TABLE t (id text PRIMARY KEY, "größe" text, j jsonb, a text[], s text);
SELECT livefeed.watch('t', unit => 'größe', action => 's');
INSERT INTO t VALUES ('ä', 'ü"', '{"ö": "ß"}', '{é,€}');
INSERT INTO t VALUES ('ä', 'ü"', '{"ö": "ß"}', '{é}', 'X');
UPDATE t SET s = 'Grün Gelb';
SELECT unit, key, replace(regexp_replace(encode(frame, 'escape'), '.*"data":', ''), E'\\\\', E'\\') FROM livefeed.log WHERE feed = 't' ORDER BY seq;
SELECT jsonb_pretty(convert_from(frame, 'UTF8')::jsonb -> 'changed'), convert_from(frame, 'UTF8')::jsonb ->> 'action' FROM livefeed.log WHERE feed = 't' ORDER BY seq;
SELECT * FROM livefeed.row_scope('t', 'ä');

\c livefeed_win1252
CREATE EXTENSION livefeed;
CREATE TABLE t (id int PRIMARY KEY, unit text, v text);
SELECT livefeed.watch('t', unit => 'unit');
-- 0x80 is the euro sign, 0x81 is nothing: it becomes U+FFFD, and is nobody's unit.
INSERT INTO t VALUES (1, convert_from('\x61', 'WIN1252'), NULL);
UPDATE t SET v = 'a' || chr(128) || 'b' || chr(129) || 'c', unit = 'x' || chr(128);
UPDATE t SET unit = 'x' || chr(129);
SELECT encode(unit::bytea, 'escape'), replace(regexp_replace(encode(frame, 'escape'), '.*"data":', ''), E'\\\\', E'\\') FROM livefeed.log WHERE feed = 't' ORDER BY seq;
-- As text of this database, which has no U+FFFD.
SELECT type, action, encode(convert_to(regexp_replace(frame, '.*"data":', ''), 'WIN1252'), 'escape') FROM livefeed.events();

\c livefeed_euc_jp
SET client_encoding = 'UTF8';
CREATE EXTENSION livefeed;
CREATE TABLE t (a text, b text, PRIMARY KEY (a, b));
SELECT livefeed.watch('t');
INSERT INTO t VALUES ('日', '本,語');
SELECT key, replace(regexp_replace(encode(frame, 'escape'), '.*"data":', ''), E'\\\\', E'\\') FROM livefeed.log WHERE feed = 't' ORDER BY seq;
SELECT r.* FROM livefeed.log, livefeed.row_scope('t', key) r WHERE feed = 't';

\c livefeed_sql_ascii
SET client_encoding = 'SQL_ASCII';
CREATE EXTENSION livefeed;
CREATE TABLE t (id int PRIMARY KEY, unit text, v text, j json);
SELECT livefeed.watch('t', unit => 'unit', users => '{v}');
INSERT INTO t VALUES (1, 'a', E'ok\xC3\xA9 bad\xC3 \xFF\xED\xA0\x80 end\xE2\x82', E'{"k\xFF": 1}');
INSERT INTO t VALUES (2, E'u\xFF', E'\xC3\xA9', NULL);
ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (v);
SELECT livefeed.watch('t', action => 'unit');
UPDATE t SET unit = E'\xFF';
SELECT DISTINCT key FROM livefeed.log WHERE feed = 't' ORDER BY 1;
SELECT encode(unit::bytea, 'escape'), array_length(users, 1), replace(regexp_replace(encode(frame, 'escape'), '.*"data":', ''), E'\\\\', E'\\') FROM livefeed.log WHERE feed = 't' ORDER BY seq;

\c :home
SET client_min_messages = warning;
-- The sessions that were there may still be ending.
DROP DATABASE livefeed_latin1 WITH (FORCE);
DROP DATABASE livefeed_win1252 WITH (FORCE);
DROP DATABASE livefeed_euc_jp WITH (FORCE);
DROP DATABASE livefeed_sql_ascii WITH (FORCE);
