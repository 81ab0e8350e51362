-- What changes of a row become which events. Not here: how values are rendered
-- (render.sql), limits (limits.sql), broken definitions (broken.sql).
CREATE SCHEMA capture;
SET search_path = capture;
\pset format unaligned
\i ../sql/include/begin.psql

-- Created, updated, deleted; the action of a status column, of others, of the transaction.
CREATE TABLE requests (id int PRIMARY KEY, unit_id int, status text, remark text, amount numeric, secret text);
SELECT livefeed.watch('requests', entity => 'request', unit => 'unit_id', action => 'status',
	actions => '{"noted": ["remark", "secret"], "paid": ["amount"]}', except_columns => '{secret}');
INSERT INTO requests VALUES (1, 7, 'Pending', NULL, 10.00, 's');
UPDATE requests SET status = 'Sent Back (again)';
UPDATE requests SET remark = 'x', amount = 11;
UPDATE requests SET amount = 12;
UPDATE requests SET unit_id = unit_id, amount = 12.0, status = status;
BEGIN;
SET LOCAL livefeed.action = 'corrected';
SET LOCAL livefeed.actor = 'alice';
UPDATE requests SET amount = 13, status = 'Approved';
COMMIT;
DELETE FROM requests;
\i ../sql/include/say.psql

-- Nothing that is published, no unit, no user: nothing is sent.
INSERT INTO requests VALUES (2, 7, 'Pending');
\i ../sql/include/say.psql
UPDATE requests SET amount = amount;
UPDATE requests SET secret = 'other';
UPDATE requests SET status = NULL;
UPDATE requests SET status = '--';
\i ../sql/include/say.psql

-- From unit to unit, from nobody's to a unit, and back; '' is nobody's too.
UPDATE requests SET unit_id = 9, remark = 'moved';
UPDATE requests SET unit_id = NULL;
UPDATE requests SET unit_id = 8;
\i ../sql/include/say.psql

-- A key that changes.
UPDATE requests SET id = 3, unit_id = 9;
TRUNCATE requests;
\i ../sql/include/say.psql

-- Users: columns, an array column; those who leave, enter, stay.
CREATE TABLE orders (id uuid PRIMARY KEY, customer text, watchers int[], unit text, n int);
SELECT livefeed.watch('orders', unit => 'unit', users => '{customer,watchers}');
INSERT INTO orders VALUES ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'carl', '{3,NULL,2,3}', 'u', 1);
\i ../sql/include/say.psql
UPDATE orders SET watchers = '{2,4}';
\i ../sql/include/say.psql
UPDATE orders SET watchers = '{4,2,2}';
\i ../sql/include/say.psql
UPDATE orders SET customer = '', watchers = NULL;
\i ../sql/include/say.psql
UPDATE orders SET unit = '', customer = 'dora';
\i ../sql/include/say.psql
UPDATE orders SET unit = NULL;
\i ../sql/include/say.psql

-- Unit and users by function; one that looks at an unpublished column.
CREATE TABLE boards (id int PRIMARY KEY, team text);
CREATE TABLE cards (id int PRIMARY KEY, board int, people text, title text);
INSERT INTO boards VALUES (1, 'red'), (2, 'blue');
CREATE FUNCTION unit_of(cards) RETURNS text LANGUAGE sql STABLE AS
	'SELECT b.team FROM capture.boards b WHERE b.id = $1.board';
CREATE FUNCTION users_of(cards) RETURNS text[] LANGUAGE plpgsql STABLE AS
	'BEGIN RETURN string_to_array($1.people, '' ''); END';
SELECT livefeed.watch('cards', entity => 'card', unit_function => 'unit_of(cards)', users_function => 'users_of(cards)',
	columns => '{title}');
INSERT INTO cards VALUES (1, 1, 'ann bob', 'one');
UPDATE cards SET people = 'bob ann ann';
\i ../sql/include/say.psql
UPDATE cards SET board = 2, people = 'bob';
\i ../sql/include/say.psql

-- A row that goes with its parent: a function that is STABLE still finds whose that was.
CREATE TABLE lists (id int PRIMARY KEY, team text);
CREATE TABLE entries (id int PRIMARY KEY, list int REFERENCES lists ON DELETE CASCADE);
CREATE FUNCTION team_of(entries) RETURNS text LANGUAGE sql STABLE AS
	'SELECT l.team FROM capture.lists l WHERE l.id = $1.list';
SELECT livefeed.watch('entries', entity => 'entry', unit_function => 'team_of(entries)');
INSERT INTO lists VALUES (1, 'red');
INSERT INTO entries VALUES (5, 1);
DELETE FROM lists;
\i ../sql/include/say.psql

-- Composite keys, in the key's order, encoded; a replica identity serves as key.
CREATE TABLE seats (row_no int, hall text, taken bool, PRIMARY KEY (hall, row_no));
SELECT livefeed.watch('seats');
INSERT INTO seats VALUES (3, 'a,b/é "%', false);
CREATE TABLE named (code text NOT NULL, n int);
CREATE UNIQUE INDEX named_code ON named (code);
ALTER TABLE named REPLICA IDENTITY USING INDEX named_code;
SELECT livefeed.watch('named');
INSERT INTO named VALUES ('x y,z', 1);
\i ../sql/include/say.psql

-- Dropped, added and generated columns.
CREATE TABLE changing (a int, b int, id int PRIMARY KEY, twice int GENERATED ALWAYS AS (b * 2) STORED);
ALTER TABLE changing DROP COLUMN a;
SELECT livefeed.watch('changing', columns => '{twice}');
INSERT INTO changing VALUES (1, 1);
ALTER TABLE changing ADD COLUMN c text DEFAULT 'new';
UPDATE changing SET b = 2;
UPDATE changing SET c = 'unseen';
SELECT livefeed.watch('changing');
UPDATE changing SET c = 'seen';
\i ../sql/include/say.psql

-- The order inside a transaction is that of the rows' versions, also where a
-- trigger of the application changes the row before ours has fired.
CREATE TABLE chain (id int PRIMARY KEY, n int);
CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE capture.chain SET n = n + 1 WHERE id = NEW.id + 1 AND n < 100;
	RETURN NULL;
END $$;
CREATE TRIGGER a_first AFTER UPDATE ON chain FOR EACH ROW WHEN (pg_trigger_depth() < 2) EXECUTE FUNCTION bump();
SELECT livefeed.watch('chain');
INSERT INTO chain VALUES (1, 10), (2, 20);
UPDATE chain SET n = n + 5;
BEGIN;
DELETE FROM chain WHERE id = 1;
INSERT INTO chain VALUES (1, 99);
UPDATE chain SET n = 98 WHERE id = 1;
COMMIT;
\i ../sql/include/say.psql

-- Rolled back, all or a savepoint.
BEGIN; UPDATE chain SET n = 0; ROLLBACK;
BEGIN;
UPDATE chain SET n = 1 WHERE id = 1;
SAVEPOINT s;
UPDATE chain SET n = 2 WHERE id = 1;
ROLLBACK TO s;
UPDATE chain SET n = 3 WHERE id = 1;
COMMIT;
\i ../sql/include/say.psql

-- Upserts, COPY, and a cursor's row.
INSERT INTO chain VALUES (1, 4) ON CONFLICT (id) DO UPDATE SET n = excluded.n;
COPY chain FROM stdin;
5	50
\.
\i ../sql/include/say.psql

-- Switched off; and as a replica, without and with ENABLE ALWAYS.
SET livefeed.enabled = off;
UPDATE chain SET n = 60;
TRUNCATE seats;
RESET livefeed.enabled;
SET session_replication_role = replica;
UPDATE chain SET n = 61;
ALTER TABLE chain ENABLE ALWAYS TRIGGER livefeed_row;
UPDATE chain SET n = 62 WHERE id = 1;
RESET session_replication_role;
\i ../sql/include/say.psql

-- The trigger functions are for watch() alone.
SELECT livefeed.capture_row();
CREATE TRIGGER wrong BEFORE INSERT ON chain FOR EACH ROW EXECUTE FUNCTION livefeed.capture_row('{}');
INSERT INTO chain VALUES (9, 9);

SET client_min_messages = warning;
DROP SCHEMA capture CASCADE;
