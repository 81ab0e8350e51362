-- Partitioned tables: the trigger fires on leaves, whose columns stand elsewhere.
CREATE SCHEMA partitions;
SET search_path = partitions;
\pset format unaligned
\set SHOW_CONTEXT never
\i ../sql/include/begin.psql

CREATE TABLE m (id int, region text, unit_id int, n int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE m_eu PARTITION OF m FOR VALUES IN ('eu');
CREATE TABLE m_us (junk int, n int, unit_id int, gone text, region text NOT NULL, id int NOT NULL);
ALTER TABLE m_us DROP COLUMN junk, DROP COLUMN gone;
CREATE FUNCTION u(m) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1.region || $1.unit_id; END';
SELECT livefeed.watch('m', entity => 'row', unit_function => 'u(m)');
-- A partition that comes later is caught, its TRUNCATE after another watch().
ALTER TABLE m ATTACH PARTITION m_us FOR VALUES IN ('us');
CREATE TABLE m_as PARTITION OF m FOR VALUES IN ('as') PARTITION BY LIST (id);
CREATE TABLE m_as_1 PARTITION OF m_as FOR VALUES IN (1, 2);
SELECT problem FROM livefeed.watches WHERE feed = 'm';
SELECT livefeed.watch('m', entity => 'row', unit_function => 'u(m)');
SELECT problem FROM livefeed.watches WHERE feed = 'm';
INSERT INTO m VALUES (1, 'eu', 7, 1), (2, 'us', 7, 2), (1, 'as', 7, 3);
UPDATE m SET n = n + 10;
UPDATE m_us SET unit_id = 8;
-- A move to another partition is .deleted and .created.
UPDATE m SET region = 'us' WHERE region = 'eu';
\i ../sql/include/say.psql
TRUNCATE m_us;
TRUNCATE m_as;
TRUNCATE m;
\i ../sql/include/say.psql

-- One watch for the whole.
SELECT livefeed.watch('m_eu');
SELECT livefeed.unwatch('m_eu');
SELECT relation, feed FROM livefeed.watches WHERE feed LIKE 'm%';
SELECT * FROM livefeed.feeds WHERE feed LIKE 'm%';

-- Detached, it sends nothing.
ALTER TABLE m DETACH PARTITION m_us;
INSERT INTO m_us (id, region, unit_id, n) VALUES (9, 'us', 1, 1);
TRUNCATE m_us;
\i ../sql/include/say.psql
SELECT livefeed.unwatch('m_us');
SELECT livefeed.unwatch('m');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgname LIKE 'livefeed%' AND tgrelid::regclass::text LIKE 'm%';
-- A leaf that is watched by itself.
SELECT livefeed.watch('m_eu');
SELECT livefeed.watch('m');
INSERT INTO m VALUES (5, 'eu', 7, 1);
\i ../sql/include/say.psql
-- What merely inherits is another table.
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child () INHERITS (parent);
SELECT livefeed.watch('parent');
INSERT INTO child VALUES (1);
INSERT INTO parent VALUES (2);
\i ../sql/include/say.psql
-- A replica identity instead of a primary key.
CREATE TABLE ri (code text NOT NULL, n int) PARTITION BY HASH (code);
CREATE TABLE ri_0 PARTITION OF ri FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE UNIQUE INDEX ri_code ON ri (code);
ALTER TABLE ri REPLICA IDENTITY USING INDEX ri_code;
SELECT livefeed.watch('ri');
INSERT INTO ri VALUES ('a', 1);
\i ../sql/include/say.psql

SET client_min_messages = warning;
DROP SCHEMA partitions CASCADE;
