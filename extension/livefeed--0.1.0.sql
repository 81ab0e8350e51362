\echo Use "CREATE EXTENSION livefeed" to load this file. \quit
-- tables.sql: what the extension keeps. The schema is made here, not found: a
-- schema of that name which someone else prepared is refused.
--
-- None of these tables is dumped: transaction ids mean nothing in another
-- cluster, and a restored database begins a new history with a key of its own.
-- (Declared feeds and exposed paths are dumped; they stand in feeds.sql.)

CREATE SCHEMA livefeed;

/*
 * The log. Writers insert into the child that livefeed.state names, in their
 * own transaction; livefeed.prune() empties the oldest by TRUNCATE. No DELETE
 * and no UPDATE ever happens here, so there is nothing for autovacuum to do.
 *
 * The order of rows: transactions by their greatest seq (that order, and the
 * ids, are made by livefeed.tick()), inside a transaction (command, seq).
 * journal.c knows the order of the columns.
 */
CREATE TABLE livefeed.log (
	xid         xid8        NOT NULL,	-- of the top-level transaction
	seq         bigint      NOT NULL,
	at          timestamptz NOT NULL,	-- when the event was made
	command     integer     NOT NULL,	-- NEW's cmin, cmax for DELETE
	flags       integer     NOT NULL,	-- event.h
	feed        text        COLLATE "C" NOT NULL,
	unit        text        COLLATE "C",
	users       text[]      COLLATE "C",
	to_users    text[]      COLLATE "C",
	key         text        COLLATE "C",
	parent_feed text        COLLATE "C",
	parent_key  text        COLLATE "C",
	frame       bytea
);
-- A large frame is read once and sent: compressing it costs the writer more than it saves.
ALTER TABLE livefeed.log ALTER frame SET STORAGE EXTERNAL;

-- The same for events that need not survive a crash: unlogged, rotated each minute.
CREATE TABLE livefeed.transient (LIKE livefeed.log INCLUDING STORAGE);

-- CACHE 1: a number drawn after another's commit is greater than all that were drawn before it.
CREATE SEQUENCE livefeed.seq CACHE 1;

/*
 * The ticks. A batch is what a tick's snapshot sees and that of the tick before
 * it does not: durable events id_from..id_to, then transient ones up to
 * id_last. Numbers are consecutive. A tick with segments > 0 is a large one,
 * and livefeed.segments says where its parts begin.
 */
CREATE TABLE livefeed.ticks (
	tick        bigint      NOT NULL,
	epoch       text        COLLATE "C" NOT NULL,
	snapshot    pg_snapshot NOT NULL,
	id_from     bigint      NOT NULL,
	id_to       bigint      NOT NULL,
	id_last     bigint      NOT NULL,
	at          timestamptz NOT NULL,
	segments    integer     NOT NULL
);

/*
 * Where readers may enter a large tick. A segment is either some whole
 * transactions, in the order of their ids (command is null), or a part of one
 * large transaction, that begins at (command, seq). It has "events" events,
 * the first of which has the id "id".
 */
CREATE TABLE livefeed.segments (
	tick        bigint      NOT NULL,
	id          bigint      NOT NULL,
	events      integer     NOT NULL,
	transient   boolean     NOT NULL,
	xids        xid8[]      NOT NULL,
	command     integer,
	seq         bigint
);

-- The parents are empty, and stay so; their indexes let the planner do without
-- sequential scans altogether (plan.c).
CREATE INDEX log_order ON livefeed.log (xid, command, seq);
CREATE INDEX transient_order ON livefeed.transient (xid, command, seq);
CREATE INDEX ticks_order ON livefeed.ticks (tick);
CREATE INDEX ticks_id ON livefeed.ticks (id_last, tick);
CREATE INDEX segments_order ON livefeed.segments (tick, id);

DO $$
DECLARE
	child text;
	n     integer;
BEGIN
	FOR n IN 0..2 LOOP
		EXECUTE pg_catalog.format('CREATE TABLE livefeed.log_%s () INHERITS (livefeed.log)', n);
		EXECUTE pg_catalog.format('CREATE UNLOGGED TABLE livefeed.transient_%s () INHERITS (livefeed.transient)', n);
		EXECUTE pg_catalog.format('CREATE TABLE livefeed.ticks_%s (PRIMARY KEY (tick)) INHERITS (livefeed.ticks)', n);
		EXECUTE pg_catalog.format('CREATE TABLE livefeed.segments_%s (PRIMARY KEY (tick, id)) INHERITS (livefeed.segments)', n);
		FOREACH child IN ARRAY ARRAY['log_' || n, 'transient_' || n] LOOP
			-- "command" is in the index so that the order inside a transaction is
			-- the index's: a huge one can be read in parts.
			EXECUTE pg_catalog.format('CREATE INDEX %I ON livefeed.%I (xid, command, seq)', child || '_order', child);
			EXECUTE pg_catalog.format('ALTER TABLE livefeed.%I SET (autovacuum_enabled = off, vacuum_truncate = off,
				toast.autovacuum_enabled = off, toast.vacuum_truncate = off)', child);
		END LOOP;
		EXECUTE pg_catalog.format('CREATE INDEX %I ON livefeed.%I (id_last, tick)', 'ticks_' || n || '_id', 'ticks_' || n);
		FOREACH child IN ARRAY ARRAY['ticks_' || n, 'segments_' || n] LOOP
			EXECUTE pg_catalog.format('ALTER TABLE livefeed.%I SET (autovacuum_enabled = off, vacuum_truncate = off)', child);
		END LOOP;
	END LOOP;
END
$$;

/*
 * The state: one row, changed by rotation, by reset and by the first bridge
 * that registers, never by writers or ticks. Backends keep a copy until
 * livefeed.invalidate_state() tells them; journal.c knows the first columns.
 */
CREATE TABLE livefeed.state (
	random               uuid        NOT NULL DEFAULT pg_catalog.gen_random_uuid(), -- makes the epoch this database's own
	current              smallint    NOT NULL DEFAULT 0,		-- the child of livefeed.log that writers use
	transient_current    smallint    NOT NULL DEFAULT 0,		-- and of livefeed.transient
	registered           boolean     NOT NULL DEFAULT false,	-- has a bridge ever registered?
	tick_current         smallint    NOT NULL DEFAULT 0,		-- the child of livefeed.ticks that ticks go to
	kept                 bigint      NOT NULL DEFAULT 0,		-- ids up to here are gone; a reader who has all of them may go on
	kept_tick            bigint      NOT NULL DEFAULT 1,		-- the tick whose id_last that is
	rotated_at           timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	rotated_id           bigint      NOT NULL DEFAULT 0,		-- the head at that time
	transient_rotated_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	one                  boolean     NOT NULL DEFAULT true PRIMARY KEY CHECK (one)
);
INSERT INTO livefeed.state DEFAULT VALUES;

-- The keys that sign tokens: one without rotated_at, and those it replaced.
CREATE TABLE livefeed.key (
	kid        text        COLLATE "C" PRIMARY KEY,
	secret     bytea       NOT NULL,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	rotated_at timestamptz
);
CREATE UNIQUE INDEX key_current ON livefeed.key ((true)) WHERE rotated_at IS NULL;

-- The bridges that serve this database, as they report themselves.
CREATE TABLE livefeed.bridge (
	bridge     text        COLLATE "C" PRIMARY KEY,
	host       text,
	pid        integer,
	version    text,
	started_at timestamptz NOT NULL,
	seen_at    timestamptz NOT NULL,
	last_id    bigint      NOT NULL DEFAULT 0,
	ticker     boolean     NOT NULL DEFAULT false,
	sessions   integer     NOT NULL DEFAULT 0
);

COMMENT ON SCHEMA livefeed IS 'live updates: what is watched, the log of events, and who may';
COMMENT ON TABLE livefeed.log IS 'the events; writers insert, nobody updates or deletes';
COMMENT ON TABLE livefeed.transient IS 'events that are kept for a minute, and not over a crash';
COMMENT ON SEQUENCE livefeed.seq IS 'numbers events as they are written; their order is made by ticks';
COMMENT ON TABLE livefeed.ticks IS 'the order of events: each tick shows a batch of transactions';
COMMENT ON TABLE livefeed.segments IS 'where readers may enter a large tick';
COMMENT ON TABLE livefeed.state IS 'one row: where the log stands in its rotation';
COMMENT ON TABLE livefeed.key IS 'the keys that sign tokens; never dumped';
COMMENT ON TABLE livefeed.bridge IS 'the bridges, as they report themselves';
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
	IF retain OR NOT durable OR latest_only THEN
		RAISE EXCEPTION '%', CASE
				WHEN retain THEN 'retain => true is not supported yet'
				WHEN NOT durable THEN 'durable => false is not supported yet'
				ELSE 'latest_only => true is not supported yet' END
			USING ERRCODE = 'feature_not_supported';
	END IF;

	PERFORM livefeed.take_name(feed);
	INSERT INTO livefeed.declared AS d VALUES (feed, coalesce(entity, feed), roles, retain, durable, latest_only)
		ON CONFLICT ON CONSTRAINT declared_pkey DO UPDATE
		SET entity = excluded.entity, roles = excluded.roles, retain = excluded.retain,
			durable = excluded.durable, latest_only = excluded.latest_only;
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

CREATE FUNCTION livefeed.expose_path(path text, channels text[]) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	part    text;
	channel text;
	hole    text;
	holes   text[] := '{}';
BEGIN
	IF path IS NULL OR path !~ '^(/[^/?#[:space:][:cntrl:]]+)+/?$' OR length(path) > 1000 THEN
		RAISE EXCEPTION 'invalid path %', coalesce(quote_literal(path), 'NULL') USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A path looks like /ws/crates/{1}/: no empty parts, no query string.';
	END IF;
	IF path ~ '^/ws/?$' THEN
		RAISE EXCEPTION 'path "/ws" is the protocol''s own' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	FOREACH part IN ARRAY string_to_array(trim(BOTH '/' FROM path), '/') LOOP
		CONTINUE WHEN part !~ '[{}]';
		IF part !~ '^\{[1-9][0-9]?\}$' OR part = ANY (holes) THEN
			RAISE EXCEPTION 'invalid part "%" of path "%"', part, path USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A variable part is {1}, {2}, ...: a whole part, each number once.';
		END IF;
		holes := holes || part;
	END LOOP;
	IF channels IS NULL OR cardinality(channels) = 0 OR array_ndims(channels) <> 1 THEN
		RAISE EXCEPTION 'path "%" needs channels', path USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example ARRAY[''crates:unit:{1}''].';
	END IF;
	FOREACH channel IN ARRAY channels LOOP
		IF channel IS NULL OR channel !~ '^[a-z][a-z0-9_]{0,62}(:(unit|user|row):[^:[:space:][:cntrl:]]+)?$' THEN
			RAISE EXCEPTION 'invalid channel %', coalesce(quote_literal(channel), 'NULL') USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A channel is FEED, FEED:unit:VALUE, FEED:user:VALUE or FEED:row:VALUE.';
		END IF;
		FOR hole IN SELECT m[1] FROM regexp_matches(channel, '(\{[^}]*\}?|\})', 'g') m LOOP
			IF hole NOT IN ('{user}', '{unit}') AND hole <> ALL (holes) THEN
				RAISE EXCEPTION 'channel "%" has "%", which path "%" does not', channel, hole, path
					USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Known are the path''s own variable parts, {user} and {unit}.';
			END IF;
		END LOOP;
	END LOOP;

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
	DELETE FROM livefeed.exposed_path p WHERE p.path = hide.name;
	hidden := hidden OR FOUND;
	IF hidden THEN
		PERFORM livefeed.definitions_changed();
	END IF;
	RETURN hidden;
END
$$;
COMMENT ON FUNCTION livefeed.hide(text) IS 'takes back a declared feed or an exposed path; false if there is none of that name';

-- Who may see the row of a key now: 'found' with its unit and users, 'absent',
-- or 'spelling' if that is no key's canonical text. The look-up has the table
-- owner's rights, as those of foreign keys do.
CREATE FUNCTION livefeed.row_scope(feed text, key text, OUT status text, OUT unit text, OUT users text[])
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_row_scope';

COMMENT ON TABLE livefeed.declared IS 'the declared feeds';
COMMENT ON TABLE livefeed.exposed_path IS 'the exposed paths';
COMMENT ON FUNCTION livefeed.row_scope(text, text) IS 'who may see the row of a key now, for bridges';
-- watch.sql: what is watched, and how: livefeed.watch() writes it into a trigger's
-- argument (declare.c, definition.c, watch.c, capture.c).

CREATE FUNCTION livefeed.capture_row() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_capture_row';

CREATE FUNCTION livefeed.capture_truncate() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_capture_truncate';

-- Open to everyone: each checks that the caller owns the table.
CREATE FUNCTION livefeed.watch_begin(relation regclass, feed text) RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_watch_begin';

CREATE FUNCTION livefeed.watch_changed(relation regclass) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_watch_changed';

-- A trigger's argument as text of JSON; null if it is no definition.
CREATE FUNCTION livefeed.watch_definition(arguments bytea) RETURNS text
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_watch_definition';

-- Why the watch of a relation is broken; null if it is not.
CREATE FUNCTION livefeed.watch_problem(relation oid) RETURNS text
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_watch_problem';

/*
 * The definition of a watch, every argument looked at. What is wrong is said by
 * name, before anything is changed. Runs, like watch(), as the caller.
 */
CREATE FUNCTION livefeed.watch_define(relation regclass, feed text, entity text, unit name, unit_function regprocedure,
		users name[], users_function regprocedure, roles text[], columns name[], except_columns name[],
		action name, actions json)
	RETURNS json
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	name_pattern CONSTANT text := '^[a-z][a-z0-9_]{0,62}$';
	class     pg_class;
	key       name[];
	argument  record;
	entry     record;
	item      name;
	generated "char";
	pairs     json[] := '{}';
	functions json[] := '{}';
	unit_json json;
	users_json json;
BEGIN
	SELECT * INTO class FROM pg_class c WHERE c.oid = relation;

	-- The relation.
	IF class.relkind NOT IN ('r', 'p') THEN
		RAISE EXCEPTION 'cannot watch %: it is %', relation, CASE class.relkind
				WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
				WHEN 'S' THEN 'a sequence' WHEN 'i' THEN 'an index' WHEN 'I' THEN 'an index'
				WHEN 'c' THEN 'a composite type' ELSE 'no table' END
			USING ERRCODE = 'wrong_object_type',
			HINT = 'Ordinary and partitioned tables can be watched.';
	END IF;
	IF class.oid < 16384 OR class.relnamespace IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN
			('pg_catalog', 'information_schema', 'pg_toast', 'livefeed')) THEN
		RAISE EXCEPTION 'cannot watch %: it is a system table', relation USING ERRCODE = 'wrong_object_type';
	END IF;
	IF class.relpersistence = 't' THEN
		RAISE EXCEPTION 'cannot watch %: it is a temporary table', relation USING ERRCODE = 'wrong_object_type';
	END IF;

	-- Names.
	IF feed !~ name_pattern THEN
		RAISE EXCEPTION 'invalid feed name %', quote_literal(feed) USING ERRCODE = 'invalid_name',
			HINT = 'A feed''s name is a lower-case letter, then lower-case letters, digits and _, 63 at most: give one as "feed".';
	END IF;
	IF entity !~ name_pattern THEN
		RAISE EXCEPTION 'invalid entity name %', quote_literal(entity) USING ERRCODE = 'invalid_name',
			HINT = 'An entity''s name is a lower-case letter, then lower-case letters, digits and _, 63 at most.';
	END IF;

	-- The key: primary, else the replica identity's.
	SELECT array_agg(a.attname ORDER BY k.n) INTO key
	FROM (SELECT i.indkey, i.indnkeyatts FROM pg_index i
			WHERE i.indrelid = relation AND (i.indisprimary OR i.indisreplident)
			ORDER BY i.indisprimary DESC LIMIT 1) i,
		unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n), pg_attribute a
	WHERE k.n <= i.indnkeyatts AND a.attrelid = relation AND a.attnum = k.attnum;
	IF key IS NULL THEN
		RAISE EXCEPTION 'cannot watch %: it has no primary key', relation USING ERRCODE = 'invalid_table_definition',
			HINT = 'Add one, or name a unique index with ALTER TABLE ... REPLICA IDENTITY USING INDEX.';
	END IF;

	-- What is not null where it may not be.
	IF users IS NULL OR except_columns IS NULL OR roles IS NULL OR actions IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN users IS NULL THEN 'users'
				WHEN except_columns IS NULL THEN 'except_columns' WHEN roles IS NULL THEN 'roles' ELSE 'actions' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF unit IS NOT NULL AND unit_function IS NOT NULL THEN
		RAISE EXCEPTION 'both unit and unit_function are given' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A row''s unit is either a column or what the function returns.';
	END IF;
	IF EXISTS (SELECT FROM unnest(roles) r WHERE r IS NULL OR r = '') THEN
		RAISE EXCEPTION 'roles must not hold null or empty names' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF '*' = ANY (roles) AND (unit IS NOT NULL OR unit_function IS NOT NULL) THEN
		RAISE EXCEPTION 'roles ''{*}'' is for feeds without unit' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Leave roles empty: then every member of the unit may subscribe.';
	END IF;

	-- Actions, in the order in which they are written.
	IF json_typeof(actions) <> 'object' THEN
		RAISE EXCEPTION 'actions must be a JSON object' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'For example {"moved": ["column_id", "position"]}.';
	END IF;
	FOR entry IN SELECT e.key, e.value FROM json_each(actions) e LOOP
		IF entry.key = '' OR json_typeof(entry.value) <> 'array' OR json_array_length(entry.value) = 0 OR
			EXISTS (SELECT FROM json_array_elements(entry.value) v WHERE json_typeof(v) <> 'string') THEN
			RAISE EXCEPTION 'action "%" must have an array of columns', entry.key USING ERRCODE = 'invalid_parameter_value',
				HINT = 'For example {"moved": ["column_id", "position"]}.';
		END IF;
		pairs := pairs || json_build_array(entry.key, entry.value);
	END LOOP;

	-- Columns, by the argument that names them.
	FOR argument IN
		SELECT 'unit' AS label, ARRAY[unit] AS names WHERE unit IS NOT NULL
		UNION ALL SELECT 'users', users
		UNION ALL SELECT 'columns', columns WHERE columns IS NOT NULL
		UNION ALL SELECT 'except_columns', except_columns
		UNION ALL SELECT 'action', ARRAY[action] WHERE action IS NOT NULL
		UNION ALL SELECT 'actions', ARRAY(SELECT json_array_elements_text(e.value)::name FROM json_each(actions) e)
	LOOP
		FOREACH item IN ARRAY argument.names LOOP
			SELECT a.attgenerated INTO generated FROM pg_attribute a
			WHERE a.attrelid = relation AND a.attname = item AND a.attnum > 0 AND NOT a.attisdropped;
			IF NOT FOUND THEN
				RAISE EXCEPTION '%: column % of table % does not exist', argument.label, coalesce('"' || item || '"', 'NULL'), relation
					USING ERRCODE = 'undefined_column',
					HINT = 'Columns are named without quotes or table, as in pg_attribute.';
			END IF;
			IF generated = 'v' AND argument.label <> 'except_columns' THEN
				RAISE EXCEPTION '%: column "%" of table % is a virtual generated column', argument.label, item, relation
					USING ERRCODE = 'feature_not_supported',
					HINT = 'A trigger does not see its value. Make it STORED.';
			END IF;
		END LOOP;
	END LOOP;
	IF columns IS NULL THEN
		SELECT a.attname INTO item FROM pg_attribute a
		WHERE a.attrelid = relation AND a.attgenerated = 'v' AND NOT a.attisdropped AND a.attname <> ALL (except_columns);
		IF FOUND THEN
			RAISE EXCEPTION 'column "%" of table % is a virtual generated column', item, relation
				USING ERRCODE = 'feature_not_supported',
				HINT = 'A trigger does not see its value. Make it STORED, or name it in except_columns.';
		END IF;
	END IF;

	-- Functions: of one row, and the owner's to call.
	FOR entry IN
		SELECT f.label, f.oid, f.result, p.proname, n.nspname,
			p.oid IS NOT NULL AND p.prokind = 'f' AND NOT p.proretset AND p.prorettype = f.result
				AND p.pronargs = 1 AND p.proargtypes[0] = class.reltype AS fits
		FROM (VALUES ('unit_function', unit_function::oid, 'text'::regtype),
				('users_function', users_function::oid, 'text[]'::regtype)) f (label, oid, result)
			LEFT JOIN pg_proc p ON p.oid = f.oid LEFT JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE f.oid IS NOT NULL
	LOOP
		IF NOT entry.fits THEN
			RAISE EXCEPTION '%: function % must take one row of % and return %', entry.label, entry.oid::regprocedure, relation, entry.result
				USING ERRCODE = 'invalid_function_definition',
				HINT = format('CREATE FUNCTION f(%s) RETURNS %s ...', relation, entry.result);
		END IF;
		IF NOT has_function_privilege(class.relowner, entry.oid, 'EXECUTE') THEN
			RAISE EXCEPTION '%: the owner of table % may not execute function %', entry.label, relation, entry.oid::regprocedure
				USING ERRCODE = 'insufficient_privilege';
		END IF;
		IF entry.label = 'unit_function' THEN
			unit_json := json_build_array(entry.nspname, entry.proname);
		ELSE
			users_json := json_build_array(entry.nspname, entry.proname);
		END IF;
	END LOOP;

	-- Key columns are always published, so that columns is never empty.
	RETURN json_strip_nulls(json_build_object('feed', feed, 'entity', entity, 'key', key, 'unit', unit,
		'unit_function', unit_json, 'users', users, 'users_function', users_json, 'roles', roles,
		'columns', (SELECT json_agg(DISTINCT c) FROM unnest(columns || key) c WHERE columns IS NOT NULL),
		'except_columns', except_columns, 'action', action, 'actions', array_to_json(pairs)));
END
$$;

-- The relations that a TRUNCATE of the table, or of a part of it, is seen at.
CREATE FUNCTION livefeed.watch_tree(relation regclass) RETURNS SETOF regclass
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT c.oid::regclass FROM pg_class c
		WHERE c.relkind IN ('r', 'p')
			AND (c.oid = $1 OR c.oid IN (SELECT t.relid FROM pg_partition_tree($1) t))
		ORDER BY c.oid = $1 DESC, c.oid
	$$;

/*
 * Makes the table a feed. Runs as the caller, whose right to the table is
 * checked; the names that it uses are pinned. Called again with the same
 * definition it changes nothing, and takes no lock that a reader would notice.
 */
CREATE FUNCTION livefeed.watch(
	relation       regclass,
	feed           text    DEFAULT NULL,
	entity         text    DEFAULT NULL,
	unit           name    DEFAULT NULL,
	unit_function  regprocedure DEFAULT NULL,
	users          name[]  DEFAULT '{}',
	users_function regprocedure DEFAULT NULL,
	roles          text[]  DEFAULT '{}',
	columns        name[]  DEFAULT NULL,
	except_columns name[]  DEFAULT '{}',
	action         name    DEFAULT NULL,
	actions        json    DEFAULT '{}',
	parent_feed    text    DEFAULT NULL,
	parent         name    DEFAULT NULL,
	durable        boolean DEFAULT true,
	latest_only    boolean DEFAULT false
) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	definition text;
	former     record;
	member     regclass;
	later      text;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'relation must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	later := CASE WHEN parent_feed IS NOT NULL THEN 'parent_feed'
		WHEN parent IS NOT NULL THEN 'parent'
		WHEN durable IS DISTINCT FROM true THEN 'durable => false'
		WHEN latest_only IS DISTINCT FROM false THEN 'latest_only => true' END;
	IF later IS NOT NULL THEN
		RAISE EXCEPTION '% is not supported yet', later USING ERRCODE = 'feature_not_supported';
	END IF;

	SELECT coalesce(feed, c.relname), coalesce(entity, feed, c.relname) INTO feed, entity FROM pg_class c WHERE c.oid = relation;
	PERFORM livefeed.watch_begin(relation, NULL);
	definition := livefeed.watch_define(relation, feed, entity, unit, unit_function, users, users_function,
		roles, columns, except_columns, action, actions)::text;
	PERFORM livefeed.watch_begin(relation, feed);

	-- One watch for a partitioned table and its partitions.
	SELECT t.tgrelid::regclass AS holder, t.tgparentid <> 0 AS copied INTO former
	FROM pg_trigger t
	WHERE t.tgfoid = 'livefeed.capture_row()'::regprocedure
		AND (t.tgrelid = relation AND t.tgparentid <> 0
			OR t.tgparentid = 0 AND t.tgrelid <> relation AND t.tgrelid IN (SELECT livefeed.watch_tree(relation)))
	LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '%', CASE WHEN former.copied
				THEN format('cannot watch %s: it is a partition of a watched table', relation)
				ELSE format('cannot watch %s: its partition %s is watched', relation, former.holder) END
			USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = CASE WHEN former.copied THEN 'Watch the partitioned table.'
				ELSE format('SELECT livefeed.unwatch(%L);', former.holder) END;
	END IF;

	SELECT t.tgname AS name, t.tgenabled AS enabled, t.tgargs AS arguments INTO former
	FROM pg_trigger t
	WHERE t.tgrelid = relation AND t.tgfoid = 'livefeed.capture_row()'::regprocedure
	ORDER BY t.oid LIMIT 1;

	IF former.name IS NULL OR livefeed.watch_definition(former.arguments) IS DISTINCT FROM definition THEN
		IF former.name IS NOT NULL THEN
			EXECUTE format('DROP TRIGGER %I ON %s', former.name, relation);
		END IF;
		EXECUTE format('CREATE TRIGGER livefeed_row AFTER INSERT OR UPDATE OR DELETE ON %s FOR EACH ROW EXECUTE FUNCTION livefeed.capture_row(%L)',
			relation, definition);
		EXECUTE format('ALTER TRIGGER livefeed_row ON %s DEPENDS ON EXTENSION livefeed', relation);
		IF former.enabled <> 'O' THEN
			EXECUTE format('ALTER TABLE %s %s TRIGGER livefeed_row', relation,
				CASE former.enabled WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'DISABLE' END);
		END IF;
	END IF;

	FOR member IN
		SELECT m FROM livefeed.watch_tree(relation) m
		WHERE NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = m AND t.tgfoid = 'livefeed.capture_truncate()'::regprocedure)
	LOOP
		EXECUTE format('CREATE TRIGGER livefeed_truncate AFTER TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION livefeed.capture_truncate()', member);
		EXECUTE format('ALTER TRIGGER livefeed_truncate ON %s DEPENDS ON EXTENSION livefeed', member);
	END LOOP;

	PERFORM livefeed.watch_changed(relation);
END
$$;
COMMENT ON FUNCTION livefeed.watch(regclass, text, text, name, regprocedure, name[], regprocedure, text[], name[], name[],
	name, json, text, name, boolean, boolean) IS 'makes a table a feed: its committed changes reach those whom they concern';

CREATE FUNCTION livefeed.unwatch(relation regclass) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	found_one boolean := false;
	it        record;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'relation must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM livefeed.watch_begin(relation, NULL);
	IF EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = relation AND t.tgparentid <> 0
			AND t.tgfoid = 'livefeed.capture_row()'::regprocedure) THEN
		RAISE EXCEPTION 'cannot unwatch %: it is a partition of a watched table', relation
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Unwatch the partitioned table.';
	END IF;
	FOR it IN
		SELECT t.tgname AS name, t.tgrelid::regclass AS holder
		FROM pg_trigger t
		WHERE t.tgparentid = 0 AND (
			t.tgrelid = relation AND t.tgfoid = 'livefeed.capture_row()'::regprocedure
			OR t.tgrelid IN (SELECT livefeed.watch_tree(relation)) AND t.tgfoid = 'livefeed.capture_truncate()'::regprocedure)
		ORDER BY t.tgrelid, t.tgname
	LOOP
		EXECUTE format('DROP TRIGGER %I ON %s', it.name, it.holder);
		found_one := true;
	END LOOP;
	IF found_one THEN
		PERFORM livefeed.watch_changed(relation);
	END IF;
	RETURN found_one;
END
$$;
COMMENT ON FUNCTION livefeed.unwatch(regclass) IS 'takes a watch off; false if there was none';

-- What is watched, how, and what is wrong with it. (Names in a view are resolved
-- when it is made, and then the search path is pg_catalog alone.)
CREATE VIEW livefeed.watches AS
	SELECT w.relation, w.j ->> 'feed' AS feed, w.j ->> 'entity' AS entity,
		(w.j ->> 'unit')::name AS unit,
		CASE WHEN w.j -> 'unit_function' IS NOT NULL THEN
			format('%I.%I', w.j -> 'unit_function' ->> 0, w.j -> 'unit_function' ->> 1) END AS unit_function,
		ARRAY(SELECT json_array_elements_text(w.j -> 'users'))::name[] AS users,
		CASE WHEN w.j -> 'users_function' IS NOT NULL THEN
			format('%I.%I', w.j -> 'users_function' ->> 0, w.j -> 'users_function' ->> 1) END AS users_function,
		ARRAY(SELECT json_array_elements_text(w.j -> 'roles')) AS roles,
		CASE WHEN w.j -> 'columns' IS NOT NULL THEN
			ARRAY(SELECT json_array_elements_text(w.j -> 'columns'))::name[] END AS columns,
		ARRAY(SELECT json_array_elements_text(w.j -> 'except_columns'))::name[] AS except_columns,
		(w.j ->> 'action')::name AS action,
		(SELECT json_object_agg(a.pair ->> 0, a.pair -> 1 ORDER BY a.n)
			FROM json_array_elements(w.j -> 'actions') WITH ORDINALITY a (pair, n)) AS actions,
		ARRAY(SELECT json_array_elements_text(w.j -> 'key'))::name[] AS key,
		CASE w.tgenabled WHEN 'O' THEN 'origin' WHEN 'A' THEN 'always' WHEN 'R' THEN 'replica' ELSE 'disabled' END AS enabled,
		coalesce(livefeed.watch_problem(w.relation),
			CASE WHEN w.j IS NULL THEN 'the trigger''s argument is no definition'
				WHEN w.tgenabled = 'D' THEN 'the trigger is disabled' END,
			(SELECT format('%s has no trigger for TRUNCATE: call livefeed.watch() again', m)
				FROM livefeed.watch_tree(w.relation) m
				WHERE NOT EXISTS (SELECT FROM pg_trigger t
					WHERE t.tgrelid = m
						AND t.tgfoid = 'livefeed.capture_truncate()'::regprocedure)
				LIMIT 1),
			CASE WHEN NOT EXISTS (SELECT FROM pg_index i
					WHERE i.indrelid = w.relation AND i.indisunique AND i.indpred IS NULL
						AND i.indexprs IS NULL
						AND ARRAY(SELECT a.attname::text COLLATE "C" FROM pg_attribute a
								WHERE a.attrelid = w.relation
									AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
								ORDER BY 1)
							=
							ARRAY(SELECT k COLLATE "C" FROM json_array_elements_text(w.j -> 'key') k ORDER BY 1))
				THEN 'its key is no unique index any more' END) AS problem
	FROM (SELECT t.tgrelid::regclass AS relation, t.tgenabled, livefeed.watch_definition(t.tgargs)::json AS j
		FROM pg_trigger t
		WHERE t.tgfoid = 'livefeed.capture_row()'::regprocedure
			AND t.tgparentid = 0) w;
COMMENT ON VIEW livefeed.watches IS 'what is watched and how';

-- Every feed, with what decides who may have it. A name that two tables claim is the older watch's.
CREATE VIEW livefeed.feeds AS
	SELECT d.feed, true AS declared, d.entity, true AS has_unit, true AS has_users, d.roles, d.durable, d.latest_only,
		NULL::text AS parent_feed, NULL::regclass AS relation, 1 AS key_columns
	FROM livefeed.declared d
	UNION ALL
	SELECT w.j ->> 'feed', false, w.j ->> 'entity',
		w.j -> 'unit' IS NOT NULL OR w.j -> 'unit_function' IS NOT NULL,
		json_array_length(w.j -> 'users') > 0 OR w.j -> 'users_function' IS NOT NULL,
		ARRAY(SELECT json_array_elements_text(w.j -> 'roles')),
		true, false, NULL, w.relation, json_array_length(w.j -> 'key')
	FROM (SELECT DISTINCT ON (x.j ->> 'feed') x.relation, x.j
		FROM (SELECT t.oid, t.tgrelid::regclass AS relation, livefeed.watch_definition(t.tgargs)::json AS j
			FROM pg_trigger t
			WHERE t.tgfoid = 'livefeed.capture_row()'::regprocedure
				AND t.tgparentid = 0) x
		WHERE x.j IS NOT NULL
		ORDER BY x.j ->> 'feed', x.oid) w
	WHERE NOT EXISTS (SELECT FROM livefeed.declared d WHERE d.feed = (w.j ->> 'feed'));
COMMENT ON VIEW livefeed.feeds IS 'every feed, with what decides who may have it';

COMMENT ON FUNCTION livefeed.capture_row() IS 'the trigger of a watch: a row that changed becomes events';
COMMENT ON FUNCTION livefeed.capture_truncate() IS 'the trigger of a watch: TRUNCATE becomes a resync';
COMMENT ON FUNCTION livefeed.watch_begin(regclass, text) IS 'part of watch(): may the caller watch the table under that name?';
COMMENT ON FUNCTION livefeed.watch_define(regclass, text, text, name, regprocedure, name[], regprocedure, text[], name[],
	name[], name, json) IS 'part of watch(): its arguments, looked at, as a definition';
COMMENT ON FUNCTION livefeed.watch_tree(regclass) IS 'part of watch(): a table and its partitions';
COMMENT ON FUNCTION livefeed.watch_changed(regclass) IS 'part of watch(): bridges are to read the definitions anew';
COMMENT ON FUNCTION livefeed.watch_definition(bytea) IS 'a trigger''s argument as text of JSON; null if it is no definition';
COMMENT ON FUNCTION livefeed.watch_problem(oid) IS 'why the watch of a relation is broken; null if it is not';
-- tick.sql: the order of events: ticks are made, and what they order is read (tick.c, read.c, bell.c).

-- What would be this database's epoch if its state held this random value.
CREATE FUNCTION livefeed.epoch_of(random uuid) RETURNS text
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_epoch';

CREATE FUNCTION livefeed.epoch() RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'SELECT livefeed.epoch_of(s.random) FROM livefeed.state s';
COMMENT ON FUNCTION livefeed.epoch() IS 'names the history that ids belong to; null on a standby';

CREATE FUNCTION livefeed.tick() RETURNS bigint
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_tick';
COMMENT ON FUNCTION livefeed.tick() IS 'orders the events committed so far; the tick''s number, null if there was nothing to do';

CREATE FUNCTION livefeed.tick_lock() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_tick_lock';
COMMENT ON FUNCTION livefeed.tick_lock() IS 'keeps others from ticking until this transaction ends';

CREATE FUNCTION livefeed.prune_lock() RETURNS boolean
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_prune_lock';

CREATE FUNCTION livefeed.invalidate_state() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_invalidate_state';
COMMENT ON FUNCTION livefeed.invalidate_state() IS 'makes all backends read livefeed.state anew, once this transaction commits';

CREATE FUNCTION livefeed.require_own_transaction(what text) RETURNS void
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_require_own_transaction';

CREATE FUNCTION livefeed.ring() RETURNS void
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_ring';
COMMENT ON FUNCTION livefeed.ring() IS 'sends the NOTIFYs of ticks not yet rung';

-- Events after an id, in order, then one row that says up to where that is complete.
CREATE FUNCTION livefeed.read(after_id bigint, max integer, feed text DEFAULT NULL, max_bytes integer DEFAULT 4194304)
	RETURNS TABLE (id bigint, tick bigint, xid xid8, at timestamptz, flags integer, feed text, unit text,
		users text[], to_users text[], key text, parent_feed text, parent_key text, frame bytea, epoch text)
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_read';

-- For the bridge that ticks: waits for events (a second at most), orders them, and returns as read() does.
CREATE FUNCTION livefeed.tick_wait(after_id bigint, max integer, interval_ms integer, take boolean)
	RETURNS TABLE (id bigint, tick bigint, xid xid8, at timestamptz, flags integer, feed text, unit text,
		users text[], to_users text[], key text, parent_feed text, parent_key text, frame bytea, epoch text)
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_tick_wait';

-- What livefeed.look() says of the order.
CREATE FUNCTION livefeed.look_order(OUT epoch text, OUT head bigint, OUT tick bigint, OUT kept bigint,
		OUT ticker_pid integer, OUT stale boolean)
	LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS 'MODULE_PATHNAME', 'livefeed_look_order';

COMMENT ON FUNCTION livefeed.read(bigint, integer, text, integer) IS 'events after an id, in order, for bridges';
COMMENT ON FUNCTION livefeed.tick_wait(bigint, integer, integer, boolean) IS 'waits for events, orders and returns them, for the bridge that ticks';
-- The base: nothing is visible to its snapshot. (That of this transaction would
-- show this transaction's own events, and hide older ones that are still open.)
INSERT INTO livefeed.ticks_0 (tick, epoch, snapshot, id_from, id_to, id_last, at, segments)
	SELECT 1, livefeed.epoch_of(s.random), '3:3:', 1, 0, 0, pg_catalog.clock_timestamp(), 0 FROM livefeed.state s;

-- log.sql: reading the log by hand, cursors, retention.

CREATE FUNCTION livefeed.cursor() RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT t.epoch || '-' || t.id_last::text FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1 $$;
COMMENT ON FUNCTION livefeed.cursor() IS 'the cursor of the last tick';

-- Can a reader go on from here? 'ok'; 'pruned': what follows is partly gone;
-- 'epoch': this is no place in the history of this database.
CREATE FUNCTION livefeed.check_cursor(epoch text, id bigint) RETURNS text
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT CASE
			WHEN $2 < s.kept THEN 'pruned'
			-- The tick that holds the id; and an empty one that only brought a new
			-- epoch "holds" the id at which it stands.
			WHEN EXISTS (
				SELECT FROM livefeed.ticks t
				WHERE t.id_last >= $2 AND (t.id_from <= $2 OR t.id_last = $2) AND t.epoch = $1
					AND t.id_last <= (SELECT b.id_last FROM livefeed.ticks b WHERE b.id_last >= $2 ORDER BY b.id_last LIMIT 1)
			) THEN 'ok'
			ELSE 'epoch'
		END
		FROM livefeed.state s
	$$;

COMMENT ON FUNCTION livefeed.check_cursor(text, bigint) IS 'can a reader go on from here? ok, pruned or epoch';

-- A frame as text, in the database's encoding; what that has no form for stands as \uXXXX.
CREATE FUNCTION livefeed.frame_text(frame bytea) RETURNS text
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_frame_text';

-- Type and action of a frame, which stand at its beginning. The data is not
-- looked at: a json column may hold escapes that PostgreSQL itself refuses to read.
CREATE FUNCTION livefeed.frame_head(frame text) RETURNS json
	LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT (replace(substring(left(frame, 4000)
			FROM '^\{"type":"[^"]*","feed":"[^"]*","(?:action|reason)":"(?:[^"\\]|\\.)*"'), '\ufffd', '?') || '}')::json
	$$;

/*
 * For looking: the log from a cursor on, control events left out. What no tick
 * has ordered yet follows with id null, the own transaction's included.
 *
 * The parameters of events() and its columns share names, which PL/pgSQL does
 * not do; hence two functions.
 */
CREATE FUNCTION livefeed.list_events(p_since text, p_feed text, p_unit text, p_max integer,
		OUT o_id bigint, OUT o_at timestamptz, OUT o_flags integer, OUT o_feed text, OUT o_unit text,
		OUT o_users text[], OUT o_key text, OUT o_frame text)
	RETURNS SETOF record
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	control   CONSTANT integer := 32;
	mark      CONSTANT integer := 512;
	pruned    CONSTANT integer := 1024;
	parts     text[];
	after     bigint;
	mark_id   bigint;
	mark_tick bigint;
	shown     pg_snapshot;
	n         integer := 0;
	r         record;
BEGIN
	IF p_max IS NULL OR p_max < 0 THEN
		RAISE EXCEPTION 'max must be zero or more' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT s.kept INTO after FROM livefeed.state s;
	IF p_since IS NOT NULL THEN
		parts := pg_catalog.regexp_match(p_since, '^([0-9a-f]{8})-([0-9]{1,18})$');
		IF parts IS NULL THEN
			RAISE EXCEPTION 'invalid cursor "%"', p_since USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A cursor looks like 6f3a91c2-1042; livefeed.cursor() returns the present one.';
		END IF;
		CASE livefeed.check_cursor(parts[1], parts[2]::bigint)
			WHEN 'pruned' THEN
				RAISE EXCEPTION 'events after cursor "%" are no longer kept', p_since USING ERRCODE = 'invalid_parameter_value',
					HINT = 'Leave out since to begin with the oldest event.';
			WHEN 'epoch' THEN
				RAISE EXCEPTION 'cursor "%" is not of this history', p_since USING ERRCODE = 'invalid_parameter_value',
					DETAIL = 'It is from before a restore, a promotion or a reset, or ahead of the last tick.';
			ELSE
				after := parts[2]::bigint;
		END CASE;
	END IF;

	WHILE n < p_max LOOP
		FOR r IN SELECT * FROM livefeed.read(after, 1000, p_feed) e LOOP
			IF r.flags & mark <> 0 THEN
				IF r.flags & pruned <> 0 AND p_since IS NOT NULL THEN
					RAISE EXCEPTION 'events after cursor "%" were removed while they were read', p_since
						USING ERRCODE = 'invalid_parameter_value';
				END IF;
				mark_id := r.id;
				mark_tick := r.tick;
				CONTINUE;
			END IF;
			CONTINUE WHEN n = p_max OR r.flags & control <> 0 OR (p_unit IS NOT NULL AND r.unit IS DISTINCT FROM p_unit);
			o_id := r.id; o_at := r.at; o_flags := r.flags; o_feed := r.feed; o_unit := r.unit;
			o_users := r.users; o_key := r.key;
			o_frame := livefeed.frame_text(r.frame);
			n := n + 1;
			RETURN NEXT;
		END LOOP;
		EXIT WHEN mark_id <= after;
		after := mark_id;
	END LOOP;

	-- From the tick where that ended, whatever was ticked since.
	SELECT t.snapshot INTO shown FROM livefeed.ticks t WHERE t.tick = mark_tick;
	o_id := NULL;
	FOR r IN
		SELECT l.* FROM livefeed.log l
		WHERE (l.xid >= pg_catalog.pg_snapshot_xmax(shown) OR l.xid = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip(shown))))
			AND l.flags & control = 0
			AND (p_feed IS NULL OR l.feed = p_feed) AND (p_unit IS NULL OR l.unit = p_unit)
		ORDER BY pg_catalog.max(l.seq) OVER (PARTITION BY l.xid), l.command, l.seq
		LIMIT p_max - n
	LOOP
		o_at := r.at; o_flags := r.flags; o_feed := r.feed; o_unit := r.unit;
		o_users := r.users; o_key := r.key;
		o_frame := livefeed.frame_text(r.frame);
		n := n + 1;
		RETURN NEXT;
	END LOOP;
	IF pg_catalog.pg_is_in_recovery() THEN
		RETURN;		-- unlogged tables cannot be read there
	END IF;
	FOR r IN
		SELECT l.* FROM livefeed.transient l
		WHERE (l.xid >= pg_catalog.pg_snapshot_xmax(shown) OR l.xid = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip(shown))))
			AND (p_feed IS NULL OR l.feed = p_feed) AND (p_unit IS NULL OR l.unit = p_unit)
		ORDER BY pg_catalog.max(l.seq) OVER (PARTITION BY l.xid), l.command, l.seq
		LIMIT p_max - n
	LOOP
		o_at := r.at; o_flags := r.flags; o_feed := r.feed; o_unit := r.unit;
		o_users := r.users; o_key := r.key;
		o_frame := livefeed.frame_text(r.frame);
		RETURN NEXT;
	END LOOP;
END
$$;

CREATE FUNCTION livefeed.events(since text DEFAULT NULL, feed text DEFAULT NULL, unit text DEFAULT NULL, max integer DEFAULT 100)
	RETURNS TABLE (id bigint, at timestamptz, feed text, unit text, users text[], key text, type text, action text, frame text)
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		SELECT l.o_id, l.o_at, l.o_feed, l.o_unit, l.o_users, l.o_key,
			h.head ->> 'type', coalesce(h.head ->> 'action', h.head ->> 'reason'),
			CASE WHEN l.o_id IS NULL THEN f.frame ELSE left(f.frame, -1) || ',"id":' || l.o_id::text || '}' END
		FROM livefeed.list_events($1, $2, $3, $4) l
		-- The frame of a resync (16) is its reason alone.
		CROSS JOIN LATERAL (SELECT CASE WHEN l.o_flags & 16 = 0 THEN l.o_frame
			ELSE '{"type":"resync","feed":' || to_json(l.o_feed)::text || ',"reason":' || to_json(l.o_frame)::text || '}' END) f(frame)
		CROSS JOIN LATERAL (SELECT livefeed.frame_head(f.frame)) h(head)
	$$;
COMMENT ON FUNCTION livefeed.events(text, text, text, integer) IS
	'the log, from a cursor on; what no tick has ordered yet follows with id null';

/*
 * Retention by rotation. Writers fill one child of the log; when it holds half
 * of what is to be kept (in time, or in events), they go on to the next, which
 * was emptied before. So between one and one and a half of that is kept, and
 * nothing is ever deleted row by row.
 *
 * A child may be emptied if the oldest tick to keep sees every row of it: then
 * no batch after that tick has any of them. TRUNCATE is not MVCC, and a
 * transaction older than the rotation may still commit into an old child, so
 * that is decided under ACCESS EXCLUSIVE, which such a transaction prevents, and
 * in a snapshot taken after it. The lock is never waited for: all others would
 * wait behind us. The kept mark moves in the same transaction.
 */

-- The last tick that has ended by then, or whose head is that low; at least tick "low".
CREATE FUNCTION livefeed.oldest_to_keep(low bigint, high bigint, since timestamptz, head bigint) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	middle bigint;
	t      record;
BEGIN
	WHILE low < high LOOP
		middle := (low + high + 1) / 2;
		SELECT k.at, k.id_last INTO t FROM livefeed.ticks k WHERE k.tick = middle;
		IF t.at <= since OR t.id_last <= head THEN
			low := middle;
		ELSE
			high := middle - 1;
		END IF;
	END LOOP;
	RETURN low;
END
$$;

-- The first tick, from low to high, that sees every transaction up to this one.
CREATE FUNCTION livefeed.first_beyond(low bigint, high bigint, last_xid xid8) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	middle bigint;
	beyond boolean;
BEGIN
	WHILE low < high LOOP
		middle := (low + high) / 2;
		SELECT pg_snapshot_xmin(k.snapshot) > last_xid INTO beyond FROM livefeed.ticks k WHERE k.tick = middle;
		IF beyond THEN
			high := middle;
		ELSE
			low := middle + 1;
		END IF;
	END LOOP;
	RETURN low;
END
$$;

-- Locks a table for TRUNCATE if nobody uses it for a moment; never waits in the queue.
CREATE FUNCTION livefeed.lock_child(child text) RETURNS boolean
	LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'livefeed_lock_child';

CREATE FUNCTION livefeed.is_empty(child text) RETURNS boolean
	LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
	AS $$ SELECT pg_relation_size(('livefeed.' || quote_ident(child))::regclass) = 0 $$;

-- The newest transaction that has a row in a child of the log; null: none.
CREATE FUNCTION livefeed.last_xid(child text) RETURNS xid8
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
	AS $$
DECLARE
	result xid8;
BEGIN
	EXECUTE format('SELECT l.xid FROM ONLY livefeed.%I l ORDER BY l.xid DESC, l.command DESC, l.seq DESC LIMIT 1', child)
		INTO result;
	RETURN result;
END
$$;

-- Empties a child of the log, or of the transient log, if tick "oldest" sees all of its rows;
-- the first tick that does, null if the child had to be left alone.
CREATE FUNCTION livefeed.empty_child(child text, kept_tick bigint, oldest bigint) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	horizon xid8;
BEGIN
	IF livefeed.is_empty(child) THEN
		RETURN NULL;
	END IF;
	SELECT pg_snapshot_xmin(t.snapshot) INTO horizon FROM livefeed.ticks t WHERE t.tick = oldest;
	-- First without the lock, since most often it is too early; then for good.
	IF livefeed.last_xid(child) >= horizon OR NOT livefeed.lock_child(child) OR livefeed.last_xid(child) >= horizon THEN
		RETURN NULL;
	END IF;
	oldest := livefeed.first_beyond(kept_tick, oldest, coalesce(livefeed.last_xid(child), '0'));
	EXECUTE format('TRUNCATE ONLY livefeed.%I', child);
	RETURN oldest;
END
$$;

-- Empties the children of the log that writers have left, as far as may be.
CREATE FUNCTION livefeed.prune_log(oldest bigint) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s     livefeed.state;
	first bigint;
	i     integer;
BEGIN
	FOR i IN 1..2 LOOP
		SELECT * INTO s FROM livefeed.state;
		first := livefeed.empty_child('log_' || (s.current + i) % 3, s.kept_tick, oldest);
		IF first > s.kept_tick THEN
			UPDATE livefeed.state SET kept_tick = first,
				kept = (SELECT t.id_last FROM livefeed.ticks t WHERE t.tick = first);
		END IF;
	END LOOP;
END
$$;

-- Ticks follow the log's rotation; those before the kept one are no longer needed.
CREATE FUNCTION livefeed.prune_ticks() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s    livefeed.state;
	i    integer;
	n    integer;
	last bigint;
BEGIN
	SELECT * INTO s FROM livefeed.state;
	FOR i IN 1..2 LOOP
		n := (s.tick_current + i) % 3;
		CONTINUE WHEN livefeed.is_empty('ticks_' || n);
		EXECUTE format('SELECT max(t.tick) FROM ONLY livefeed.%I t', 'ticks_' || n) INTO last;
		CONTINUE WHEN last >= s.kept_tick OR NOT livefeed.lock_child('ticks_' || n) OR NOT livefeed.lock_child('segments_' || n);
		-- What was inserted before we had the lock counts too.
		EXECUTE format('SELECT max(t.tick) FROM ONLY livefeed.%I t', 'ticks_' || n) INTO last;
		CONTINUE WHEN last >= s.kept_tick;
		EXECUTE format('TRUNCATE ONLY livefeed.%I, ONLY livefeed.%I', 'ticks_' || n, 'segments_' || n);
	END LOOP;
	IF s.tick_current <> s.current AND livefeed.is_empty('ticks_' || s.current) THEN
		UPDATE livefeed.state SET tick_current = s.current;
	END IF;
END
$$;

-- Transient events: each minute on to the next child. all: as far as a tick has seen them.
CREATE FUNCTION livefeed.prune_transient(last_tick bigint, everything boolean) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s livefeed.state;
	i integer;
BEGIN
	SELECT * INTO s FROM livefeed.state;
	IF (NOT everything AND s.transient_rotated_at > clock_timestamp() - interval '1 min')
		OR (livefeed.is_empty('transient_0') AND livefeed.is_empty('transient_1') AND livefeed.is_empty('transient_2')) THEN
		RETURN;
	END IF;
	PERFORM livefeed.empty_child('transient_' || (s.transient_current + 1) % 3, last_tick, last_tick);
	IF NOT livefeed.is_empty('transient_' || (s.transient_current + 1) % 3) THEN
		RETURN;
	END IF;
	UPDATE livefeed.state SET transient_current = (s.transient_current + 1) % 3, transient_rotated_at = clock_timestamp();
	PERFORM livefeed.invalidate_state();
	FOR i IN 1..2 LOOP
		EXIT WHEN NOT everything;
		PERFORM livefeed.empty_child('transient_' || (s.transient_current + 1 + i) % 3, last_tick, last_tick);
	END LOOP;
END
$$;

-- Removes what need not be kept, and rotates. Keeps the time given, else
-- livefeed.retention; '0' keeps nothing but what an open transaction or the
-- last tick needs. Not in a transaction block: its locks would last as long.
CREATE FUNCTION livefeed.prune(keep interval DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
DECLARE
	s      livefeed.state;
	last   record;
	events bigint;
	oldest bigint;
	next   integer;
	kept   bigint;
BEGIN
	PERFORM livefeed.require_own_transaction('livefeed.prune()');
	keep := coalesce(keep, current_setting('livefeed.retention')::interval);
	events := nullif(current_setting('livefeed.retention_events')::bigint, -1);

	-- One at a time, and nobody waits.
	IF NOT livefeed.prune_lock() THEN
		RETURN 0;
	END IF;
	SELECT * INTO s FROM livefeed.state;
	kept := s.kept;
	SELECT t.tick, t.id_last INTO last FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1;
	IF keep <= interval '0' THEN
		oldest := last.tick;
	ELSE
		oldest := livefeed.oldest_to_keep(s.kept_tick, last.tick, clock_timestamp() - keep, last.id_last - events);
	END IF;

	PERFORM livefeed.prune_log(oldest);
	next := (s.current + 1) % 3;
	IF (s.rotated_at <= clock_timestamp() - keep / 2 OR last.id_last - s.rotated_id >= events / 2)
		AND NOT livefeed.is_empty('log_' || s.current) AND livefeed.is_empty('log_' || next) THEN
		UPDATE livefeed.state SET current = next, rotated_at = clock_timestamp(), rotated_id = last.id_last;
		PERFORM livefeed.invalidate_state();
		PERFORM livefeed.prune_log(oldest);
	END IF;
	PERFORM livefeed.prune_ticks();
	PERFORM livefeed.prune_transient(last.tick, keep <= interval '0');

	SELECT * INTO s FROM livefeed.state;
	RETURN s.kept - kept;
END
$$;
COMMENT ON FUNCTION livefeed.prune(interval) IS 'removes events that need not be kept; how many';

-- Ends this history: a new epoch, an empty log. Ids go on, so that none ever comes twice.
CREATE FUNCTION livefeed.reset() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	s    livefeed.state;
	last record;
	n    integer;
BEGIN
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'livefeed.reset() needs the isolation level READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
	END IF;
	PERFORM livefeed.tick_lock();
	FOR n IN 0..2 LOOP
		EXECUTE format('TRUNCATE ONLY livefeed.log_%s, ONLY livefeed.transient_%s', n, n);
	END LOOP;
	-- After the locks: what is the head now.
	SELECT * INTO s FROM livefeed.state FOR UPDATE;
	SELECT t.tick, t.id_last INTO last FROM livefeed.ticks t ORDER BY t.tick DESC LIMIT 1;
	FOR n IN 0..2 LOOP
		EXECUTE format('TRUNCATE ONLY livefeed.ticks_%s, ONLY livefeed.segments_%s', n, n);
	END LOOP;
	UPDATE livefeed.state SET
		random = gen_random_uuid(), current = 0, transient_current = 0, tick_current = 0,
		kept = coalesce(last.id_last, s.kept), kept_tick = coalesce(last.tick, s.kept_tick) + 1,
		rotated_at = clock_timestamp(), rotated_id = coalesce(last.id_last, s.kept), transient_rotated_at = clock_timestamp();
	INSERT INTO livefeed.ticks_0 (tick, epoch, snapshot, id_from, id_to, id_last, at, segments)
		SELECT s2.kept_tick, livefeed.epoch_of(s2.random), '3:3:', s2.kept + 1, s2.kept, s2.kept, clock_timestamp(), 0
		FROM livefeed.state s2;
	PERFORM livefeed.invalidate_state();
END
$$;
COMMENT ON FUNCTION livefeed.reset() IS 'new epoch, empty log';

-- token.sql: tokens signed with the database's own key (token.c).

CREATE FUNCTION livefeed.hmac_sha256(key bytea, message bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT AS 'MODULE_PATHNAME', 'livefeed_hmac_sha256';

CREATE FUNCTION livefeed.random_key() RETURNS bytea
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_random_key';

CREATE FUNCTION livefeed.keys_changed() RETURNS void
	LANGUAGE c AS 'MODULE_PATHNAME', 'livefeed_keys_changed';

-- RFC 4648, 5, without padding, as in JWT.
CREATE FUNCTION livefeed.base64url(data bytea) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT SET search_path = pg_catalog, pg_temp
	AS $$ SELECT translate(encode(data, 'base64'), E'+/=\n', '-_') $$;

-- Why these cannot be a token's units; null if they can: an array of units, or
-- an object that gives each the roles held there. (The parts must be of the kind
-- that bridges accept: a token that no bridge takes is no use to its user.)
CREATE FUNCTION livefeed.units_problem(units jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	unit   jsonb;
	name   text;
	roles  jsonb;
BEGIN
	CASE jsonb_typeof(units)
		WHEN 'array' THEN
			FOR unit IN SELECT * FROM jsonb_array_elements(units) LOOP
				IF NOT (jsonb_typeof(unit) = 'string' AND unit <> '""'
						OR jsonb_typeof(unit) = 'number' AND unit::text ~ '^-?[0-9]{1,16}$'
							AND abs(unit::numeric) <= 9007199254740992) THEN
					RETURN format('%s is neither a non-empty string nor an integer', unit);
				END IF;
			END LOOP;
		WHEN 'object' THEN
			FOR name, roles IN SELECT * FROM jsonb_each(units) LOOP
				IF name = '' THEN
					RETURN 'the id of a unit is empty';
				END IF;
				IF jsonb_typeof(roles) <> 'array'
					OR EXISTS (SELECT FROM jsonb_array_elements(roles) r WHERE jsonb_typeof(r) <> 'string' OR r = '""') THEN
					RETURN format('the roles of unit "%s" are not an array of non-empty strings', name);
				END IF;
			END LOOP;
		ELSE
			RETURN 'they are neither an array nor an object';
	END CASE;
	RETURN NULL;
END
$$;

-- A token (JWT, HS256) for a user. units null leaves the claim out, so that the
-- authorizer is asked; claims are added as they are.
CREATE FUNCTION livefeed.issue_token(user_id text, units jsonb DEFAULT '[]', roles text[] DEFAULT '{}',
		ttl interval DEFAULT '15 min', claims jsonb DEFAULT '{}')
	RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	reserved CONSTANT text[] := '{sub,units,roles,iat,nbf,exp}';
	now      CONSTANT timestamptz := date_trunc('second', clock_timestamp());
	problem  text;
	found    text;
	key      record;
	payload  jsonb;
	signed   text;
BEGIN
	IF user_id IS NULL OR user_id = '' THEN
		RAISE EXCEPTION 'the user of a token must not be empty' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	problem := livefeed.units_problem(units);
	IF units IS NOT NULL AND problem IS NOT NULL THEN
		RAISE EXCEPTION 'these cannot be the units of a token' USING ERRCODE = 'invalid_parameter_value',
			DETAIL = problem, HINT = 'Units look like [7, "9"], or {"7": ["approver"]}.';
	END IF;
	IF EXISTS (SELECT FROM unnest(roles) r WHERE r IS NULL OR r = '') THEN
		RAISE EXCEPTION 'a role of a token must not be empty' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF ttl IS NULL OR now + ttl <= now THEN
		RAISE EXCEPTION 'ttl must be positive' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF jsonb_typeof(coalesce(claims, '{}')) <> 'object' THEN
		RAISE EXCEPTION 'claims must be a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	SELECT k INTO found FROM jsonb_object_keys(coalesce(claims, '{}')) k WHERE k = ANY (reserved) LIMIT 1;
	IF found IS NOT NULL THEN
		RAISE EXCEPTION 'claims must not have "%"', found USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is set from the other arguments of livefeed.issue_token().';
	END IF;

	payload := coalesce(claims, '{}') || jsonb_build_object('sub', user_id, 'roles', coalesce(roles, '{}'),
		'iat', extract(epoch FROM now)::bigint, 'exp', ceil(extract(epoch FROM now + ttl))::bigint);
	IF units IS NOT NULL THEN
		payload := payload || jsonb_build_object('units', units);
	END IF;
	SELECT k.kid, k.secret INTO STRICT key FROM livefeed.key k WHERE k.rotated_at IS NULL;
	signed := livefeed.base64url(convert_to(json_build_object('alg', 'HS256', 'typ', 'JWT', 'kid', key.kid)::text, 'UTF8'))
		|| '.' || livefeed.base64url(convert_to(payload::text, 'UTF8'));
	RETURN signed || '.' || livefeed.base64url(livefeed.hmac_sha256(key.secret, convert_to(signed, 'UTF8')));
END
$$;
COMMENT ON FUNCTION livefeed.issue_token(text, jsonb, text[], interval, jsonb) IS
	'a token for a user, signed with the database''s own key';

-- A new key. Tokens signed with the former one stay valid for an hour.
CREATE FUNCTION livefeed.rotate_key() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	LOCK TABLE livefeed.key IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM livefeed.key WHERE rotated_at < clock_timestamp() - interval '1 hour';
	UPDATE livefeed.key SET rotated_at = clock_timestamp() WHERE rotated_at IS NULL;
	INSERT INTO livefeed.key (kid, secret)
		VALUES (left(encode(livefeed.random_key(), 'hex'), 16), livefeed.random_key());
	PERFORM livefeed.keys_changed();
END
$$;
COMMENT ON FUNCTION livefeed.rotate_key() IS 'a new key for tokens; the former one stays valid for an hour';

INSERT INTO livefeed.key (kid, secret)
	VALUES (pg_catalog.left(pg_catalog.encode(livefeed.random_key(), 'hex'), 16), livefeed.random_key());

-- For bridges: by which keys tokens are valid now.
CREATE VIEW livefeed.keys AS
	SELECT k.kid, k.secret, true AS valid, k.rotated_at + interval '1 hour' AS valid_until
	FROM livefeed.key k
	WHERE k.rotated_at IS NULL OR k.rotated_at > pg_catalog.clock_timestamp() - interval '1 hour';

COMMENT ON VIEW livefeed.keys IS 'by which keys tokens are valid now, for bridges';
-- status.sql: bridges report themselves here; operators look here.

CREATE FUNCTION livefeed.log_version() RETURNS integer
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS 'SELECT 1';
COMMENT ON FUNCTION livefeed.log_version() IS 'names the format of the log (event.h), for bridges';

-- From the first bridge on, writers leave the bells to the ticker (livefeed.notify = auto).
CREATE FUNCTION livefeed.register_bridge(bridge text, host text, pid integer, version text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
#variable_conflict use_column
BEGIN
	DELETE FROM livefeed.bridge b WHERE b.seen_at < clock_timestamp() - interval '1 day';
	INSERT INTO livefeed.bridge AS b (bridge, host, pid, version, started_at, seen_at)
		VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())
		ON CONFLICT (bridge) DO UPDATE SET host = excluded.host, pid = excluded.pid, version = excluded.version,
			started_at = excluded.started_at, seen_at = excluded.seen_at, ticker = false, sessions = 0;
	UPDATE livefeed.state SET registered = true WHERE NOT registered;
	IF FOUND THEN
		PERFORM livefeed.invalidate_state();
	END IF;
END
$$;

CREATE FUNCTION livefeed.bridge_seen(bridge text, last_id bigint, ticker boolean, sessions integer) RETURNS void
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
		INSERT INTO livefeed.bridge AS b (bridge, started_at, seen_at, last_id, ticker, sessions)
			VALUES ($1, clock_timestamp(), clock_timestamp(), $2, $3, $4)
			ON CONFLICT (bridge) DO UPDATE SET seen_at = excluded.seen_at, last_id = excluded.last_id,
				ticker = excluded.ticker, sessions = excluded.sessions
	$$;

CREATE FUNCTION livefeed.unregister_bridge(bridge text) RETURNS void
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ DELETE FROM livefeed.bridge b WHERE b.bridge = $1 $$;

CREATE VIEW livefeed.bridges AS
	SELECT b.bridge, b.host, b.pid, b.version, b.started_at, b.seen_at, b.last_id, b.ticker, b.sessions
	FROM livefeed.bridge b
	WHERE b.seen_at > pg_catalog.clock_timestamp() - interval '30 s';
COMMENT ON VIEW livefeed.bridges IS 'the bridges that serve this database now';

-- Bridges do not report their sessions yet: the columns are there, the rows are not.
CREATE VIEW livefeed.sessions AS
	SELECT b.bridge, NULL::text AS session, NULL::text AS user_id, NULL::text[] AS units, NULL::text AS transport,
		NULL::inet AS address, NULL::timestamptz AS connected_at, NULL::text[] AS channels
	FROM livefeed.bridge b WHERE false;

-- A fingerprint of all that is watched, declared and exposed. Bridges compare it
-- once a second: DROP TABLE and ALTER TABLE tell nobody.
CREATE FUNCTION livefeed.definitions() RETURNS text
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	RETURN md5(concat_ws(E'\n',
		(SELECT string_agg(format('%s %s %s %s', t.tgrelid, t.tgrelid::regclass, t.tgenabled, encode(t.tgargs, 'escape')), E'\n'
				ORDER BY t.tgrelid, t.tgname)
			FROM pg_trigger t
			WHERE t.tgfoid IN (SELECT p.oid FROM pg_proc p
				WHERE p.pronamespace = 'livefeed'::regnamespace AND p.prorettype = 'trigger'::regtype)),
		(SELECT string_agg(f::text, E'\n' ORDER BY f.feed) FROM livefeed.feeds f WHERE f.declared),
		(SELECT string_agg(p::text, E'\n' ORDER BY p.path) FROM livefeed.paths p)));
END
$$;

-- What each bridge asks once a second, for whatever no bell told it.
CREATE FUNCTION livefeed.look(OUT epoch text, OUT head bigint, OUT tick bigint, OUT kept bigint,
		OUT ticker_pid integer, OUT stale boolean, OUT definitions text)
	LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$ SELECT l.epoch, l.head, l.tick, l.kept, l.ticker_pid, l.stale, livefeed.definitions() FROM livefeed.look_order() l $$;

-- The bytes of a table and the children that it has.
CREATE FUNCTION livefeed.total_bytes(parent regclass) RETURNS bigint
	LANGUAGE sql STRICT SET search_path = pg_catalog, pg_temp
	AS $$ SELECT sum(pg_total_relation_size(i.inhrelid))::bigint FROM pg_inherits i WHERE i.inhparent = parent $$;

CREATE FUNCTION livefeed.get_status(
		OUT epoch text,				-- of the last tick
		OUT head bigint,			-- the last id
		OUT tick bigint,			-- the last tick
		OUT ticked_at timestamptz,
		OUT ticker_pid integer,		-- the backend that ticks; null: nobody does
		OUT ticker text,			-- the bridge that says it is the ticker
		OUT bridges integer,
		OUT waiting bigint,			-- events that no tick has ordered yet, counted up to 10000
		OUT waiting_since timestamptz, -- when the oldest of those was made
		OUT kept bigint,			-- ids up to here are gone
		OUT events bigint,			-- ids that are kept
		OUT kept_since timestamptz,	-- when the tick before them was made
		OUT log_bytes bigint,
		OUT transient_bytes bigint,
		OUT tick_bytes bigint,
		OUT rotated_at timestamptz,
		OUT notify_queue double precision,
		OUT broken_watches text[],
		OUT drifted_triggers text[])
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	shown pg_snapshot;
BEGIN
	SELECT l.epoch, l.head, l.tick, l.kept, l.ticker_pid INTO epoch, head, tick, kept, ticker_pid
		FROM livefeed.look_order() l;
	SELECT t.at, t.snapshot INTO ticked_at, shown FROM livefeed.ticks t WHERE t.tick = get_status.tick;
	SELECT s.rotated_at, t.at INTO rotated_at, kept_since
		FROM livefeed.state s LEFT JOIN livefeed.ticks t ON t.tick = s.kept_tick;
	SELECT min(b.bridge) FILTER (WHERE b.ticker), count(*) INTO ticker, bridges FROM livefeed.bridges b;
	SELECT count(*), min(w.at) INTO waiting, waiting_since FROM (
		SELECT l.at FROM livefeed.log l
		WHERE l.xid >= pg_snapshot_xmax(shown) OR l.xid = ANY (ARRAY(SELECT pg_snapshot_xip(shown)))
		LIMIT 10000) w;
	events := head - kept;
	log_bytes := livefeed.total_bytes('livefeed.log');
	transient_bytes := livefeed.total_bytes('livefeed.transient');
	tick_bytes := livefeed.total_bytes('livefeed.ticks') + livefeed.total_bytes('livefeed.segments');
	IF NOT pg_is_in_recovery() THEN
		notify_queue := pg_notification_queue_usage();
	END IF;
	-- Broken: its definition does not fit the table. Drifted: its triggers are not as watch() made them.
	SELECT coalesce(array_agg(p.line ORDER BY p.line) FILTER (WHERE p.broken), '{}'),
			coalesce(array_agg(p.line ORDER BY p.line) FILTER (WHERE NOT p.broken), '{}')
		INTO broken_watches, drifted_triggers
		FROM (SELECT format('%s: %s', w.relation, w.problem) AS line, livefeed.watch_problem(w.relation) IS NOT NULL AS broken
			FROM livefeed.watches w WHERE w.problem IS NOT NULL) p;
END
$$;

CREATE VIEW livefeed.status AS SELECT * FROM livefeed.get_status();
COMMENT ON VIEW livefeed.status IS 'who ticks, what waits, what is kept, how large it is, which watches need a look';

COMMENT ON VIEW livefeed.sessions IS 'the sessions of the bridges';
COMMENT ON FUNCTION livefeed.register_bridge(text, text, integer, text) IS 'a bridge says that it is here';
COMMENT ON FUNCTION livefeed.bridge_seen(text, bigint, boolean, integer) IS 'a bridge says that it is still here';
COMMENT ON FUNCTION livefeed.unregister_bridge(text) IS 'a bridge says good-bye';
COMMENT ON FUNCTION livefeed.look() IS 'what bridges ask once a second: head, ticker, definitions';
COMMENT ON FUNCTION livefeed.get_status() IS 'what the view livefeed.status shows';
-- grants.sql: who may do what. PUBLIC may watch its own tables, and nothing more:
-- not the log, the key, publish, issue_token, events. A writer of a watched
-- table needs no grant.

REVOKE ALL ON SCHEMA livefeed FROM PUBLIC;
GRANT USAGE ON SCHEMA livefeed TO PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA livefeed FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA livefeed FROM PUBLIC;
REVOKE ALL ON ALL ROUTINES IN SCHEMA livefeed FROM PUBLIC;

-- Grants all functions of these names.
CREATE FUNCTION livefeed.grant_functions(role text, names text[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
DECLARE
	function regprocedure;
BEGIN
	FOR function IN
		SELECT p.oid FROM pg_proc p
		WHERE p.pronamespace = 'livefeed'::regnamespace AND p.proname = ANY (names)
	LOOP
		EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', function, role);
	END LOOP;
END
$$;

CREATE FUNCTION livefeed.grant_views(role text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	EXECUTE format('GRANT SELECT ON livefeed.watches, livefeed.feeds, livefeed.paths, livefeed.bridges, livefeed.sessions, livefeed.status TO %s', role);
	PERFORM livefeed.grant_functions(role, '{get_status,log_version,watch_problem,watch_tree}');
END
$$;

-- To an application's role: publishing, tokens, definitions, looking in.
CREATE FUNCTION livefeed.grant_application(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM livefeed.grant_functions(role::text,
		'{declare_feed,expose_path,expose_query,expose_snapshot,expose_command,socketio_namespace,socketio_event,hide,
		publish,resync,issue_token,disconnect,reauthorize,cursor,events,tick,ring}');
	PERFORM livefeed.grant_views(role::text);
END
$$;
COMMENT ON FUNCTION livefeed.grant_application(regrole) IS 'lets a role publish, issue tokens, define and look in';

-- To the role that livefeed-bridge connects as.
CREATE FUNCTION livefeed.grant_bridge(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	EXECUTE format('GRANT SELECT ON livefeed.log, livefeed.transient, livefeed.ticks, livefeed.segments, livefeed.state,
		livefeed.keys TO %s', role);
	PERFORM livefeed.grant_functions(role::text,
		'{read,tick_wait,look,check_cursor,row_scope,register_bridge,bridge_seen,unregister_bridge,epoch,
		cursor,events,tick,ring,prune}');
	PERFORM livefeed.grant_views(role::text);
END
$$;
COMMENT ON FUNCTION livefeed.grant_bridge(regrole) IS 'lets a role be that of livefeed-bridge';

REVOKE ALL ON FUNCTION livefeed.grant_functions(text, text[]), livefeed.grant_views(text),
	livefeed.grant_application(regrole), livefeed.grant_bridge(regrole) FROM PUBLIC;

-- What watch() and the triggers need of an ordinary owner and writer.
DO $$
BEGIN
	PERFORM livefeed.grant_functions('PUBLIC', ARRAY['watch', 'unwatch', 'watch_begin', 'watch_define', 'watch_tree', 'watch_definition', 'watch_changed',
		'current_user_id', 'claims', 'current_units', 'has_unit', 'has_role']
		|| ARRAY(SELECT p.proname::text FROM pg_catalog.pg_proc p
			WHERE p.pronamespace = 'livefeed'::regnamespace AND p.prorettype = 'trigger'::regtype));
END
$$;
