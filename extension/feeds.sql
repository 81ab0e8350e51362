-- feeds.sql: feeds that are no table, and paths: what an application declares
-- beside its watches. These tables are dumped with the database. (publish.c,
-- declare.c, lookup.c)

CREATE TABLE livefeed.declared (
	feed        text    COLLATE "C" PRIMARY KEY,
	entity      text    COLLATE "C" NOT NULL,
	roles       text[]  NOT NULL,
	retain      boolean NOT NULL,
	durable     boolean NOT NULL,
	latest_only boolean NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.declared', '');

CREATE TABLE livefeed.exposed_path (
	path        text    COLLATE "C" PRIMARY KEY,
	channels    text[]  NOT NULL
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.exposed_path', '');

CREATE VIEW livefeed.paths AS
	SELECT path, channels FROM livefeed.exposed_path;
COMMENT ON VIEW livefeed.paths IS 'the application''s own WebSocket paths and the channels each brings';

-- Tells the bridges, with this transaction's commit, to read all definitions anew.
CREATE FUNCTION livefeed.definitions_changed() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_definitions_changed';

-- Raises if a watched table has the feed; keeps anybody else from taking a name until commit.
CREATE FUNCTION livefeed.take_name(feed text) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_take_name';

CREATE FUNCTION livefeed.declare_feed(feed text, entity text DEFAULT NULL, roles text[] DEFAULT '{}',
		retain boolean DEFAULT false, durable boolean DEFAULT true, latest_only boolean DEFAULT false)
	RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	name CONSTANT text := '^[a-z][a-z0-9_]{0,62}$';
BEGIN
	IF feed IS NULL OR feed !~ name THEN
		RAISE EXCEPTION 'invalid feed name %', coalesce(quote_literal(feed), 'NULL') USING ERRCODE = 'invalid_name',
			HINT = 'A feed''s name is a lower-case letter, then lower-case letters, digits and _, 63 at most.';
	END IF;
	IF entity !~ name THEN
		RAISE EXCEPTION 'invalid entity name %', quote_literal(entity) USING ERRCODE = 'invalid_name',
			HINT = 'An entity''s name is a lower-case letter, then lower-case letters, digits and _, 63 at most.';
	END IF;
	IF roles IS NULL OR EXISTS (SELECT FROM unnest(roles) r WHERE r IS NULL OR r = '') THEN
		RAISE EXCEPTION 'roles must not be null, nor hold null or empty names' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF retain IS NULL OR durable IS NULL OR latest_only IS NULL THEN
		RAISE EXCEPTION 'retain, durable and latest_only must not be null' USING ERRCODE = 'invalid_parameter_value';
	END IF;

	PERFORM livefeed.take_name(feed);
	INSERT INTO livefeed.declared AS d VALUES (feed, coalesce(entity, feed), roles, retain, durable, latest_only)
		ON CONFLICT ON CONSTRAINT declared_pkey DO UPDATE
		SET entity = excluded.entity, roles = excluded.roles, retain = excluded.retain,
			durable = excluded.durable, latest_only = excluded.latest_only;
	PERFORM livefeed.forget_retained(feed, retain, durable);
	PERFORM livefeed.definitions_changed();
END
$$;
COMMENT ON FUNCTION livefeed.declare_feed(text, text, text[], boolean, boolean, boolean) IS
	'makes a feed that livefeed.publish() fills';

CREATE FUNCTION livefeed.publish(feed text, action text, data jsonb, unit text DEFAULT NULL,
		users text[] DEFAULT '{}', key text DEFAULT NULL)
	RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_publish';
COMMENT ON FUNCTION livefeed.publish(text, text, jsonb, text, text[], text) IS
	'sends an event on a declared feed, with this transaction''s commit';

CREATE FUNCTION livefeed.resync(feed text) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_resync';
COMMENT ON FUNCTION livefeed.resync(text) IS 'has every subscriber of a feed fetch anew';

-- What is wrong with a list of channels to be subscribed to on connecting raises.
-- holes: the variable parts that subject has beside {user} and {unit}.
CREATE FUNCTION livefeed.check_channels(subject text, channels text[], holes text[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	channel text;
	hole    text;
BEGIN
	IF channels IS NULL OR cardinality(channels) = 0 OR array_ndims(channels) <> 1 THEN
		RAISE EXCEPTION '% needs channels', subject USING ERRCODE = 'invalid_parameter_value',
			HINT = format('For example ARRAY[''crates:unit:%s''].', CASE WHEN subject ^@ 'path' THEN '{1}' ELSE '{unit}' END);
	END IF;
	FOREACH channel IN ARRAY channels LOOP
		IF channel IS NULL OR channel !~ '^[a-z][a-z0-9_]{0,62}(:(unit|user|row):[^:[:space:][:cntrl:]]+)?$' THEN
			RAISE EXCEPTION 'invalid channel %', coalesce(quote_literal(channel), 'NULL') USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A channel is FEED, FEED:unit:VALUE, FEED:user:VALUE or FEED:row:VALUE.';
		END IF;
		FOR hole IN SELECT m[1] FROM regexp_matches(channel, '(\{[^}]*\}?|\})', 'g') m LOOP
			IF hole NOT IN ('{user}', '{unit}') AND hole <> ALL (holes) THEN
				RAISE EXCEPTION 'channel "%" has "%", which % does not', channel, hole, subject
					USING ERRCODE = 'invalid_parameter_value',
					HINT = CASE WHEN subject ^@ 'path' THEN 'Known are the path''s own variable parts, {user} and {unit}.'
						ELSE 'Known are {user} and {unit}.' END;
			END IF;
		END LOOP;
	END LOOP;
END
$$;
COMMENT ON FUNCTION livefeed.check_channels(text, text[], text[]) IS 'part of expose_path() and socketio_namespace(): looks at the channels';

CREATE FUNCTION livefeed.expose_path(path text, channels text[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	part  text;
	holes text[] := '{}';
BEGIN
	IF path IS NULL OR path !~ '^(/[^/?#[:space:][:cntrl:]]+)+/?$' OR length(path) > 1000 THEN
		RAISE EXCEPTION 'invalid path %', coalesce(quote_literal(path), 'NULL') USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A path looks like /ws/crates/{1}/: no empty parts, no query string.';
	END IF;
	IF path ~ '^/ws/?$' THEN
		RAISE EXCEPTION 'path "/ws" is the protocol''s own' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF path ~ '^/socket\.io(/|$)' THEN
		RAISE EXCEPTION 'path "%" is that of Socket.IO', path USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Call livefeed.socketio_namespace() for what its clients get.';
	END IF;
	FOREACH part IN ARRAY string_to_array(trim(BOTH '/' FROM path), '/') LOOP
		CONTINUE WHEN part !~ '[{}]';
		IF part !~ '^\{[1-9][0-9]?\}$' OR part = ANY (holes) THEN
			RAISE EXCEPTION 'invalid part "%" of path "%"', part, path USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A variable part is {1}, {2}, ...: a whole part, each number once.';
		END IF;
		holes := holes || part;
	END LOOP;
	PERFORM livefeed.check_channels(format('path "%s"', path), channels, holes);

	INSERT INTO livefeed.exposed_path VALUES (path, channels)
		ON CONFLICT ON CONSTRAINT exposed_path_pkey DO UPDATE SET channels = excluded.channels;
	PERFORM livefeed.definitions_changed();
END
$$;
COMMENT ON FUNCTION livefeed.expose_path(text, text[]) IS
	'a WebSocket path of the application''s own, with subscriptions made on connecting';

CREATE FUNCTION livefeed.hide(name text) RETURNS boolean
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	hidden boolean;
BEGIN
	DELETE FROM livefeed.declared d WHERE d.feed = hide.name;
	hidden := FOUND;
	PERFORM livefeed.forget_retained(name, false, false);
	DELETE FROM livefeed.exposed_snapshot e WHERE e.feed = hide.name;
	hidden := hidden OR FOUND;
	DELETE FROM livefeed.exposed_path p WHERE p.path = hide.name;
	hidden := hidden OR FOUND;
	DELETE FROM livefeed.exposed e WHERE e.name = hide.name;
	hidden := hidden OR FOUND;
	DELETE FROM livefeed.exposed_namespace n WHERE n.namespace = hide.name;
	hidden := hidden OR FOUND;
	IF hidden THEN
		PERFORM livefeed.definitions_changed();
	END IF;
	RETURN hidden;
END
$$;
COMMENT ON FUNCTION livefeed.hide(text) IS 'takes back a declared feed, a query, a command, an exposed path or a namespace; false if there is none of that name';

-- Who may see the row of a key now: 'found' with its unit and users, 'absent',
-- or 'spelling' if that is no key's canonical text. The look-up has the table
-- owner's rights, as those of foreign keys do.
CREATE FUNCTION livefeed.row_scope(feed text, key text, OUT status text, OUT unit text, OUT users text[])
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_row_scope';

COMMENT ON TABLE livefeed.declared IS 'the declared feeds';
COMMENT ON TABLE livefeed.exposed_path IS 'the exposed paths';
COMMENT ON FUNCTION livefeed.row_scope(text, text) IS 'who may see the row of a key now, for bridges';
