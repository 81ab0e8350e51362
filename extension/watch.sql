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
		action name, actions json, parent_feed text, parent name, durable boolean, latest_only boolean)
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
	IF durable IS NULL OR latest_only IS NULL THEN
		RAISE EXCEPTION '% must not be null', CASE WHEN durable IS NULL THEN 'durable' ELSE 'latest_only' END
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF (parent_feed IS NULL) <> (parent IS NULL) THEN
		RAISE EXCEPTION '% is given without %', CASE WHEN parent IS NULL THEN 'parent_feed' ELSE 'parent' END,
				CASE WHEN parent IS NULL THEN 'parent' ELSE 'parent_feed' END
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'parent_feed names a feed, parent the column that holds the key of its row.';
	END IF;
	IF parent_feed !~ name_pattern THEN
		RAISE EXCEPTION 'invalid feed name % of parent_feed', quote_literal(parent_feed) USING ERRCODE = 'invalid_name',
			HINT = 'A feed''s name is a lower-case letter, then lower-case letters, digits and _, 63 at most.';
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
		UNION ALL SELECT 'parent', ARRAY[parent] WHERE parent IS NOT NULL
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
		'except_columns', except_columns, 'action', action, 'actions', array_to_json(pairs),
		'parent_feed', parent_feed, 'parent', parent, 'durable', nullif(durable, true), 'latest_only', nullif(latest_only, false)));
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
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'relation must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;

	SELECT coalesce(feed, c.relname), coalesce(entity, feed, c.relname) INTO feed, entity FROM pg_class c WHERE c.oid = relation;
	PERFORM livefeed.watch_begin(relation, NULL);
	definition := livefeed.watch_define(relation, feed, entity, unit, unit_function, users, users_function,
		roles, columns, except_columns, action, actions, parent_feed, parent, durable, latest_only)::text;
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
				THEN 'its key is no unique index any more' END) AS problem,
		w.j ->> 'parent_feed' AS parent_feed, (w.j ->> 'parent')::name AS parent,
		coalesce((w.j ->> 'durable')::boolean, true) AS durable,
		coalesce((w.j ->> 'latest_only')::boolean, false) AS latest_only
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
		coalesce((w.j ->> 'durable')::boolean, true), coalesce((w.j ->> 'latest_only')::boolean, false),
		w.j ->> 'parent_feed', w.relation, json_array_length(w.j -> 'key')
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
	name[], name, json, text, name, boolean, boolean) IS 'part of watch(): its arguments, looked at, as a definition';
COMMENT ON FUNCTION livefeed.watch_tree(regclass) IS 'part of watch(): a table and its partitions';
COMMENT ON FUNCTION livefeed.watch_changed(regclass) IS 'part of watch(): bridges are to read the definitions anew';
COMMENT ON FUNCTION livefeed.watch_definition(bytea) IS 'a trigger''s argument as text of JSON; null if it is no definition';
COMMENT ON FUNCTION livefeed.watch_problem(oid) IS 'why the watch of a relation is broken; null if it is not';
