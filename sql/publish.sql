-- Feeds that are no table, and paths.
CREATE SCHEMA publish;
SET search_path = publish;
\pset format unaligned
\set SHOW_CONTEXT never
\i ../sql/include/begin.psql

SELECT livefeed.declare_feed('alerts', entity => 'alert', roles => '{clerk}');
SELECT livefeed.publish('alerts', 'created', '{"text": "hi\u0007", "n": 1.0}');
SELECT livefeed.publish('alerts', 'Shut down', '[1, 2]', unit => '7', users => '{b,a,NULL,a,""}', key => 'k/1');
SELECT livefeed.publish('alerts', 'deleted', '{"never": "seen"}', unit => '', key => 'k/1');
SELECT livefeed.publish('alerts', 'updated', NULL, users => NULL);
BEGIN; SELECT livefeed.publish('alerts', 'gone', '1'); ROLLBACK;
SELECT livefeed.resync('alerts');
\i ../sql/include/say.psql
SELECT livefeed.declare_feed('alerts');
SELECT feed, declared, entity, roles, key_columns FROM livefeed.feeds WHERE feed = 'alerts';

-- A read-only transaction writes no event.
CREATE TABLE thing (id int PRIMARY KEY);
SELECT livefeed.watch('thing');
\i ../sql/include/begin.psql
SET default_transaction_read_only = on;
SELECT livefeed.publish('alerts', 'created', '1');
SELECT livefeed.resync('alerts');
SELECT livefeed.watch('thing');
RESET default_transaction_read_only;
\i ../sql/include/say.psql

-- What is wrong is said.
\set VERBOSITY terse
SELECT livefeed.publish('no_such', 'a', '1');
SELECT livefeed.publish(NULL, 'a', '1');
SELECT livefeed.publish('alerts', '', '1');
SELECT livefeed.publish('alerts', 'a', '1', unit => repeat('x', 1025));
SELECT livefeed.publish('alerts', 'a', '1', key => repeat('x', 1025));
SELECT livefeed.resync('no_such');
SELECT livefeed.declare_feed('No');
SELECT livefeed.declare_feed(NULL);
SELECT livefeed.declare_feed('x', entity => 'a b');
SELECT livefeed.declare_feed('x', roles => '{NULL}');
SELECT livefeed.declare_feed('x', durable => NULL);
SELECT livefeed.declare_feed('x', latest_only => NULL);
CREATE TABLE t (id int PRIMARY KEY);
SELECT livefeed.watch('t');
SELECT livefeed.publish('t', 'a', '1');
SELECT livefeed.resync('t');

-- Too large, and folded.
SET livefeed.max_event_bytes = '1kB';
SELECT livefeed.publish('alerts', 'big', to_jsonb(repeat('x', 2000)));
SET livefeed.max_events_per_transaction = 1;
SELECT livefeed.publish('alerts', 'many', to_jsonb(i)) FROM generate_series(1, 3) i;
RESET livefeed.max_events_per_transaction;
\i ../sql/include/say.psql

-- Paths.
SELECT livefeed.expose_path('/ws/crates/{1}/', ARRAY['crates:unit:{1}', 'notes:user:{user}']);
SELECT livefeed.expose_path('/ws/crates/{1}/', ARRAY['crates:unit:{1}']);
SELECT livefeed.expose_path('/a/{2}/b/{1}', ARRAY['x:row:{1},{2}', 'y:unit:{unit}', 'z']);
SELECT * FROM livefeed.paths ORDER BY path;
SELECT livefeed.expose_path('ws', ARRAY['x']);
SELECT livefeed.expose_path('/ws', ARRAY['x']);
SELECT livefeed.expose_path('/a//b', ARRAY['x']);
SELECT livefeed.expose_path('/a?b', ARRAY['x']);
SELECT livefeed.expose_path('/a/{user}', ARRAY['x']);
SELECT livefeed.expose_path('/a/{1}/{1}', ARRAY['x']);
SELECT livefeed.expose_path('/a/x{1}', ARRAY['x']);
SELECT livefeed.expose_path('/a', '{}');
SELECT livefeed.expose_path('/a', NULL);
SELECT livefeed.expose_path('/a', ARRAY['X']);
SELECT livefeed.expose_path('/a', ARRAY['x:team:7']);
SELECT livefeed.expose_path('/a', ARRAY['x:unit:']);
SELECT livefeed.expose_path('/a', ARRAY['x:unit:{1}']);
SELECT livefeed.expose_path('/a', ARRAY['x:unit:{1']);
SELECT livefeed.hide('/a/{2}/b/{1}'), livefeed.hide('/ws/crates/{1}/'), livefeed.hide('/ws/crates/{1}/'), livefeed.hide('alerts');
SELECT * FROM livefeed.paths;
\i ../sql/include/say.psql

SET client_min_messages = warning;
DROP SCHEMA publish CASCADE;
