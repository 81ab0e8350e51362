-- expose.sql: values and commands: functions of the application that clients get
-- the result of, or may call (expose.c, query.c, call.c), and who is asking
-- (claims.c).

/*
 * What is exposed. Functions by name and owner, as the authorizer's is: a table
 * of regprocedure would keep pg_upgrade from its work, and whoever makes another
 * function of that name, after this one was dropped, does not run instead. The
 * arguments follow from kind and scope. (expose.c knows the first columns.)
 */
CREATE TABLE livefeed.exposed (
	name        text     COLLATE "C" PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_]{0,62}$'),
	kind        text     COLLATE "C" NOT NULL CHECK (kind IN ('query', 'command')),
	schema      text     COLLATE "C" NOT NULL,
	function    text     COLLATE "C" NOT NULL,
	owner       text     COLLATE "C" NOT NULL,
	scope       text     COLLATE "C" CHECK (scope IN ('unit', 'user', 'row', 'all')),
	roles       text[]   NOT NULL,
	feeds       text[],
	access_feed text     COLLATE "C",
	debounce    interval,
	refresh     interval,
	CHECK (kind = 'query' AND scope IS NOT NULL AND feeds IS NOT NULL AND debounce IS NOT NULL
		AND (scope = 'row') = (access_feed IS NOT NULL)
		OR kind = 'command' AND num_nulls(scope, feeds, access_feed, debounce, refresh) = 5)
);
SELECT pg_catalog.pg_extension_config_dump('livefeed.exposed', '');

CREATE VIEW livefeed.queries AS
	SELECT e.name, e.scope, e.feeds, e.roles, e.access_feed,
		(pg_catalog.date_part('epoch', e.debounce) * 1000)::bigint AS debounce_ms,
		(pg_catalog.date_part('epoch', e.refresh) * 1000)::bigint AS refresh_ms,
		pg_catalog.format('%I.%I(%s)', e.schema, e.function, CASE e.scope WHEN 'all' THEN '' ELSE 'text' END) AS function
	FROM livefeed.exposed e WHERE e.kind = 'query';
COMMENT ON VIEW livefeed.queries IS 'the exposed queries';

CREATE VIEW livefeed.commands AS
	SELECT e.name, e.roles, pg_catalog.format('%I.%I(jsonb)', e.schema, e.function) AS function
	FROM livefeed.exposed e WHERE e.kind = 'command';
COMMENT ON VIEW livefeed.commands IS 'the exposed commands';

-- Part of expose_query() and expose_command(), which run as the caller: looks at
-- the function and its owner, takes the name, and writes it down.
CREATE FUNCTION livefeed.expose_function(kind text, name text, function regprocedure, roles text[], scope text DEFAULT NULL,
		feeds text[] DEFAULT NULL, access_feed text DEFAULT NULL, debounce interval DEFAULT NULL, refresh interval DEFAULT NULL)
	RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_expose_function';

-- Part of the same: what is wrong with a name or a list of roles raises.
CREATE FUNCTION livefeed.expose_check(kind text, name text, function regprocedure, roles text[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	IF name IS NULL OR name !~ '^[a-z][a-z0-9_]{0,62}$' THEN
		RAISE EXCEPTION 'invalid % name %', kind, coalesce(quote_literal(name), 'NULL') USING ERRCODE = 'invalid_name',
			HINT = format('A %s''s name is a lower-case letter, then lower-case letters, digits and _, 63 at most.', kind);
	END IF;
	IF function IS NULL THEN
		RAISE EXCEPTION '% "%" needs a function', kind, name USING ERRCODE = 'null_value_not_allowed',
			HINT = format('To take back what is exposed, call livefeed.hide(%L).', name);
	END IF;
	IF roles IS NULL OR EXISTS (SELECT FROM unnest(roles) r WHERE r IS NULL OR r = '') THEN
		RAISE EXCEPTION 'roles of % "%" must not be null, nor hold null or empty names', kind, name
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Empty roles, ''{}'', ask for none.';
	END IF;
	IF '*' = ANY (roles) THEN
		RAISE EXCEPTION 'roles ''{*}'' of % "%" mean nothing', kind, name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Leave roles empty: then none is asked for.';
	END IF;
END
$$;

CREATE FUNCTION livefeed.expose_query(name text, function regprocedure, scope text, feeds text[], roles text[] DEFAULT '{}',
		access_feed text DEFAULT NULL, debounce interval DEFAULT '50 ms', refresh interval DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM livefeed.expose_check('query', name, function, roles);
	IF scope IS NULL OR scope NOT IN ('unit', 'user', 'row', 'all') THEN
		RAISE EXCEPTION 'invalid scope % of query "%"', coalesce(quote_literal(scope), 'NULL'), name
			USING ERRCODE = 'invalid_parameter_value', HINT = 'A scope is unit, user, row or all.';
	END IF;
	IF roles <> '{}' AND scope IN ('user', 'row') THEN
		RAISE EXCEPTION 'query "%" has roles, which scope % does not ask for', name, scope
			USING ERRCODE = 'invalid_parameter_value', HINT = CASE scope
				WHEN 'user' THEN 'A user''s value is that user''s alone.'
				ELSE 'A row''s value goes to whoever may have the row channel of access_feed.' END;
	END IF;
	IF scope = 'row' AND access_feed IS NULL THEN
		RAISE EXCEPTION 'query "%" of scope row needs access_feed', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Whoever may have a row channel of that feed gets the value.';
	END IF;
	IF scope <> 'row' AND access_feed IS NOT NULL THEN
		RAISE EXCEPTION 'query "%" has an access_feed, which is for scope row only', name USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF feeds IS NULL OR array_ndims(feeds) > 1 OR array_position(feeds, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'feeds of query "%" must be a list of feeds', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Name the feeds whose events change the value: ARRAY[''notifications''].';
	END IF;
	IF feeds = '{}' AND refresh IS NULL THEN
		RAISE EXCEPTION 'query "%" would never run again', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Name the feeds whose events change the value, or give a refresh.';
	END IF;
	IF debounce IS NULL OR debounce < interval '0' OR debounce > interval '1 day' THEN
		RAISE EXCEPTION 'debounce of query "%" must be from 0 to 1 day', name USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF refresh < interval '100 ms' OR refresh > interval '30 days' THEN
		RAISE EXCEPTION 'refresh of query "%" must be from 100 ms to 30 days', name USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Null: only when an event touches its scope.';
	END IF;
	PERFORM livefeed.expose_function('query', name, function, roles, scope, feeds, access_feed, debounce, refresh);
END
$$;
COMMENT ON FUNCTION livefeed.expose_query(text, regprocedure, text, text[], text[], text, interval, interval) IS
	'a function''s result becomes a value that clients subscribe to';

CREATE FUNCTION livefeed.expose_command(name text, function regprocedure, roles text[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM livefeed.expose_check('command', name, function, roles);
	PERFORM livefeed.expose_function('command', name, function, roles);
END
$$;
COMMENT ON FUNCTION livefeed.expose_command(text, regprocedure, text[]) IS 'a function becomes a command that clients may call';

-- For bridges: the value of an exposed query, with the rights of its function's
-- owner, and the last tick that the same snapshot sees.
CREATE FUNCTION livefeed.run_query(name text, value text, OUT data text, OUT after bigint, OUT epoch text)
	STABLE LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_run_query';

COMMENT ON TABLE livefeed.exposed IS 'the exposed queries and commands';
COMMENT ON FUNCTION livefeed.expose_function(text, text, regprocedure, text[], text, text[], text, interval, interval) IS
	'part of expose_query() and expose_command(): looks at the function, and writes it down';
COMMENT ON FUNCTION livefeed.expose_check(text, text, regprocedure, text[]) IS
	'part of expose_query() and expose_command(): looks at the name and the roles';
COMMENT ON FUNCTION livefeed.run_query(text, text) IS 'the value of an exposed query, for bridges';

