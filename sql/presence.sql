-- Who is online: what bridges report, and the events that tell queries of it.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
DROP EXTENSION livefeed CASCADE;
CREATE EXTENSION livefeed;
RESET client_min_messages;
CREATE ROLE lf_bridge;
SELECT livefeed.grant_bridge('lf_bridge');
CREATE VIEW told AS SELECT flags, feed, unit, users, frame IS NOT NULL AS frame FROM livefeed.transient ORDER BY seq;
CREATE VIEW here AS SELECT bridge, session, user_id, units, transport, address, connected_at AT TIME ZONE 'UTC' AS connected_at, channels
	FROM livefeed.sessions ORDER BY bridge, session;

-- Bridges that nobody knows report nothing.
SET ROLE lf_bridge;
SELECT livefeed.report_sessions('b1', '{"round": 1, "set": [{"session": "1", "user": "42"}]}');
SELECT livefeed.register_bridge('b1', 'here', 1, '0.2.0'), livefeed.register_bridge('b2', 'there', 2, '0.2.0');
SELECT livefeed.report_sessions('b1', '{"round": 1, "set": [
	{"session": "1", "user": "42", "units": ["7", "9"], "transport": "websocket", "address": "127.0.0.1", "connected_at": 1700000000123, "channels": ["cards:unit:7"]},
	{"session": "2", "user": "zoë", "units": [], "transport": "websocket", "address": "", "connected_at": 1700000000000, "channels": []}]}');
SELECT livefeed.report_sessions('b2', '{"round": 1, "set": [{"session": "1", "user": "43", "units": ["7"], "transport": "sse", "address": "::1", "connected_at": 0}]}');
RESET ROLE;
SELECT * FROM here;
SELECT * FROM told;		-- no query wants to know

CREATE FUNCTION online(unit text) RETURNS jsonb STABLE LANGUAGE sql AS
	'SELECT coalesce(jsonb_agg(DISTINCT user_id ORDER BY user_id), ''[]'') FROM livefeed.sessions WHERE units @> ARRAY[unit]';
SELECT livefeed.expose_query('online', 'online(text)', 'unit', '{livefeed_sessions}');
SET ROLE lf_bridge;
SELECT data FROM livefeed.run_query('online', '7');
SELECT data FROM livefeed.run_query('online', '8');

-- What changes, is told: of units and users, each once.
SELECT livefeed.report_sessions('b1', '{"round": 1, "set": [
	{"session": "3", "user": "44", "units": ["7", "8"]}, {"session": "4", "user": "44", "units": ["7"]}]}');
RESET ROLE;
TABLE told;
CREATE FUNCTION tell(bridge text, changes jsonb, OUT rows bigint, OUT unit text, OUT users text[], OUT flags integer) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE last bigint := coalesce((SELECT max(seq) FROM livefeed.transient), 0);
BEGIN
	rows := livefeed.report_sessions(bridge, changes);
	RETURN NEXT;
	FOR unit, users, flags IN SELECT t.unit, t.users, t.flags FROM livefeed.transient t WHERE t.seq > last ORDER BY t.seq LOOP
		RETURN NEXT;
	END LOOP;
END $$;
SELECT * FROM tell('b1', '{"round": 1, "set": [{"session": "3", "user": "44", "units": ["7", "8"]}]}');	-- nothing new
SELECT * FROM tell('b1', '{"round": 1, "set": [{"session": "3", "user": "44", "units": ["8"]}]}');	-- fewer units
SELECT * FROM tell('b1', '{"round": 1, "set": [{"session": "3", "user": "44", "units": ["8"], "channels": ["x"]}]}');
SELECT * FROM tell('b1', '{"round": 1, "gone": ["4", "99"]}');
SELECT * FROM tell('b1', '{}');
SELECT * FROM tell('b1', '{"round": 1, "set": [{"session": "5", "user": "50"}], "gone": ["5"]}');		-- its last word counts
-- A bridge that begins anew, in two parts: what it does not report again is gone.
SELECT * FROM tell('b1', '{"round": 2, "set": [{"session": "1", "user": "42", "units": ["7", "9"], "channels": ["cards:unit:7"]}]}');
SELECT * FROM tell('b1', '{"round": 2, "set": [{"session": "6", "user": "60", "units": ["6"]}], "last": true}');
SELECT bridge, session, user_id FROM here;

-- A bridge that is not seen any more: what it left does not show, and then is gone.
UPDATE livefeed.bridge SET seen_at = seen_at - interval '21 s' WHERE bridge = 'b1';
SELECT bridge, session, user_id FROM here;
SELECT count(*) FROM livefeed.session;
CREATE FUNCTION prune_tells(OUT unit text, OUT users text[]) RETURNS SETOF record LANGUAGE sql AS
	'SELECT livefeed.prune_sessions(); SELECT t.unit, t.users FROM livefeed.transient t ORDER BY t.seq DESC LIMIT 4';
SELECT * FROM prune_tells();
SELECT count(*) FROM livefeed.session;
-- One that says good-bye takes its own along.
SELECT livefeed.unregister_bridge('b2');
SELECT count(*) FROM livefeed.session;
SELECT unit, users FROM livefeed.transient ORDER BY seq DESC LIMIT 2;

-- For queries alone: there is no such feed.
SELECT count(*) FROM livefeed.feeds WHERE feed = 'livefeed_sessions';
SELECT livefeed.publish('livefeed_sessions', 'updated', '{}');
SELECT livefeed.resync('livefeed_sessions');
SET ROLE lf_bridge;
SELECT livefeed.tell_sessions('{7}', '{42}');
INSERT INTO livefeed.session VALUES ('b1', '1', 1, '1', '{}', '', NULL, now(), '{}');
RESET ROLE;

DROP FUNCTION tell, prune_tells, online;
DROP VIEW told, here;
SELECT livefeed.hide('online');
SELECT livefeed.reset();
DROP OWNED BY lf_bridge;
DROP ROLE lf_bridge;
