-- One statement that deletes a row and makes another of the same key: what is deleted comes first, in whatever order it
-- was done, so that a client that applies the events has what the table has.
CREATE SCHEMA statement_order;
SET search_path = statement_order;
CREATE TABLE places (id int PRIMARY KEY DEFERRABLE, name text);
CREATE TABLE slots (id int PRIMARY KEY, name text, n int DEFAULT 0);
SELECT livefeed.watch('places'), livefeed.watch('slots');

CREATE VIEW told AS
	SELECT feed, key, type, convert_from(frame, 'UTF8')::json #>> '{data,name}' AS name
	FROM (SELECT l.*, split_part(convert_from(l.frame, 'UTF8')::json ->> 'type', '.', 2) AS type
		FROM livefeed.log l WHERE l.xid = (SELECT max(xid::text::numeric)::text::xid8 FROM livefeed.log)) l
	ORDER BY l.command, l.seq;

-- Keys that pass through each other.
INSERT INTO places VALUES (1, 'a'), (2, 'b'), (3, 'c');
UPDATE places SET id = id + 1;
TABLE told;
UPDATE places SET id = 6 - id;
TABLE told;

-- Made first, and then deleted.
WITH made AS (INSERT INTO places VALUES (3, 'new') RETURNING id)
DELETE FROM places USING made WHERE places.id = made.id;
TABLE told;
TABLE places ORDER BY id;

-- A trigger that makes room for a row on its way in: its command began later, and was over sooner.
CREATE FUNCTION make_room() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM statement_order.slots WHERE id = NEW.id;
	RETURN NEW;
END $$;
CREATE TRIGGER make_room BEFORE INSERT ON slots FOR EACH ROW EXECUTE FUNCTION make_room();
INSERT INTO slots VALUES (1, 'a'), (2, 'b');
INSERT INTO slots VALUES (1, 'c'), (2, 'd');
TABLE told;

-- The same row made twice by one statement, the first time for nobody.
INSERT INTO slots VALUES (1, 'e'), (1, 'f');
TABLE told;

-- And one that updates the rows once they are there.
CREATE FUNCTION count_all() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE statement_order.slots SET n = n + 1, name = name || n;
	RETURN NULL;
END $$;
CREATE TRIGGER a_count AFTER INSERT ON slots FOR EACH ROW EXECUTE FUNCTION count_all();
BEGIN;
INSERT INTO slots VALUES (1, 'g'), (2, 'h');
COMMIT;
TABLE told;
TABLE slots ORDER BY id;

-- Savepoints that were rolled back leave nothing behind.
BEGIN;
SAVEPOINT s;
INSERT INTO slots VALUES (1, 'x');
ROLLBACK TO s;
INSERT INTO slots VALUES (1, 'i');
COMMIT;
TABLE told;

-- A key that two rows hold from one statement to the next: clients cannot follow, and are told to fetch.
CREATE TABLE seats (id integer PRIMARY KEY DEFERRABLE, name text);
SELECT livefeed.watch('seats');
CREATE VIEW said AS
	SELECT key, CASE WHEN flags & 16 <> 0 THEN 'resync ' || convert_from(frame, 'UTF8') ELSE convert_from(frame, 'UTF8')::json ->> 'type' END AS said
	FROM livefeed.log l WHERE l.xid = (SELECT max(xid::text::numeric)::text::xid8 FROM livefeed.log)
	ORDER BY l.command, l.seq;
INSERT INTO seats VALUES (1, 'a'), (2, 'b');
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
INSERT INTO seats VALUES (1, 'c');
DELETE FROM seats WHERE name = 'a';
COMMIT;
TABLE said;
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
UPDATE seats SET id = 2 WHERE id = 1;
UPDATE seats SET id = 3 WHERE name = 'b';
COMMIT;
TABLE said;
-- Not where one statement passes keys on, nor where the former row is gone before.
BEGIN;
UPDATE seats SET id = 5 - id;
SET CONSTRAINTS ALL DEFERRED;
DELETE FROM seats WHERE id = 2;
INSERT INTO seats VALUES (2, 'd');
COMMIT;
TABLE said;

-- What only some versions have. Since 18, keys WITHOUT OVERLAPS are GiST indexes.
DO $$
BEGIN
	IF current_setting('server_version_num')::int < 180000 THEN
		RETURN;
	END IF;
	EXECUTE 'CREATE TABLE stays (room int4range, stay daterange, guest text, PRIMARY KEY (room, stay WITHOUT OVERLAPS) DEFERRABLE INITIALLY DEFERRED)';
	PERFORM livefeed.watch('stays');
	INSERT INTO stays VALUES ('[1,2)', '[2020-01-01,2020-01-08)', 'a');
	COMMIT;
	INSERT INTO stays VALUES ('[1,2)', '[2020-01-01,2020-01-08)', 'b');
	DELETE FROM stays WHERE guest = 'a';
	COMMIT;
	ASSERT (SELECT said FROM said WHERE key IS NULL) LIKE 'resync %', 'no resync for a key that two rows held';
	UPDATE stays SET stay = '[2020-01-01,2020-01-09)';
	INSERT INTO stays VALUES ('[1,2)', '[2020-01-01,2020-01-08)', 'c');
	DELETE FROM stays WHERE guest = 'b';
	COMMIT;
	ASSERT (SELECT count(*) FROM said WHERE key IS NULL) = 0, 'a resync for two keys that overlap';
END;
$$;

SET client_min_messages = warning;
DROP SCHEMA statement_order CASCADE;
