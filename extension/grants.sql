-- grants.sql: who may do what. PUBLIC may watch its own tables, and nothing more:
-- not the log, the key, publish, issue_token, events. A writer of a watched
-- table needs no grant. Upgrade scripts run all of this again.

REVOKE ALL ON SCHEMA livefeed FROM PUBLIC;
GRANT USAGE ON SCHEMA livefeed TO PUBLIC;

-- What is new, has no privileges written down yet. The rest is left alone: its
-- rows in the catalog may be changing under the hands of a prune() or VACUUM.
DO $$
DECLARE
	new text;
BEGIN
	FOR new IN
		SELECT pg_catalog.format('%s %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, c.oid::pg_catalog.regclass)
			FROM pg_catalog.pg_class c
			WHERE c.relnamespace = 'livefeed'::pg_catalog.regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND c.relacl IS NULL
		UNION ALL
		SELECT pg_catalog.format('FUNCTION %s', p.oid::pg_catalog.regprocedure) FROM pg_catalog.pg_proc p
			WHERE p.pronamespace = 'livefeed'::pg_catalog.regnamespace AND p.proacl IS NULL
	LOOP
		EXECUTE 'REVOKE ALL ON ' || new || ' FROM PUBLIC';
	END LOOP;
END
$$;

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
	EXECUTE format('GRANT SELECT ON livefeed.watches, livefeed.feeds, livefeed.paths, livefeed.queries, livefeed.commands, livefeed.socketio_namespaces, livefeed.socketio_events, livefeed.bridges, livefeed.sessions, livefeed.status TO %s', role);
	PERFORM livefeed.grant_functions(role, '{get_status,log_version,watch_problem,watch_tree}');
END
$$;

-- To an application's role: publishing, tokens, definitions, looking in.
CREATE FUNCTION livefeed.grant_application(role regrole) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
BEGIN
	PERFORM livefeed.grant_functions(role::text,
		'{declare_feed,expose_path,expose_query,expose_snapshot,expose_command,expose_function,expose_check,socketio_namespace,socketio_event,hide,
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
		livefeed.keys, livefeed.revocations TO %s', role);
	PERFORM livefeed.grant_functions(role::text,
		'{read,tick_wait,look,check_cursor,row_scope,snapshot,register_bridge,bridge_seen,unregister_bridge,epoch,authority,authorize,
		run_query,call,report_sessions,cursor,events,tick,ring,prune}');
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
