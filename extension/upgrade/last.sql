-- upgrade/last.sql: the end of every upgrade script. Whoever was made a bridge or
-- an application is so by the new version's measure too.
DO $$
DECLARE
	grantee regrole;
	names   text[];
BEGIN
	FOREACH names SLICE 1 IN ARRAY ARRAY[
		ARRAY['grant_bridge', 'read,tick_wait,look,check_cursor,row_scope,register_bridge,bridge_seen,unregister_bridge,prune'],
		ARRAY['grant_application', 'declare_feed,expose_path,hide,publish,resync,issue_token,cursor,events,tick']]
	LOOP
		FOR grantee IN
			SELECT a.grantee FROM pg_catalog.pg_proc p CROSS JOIN LATERAL pg_catalog.aclexplode(p.proacl) a
			WHERE p.pronamespace = 'livefeed'::pg_catalog.regnamespace AND a.grantee NOT IN (0, p.proowner)
				AND p.proname = ANY (pg_catalog.string_to_array(names[2], ','))
			GROUP BY a.grantee
			HAVING pg_catalog.count(DISTINCT p.proname) = pg_catalog.cardinality(pg_catalog.string_to_array(names[2], ','))
		LOOP
			EXECUTE pg_catalog.format('SELECT livefeed.%I(%L)', names[1], grantee);
		END LOOP;
	END LOOP;
END
$$;

-- PostgreSQL takes every grant of such a script for the extension's own, which
-- pg_dump leaves out: those of an application's roles would be lost with a restore.
UPDATE pg_catalog.pg_init_privs i
	SET initprivs = ARRAY(SELECT item FROM pg_catalog.unnest(i.initprivs) item
		WHERE EXISTS (SELECT FROM pg_catalog.aclexplode(ARRAY[item]) e WHERE e.grantee IN (0, o.owner)))
	FROM (SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS class, c.oid, c.relowner AS owner FROM pg_catalog.pg_class c
			WHERE c.relnamespace = 'livefeed'::pg_catalog.regnamespace
		UNION ALL
		SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.proowner FROM pg_catalog.pg_proc p
			WHERE p.pronamespace = 'livefeed'::pg_catalog.regnamespace) o
	WHERE i.classoid = o.class AND i.objoid = o.oid AND i.objsubid = 0 AND i.privtype = 'e'
		AND EXISTS (SELECT FROM pg_catalog.aclexplode(i.initprivs) e WHERE e.grantee NOT IN (0, o.owner));
