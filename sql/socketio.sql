-- What Socket.IO clients get, and under which names.
\set SHOW_CONTEXT never
SELECT livefeed.socketio_namespace('/appointments', ARRAY['appointments:unit:{unit}', 'today:user:{user}']);
SELECT livefeed.socketio_namespace('/appointments', ARRAY['appointments:unit:{unit}', 'pending:unit:{unit}']);
SELECT livefeed.socketio_namespace('/', '{notices}');
SELECT livefeed.socketio_namespace('/a/b-c.d~e_f', '{notices}');
SELECT * FROM livefeed.socketio_namespaces ORDER BY namespace;
SELECT livefeed.socketio_namespace(NULL, '{x}');
SELECT livefeed.socketio_namespace('', '{x}');
SELECT livefeed.socketio_namespace('x', '{x}');
SELECT livefeed.socketio_namespace('/x/', '{x}');
SELECT livefeed.socketio_namespace('//x', '{x}');
SELECT livefeed.socketio_namespace('/x,y', '{x}');
SELECT livefeed.socketio_namespace('/x?y', '{x}');
SELECT livefeed.socketio_namespace('/{1}', '{x}');
SELECT livefeed.socketio_namespace('/x', '{}');
SELECT livefeed.socketio_namespace('/x', NULL);
SELECT livefeed.socketio_namespace('/x', ARRAY['X']);
SELECT livefeed.socketio_namespace('/x', ARRAY['x:unit:{1}']);
SELECT livefeed.expose_path('/socket.io/x', '{x}');
SELECT livefeed.expose_path('/socket.io', '{x}');

SELECT livefeed.socketio_event('cards', 'moved', 'card_move');
SELECT livefeed.socketio_event('cards', NULL, 'card update');
SELECT livefeed.socketio_event('pending', NULL, 'pending_count');
SELECT livefeed.socketio_event('cards', 'moved', 'card_moved');
SELECT * FROM livefeed.socketio_events ORDER BY source, action;
SELECT livefeed.socketio_event(NULL, 'moved', 'x');
SELECT livefeed.socketio_event('Cards', 'moved', 'x');
SELECT livefeed.socketio_event('cards', '', 'x');
SELECT livefeed.socketio_event('cards', 'moved', '');
SELECT livefeed.socketio_event('cards', 'moved', E'a\nb');
SELECT livefeed.socketio_event('cards', 'moved', 'disconnect');
CREATE FUNCTION pending() RETURNS jsonb STABLE LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
SELECT livefeed.expose_query('pending', 'pending()', 'all', '{}', refresh => '1 min');
SELECT livefeed.socketio_event('pending', 'moved', 'x');

-- Each change makes bridges read the definitions anew; a name is taken back with a null, a namespace hidden.
SELECT definitions AS before FROM livefeed.look() \gset
SELECT livefeed.socketio_event('cards', NULL, NULL);
SELECT definitions <> :'before' AS changed, definitions AS before FROM livefeed.look() \gset
\echo :changed
SELECT livefeed.hide('/'), livefeed.hide('/a/b-c.d~e_f'), livefeed.hide('/nothing');
SELECT definitions <> :'before' AS changed FROM livefeed.look();
SELECT * FROM livefeed.socketio_events ORDER BY source, action;
SELECT * FROM livefeed.socketio_namespaces ORDER BY namespace;

-- Who may.
CREATE ROLE lf_app;
CREATE ROLE lf_bridge;
SELECT livefeed.grant_application('lf_app');
SELECT livefeed.grant_bridge('lf_bridge');
SET ROLE lf_bridge;
SELECT count(*) FROM livefeed.socketio_namespaces;
SELECT count(*) FROM livefeed.socketio_events;
SELECT livefeed.socketio_namespace('/x', '{x}');
SELECT livefeed.socketio_event('cards', NULL, 'x');
SET ROLE lf_app;
SELECT livefeed.socketio_namespace('/x', '{x}');
SELECT livefeed.socketio_event('cards', NULL, 'x');
SELECT livefeed.hide('/x');
RESET ROLE;
SELECT livefeed.hide('/appointments'), livefeed.hide('pending');
SELECT livefeed.socketio_event(source, action, NULL) FROM livefeed.socketio_events;
DROP FUNCTION pending();
DROP OWNED BY lf_app, lf_bridge;
DROP ROLE lf_app, lf_bridge;
