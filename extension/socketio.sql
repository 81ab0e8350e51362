-- socketio.sql: what Socket.IO clients get without asking for it, and under which
-- names. These tables are dumped with the database.

CREATE TABLE livefeed.exposed_namespace (
	namespace   text    COLLATE "C" PRIMARY KEY,
	channels    text[]  NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.exposed_namespace', '');

CREATE TABLE livefeed.exposed_event (
	source      text    COLLATE "C" NOT NULL,
	action      text    COLLATE "C" NOT NULL, -- '': all that have no name of their own
	event       text    COLLATE "C" NOT NULL,
	PRIMARY KEY (source, action)
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.exposed_event', '');

CREATE VIEW livefeed.socketio_namespaces AS
	SELECT namespace, channels FROM livefeed.exposed_namespace;
COMMENT ON VIEW livefeed.socketio_namespaces IS 'the namespaces of Socket.IO and the channels each brings';

CREATE VIEW livefeed.socketio_events AS
	SELECT source, nullif(action, '') AS action, event FROM livefeed.exposed_event;
COMMENT ON VIEW livefeed.socketio_events IS 'the names that events and values have for Socket.IO clients';

CREATE FUNCTION livefeed.socketio_namespace(namespace text, channels text[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF namespace IS NULL OR namespace !~ '^(/|(/[A-Za-z0-9_.~-]+)+)$' OR length(namespace) > 200 THEN
		RAISE EXCEPTION 'invalid namespace %', coalesce(quote_literal(namespace), 'NULL') USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A namespace looks like /appointments: letters, digits, _, ., ~ and - between slashes, 200 at most.';
	END IF;
	PERFORM livefeed.check_channels(format('namespace "%s"', namespace), channels, '{}');
	INSERT INTO livefeed.exposed_namespace VALUES (namespace, channels)
		ON CONFLICT ON CONSTRAINT exposed_namespace_pkey DO UPDATE SET channels = excluded.channels;
	PERFORM livefeed.definitions_changed();
END
$$;
COMMENT ON FUNCTION livefeed.socketio_namespace(text, text[]) IS 'what a Socket.IO client gets on connecting to a namespace';

CREATE FUNCTION livefeed.socketio_event(source text, action text, event text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF source IS NULL OR source !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid feed or query name %', coalesce(quote_literal(source), 'NULL') USING ERRCODE = 'invalid_name',
			HINT = 'Name the feed, or the query, whose events get another name.';
	END IF;
	IF action = '' OR length(action) > 200 THEN
		RAISE EXCEPTION 'invalid action %', quote_literal(action) USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Null: all actions that have no name of their own.';
	END IF;
	IF action IS NOT NULL AND EXISTS (SELECT FROM livefeed.queries q WHERE q.name = source) THEN
		RAISE EXCEPTION 'query "%" has no actions', source USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The action of a query is null.';
	END IF;
	IF event = '' OR event ~ '[[:cntrl:]]' OR length(event) > 200 THEN
		RAISE EXCEPTION 'invalid event name %', quote_literal(event) USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Null takes a name back.';
	END IF;
	IF event IN ('connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener') THEN
		RAISE EXCEPTION 'event name "%" is one of Socket.IO''s own', event USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF event IS NULL THEN
		DELETE FROM livefeed.exposed_event e WHERE e.source = socketio_event.source AND e.action = coalesce(socketio_event.action, '');
	ELSE
		INSERT INTO livefeed.exposed_event VALUES (source, coalesce(action, ''), event)
			ON CONFLICT ON CONSTRAINT exposed_event_pkey DO UPDATE SET event = excluded.event;
	END IF;
	PERFORM livefeed.definitions_changed();
END
$$;
COMMENT ON FUNCTION livefeed.socketio_event(text, text, text) IS
	'gives a feed''s action (null: all), or a query, another event name for Socket.IO clients; event null takes it back';

COMMENT ON TABLE livefeed.exposed_namespace IS 'the namespaces of Socket.IO';
COMMENT ON TABLE livefeed.exposed_event IS 'event names for Socket.IO';
