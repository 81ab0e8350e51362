-- All that the extension livefeed is in this database, a line each, so that two
-- databases can be compared: objects with owner, privileges (and those that
-- pg_dump takes for the extension's own) and comment; functions with their
-- bodies; columns, constraints, indexes; what is dumped of its tables.
WITH member AS (
	SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
	FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	WHERE e.extname = 'livefeed' AND d.deptype = 'e'
), inside AS (		-- indexes, toast tables and the like are no members themselves
	SELECT c.oid, c.relname, c.relkind, c.reloptions, c.relpersistence, c.relnamespace::regnamespace AS schema
	FROM pg_class c WHERE c.relnamespace = 'livefeed'::regnamespace
), line AS (
	SELECT format('member %s', m.name) AS line FROM member m
	UNION ALL
	SELECT format('comment on %s: %s', m.name, obj_description(m.objid, c.relname)) FROM member m JOIN pg_class c ON c.oid = m.classid
	UNION ALL
	SELECT format('function %s of %s %s', p.oid::regprocedure, p.proowner::regrole, regexp_replace(pg_get_functiondef(p.oid), '\s+', ' ', 'g'))
	FROM pg_proc p WHERE p.pronamespace = 'livefeed'::regnamespace AND p.prokind = 'f'
	UNION ALL
	SELECT format('privileges of function %s: %s', p.oid::regprocedure, a)
	FROM pg_proc p CROSS JOIN LATERAL unnest(p.proacl) a WHERE p.pronamespace = 'livefeed'::regnamespace
	UNION ALL
	SELECT format('function %s has no privileges written down', p.oid::regprocedure)
	FROM pg_proc p WHERE p.pronamespace = 'livefeed'::regnamespace AND p.proacl IS NULL
	UNION ALL
	SELECT format('relation %s (%s, %s) of %s, %s', c.oid::regclass, c.relkind, c.relpersistence, c.relowner::regrole, c.reloptions)
	FROM pg_class c WHERE c.relnamespace = 'livefeed'::regnamespace
	UNION ALL
	SELECT format('privileges of relation %s: %s', c.oid::regclass, a)
	FROM pg_class c CROSS JOIN LATERAL unnest(c.relacl) a WHERE c.relnamespace = 'livefeed'::regnamespace
	UNION ALL
	SELECT format('options of the toast table of %s: %s', c.oid::regclass, t.reloptions)
	FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.relnamespace = 'livefeed'::regnamespace
	UNION ALL
	SELECT format('extension''s own privileges of %s: %s', pg_describe_object(i.classoid, i.objoid, i.objsubid), item)
	FROM pg_init_privs i JOIN member m ON m.classid = i.classoid AND m.objid = i.objoid CROSS JOIN LATERAL unnest(i.initprivs) item
	UNION ALL
	SELECT format('column %s of %s: %s %s %s, default %s, collation %s, storage %s, %s%s, %s', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
		a.attrelid::regclass, a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
		pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation, a.attstorage, a.attidentity, a.attgenerated,
		col_description(a.attrelid, a.attnum))
	FROM inside i JOIN pg_attribute a ON a.attrelid = i.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE a.attnum > 0 AND NOT a.attisdropped
	UNION ALL
	SELECT format('constraint %s of %s: %s', c.conname, c.conrelid::regclass, pg_get_constraintdef(c.oid))
	FROM pg_constraint c WHERE c.connamespace = 'livefeed'::regnamespace
	UNION ALL
	SELECT format('index: %s', pg_get_indexdef(i.oid)) FROM inside i WHERE i.relkind = 'i'
	UNION ALL
	SELECT format('view %s: %s', i.oid::regclass, pg_get_viewdef(i.oid)) FROM inside i WHERE i.relkind = 'v'
	UNION ALL
	SELECT format('%s inherits %s', h.inhrelid::regclass, h.inhparent::regclass) FROM pg_inherits h JOIN inside i ON i.oid = h.inhrelid
	UNION ALL
	SELECT format('trigger: %s', pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN inside i ON i.oid = t.tgrelid
	UNION ALL
	SELECT format('rule: %s', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN inside i ON i.oid = r.ev_class WHERE i.relkind <> 'v'
	UNION ALL
	SELECT format('type %s, %s', format_type(t.oid, NULL), t.typtype) FROM pg_type t WHERE t.typnamespace = 'livefeed'::regnamespace
	UNION ALL
	SELECT format('sequence %s from %s by %s to %s, cache %s', s.seqrelid::regclass, s.seqstart, s.seqincrement, s.seqmax, s.seqcache)
	FROM pg_sequence s JOIN inside i ON i.oid = s.seqrelid
	UNION ALL
	SELECT format('dumped: %s where %s', config.relation::regclass, config.condition)
	FROM pg_extension e, unnest(e.extconfig, e.extcondition) config (relation, condition) WHERE e.extname = 'livefeed'
	UNION ALL
	SELECT format('privileges of schema %s: %s', n.nspname, a) FROM pg_namespace n CROSS JOIN LATERAL unnest(n.nspacl) a WHERE n.nspname = 'livefeed'
	UNION ALL
	SELECT format('version %s, in schema %s', e.extversion, e.extnamespace::regnamespace) FROM pg_extension e WHERE e.extname = 'livefeed'
)
SELECT l.text FROM (SELECT regexp_replace(line, '\s+', ' ', 'g') AS text FROM line) l ORDER BY l.text COLLATE "C";
