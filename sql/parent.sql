-- parent_feed: events that also go to the row channels of another feed. Not here:
-- who then gets them, which the bridge sees to (test/e2e/parents.test.mjs).
CREATE SCHEMA parent;
SET search_path = parent;
\pset format unaligned
\set VERBOSITY terse
\i ../sql/include/begin.psql
SELECT livefeed.reset();
SELECT id_last AS base FROM livefeed.ticks ORDER BY tick DESC LIMIT 1 \gset
CREATE VIEW told AS
	SELECT l.seq, concat_ws(' ', CASE WHEN flags & 16 <> 0 THEN 'resync' WHEN flags & 64 <> 0 THEN 'deleted' WHEN flags & 128 <> 0 THEN 'updated' ELSE 'created' END,
			CASE WHEN flags & 1 <> 0 THEN 'unit' END, CASE WHEN flags & 2 <> 0 THEN 'users' END,
			CASE WHEN flags & 4 <> 0 THEN 'row' END, CASE WHEN flags & 8 <> 0 THEN 'feed' END) AS to,
		feed, unit, users, key, parent_feed, parent_key, substring(convert_from(frame, 'UTF8') FROM '"action":"[^"]*"|^[a-z_]+$') AS action,
		convert_from(frame, 'UTF8') ~ '"data":\{' AS data
	FROM livefeed.log l WHERE flags & 32 = 0;
\set say 'SELECT "to", feed, unit, users, key, parent_feed AS parent, parent_key, action, data FROM told WHERE seq > :seen ORDER BY seq; SELECT max(seq) AS seen FROM livefeed.log \\gset'

-- Comments of a card. Both arguments or none; the column is one of the child.
CREATE TABLE cards (id int PRIMARY KEY, team text, title text);
CREATE TABLE comments (id int PRIMARY KEY, card_id bigint, team text, author text, body text);
SELECT livefeed.watch('comments', parent_feed => 'cards');
SELECT livefeed.watch('comments', parent => 'card_id');
SELECT livefeed.watch('comments', parent_feed => 'Cards', parent => 'card_id');
SELECT livefeed.watch('comments', parent_feed => 'cards', parent => 'card');
-- The parent may be watched later; until then nobody can hold a channel of it.
SELECT livefeed.watch('comments', unit => 'team', users => '{author}', columns => '{body}', parent_feed => 'cards', parent => 'card_id');
INSERT INTO comments VALUES (1, 5, 'red', 'alice', 'first');
:say
SELECT livefeed.watch('cards', unit => 'team');
SELECT feed, parent_feed FROM livefeed.feeds WHERE feed IN ('cards', 'comments') ORDER BY feed;
SELECT feed, parent_feed, parent, durable, latest_only, problem FROM livefeed.watches WHERE feed = 'comments';

-- Made, changed, deleted: to the parent's row too. One without a parent: to nobody's.
INSERT INTO comments VALUES (2, 5, 'red', 'alice', 'second'), (3, NULL, 'red', 'alice', 'nobody''s');
UPDATE comments SET body = 'changed' WHERE id > 1;
DELETE FROM comments WHERE id > 1;
:say
-- From parent to parent: out, in, and the rest without a parent. To none, and from none.
UPDATE comments SET card_id = 6;
UPDATE comments SET card_id = NULL, body = 'alone';
UPDATE comments SET card_id = 7;
:say
-- Everything moves at once: out of all, into all, in this order.
UPDATE comments SET card_id = 8, team = 'blue', author = 'bob';
-- Unit and users alone: the parent stays with those who stay.
UPDATE comments SET team = 'green';
:say
-- A key that changes; a change that nobody is to see.
UPDATE comments SET id = 4, card_id = 9;
UPDATE comments SET card_id = card_id;
:say

-- Nested units of the same table: a tree.
CREATE TABLE folders (id int PRIMARY KEY, up int);
SELECT livefeed.watch('folders', parent_feed => 'folders', parent => 'up');
INSERT INTO folders VALUES (1, NULL), (2, 1);
:say

-- Under a declared feed; of a partitioned table.
SELECT livefeed.declare_feed('tours');
CREATE TABLE stops (id int PRIMARY KEY, junk int, tour text) PARTITION BY RANGE (id);
CREATE TABLE stops_1 (tour text, id int PRIMARY KEY, junk int);
ALTER TABLE stops ATTACH PARTITION stops_1 FOR VALUES FROM (0) TO (10);
SELECT livefeed.watch('stops', except_columns => '{junk}', parent_feed => 'tours', parent => 'tour');
INSERT INTO stops VALUES (1, 1, 'a/b, "ü"');
:say

-- Resyncs of the child reach who holds a parent's row: folded, truncated, asked for.
BEGIN;
SET LOCAL livefeed.max_events_per_transaction = 2;
INSERT INTO comments SELECT g, 5, 'red', 'alice', 'many' FROM generate_series(11, 20) g;
COMMIT;
TRUNCATE comments;
SELECT livefeed.resync('comments');
SELECT livefeed.resync('cards');
:say

-- A page of the parent's feed has the children's events; events() has only what is asked for.
SELECT livefeed.tick() > 0 AS ticked;
SELECT DISTINCT r.feed FROM livefeed.read(:base, 1000, 'cards') r WHERE r.flags & 512 = 0 ORDER BY 1;
SELECT DISTINCT r.feed FROM livefeed.read(:base, 1000, 'comments') r WHERE r.flags & 512 = 0 ORDER BY 1;
SELECT DISTINCT feed FROM livefeed.events(feed => 'cards') ORDER BY 1;

-- A column that is gone is a broken watch; so is a value too long for a key.
ALTER TABLE comments RENAME card_id TO cards_id;
INSERT INTO comments VALUES (30, 5, 'red', 'alice', 'lost');
ALTER TABLE comments RENAME cards_id TO card_id;
UPDATE stops SET tour = repeat('x', 1025);
:say

-- Nobody speaks on the row channels of another's table.
CREATE ROLE parent_stranger;
GRANT CREATE, USAGE ON SCHEMA parent TO parent_stranger;
SET ROLE parent_stranger;
CREATE TABLE spoof (id int PRIMARY KEY, card_id int);
SELECT livefeed.watch('spoof', entity => 'cards', parent_feed => 'cards', parent => 'card_id');
SELECT livefeed.watch('spoof', parent_feed => 'tours', parent => 'card_id');
-- Not even where the table came later, or the trigger is made by hand.
SELECT livefeed.watch('spoof', parent_feed => 'later', parent => 'card_id');
INSERT INTO spoof VALUES (1, 1);
RESET ROLE;
:say
CREATE TABLE later (id int PRIMARY KEY);
SELECT livefeed.watch('later');
SET ROLE parent_stranger;
INSERT INTO spoof VALUES (2, 1);
RESET ROLE;
:say
SELECT relation, problem FROM livefeed.watches WHERE relation = 'spoof'::regclass;
-- The owner of both may; so may who is granted to publish.
ALTER TABLE later OWNER TO parent_stranger;
SELECT livefeed.watch('later');
INSERT INTO spoof VALUES (3, 1);
:say

DROP SCHEMA parent CASCADE;
SELECT livefeed.hide('tours');
DROP ROLE parent_stranger;
